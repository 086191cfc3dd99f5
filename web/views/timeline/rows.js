// A list of which only the visible rows exist. To a screen reader it is a grid. The
// arrow keys move in it. While it is scrolled to its end, it follows new rows.

import { h } from "../../kernel/dom.js";
import { time, bytes, arrow, tone, what } from "../../kernel/format.js";

const height = 28; // of a row in pixels, as in the style sheet
const spare = 8; // rows drawn beyond each edge

// Class and title of each column; a title may be for screen readers only.
const columns = [
  ["when", "Time"], ["way", "Direction", true], ["kind", "Kind"], ["what.cut", "What"],
  ["who.cut", "Subscription"], ["socket.cut", "Socket"], ["end", "Code"], ["size", "Size"],
];

/** Rows shows items; open(item) is called for the one that is chosen. */
export class Rows {
  constructor(open) {
    this.items = [];
    this.drawn = new Map(); // the existing rows by item
    this.open = open;
    this.active = null; // the item the keyboard is at
    this.follows = true;
    this.last = 0; // where the list was scrolled to when it was last drawn
    this.head = h("div.columns", { role: "rowgroup" }, h("div.row", { role: "row", "aria-rowindex": 1 },
      columns.map(([name, title, hidden]) => h(`span.${name}`, { role: "columnheader" }, hidden ? h("span.label", null, title) : title))));
    this.space = h("div.rows-space", { role: "rowgroup" });
    this.element = h("div.rows", { role: "grid", tabindex: "0", "aria-label": "What happened, oldest first", "aria-rowcount": "1" }, this.head, this.space);
    this.element.addEventListener("scroll", () => {
      // A change of its size scrolls the list, too, which the user did not do.
      if (this.element.clientHeight === this.tall) {
        this.follows = this.element.scrollTop + this.tall >= this.element.scrollHeight - height;
      }
      this.render();
    }, { passive: true });
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest("[data-at]");
      if (!row) return;
      this.activate(Number(row.dataset.at));
      this.choose(false);
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.resized = new ResizeObserver(() => this.render());
    this.resized.observe(this.element);
  }

  stop() {
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** show sets the items. The visible rows stay where they are. */
  show(items) {
    let shift = 0;
    if (items !== this.items && !this.follows) {
      const { from, to } = this.sight();
      const kept = [this.active, ...this.items.slice(from, to)].find((item) => this.drawn.has(item) && items.includes(item));
      if (kept) shift = (items.indexOf(kept) - this.items.indexOf(kept)) * height;
    }
    this.items = items;
    this.stretch();
    this.element.scrollTop += shift;
    this.paint();
  }

  /** stretch makes room for every row. */
  stretch() { this.space.style.height = `${this.items.length * height}px`; }

  /** sight returns which rows are visible, and the top and height of the visible area. */
  sight() {
    const top = this.element.scrollTop;
    const tall = Math.max(0, this.element.clientHeight - this.head.offsetHeight);
    return { top, tall, from: Math.floor(top / height), to: Math.ceil((top + tall) / height) };
  }

  /** toEnd goes to the newest row and stays there. */
  toEnd() {
    this.follows = true;
    this.render();
  }

  /** unseen is the number of rows below the visible ones. */
  get unseen() {
    return this.follows ? 0 : Math.max(0, this.items.length - this.sight().to);
  }

  /** activate makes a row the active one and scrolls it into view. */
  activate(at) {
    if (this.items.length === 0) return;
    at = Math.min(Math.max(at, 0), this.items.length - 1);
    this.active = this.items[at];
    this.stretch();
    const row = at * height;
    const { top, tall } = this.sight();
    if (row < top) this.element.scrollTop = row;
    else if (row + height > top + tall) this.element.scrollTop = row + height - tall;
    this.follows = this.follows && at === this.items.length - 1;
    this.render();
  }

  choose(byKeyboard) {
    if (this.active && !this.active.note) this.open(this.active, byKeyboard);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.sight().tall / height) - 1);
    const at = this.active ? this.items.indexOf(this.active) : -1;
    const to = {
      ArrowDown: at + 1, ArrowUp: at < 0 ? this.items.length - 1 : at - 1,
      PageDown: at + page, PageUp: at - page, Home: 0, End: this.items.length - 1,
    }[event.key];
    if (to !== undefined) {
      this.activate(to);
      this.moved?.(this.active);
    } else if (event.key === "Enter" || event.key === " ") this.choose(true);
    else return;
    event.preventDefault();
  }

  /** render draws at most once per animation frame. */
  render() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  paint() {
    const { element, space, items } = this;
    this.stretch();
    // The user may have scrolled up since the last time, and the scroll event is still to
    // come.
    if (element.clientHeight === this.tall && element.scrollTop + this.tall < Math.min(this.last + this.tall, element.scrollHeight) - height) {
      this.follows = false;
    }
    if (this.follows) element.scrollTop = element.scrollHeight;
    this.last = element.scrollTop;
    this.tall = element.clientHeight;
    const sight = this.sight();
    const from = Math.max(0, sight.from - spare);
    const to = Math.min(items.length, sight.to + spare);
    // A row stays the same element while it is visible: the browser reports no click
    // on an element that is replaced between press and release.
    const rows = new Map();
    for (let at = from; at < to; at++) {
      const row = this.drawn.get(items[at]) ?? make(items[at]);
      this.drawn.delete(items[at]);
      rows.set(items[at], row);
      place(row, at, items[at] === this.active);
    }
    for (const row of this.drawn.values()) row.remove();
    this.drawn = rows;
    let next = space.firstChild;
    for (const row of rows.values()) {
      if (row === next) next = next.nextSibling;
      else space.insertBefore(row, next);
    }
    element.setAttribute("aria-rowcount", items.length + 1);
    const active = rows.get(this.active);
    if (active) element.setAttribute("aria-activedescendant", active.id);
    else element.removeAttribute("aria-activedescendant");
    this.painted?.();
  }
}

function make(item) {
  if (item.note) return h("div.row.note", { role: "row" }, h("span", { role: "gridcell" }, item.note));
  const cells = [
    time(item.time), arrow(item), item.kind, what(item).slice(0, 300), item.subscription, item.socket,
    item.http ? item.http.status : item.code, item.size && bytes(item.size),
  ];
  return h(`div.row.${tone(item)}`, { role: "row" }, cells.map((text, i) => h(`span.${columns[i][0]}`, { role: "gridcell" }, text || null)));
}

function place(row, at, active) {
  row.setAttribute("aria-selected", active);
  if (row.dataset.at === String(at)) return;
  row.dataset.at = at;
  row.id = `row-${at}`;
  row.setAttribute("aria-rowindex", at + 2);
  row.style.transform = `translateY(${at * height}px)`;
}
