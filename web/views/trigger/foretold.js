// What a change would set off, as POST /mock/explain says it.

import { h } from "../../kernel/dom.js";
import { tail } from "../../kernel/format.js";

/** foretold is an explanation in words: topics first, then who would get what. */
export function foretold({ interaction, topics, criteria = [] }) {
  const deciding = [...topics.flatMap((t) => t.subscriptions), ...criteria];
  const getting = deciding.filter((d) => d.numbered).length;
  return [
    h("p", null, `As ${interaction === "update" ? "an" : "a"} ${interaction}: `, getting === 0 ? "nobody would be notified." : getting === 1 ? "one subscription would get an event." : `${getting} subscriptions would get an event.`),
    h("ul.set-off", null,
      topics.map((t) => h(t.fires ? "li.out" : "li.quiet", null, `Topic ${tail(t.topic)} would ${t.fires ? "fire" : "not fire"}: ${t.steps.join("; ")}`)),
      deciding.filter((d) => d.numbered || topics.some((t) => t.fires && t.subscriptions.includes(d)) || criteria.includes(d)).map((d) => h(d.numbered ? "li" : "li.quiet", null,
        h("a.mono", { href: `/timeline?subscription=${encodeURIComponent(d.subscription)}` }, d.subscription), ` ${d.steps.join("; ")}`))),
    topics.length === 0 && criteria.length === 0 && h("p.quiet", null, "No topic is about this type."),
  ];
}
