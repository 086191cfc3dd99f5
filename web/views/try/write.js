// A write that fires a topic: the resource a trigger waits for, made so that the
// filters of a subscription let it pass.

const reference = (text, type) => ({ reference: text.includes("/") ? text : `${type}/${text}` });
const coded = (text, system, display) => {
  const [first, second] = text.split("|");
  return { coding: [second === undefined ? { system, code: first, display } : { system: first || undefined, code: second }] };
};
const laboratory = "http://terminology.hl7.org/CodeSystem/observation-category";

// What a resource of a type looks like, given values of its search parameters.
const examples = {
  Patient: (v) => ({ active: v.active !== "false", name: [{ family: v.family ?? "Example", given: [v.given ?? "Robin"] }] }),
  Encounter: (v) => ({ status: v.status ?? "in-progress", subject: reference(v.patient ?? v.subject ?? "example", "Patient") }),
  Observation: (v) => ({
    status: v.status ?? "final",
    category: [coded(v.category ?? "laboratory", laboratory)],
    code: coded(v.code ?? "2823-3", "http://loinc.org", v.code ? undefined : "Potassium"),
    subject: reference(v.patient ?? v.subject ?? "example", "Patient"),
    valueQuantity: { value: 5.4, unit: "mmol/L", system: "http://unitsofmeasure.org", code: "mmol/L" },
  }),
  Task: (v) => ({
    status: v.status ?? "requested",
    intent: "order",
    for: reference(v.patient ?? v.subject ?? "example", "Patient"),
    owner: v.owner && reference(v.owner, "Practitioner"),
  }),
};

/** example is a resource whose creation fires the topic for the subscription, or null. */
export function example(topic, subscription) {
  for (const trigger of topic?.resourceTrigger ?? []) {
    const type = trigger.resource.split("/").at(-1);
    const query = trigger.queryCriteria;
    if (!examples[type] || (trigger.supportedInteraction && !trigger.supportedInteraction.includes("create"))) continue;
    if (query?.previous && query.resultForCreate === "test-fails") continue;
    const values = {};
    const want = (name, value) => { if (!name.includes(":")) values[name] = value.split(",")[0]; };
    for (const [name, value] of new URLSearchParams(query?.current ?? "")) want(name, value);
    for (const filter of subscription?.filterBy ?? []) {
      if (!filter.modifier && !filter.comparator) want(filter.filterParameter, filter.value);
    }
    return { resourceType: type, ...examples[type](values) };
  }
  return null;
}
