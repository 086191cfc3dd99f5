// How the server decided, or would decide, about a change: question by question.

import { h } from "../../kernel/dom.js";
import { tail } from "../../kernel/format.js";

const questions = { topic: "Topic", type: "Type", interaction: "Interaction", criteria: "Criteria", filter: "Filter", subscription: "Subscription", bindings: "Sockets", delivery: "Delivery" };

/** steps returns the list of questions with their answers. */
export const steps = (list) => h("ol.steps-asked", null, list.map((s) => h("li", { data: { ok: s.ok } },
  h("span.mark", { "aria-hidden": "true" }, s.ok ? "✓" : "✗"),
  h("b", null, questions[s.step] ?? s.step, h("span.offscreen", null, s.ok ? " yes" : " no")),
  h("span", null, s.text))));

/** reason returns in one line why a subscription got no event, or what it got. */
export function reason(verdict) {
  const last = verdict.steps.at(-1)?.text ?? "";
  if (verdict.numbered || / would now| no event: /.test(last)) return last;
  return verdict.steps.find((s) => !s.ok && s.step !== "delivery")?.text ?? last;
}

/** verdicts shows an explanation. A single subscription is open; of several, those that got an event come first. */
export function verdicts({ topics, criteria = [] }, wanted) {
  const deciding = topics.flatMap((t) => t.subscriptions).concat(criteria);
  const open = Boolean(wanted) || deciding.length <= 1;
  const one = (v) => h("li", null, h("details.verdict", { open, data: { numbered: v.numbered } },
    h("summary", null, h("b.mono", null, v.subscription), " ", h(v.numbered ? "span.out" : "span.quiet", null, reason(v))),
    steps(v.steps)));
  const sorted = (list) => [...list].sort((a, b) => b.numbered - a.numbered);
  return [
    topics.map((t) => h("section.decision", null,
      h("h3", null, `Topic ${tail(t.topic)} ${t.fires ? "fires" : "does not fire"}`),
      steps(t.steps),
      t.subscriptions.length > 0 && h("ul", null, sorted(t.subscriptions).map(one)),
      t.more > 0 && h("p.quiet", null, `and ${t.more} more subscriptions; name one to ask about it`),
      !t.subscriptions.length && h("p.quiet", null, "Nobody subscribed to it."))),
    criteria.length > 0 && h("section.decision", null, h("h3", null, "Subscriptions with search criteria"), h("ul", null, sorted(criteria).map(one))),
    !topics.length && !criteria.length && h("p.quiet", null, wanted ? "The subscription has no topic any more." : "No topic is about this type."),
  ];
}
