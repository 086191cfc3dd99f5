// A text area for JSON with line numbers, in which Tab indents.

import { h, field } from "../../kernel/dom.js";
import { problemOf } from "./scan.js";

/**
 * editor returns a field for JSON that shows syntax errors while the user types. It
 * calls typed with the text. value(text) fills it, and go(line) shows a line.
 */
export function editor(label, text, rows, typed) {
  const area = h("textarea", { rows, value: text, spellcheck: "false", wrap: "off", autocomplete: "off" });
  const box = field(label, area, "Tab indents. To leave, press Escape and then Tab.");
  const numbers = h("pre", { "aria-hidden": "true" });
  const frame = h("div.editor");
  area.replaceWith(frame);
  frame.append(numbers, area);

  let lines = 0;
  function number() {
    const now = area.value.split("\n").length;
    if (now !== lines) numbers.textContent = Array.from({ length: now }, (_, i) => i + 1).join("\n");
    lines = now;
    numbers.scrollTop = area.scrollTop;
  }
  area.onscroll = number;
  area.oninput = () => {
    number();
    box.refuse(area.value.trim() && problemOf(area.value));
    typed(area.value);
  };
  let leaving = false;
  area.onkeydown = (event) => {
    if (event.key === "Tab" && !leaving && !event.shiftKey) {
      event.preventDefault();
      document.execCommand("insertText", false, "  "); // unlike setRangeText it can be undone
    }
    leaving = event.key === "Escape";
  };

  box.value = (text) => {
    area.value = text;
    area.scrollTop = 0;
    box.refuse();
    number();
  };
  box.go = (line) => {
    const all = area.value.split("\n");
    const from = all.slice(0, line - 1).join("\n").length + (line > 1);
    area.focus();
    area.setSelectionRange(from, from + all[line - 1].length);
    area.scrollTop = (line - 4) * parseFloat(getComputedStyle(area).lineHeight);
  };
  number();
  return box;
}
