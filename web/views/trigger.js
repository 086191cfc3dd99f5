// Make something happen: synthetic events, generators, and writes, with what
// each of them set off.

import { h } from "../kernel/dom.js";
import { fireSection } from "./trigger/fire.js";
import { generatorSection } from "./trigger/generators.js";
import { writeSection } from "./trigger/write.js";

export function mount(root, path, query) {
  const sections = [fireSection(), generatorSection(), writeSection(query)];
  root.append(
    h("div.head", null, h("div", null,
      h("h1", null, "Make something happen"),
      h("p.lede", null, "An event without a write, a ward that runs by itself, or a write of your own, with what it set off."))),
    ...sections.map((s) => s.element));
  return () => sections.forEach((s) => s.end());
}
