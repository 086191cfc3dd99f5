// Steps 2 to 5: the token, the socket, what comes over it, and code that does it.

import { h, fill, copyButton } from "../../kernel/dom.js";
import { request, curl } from "../../kernel/api.js";
import { jsonTree } from "../../kernel/json.js";
import { time, span, numbers, bytes, count } from "../../kernel/format.js";
import { flow, base, path, subject, left, dialects, changed } from "./flow.js";
import { topicOf, answer, choices, toggles } from "./subscribe.js";
import { example } from "./write.js";

/** clock is a time left to the second: 29:59. */
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

const code = () => {
  const shown = h("pre", { tabindex: "0" });
  const box = h("div.code", null, shown, copyButton("Copy", () => shown.textContent));
  box.show = (text) => { if (shown.textContent !== text) shown.textContent = text; };
  return box;
};

export function tokenStep(run) {
  const take = h("button", { type: "button", on: { click: () => run("token") } });
  const secret = h("code");
  const rest = h("span");
  const meter = h("meter", { min: 0, "aria-label": "Time left of the token" });
  const has = h("div.token", null, secret, h("p.hint", null, meter, rest));
  const line = h("h3");
  const command = code();
  const got = answer("200 OK", 3);
  function update() {
    const { token } = flow;
    take.disabled = !subject();
    take.textContent = token ? "Take another token" : "Take a token";
    line.textContent = `POST ${path("/$get-ws-binding-token")}`;
    command.show(curl("POST", path("/$get-ws-binding-token")));
    has.hidden = !token;
    if (token) {
      secret.textContent = token.secret;
      meter.max = token.expires - token.issued;
      meter.low = meter.max / 5;
      meter.value = Math.max(0, left());
      rest.textContent = left() > 0 ? `good for ${clock(left())}` : "expired: take another";
    }
    got.show(token?.body);
  }
  return { left: [h("div.actions", null, take), has], right: [line, command, got], update };
}

const actions = { ping: "Ping", unbind: "Unbind", drop: "Drop for 5 s", leave: "Close" };

export function bindStep(run) {
  const open = h("button", { type: "button", on: { click: () => run(flow.bound ? "renew" : "bind") } });
  const others = Object.entries(actions).map(([what, name]) => h("button", { type: "button", data: { what }, on: { click: () => { if (what !== "ping") open.focus(); run(what); } } }, name));
  const state = h("p.state");
  const talk = h("ol.frames", { "aria-label": "What was said on the socket, the newest first" });
  function update() {
    const { socket, bound, back, ended } = flow;
    const isOpen = socket?.readyState === WebSocket.OPEN;
    open.disabled = !subject() || Boolean(socket && !isOpen);
    open.textContent = bound ? "Renew the token" : isOpen ? "Bind" : back ? "Reconnect now" : ended ? "Reconnect" : "Open a socket and bind";
    for (const b of others) b.hidden = !isOpen || (!bound && b.dataset.what === "unbind");
    state.dataset.state = bound ? "active" : ended ? "error" : "";
    state.textContent = bound ? `Bound to ${subject()}, open for ${span(Date.now() - flow.opened)}.`
      : socket ? (isOpen ? "Open, not bound." : "Opening.")
        : back ? `Dropped, back in ${clock(back - Date.now())}. What happens until then is missed.`
          : ended ? `Closed with ${ended}.` : "No socket is open.";
    draw(talk, flow.talk);
  }
  return { left: [choices("Say it as", "dialect", Object.fromEntries(Object.entries(dialects).map(([key, [name, say]]) => [key, [name, h("code", null, say("TOKEN"))]]))), h("div.actions", null, open, others), state], right: [h("h3", null, "On the socket"), talk], update };
}

