// Everything as it happens: requests, frames in both directions, and the decisions
// of the server.

import { h, fill } from "../kernel/dom.js";
import { get } from "../kernel/api.js";
import { on, current } from "../kernel/stream.js";
import { address, visit, again } from "../kernel/room.js";
import { count, what } from "../kernel/format.js";
import { Rows } from "./timeline/rows.js";
import { detail, focus } from "./timeline/detail.js";

const most = 20_000; // entries kept by the page
const surplus = 2_000; // entries removed at once beyond that

// Every entry is of one group.
const groups = {
  requests: "Requests",
  frames: "Frames",
  heartbeats: "Heartbeats, pings",
  bindings: "Tokens, bindings",
  decisions: "Decisions",
  refusals: "Refusals",
};
const kinds = {
  requests: "http", frames: "sent,received,opened,closed", heartbeats: "sent,received", bindings: "token,bound,unbound",
  decisions: "change,fired,not-fired,appended,not-sent,events,status,lenient,reset,memory,fault,control,clock,room", refusals: "refused,overflow,http,not-sent",
};

function groupOf(e) {
  switch (e.kind) {
    case "http": return e.http?.status >= 400 ? "refusals" : "requests";
    case "refused": case "overflow": return "refusals";
    case "sent": case "received": return ["heartbeat", "pong", "ping"].includes(e.type) ? "heartbeats" : "frames";
    case "opened": case "closed": return "frames";
    case "token": case "bound": case "unbound": return "bindings";
    default: return "decisions";
  }
}

