// What a change would set off, as POST /mock/explain says it.

import { h } from "../../kernel/dom.js";
import { verdicts } from "../why/verdict.js";

/** foretold is an explanation in words: who would get what, and why others not. */
export function foretold(explanation) {
  const { interaction, topics, criteria = [] } = explanation;
  const getting = [...topics.flatMap((t) => t.subscriptions), ...criteria].filter((d) => d.numbered).length;
  return [
    h("p", null, `As ${interaction === "update" ? "an" : "a"} ${interaction}: `, getting === 0 ? "nobody would be notified." : getting === 1 ? "one subscription would get an event." : `${getting} subscriptions would get an event.`),
    verdicts(explanation),
  ];
}
