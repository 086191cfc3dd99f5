// A list of rows of which only those in sight exist. It is a grid to a screen
// reader, is walked with the arrow keys, and stays at its end while the reader
// does.

import { h, fill } from "../../kernel/dom.js";
import { time, bytes, arrow, tone, what } from "../../kernel/format.js";

const height = 28; // of a row in pixels, as in the style sheet
const spare = 8; // rows drawn beyond each edge

/** Rows shows items; open(item) is called for the one that is chosen. */
export class Rows {
  constructor(open) {
    this.items = [];
    this.open = open;
    this.active = null; // the item the keyboard is at
    this.follows = true;
    this.space = h("div.rows-space", { role: "rowgroup" });
    this.element = h("div.rows", { role: "grid", tabindex: "0", "aria-label": "What happened, oldest first", "aria-rowcount": "0" }, this.space);
    this.element.addEventListener("scroll", () => {
      // A list that changes its size scrolls, too, without anybody wanting to.
      if (this.element.clientHeight === this.tall) {
        this.follows = this.element.scrollTop + this.tall >= this.element.scrollHeight - height;
      }
      this.render();
    }, { passive: true });
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest("[data-at]");
      if (!row) return;
      this.activate(Number(row.dataset.at));
      this.choose();
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.resized = new ResizeObserver(() => this.render());
    this.resized.observe(this.element);
  }

  stop() {
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** show takes the items there are now. */
  show(items) {
    this.items = items;
    this.render();
  }

  /** toEnd goes to the newest row and stays there. */
  toEnd() {
    this.follows = true;
    this.render();
  }

  /** unseen is how many rows are below what is in sight. */
  get unseen() {
    return this.follows ? 0 : Math.max(0, this.items.length - Math.ceil((this.element.scrollTop + this.element.clientHeight) / height));
  }

  /** activate moves the keyboard to a row and brings it into sight. */
  activate(at) {
    if (this.items.length === 0) return;
    at = Math.min(Math.max(at, 0), this.items.length - 1);
    this.active = this.items[at];
    const top = at * height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) this.element.scrollTop = top + height - clientHeight;
    this.follows = this.follows && at === this.items.length - 1;
    this.render();
  }

  choose() {
    if (this.active) this.open(this.active);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / height) - 1);
    const at = this.active ? this.items.indexOf(this.active) : -1;
    const to = {
      ArrowDown: at + 1, ArrowUp: at < 0 ? this.items.length - 1 : at - 1,
      PageDown: at + page, PageUp: at - page, Home: 0, End: this.items.length - 1,
    }[event.key];
    if (to !== undefined) this.activate(to);
    else if (event.key === "Enter" || event.key === " ") this.choose();
    else return;
    event.preventDefault();
  }

  /** render draws at most once a frame of the screen. */
  render() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  paint() {
    const { element, space, items } = this;
    space.style.height = `${items.length * height}px`;
    if (this.follows) element.scrollTop = element.scrollHeight;
    this.tall = element.clientHeight;
    const from = Math.max(0, Math.floor(element.scrollTop / height) - spare);
    const to = Math.min(items.length, Math.ceil((element.scrollTop + element.clientHeight) / height) + spare);
    fill(space, items.slice(from, to).map((item, i) => this.row(item, from + i)));
    element.setAttribute("aria-rowcount", items.length);
    const at = this.active ? items.indexOf(this.active) : -1;
    if (at >= from && at < to) element.setAttribute("aria-activedescendant", `row-${at}`);
    else element.removeAttribute("aria-activedescendant");
    this.painted?.();
  }

  row(item, at) {
    const props = { role: "row", id: `row-${at}`, "aria-rowindex": at + 1, "aria-selected": item === this.active ? "true" : "false", data: { at } };
    let row;
    if (item.note) {
      row = h("div.row.note", props, h("span", { role: "gridcell" }, item.note));
    } else {
      const cell = (name, ...content) => h(`span.${name}`, { role: "gridcell" }, ...content);
      row = h(`div.row.${tone(item)}`, props,
        cell("when", time(item.time)),
        cell("way", arrow(item)),
        cell("kind", item.kind),
        cell("what.cut", what(item)),
        cell("who.cut", item.subscription ?? ""),
        cell("socket", item.socket ?? ""),
        cell("end", item.http ? String(item.http.status) : item.code ? String(item.code) : ""),
        cell("size", item.size ? bytes(item.size) : ""));
    }
    row.style.transform = `translateY(${at * height}px)`;
    return row;
  }
}