export function mount(root, path, query) {
  const asked = query.get("kind") ?? query.get("show");
  const filter = {
    text: query.get("text") ?? "",
    subscription: query.get("subscription") ?? "",
    socket: query.get("socket") ?? "",
    groups: new Set(asked === null ? Object.keys(groups) : asked.split(",").filter(Boolean).map((kind) => (kind in groups ? kind : groupOf({ kind })))),
  };
  let entries = []; // all entries, and notes of the page
  let instance = ""; // of the room that the entries come from
  let last = 0; // number of its newest entry here
  let early = []; // entries of the stream before the first fill
  let failed = false; // the first fill failed
  let waiting = null; // entries that come while paused
  let opened = null; // the item in the panel
  let dirty = false; // the filter changed, or entries were removed
  let ended = false; // the view has ended
  const seen = { subscription: new Set(), socket: new Set() }; // ids, including those that no longer exist

  // The elements.
  const rows = new Rows(open);
  const panel = h("aside.detail", { "aria-label": "The chosen entry", hidden: true });
  const newer = h("button.small.newer", { type: "button", hidden: true, on: { click: () => { rows.toEnd(); rows.element.focus(); } } });
  const empty = h("p.empty", { hidden: true });
  const status = h("p.hint");
  const text = h("input", { type: "search", value: filter.text, placeholder: "Text, also in frames and bodies", "aria-label": "Text", on: { input: () => { filter.text = text.value; searched = 0; changed(); } } });
  const subscription = h("select", { "aria-label": "Subscription", on: { change: () => { filter.subscription = subscription.value; changed(); } } });
  const socket = h("select", { "aria-label": "Socket", on: { change: () => { filter.socket = socket.value; changed(); } } });
  const toggles = Object.entries(groups).map(([name, title]) => h("button.small", {
    type: "button", "aria-pressed": String(filter.groups.has(name)), data: { group: name },
    on: { click: (event) => {
      if (!filter.groups.delete(name)) filter.groups.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(filter.groups.has(name)));
      changed();
    } },
  }, title));
  const pause = h("button", { type: "button", "aria-pressed": "false", on: { click: () => {
    if (waiting) {
      entries.push(...waiting);
      waiting = null;
      trim(entries);
    } else waiting = [];
    pause.setAttribute("aria-pressed", String(Boolean(waiting)));
    draw();
  } } }, "Pause");
  const clear = h("button", { type: "button", on: { click: () => {
    entries = [];
    waiting &&= [];
    dirty = true;
    draw();
  } } }, "Clear");
  const har = h("a", { download: true }, "HAR");
  const ndjson = h("a", { download: true }, "NDJSON");

  root.append(
    h("div.head", null,
      h("div", null, h("h1", null, "Timeline"), status),
      h("div.actions", null, pause, clear, h("span.quiet", null, "Export"), har, ndjson)),
    h("div.filters", { role: "group", "aria-label": "Show only" }, text, subscription, socket, h("div.toggles", null, toggles)),
    h("div.timeline", null, h("div.list", null, rows.element, empty, newer), panel));

  const selects = (e) => e.note || (
    filter.groups.has(groupOf(e)) &&
    (!filter.subscription || e.subscription === filter.subscription) &&
    (!filter.socket || e.socket === filter.socket) &&
    (!filter.text || e.found === filter.text || says(e, filter.text.toLowerCase())));

  /** changed applies the filter, and stores it in the address. */
  function changed() {
    const q = new URLSearchParams();
    if (filter.text) q.set("text", filter.text);
    if (filter.subscription) q.set("subscription", filter.subscription);
    if (filter.socket) q.set("socket", filter.socket);
    const some = filter.groups.size < Object.keys(groups).length;
    if (some) q.set("kind", [...filter.groups].join(","));
    locate(q);
    if (some) q.set("kind", [...filter.groups].map((g) => kinds[g]).join(","));
    q.set("bodies", "true");
    har.href = address(`/mock/journal?format=har&${q}`);
    ndjson.href = address(`/mock/journal?format=ndjson&${q}`);
    dirty = true;
    draw();
    search();
  }

  // The entries of the list have no frames and bodies; the server searches those.
  let searched = 0; // up to this entry
  let searching = 0;
  function search() {
    if (!filter.text || ended) return;
    searching ||= setTimeout(async () => {
      const { text } = filter;
      const since = searched;
      let found;
      try {
        found = text && (await get(`/mock/journal?since=${since}&text=${encodeURIComponent(text)}`));
      } catch { /* the stream reports that the server is gone */ }
      searching = 0;
      if (text !== filter.text || since !== searched) return search();
      if (found?.instance !== instance) return;
      searched = found.last;
      const numbers = new Set(found.entries.map((e) => e.seq));
      for (const e of waiting ? [...entries, ...waiting] : entries) if (e.instance === instance && numbers.has(e.seq)) e.found = text;
      dirty = true;
      draw();
      if (searched < last) search();
    }, 300);
  }

  function locate(q = new URLSearchParams(location.search)) {
    visit(`/timeline${opened?.seq ? `/${opened.seq}` : ""}${q.size ? `?${String(q).replaceAll("%2C", ",")}` : ""}`);
  }

  let shown = []; // the entries that the filter selects
  let judged = 0; // how many entries were tested
  let drawing = 0;
  const draw = () => { drawing ||= requestAnimationFrame(update); };
  function update() {
    drawing = 0;
    if (ended) return;
    if (dirty) { shown = []; judged = 0; dirty = false; }
    for (; judged < entries.length; judged++) if (selects(entries[judged])) shown.push(entries[judged]);
    rows.show(shown);
  }

  /** trim removes the oldest of too many entries, even while nothing is drawn. */
  function trim(list) {
    if (list.length <= most) return;
    list.splice(0, list.length - most + surplus);
    list.unshift({ note: "this page has removed older entries; the export has those that the journal keeps" });
    dirty = true;
  }
  rows.painted = () => {
    const all = entries.filter((e) => !e.note).length;
    const hidden = all - shown.filter((e) => !e.note).length;
    status.textContent = [`${count(all)} entries`, hidden > 0 && `${count(hidden)} hidden by the filter`, waiting && `${count(waiting.length)} wait while paused`].filter(Boolean).join(", ");
    empty.hidden = shown.length > 0 || early !== null;
    empty.textContent = hidden ? "Nothing passes the filter." : "Nothing has happened since. New entries appear here at once.";
    newer.hidden = rows.unseen === 0;
    newer.textContent = `${count(rows.unseen)} newer`;
  };
  rows.moved = (item) => opened && !item.note && open(item, false);

  function add(item) {
    if (ended) return;
    if (item.restart) {
      if (item.restart === instance) return; // the first fill was from this instance already
      instance = item.restart;
      last = searched = 0;
      item = { note: `the ${again}` };
    } else if (item.seq) {
      if (item.seq <= last) return;
      last = item.seq;
      item.instance = instance;
      for (const name in seen) {
        if (!item[name]) continue;
        seen[name].add(item[name]);
        if (seen[name].size > 300) seen[name].delete(seen[name].values().next().value);
      }
    }
    const list = waiting ?? entries;
    list.push(item);
    trim(list);
    draw();
    search();
  }

  async function open(item, byKeyboard) {
    opened = item;
    locate();
    panel.hidden = false;
    root.classList.add("opened");
    await detail(panel, item, { close, walk });
    // On a phone the panel covers the list.
    if (opened === item && (byKeyboard || !rows.element.checkVisibility({ visibilityProperty: true }))) focus(panel);
  }

  function close() {
    opened = null;
    locate();
    panel.hidden = true;
    root.classList.remove("opened");
    rows.element.focus({ preventScroll: true });
  }

  /** walk opens the next or the previous entry of the same subscription. */
  async function walk(step) {
    const list = shown.includes(opened) ? shown : entries;
    let at = list.indexOf(opened);
    do at += step; while (list[at] && list[at].subscription !== opened.subscription);
    if (!list[at]) return;
    reveal(list[at]);
    await open(list[at], false);
    focus(panel, step);
  }

  function reveal(item) {
    const at = shown.indexOf(item);
    if (at >= 0) rows.activate(at);
  }
  const escape = (event) => { if (event.key === "Escape" && opened) close(); };
  document.addEventListener("keydown", escape);

  const ends = [
    on("entry", (entry) => (early ? early.push(entry) : add(entry))),
    on("link", (link) => failed && link === "live" && first()),
    on("gap", (skipped) => early || add({ note: `${count(skipped)} entries came too fast for this page; the export has those that the journal keeps` })),
    on("restart", ({ instance }) => (early ? early.push({ restart: instance }) : add({ restart: instance }))),
    on("state", choices),
  ];
  function choices(state) {
    options(subscription, "Every subscription", [...state.subscriptions.map((s) => s.id), ...seen.subscription], filter.subscription);
    options(socket, "Every socket", [...state.sockets.map((s) => s.id), ...seen.socket], filter.socket);
  }
  choices({ subscriptions: [], sockets: [] });
  changed();
  first();

  /** first fills the list with the entries from before the page opened. */
  async function first() {
    failed = false;
    const seq = Number(path[0]);
    if (seq) opened = { seq }; // keeps the address until the entry is there
    let fill;
    try {
      fill = await get(`/mock/journal?limit=${most - surplus}`);
    } catch (error) {
      failed = true; // first is called again when there is a connection
      return add({ note: error.message });
    }
    if (ended) return;
    instance = fill.instance;
    const came = early.slice(early.findLastIndex((item) => item.restart === instance) + 1);
    early = null;
    [...fill.entries, ...came].forEach(add);
    update();
    if (current()) choices(current());
    if (!seq) return;
    let item = entries.find((e) => e.seq === seq);
    try {
      item ??= await get(`/mock/journal/${seq}`);
    } catch (error) {
      opened = null;
      return add({ note: error.message });
    }
    if (ended) return;
    reveal(item);
    open(item, false);
  }

  return () => {
    ended = true;
    ends.forEach((end) => end());
    document.removeEventListener("keydown", escape);
    cancelAnimationFrame(drawing);
    rows.stop();
    root.classList.remove("opened");
  };
}

const says = (e, text) => [what(e), e.kind, e.type, e.subscription, e.socket, e.topic, e.resource, e.dialect, e.token, e.text].some((s) => s?.toLowerCase().includes(text));

/** options offers ids, and the chosen one even if it no longer exists. */
function options(select, all, ids, chosen) {
  const list = [...new Set(chosen ? [...ids, chosen] : ids)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  if (select.options.length === list.length + 1 && list.every((id, i) => select.options[i + 1].value === id)) return;
  fill(select, new Option(all, ""), list.map((id) => new Option(id, id)));
  select.value = chosen;
}
