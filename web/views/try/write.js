// A write that fires a topic: a resource that matches the trigger of the topic and
// passes the filters of the subscription.

import { filtersIn } from "./resource.js";

const who = (v) => ({ reference: v.patient ?? v.subject ?? "Patient/example" });
const coded = (text) => ({ coding: [{ system: text.split("|").at(-2) || undefined, code: text.split("|").at(-1) }] });

// An example of each type, made from values of its search parameters.
const examples = {
  Patient: () => ({ active: true, name: [{ family: "Example" }] }),
  Encounter: (v, release) => ({ status: v.status ?? "in-progress", ...(release !== "R5" && { class: { system: "http://terminology.hl7.org/CodeSystem/v3-ActCode", code: "IMP" } }), subject: who(v) }),
  Observation: (v) => ({ status: v.status ?? "final", category: [coded(v.category ?? "laboratory")], code: coded(v.code ?? "http://loinc.org|2823-3"), subject: who(v) }),
  Task: (v) => ({ status: v.status ?? "requested", intent: "order", for: who(v), owner: v.owner && { reference: v.owner } }),
};

/** example returns a resource whose creation fires the topic for a subscription, or null. */
export function example(topic, subscription, release) {
  for (const trigger of topic?.resourceTrigger ?? []) {
    const type = trigger.resource.split("/").at(-1);
    const query = trigger.queryCriteria;
    if (!examples[type] || trigger.supportedInteraction?.includes("create") === false || (query?.previous && query.resultForCreate === "test-fails")) continue;
    const wanted = [...new URLSearchParams(query?.current), ...filtersIn(subscription)];
    return { resourceType: type, ...examples[type](Object.fromEntries(wanted.map(([name, value]) => [name, value.split(",")[0]])), release) };
  }
  return null;
}
