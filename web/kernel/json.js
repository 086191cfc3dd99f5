// Shows JSON as a tree whose nodes open with a click. The children of a node are
// created when it opens, so that a deep or large value costs nothing before.

import { h } from "./dom.js";

const long = 300; // characters of a string shown at first
const many = 200; // members shown at first

/** jsonTree returns the tree of a value, open to the given depth. */
export function jsonTree(value, open = 3) {
  return h("div.json", null, node(null, value, open));
}

function node(name, value, open) {
  const label = name === null ? [] : [h("span.key", null, name), ": "];
  if (value === null || typeof value !== "object") return h("div.leaf", null, label, leaf(value));
  const entries = Array.isArray(value) ? value.map((v, i) => [String(i), v]) : Object.entries(value);
  const [left, right] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) return h("div.leaf", null, label, left + right);
  const body = h("div.children");
  const details = h("details", { open: open > 0 }, h("summary", null, label, left, h("span.gist", null, gist(value, entries)), right), body);
  const show = (from) => {
    body.append(...entries.slice(from, from + many).map(([key, v]) => node(Array.isArray(value) ? key : key, v, open - 1)));
    const rest = entries.length - from - many;
    if (rest > 0) {
      const more = h("button.small", { type: "button" }, `${rest} more`);
      more.addEventListener("click", () => { more.remove(); show(from + many); });
      body.append(more);
    }
  };
  let made = false;
  const make = () => { if (details.open && !made) { made = true; show(0); } };
  details.addEventListener("toggle", make);
  make();
  return details;
}

function gist(value, entries) {
  if (Array.isArray(value)) return ` ${entries.length} `;
  const type = typeof value.resourceType === "string" ? value.resourceType + (typeof value.id === "string" ? "/" + value.id : "") : "";
  return ` ${type || entries.slice(0, 3).map(([key]) => key).join(", ")}${!type && entries.length > 3 ? ", …" : ""} `;
}

function leaf(value) {
  if (typeof value !== "string") return h("span.atom", null, String(value));
  const text = h("span.text", null, JSON.stringify(value.length > long ? value.slice(0, long) : value));
  if (value.length <= long) return text;
  const more = h("button.small", { type: "button" }, `… ${value.length - long} more characters`);
  more.addEventListener("click", () => { text.textContent = JSON.stringify(value); more.remove(); });
  return [text, more];
}
