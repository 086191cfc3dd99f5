import { h } from "../kernel/dom.js";

export function mount(root) {
  root.append(h("h1", null, "trigger"));
  return () => {};
}
