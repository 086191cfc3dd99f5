// Steps 2 to 5: the token, the socket, what comes over it, and code that does it.

import { h, fill, copyButton } from "../../kernel/dom.js";
import { request, curl } from "../../kernel/api.js";
import { jsonTree } from "../../kernel/json.js";
import { time, span, numbers, bytes, count } from "../../kernel/format.js";
import { flow, base, changed, subject, valid, tokenPath, dialects, fireRequest } from "./flow.js";
import { topicOf } from "./subscribe.js";
import { example } from "./write.js";

const button = (name, click, props) => h("button", { type: "button", on: { click }, ...props }, name);
const code = (element) => h("div.code", null, element, copyButton("Copy", () => element.textContent));

/** tree shows an answer under its status; it is drawn anew when it is another. */
function answer() {
  const box = h("div.answer", { hidden: true });
  let shown;
  box.show = (title, body, open = 1) => {
    if (body === shown) return;
    shown = body;
    box.hidden = !body;
    if (body) fill(box, h("h3", null, title), jsonTree(body, open));
  };
  return box;
}

export function tokenStep(run) {
  const take = button("Take a token", () => run("token"));
  const token = h("dd.mono");
  const left = h("dd");
  const address = h("dd.mono");
  const list = h("dl", null, h("div", null, h("dt", null, "Token"), token), h("div", null, h("dt", null, "Time left"), left), h("div", null, h("dt", null, "Socket"), address));
  const meter = h("meter", { min: 0, "aria-label": "Time left of the token" });
  const text = h("span");
  left.append(meter, text);
  const line = h("h3");
  const shown = h("pre", { tabindex: "0" });
  const got = answer();
  function update() {
    const { token: t } = flow;
    take.disabled = !subject();
    take.textContent = t ? "Take another token" : "Take a token";
    list.hidden = !t;
    if (t) {
      token.textContent = t.secret;
      address.textContent = t.url;
      const rest = t.expires - Date.now();
      meter.max = t.expires - t.issued;
      meter.low = meter.max / 5;
      meter.value = Math.max(0, rest);
      text.textContent = rest > 0 ? clock(rest) : "expired: take another";
    }
    line.textContent = `POST ${tokenPath()}`;
    shown.textContent = curl("POST", tokenPath());
    got.show("200 OK", t?.body, 2);
  }
  return { left: [h("div.actions", null, take), list], right: [line, code(shown), got], update };
}

/** clock is a time left to the second: 29:59. */
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

export function bindStep(run) {
  const { draft } = flow;
  const choices = h("fieldset.choices", null, h("legend", null, "Say it as"), Object.entries(dialects).map(([key, d]) => h("label", null,
    h("input", { type: "radio", name: "dialect", value: key, checked: draft.dialect === key, on: { change: () => { draft.dialect = key; changed(); } } }),
    h("span", null, h("b", null, d.name), h("code.hint", null, d.bind("TOKEN"))))));
  const open = button("Open a socket and bind", () => run("bind"));
  const rest = [
    ["Renew the token", "renew"], ["Ping", "ping"], ["Unbind", "unbind"], ["Drop for 5 s", "drop"], ["Close", "leave"],
  ].map(([name, what]) => button(name, () => run(what), { data: { what } }));
  const state = h("p.state");
  const talk = h("ol.talk");
  let drawn = 0;
  function update() {
    const { socket, bound, back, ended } = flow;
    const isOpen = socket?.readyState === WebSocket.OPEN;
    open.hidden = isOpen && bound;
    open.disabled = !subject() || (socket && !isOpen);
    open.textContent = isOpen ? "Bind this socket" : back ? "Reconnect now" : ended ? "Reconnect and bind" : "Open a socket and bind";
    for (const b of rest) b.hidden = !isOpen || (!bound && ["renew", "unbind"].includes(b.dataset.what));
    state.dataset.state = bound ? "active" : ended && !isOpen ? "error" : "";
    state.textContent = bound ? `Bound to ${subject()}. The socket is open for ${span(Date.now() - flow.opened)}.`
      : isOpen ? "The socket is open and not bound."
        : socket ? "Opening."
          : back ? `Dropped. It comes back in ${clock(back - Date.now())}; what happens until then is missed.`
            : ended ? `Closed with ${ended}.` : "No socket is open.";
    const news = flow.said.filter((line) => line.at > drawn || !line.drawn);
    if (news.length === 0 && flow.said.length) return;
    for (const line of news) line.drawn = true;
    fill(talk, flow.said.length === 0 ? h("li.empty", null, "What the page says on the socket appears here, and what it is answered.")
      : flow.said.slice(0, 60).map((line) => h(`li.${line.tone}`, null, h("time", null, time(line.at)), h("span", null, h("span", { "aria-hidden": "true" }, line.way), h("span.label", null, { "→": "sent", "←": "came" }[line.way] ?? "")), h("span", null, line.text))));
    drawn = Date.now();
  }
  return { left: [choices, h("div.actions", null, open, rest), state], right: [h("h3", null, "On the socket"), talk], update };
}

