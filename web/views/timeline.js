// Everything that happened, as it happens: requests and frames both ways, and
// what the server decided between them.

import { h, fill } from "../kernel/dom.js";
import { get } from "../kernel/api.js";
import { on, current } from "../kernel/stream.js";
import { count, what } from "../kernel/format.js";
import { Rows } from "./timeline/rows.js";
import { detail, focus } from "./timeline/detail.js";

const most = 20_000; // entries kept by the page
const surplus = 2_000; // let go at once beyond that

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
  decisions: "change,fired,not-fired,appended,not-sent,status,reset", refusals: "refused,overflow,http,not-sent",
};

function groupOf(e) {
  switch (e.kind) {
    case "http": return e.http.status >= 400 ? "refusals" : "requests";
    case "refused": case "overflow": return "refusals";
    case "sent": case "received": return ["heartbeat", "pong", "ping"].includes(e.type) ? "heartbeats" : "frames";
    case "opened": case "closed": return "frames";
    case "token": case "bound": case "unbound": return "bindings";
    default: return "decisions";
  }
}

export function mount(root, path, query) {
  const filter = {
    text: query.get("text") ?? "",
    subscription: query.get("subscription") ?? "",
    socket: query.get("socket") ?? "",
    groups: new Set((query.get("show") ?? Object.keys(groups).join(",")).split(",").filter((g) => g in groups)),
  };
  let entries = []; // all there are, notes of the page among them
  let last = 0; // number of the newest one of this life of the server
  let early = []; // what came on the stream before the first fill
  let waiting = null; // what comes while paused
  let opened = null; // the item in the panel
  let dirty = false; // the filter changed, or entries were let go

  // What is shown.
  const rows = new Rows((item) => open(item));
  const panel = h("aside.detail", { "aria-label": "The chosen entry", hidden: true });
  const newer = h("button.small.newer", { type: "button", hidden: true, on: { click: () => rows.toEnd() } });
  const status = h("p.hint", { role: "status" });
  const text = h("input", { type: "search", value: filter.text, placeholder: "Text in what is shown", "aria-label": "Text", on: { input: () => { filter.text = text.value; changed(); } } });
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
    if (waiting) { entries.push(...waiting); waiting = null; dirty = true; } else waiting = [];
    pause.setAttribute("aria-pressed", String(Boolean(waiting)));
    draw();
  } } }, "Pause");
  const clear = h("button", { type: "button", on: { click: () => { entries = []; dirty = true; draw(); } } }, "Clear");
  const har = h("a", { download: true }, "HAR");
  const ndjson = h("a", { download: true }, "NDJSON");

  root.append(
    h("div.head", null,
      h("div", null, h("h1", null, "Timeline"), status),
      h("div.actions", null, pause, clear, h("span.quiet", null, "Export"), har, ndjson)),
    h("div.filters", { role: "group", "aria-label": "Show only" }, text, subscription, socket, h("div.toggles", null, toggles)),
    h("div.timeline", null, h("div.list", null, rows.element, newer), panel));

  const selects = (e) => e.note || (
    filter.groups.has(groupOf(e)) &&
    (!filter.subscription || e.subscription === filter.subscription) &&
    (!filter.socket || e.socket === filter.socket) &&
    (!filter.text || says(e, filter.text.toLowerCase())));

  /** changed applies a filter, and keeps it in the address. */
  function changed() {
    const q = new URLSearchParams();
    if (filter.text) q.set("text", filter.text);
    if (filter.subscription) q.set("subscription", filter.subscription);
    if (filter.socket) q.set("socket", filter.socket);
    if (filter.groups.size < Object.keys(groups).length) q.set("show", [...filter.groups].join(","));
    address(q);
    q.delete("show");
    if (filter.groups.size < Object.keys(groups).length) q.set("kind", [...filter.groups].map((g) => kinds[g]).join(","));
    q.set("bodies", "true");
    har.href = `/mock/journal?format=har&${q}`;
    ndjson.href = `/mock/journal?format=ndjson&${q}`;
    dirty = true;
    draw();
  }

  function address(q = new URLSearchParams(location.search)) {
    history.replaceState(null, "", `/timeline${opened?.seq ? `/${opened.seq}` : ""}${q.size ? `?${q}` : ""}`);
  }

  let shown = []; // what of entries is selected
  let judged = 0; // how many of entries were looked at
  let drawing = 0;
  function draw() {
    drawing ||= requestAnimationFrame(() => {
      drawing = 0;
      if (entries.length > most) {
        entries.splice(0, entries.length - most + surplus);
        if (!entries[0].note) entries.unshift({ note: "older entries were let go by this page; the export has what the journal keeps" });
        dirty = true;
      }
      if (dirty) { shown = []; judged = 0; dirty = false; }
      for (; judged < entries.length; judged++) if (selects(entries[judged])) shown.push(entries[judged]);
      rows.show(shown);
    });
  }
  rows.painted = () => {
    const all = entries.filter((e) => !e.note).length;
    const hidden = all - shown.filter((e) => !e.note).length;
    status.textContent = [`${count(all)} entries`, hidden > 0 && `${count(hidden)} hidden by the filter`, waiting && `${count(waiting.length)} wait while paused`].filter(Boolean).join(", ");
    newer.hidden = rows.unseen === 0;
    newer.textContent = `${count(rows.unseen)} newer`;
  };

  function add(item) {
    if (item.seq) {
      if (item.seq <= last) return;
      last = item.seq;
    }
    (waiting ?? entries).push(item);
    draw();
  }

  async function open(item, byKeyboard = true) {
    opened = item;
    address();
    panel.hidden = false;
    root.classList.add("opened");
    rows.render();
    await detail(panel, item, { close, walk });
    if (byKeyboard && opened === item) focus(panel);
  }

  function close() {
    opened = null;
    address();
    panel.hidden = true;
    root.classList.remove("opened");
    rows.element.focus({ preventScroll: true });
  }

  /** walk opens the next or the previous entry of the same subscription. */
  function walk(step) {
    let at = entries.indexOf(opened);
    do at += step; while (entries[at] && entries[at].subscription !== opened.subscription);
    if (!entries[at]) return;
    rows.activate(shown.indexOf(entries[at]));
    open(entries[at]);
  }
  const escape = (event) => { if (event.key === "Escape" && opened) close(); };
  document.addEventListener("keydown", escape);

  const ends = [
    on("entry", (entry) => (early ? early.push(entry) : add(entry))),
    on("gap", (skipped) => early || add({ note: `${count(skipped)} entries went by too fast for this page; the export has those the journal keeps` })),
    on("restart", () => { last = 0; add({ note: "the server was restarted" }); }),
    on("state", (state) => {
      options(subscription, "Every subscription", state.subscriptions.map((s) => s.id), filter.subscription);
      options(socket, "Every socket", state.sockets.map((s) => s.id), filter.socket);
    }),
  ];
  options(subscription, "Every subscription", current()?.subscriptions.map((s) => s.id) ?? [], filter.subscription);
  options(socket, "Every socket", current()?.sockets.map((s) => s.id) ?? [], filter.socket);
  changed();
  first();

  /** first fills the list with what was before the page came. */
  async function first() {
    const seq = Number(path[0]);
    if (seq) opened = { seq }; // keeps the address until the entry is there
    try {
      (await get(`/mock/journal?limit=${most - surplus}`)).entries.forEach(add);
    } catch (error) {
      status.textContent = error.message;
    }
    const came = early;
    early = null;
    came.forEach(add);
    if (!seq) return;
    const item = entries.find((e) => e.seq === seq);
    opened = null;
    if (!item) return add({ note: `entry ${seq} is no longer kept` });
    requestAnimationFrame(() => rows.activate(shown.indexOf(item)));
    open(item, false);
  }

  return () => {
    ends.forEach((end) => end());
    document.removeEventListener("keydown", escape);
    cancelAnimationFrame(drawing);
    rows.stop();
    root.classList.remove("opened");
  };
}

const says = (e, text) => [what(e), e.kind, e.subscription, e.socket, e.topic, e.resource, e.token, e.text].some((s) => s?.toLowerCase().includes(text));

/** options offers ids, the chosen one also where it is gone. */
function options(select, all, ids, chosen) {
  const list = chosen && !ids.includes(chosen) ? [...ids, chosen] : ids;
  if (select.options.length === list.length + 1 && list.every((id, i) => select.options[i + 1].value === id)) return;
  fill(select, new Option(all, ""), list.map((id) => new Option(id, id)));
  select.value = chosen;
}