export function receiveStep(run) {
  const fire = h("button", { type: "button", id: "fire", on: { click: () => run("fire") } }, "Fire an event");
  const write = h("button", { type: "button", on: { click: () => run("write") } }, "Do it with a write");
  const written = h("p.hint", { role: "status" });
  const list = h("ol.frames", { "aria-label": "Notifications, the newest first" });
  const empty = h("p.empty", null, "Nothing came yet. Bind a socket, then fire an event.");
  const firing = () => ["POST", "/mock/trigger", { subscription: subject() }];
  const resource = () => flow.resource && example(topicOf(flow.resource.topic), flow.resource);
  const writing = () => ["POST", `${base}/${resource().resourceType}`, resource()];
  const what = h("p.hint");
  const withWrite = h("div", null, h("div.actions", null, write, copyButton("Copy as curl", () => curl(...writing()))), what, written);
  function update() {
    fire.disabled = !subject() || flow.busy;
    fire.className = flow.bound ? "primary" : "";
    const made = resource();
    withWrite.hidden = !made;
    what.textContent = made ? `Creates a resource the topic waits for: ${made.resourceType}${made.status ? `, ${made.status}` : ""}.` : "";
    draw(list, flow.frames);
    empty.hidden = flow.frames.length > 0;
  }
  return {
    left: [h("div", null, h("div.actions", null, fire, copyButton("Copy as curl", () => curl(...firing()))), h("p.hint", null, "A notification about a resource that is made up. Nothing is stored.")), withWrite],
    right: [h("h3", null, "Notifications, the newest first"), empty, list],
    update, button: fire,
    fire: () => request(...firing()),
    async write() {
      const { body } = await request(...writing());
      fill(written, "Wrote ", h("a", { href: `/resources/${body.resourceType}/${body.id}` }, `${body.resourceType}/${body.id}`), ".");
    },
  };
}

/** draw puts new rows on top and drops old ones; what was opened stays open. */
function draw(list, rows) {
  const at = rows.indexOf(list.newest);
  list.prepend(...rows.slice(0, at < 0 ? rows.length : at).map(line));
  while (list.children.length > rows.length) list.lastChild.remove();
  [list.newest] = rows;
}

function line(row) {
  const { body, events, kind, way, tone } = row;
  const text = row.text ?? (events.length ? `${numbers(events[0].number, events.at(-1).number)} ${events[0].focus}` : `${count(row.total)} events so far${row.status === "active" ? "" : `, ${row.status}`}`);
  const parts = [h("time", null, time(row.at)), h(`b.${tone}`, null, kind && kind !== "text" ? kind : h("span", { role: "img", "aria-label": { "→": "sent", "←": "came" }[way] ?? "note" }, way)), h("span", null, text), row.size && h("span.hint", null, bytes(row.size))];
  if (!body) return h("li", null, h("div.line", null, parts));
  const inside = h("div");
  const details = h("details", { on: { toggle: () => inside.firstChild || inside.append(copyButton("Copy", () => JSON.stringify(body, null, 2)), jsonTree(body, 4)) } }, h("summary.line", null, parts), inside);
  return h(`li.${kind}`, null, details);
}

const languages = {
  "client.mjs": "Node 22 or a browser, nothing to install. Node 20 needs --experimental-websocket.",
  "client.go.txt": "Go with github.com/coder/websocket v1.8.15.",
  "client.py.txt": "Python with websockets 15.0.1 from PyPI.",
};

export function codeStep() {
  const shown = code();
  const needs = h("p.hint");
  const sources = {};
  const tabs = toggles("Language", { "client.mjs": "JavaScript", "client.go.txt": "Go", "client.py.txt": "Python" }, () => flow.draft.code, (file) => { flow.draft.code = file; load(); });
  async function load() {
    const file = flow.draft.code;
    sources[file] ??= await (await fetch(`/ui/samples/${file}`)).text();
    changed();
  }
  load();
  function update() {
    const { code: file } = flow.draft;
    tabs.update();
    needs.textContent = languages[file];
    const filled = { fhir: location.origin + base, id: subject() || "ID", heartbeat: flow.resource?.heartbeatPeriod ?? 0 };
    shown.show((sources[file] ?? "").replace(/{{(\w+)}}/g, (_, name) => filled[name]));
  }
  return { left: [tabs, needs, shown], update };
}
