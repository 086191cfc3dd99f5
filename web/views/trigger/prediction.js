// The effects that a change would have, from POST /mock/explain.

import { h } from "../../kernel/dom.js";
import { verdicts } from "../why/verdict.js";

/** prediction shows which subscriptions would get an event, and why others would not. */
export function prediction(explanation) {
  const { interaction, topics, criteria = [] } = explanation;
  const getting = [...topics.flatMap((t) => t.subscriptions), ...criteria].filter((d) => d.numbered).length;
  return [
    h("p", null, `As ${interaction === "update" ? "an" : "a"} ${interaction}: `, getting === 0 ? "nobody would be notified." : getting === 1 ? "one subscription would get an event." : `${getting} subscriptions would get an event.`),
    verdicts(explanation),
  ];
}
