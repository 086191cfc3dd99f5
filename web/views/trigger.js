// Synthetic events, generators, and writes, each with its effects.

import { h } from "../kernel/dom.js";
import { fireSection } from "./trigger/fire.js";
import { generatorSection } from "./trigger/generators.js";
import { writeSection } from "./trigger/write.js";

export function mount(root, path, query) {
  const sections = [fireSection(), generatorSection(), writeSection(query)];
  root.append(
    h("div.head", null, h("div", null,
      h("h1", null, "Make something happen"),
      h("p.lede", null, "Fire an event without a write, run a generator, or write a resource and see its effects."))),
    ...sections.map((s) => s.element));
  return () => sections.forEach((s) => s.end());
}