export function receiveStep(run) {
  const fire = button("Fire an event", () => run("fire"), { id: "fire" });
  const write = button("Do it with a write", () => run("write"));
  const hint = h("p.hint");
  const made = h("p.hint", { role: "status" });
  const asCurl = copyButton("Copy as curl", () => curl(...fireRequest()));
  const writeCurl = copyButton("Copy as curl", () => curl(...writeRequest()));
  const list = h("ol.frames", { "aria-label": "Frames, the newest first" });
  const empty = h("p.empty", null, "No frame yet. Bind a socket, then fire an event.");
  const resource = () => example(topicOf(flow.resource?.topic), flow.resource);
  const writeRequest = () => {
    const body = resource();
    return ["POST", `${base}/${body.resourceType}`, body];
  };
  let newest;
  function update() {
    fire.disabled = !subject();
    fire.className = flow.bound ? "primary" : "";
    const body = resource();
    write.hidden = writeCurl.hidden = !body;
    hint.textContent = body ? `The write creates an ${body.resourceType}${body.status ? ` with status ${body.status}` : ""}, which the topic waits for. To fire sends a notification without storing anything.`.replace("an Patient", "a Patient").replace("an Task", "a Task")
      : flow.resource ? "To fire sends a notification without storing anything. For a write, this page has no example of what the topic waits for; Resources can edit one." : "";
    const at = flow.frames.indexOf(newest);
    const fresh = at < 0 ? flow.frames : flow.frames.slice(0, at);
    newest = flow.frames[0];
    if (fresh.length) list.prepend(...fresh.map(row));
    while (list.children.length > flow.frames.length) list.lastChild.remove();
    empty.hidden = flow.frames.length > 0;
  }
  async function doWrite() {
    const { body } = await request(...writeRequest());
    fill(made, "Wrote ", h("a", { href: `/resources/${body.resourceType}/${body.id}` }, `${body.resourceType}/${body.id}`), ".");
  }
  return {
    left: [h("div.actions", null, fire, asCurl), h("div.actions", null, write, writeCurl), hint, made],
    right: [h("h3", null, "Frames, the newest first"), empty, list], update, doWrite, fire,
  };
}

function row(frame) {
  const { events } = frame;
  const body = h("div");
  const details = h("details", null, h("summary", null,
    h("time", null, time(frame.at)),
    h("b", { class: frame.kind === "heartbeat" ? "quiet" : frame.kind === "outcome" ? "bad" : "out" }, frame.recovered ? "recovered" : frame.kind),
    h("span", null, frame.kind === "outcome" ? frame.text : events.length ? `${numbers(events[0].number, events.at(-1).number)} ${events[0].focus}` : `total ${count(frame.total)}`),
    h("span.hint", null, bytes(new Blob([frame.text]).size))), body);
  details.addEventListener("toggle", () => { if (details.open && !body.firstChild) body.append(copyButton("Copy", () => JSON.stringify(frame.body, null, 2)), jsonTree(frame.body, 4)); });
  return h(frame.recovered ? "li.recovered" : "li", null, details);
}

const languages = {
  "client.mjs": ["JavaScript", "node client.mjs", "Node 22 or a browser, nothing to install. Node 20 needs --experimental-websocket."],
  "client.go.txt": ["Go", "go run .", "With github.com/coder/websocket v1.8.15; save it as main.go."],
  "client.py.txt": ["Python", "python3 client.py", "With websockets 15.0.1 from PyPI."],
};

export function codeStep() {
  const { draft } = flow;
  const shown = h("pre", { tabindex: "0", id: "sample" });
  const hint = h("p.hint");
  const tabs = h("div.tabs", { role: "group", "aria-label": "Language" }, Object.entries(languages).map(([file, [name]]) =>
    h("button", { type: "button", data: { file }, on: { click: () => { draft.code = file; changed(); load(); } } }, name)));
  const sources = {};
  async function load() {
    const file = draft.code;
    if (!sources[file]) {
      const response = await fetch(`/ui/samples/${file}`);
      if (response.ok) sources[file] = await response.text();
    }
    changed();
  }
  load();
  function update() {
    for (const b of tabs.children) b.setAttribute("aria-pressed", b.dataset.file === draft.code);
    hint.textContent = `${languages[draft.code][2]} It takes and renews tokens, notices silence, reconnects, and asks $events for the numbers it missed.`;
    const source = (sources[draft.code] ?? "").replaceAll("{{fhir}}", location.origin + base).replaceAll("{{id}}", subject() || "ID")
      .replaceAll("{{heartbeat}}", String(flow.resource?.heartbeatPeriod ?? 0));
    if (source !== shown.textContent) shown.textContent = source;
  }
  return { left: [tabs, hint, code(shown)], update };
}
