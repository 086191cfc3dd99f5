// Steps 2 to 5: the token, the socket, the notifications, and the code of a client.

import { h, fill, copyButton } from "../../kernel/dom.js";
import { request, curl } from "../../kernel/api.js";
import { now } from "../../kernel/stream.js";
import { jsonTree } from "../../kernel/json.js";
import { time, span, numbers, bytes, count } from "../../kernel/format.js";
import { flow, base, path, release, subject, left, dialects, changed } from "./flow.js";
import { topicOf, response, button, choices, toggles } from "./subscribe.js";
import { example } from "./write.js";
import { topicIn, heartbeatIn } from "./resource.js";

/** clock formats the time left, in minutes and seconds: 29:59. */
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

function code() {
  const shown = h("pre", { tabindex: "0" });
  const box = h("div.code", null, shown, copyButton("Copy", () => shown.textContent));
  box.show = (text) => { if (shown.textContent !== text) shown.textContent = text; };
  return box;
}

export function tokenStep(run) {
  const take = button("Take a token", () => run("token"));
  const secret = h("code");
  const rest = h("span");
  const meter = h("meter", { min: 0, "aria-label": "Time left of the token" });
  const has = h("div.token", null, secret, h("p.hint", null, meter, rest));
  const line = h("h3");
  const command = code();
  const got = response("200 OK", 3);
  function update() {
    const { token } = flow;
    const address = path("/$get-ws-binding-token");
    take.disabled = !subject();
    line.textContent = `POST ${address}`;
    command.show(curl("POST", address));
    got.show(token?.body);
    has.hidden = !token;
    if (!token) return;
    secret.textContent = token.secret;
    meter.max = token.expires - token.issued;
    meter.low = meter.max / 5;
    meter.value = Math.max(0, left());
    rest.textContent = left() > 0 ? `valid for ${clock(left())}` : "expired: take another";
  }
  return { left: [h("div.actions", null, take), has], right: [line, command, got], update };
}

export function bindStep(run) {
  const open = button("", () => run(flow.bound ? "renew" : "bind"));
  // Most of these buttons disappear when they are pressed; the focus must not.
  const other = (name, what) => button(name, () => { open.focus(); run(what); });
  const ping = button("Ping", () => run("ping"));
  const unbind = other("Unbind", "unbind");
  const ends = [other("Drop for 5 s", "drop"), other("Close", "leave")];
  const state = h("p.state");
  const talk = h("ol.frames", { "aria-label": "Messages on the socket, newest first", data: { empty: "There are no messages yet." } });
  function update() {
    const { socket, bound, back, ended } = flow;
    const isOpen = socket?.readyState === WebSocket.OPEN;
    open.disabled = !subject() || Boolean(socket && !isOpen);
    open.textContent = bound ? "Renew the token" : isOpen ? "Bind" : back ? "Reconnect now" : ended ? "Reconnect" : "Open a socket and bind";
    for (const b of [ping, ...ends]) b.hidden = !isOpen;
    unbind.hidden = !bound;
    state.dataset.state = bound ? "active" : ended ? "error" : "";
    state.textContent = bound ? `Bound to ${subject()}, open for ${span(now() - flow.opened)}.`
      : socket ? (isOpen ? "Open, not bound." : "Opening.")
        : back ? `Dropped, back in ${clock(back - Date.now())}. Events until then are missed.`
          : ended ? `Closed with ${ended}.` : "No socket is open.";
    draw(talk, flow.talk);
  }
  const says = Object.entries(dialects).map(([key, [name, say]]) => [key, [name, h("code", null, say("bind-with-token", "TOKEN"))]]);
  return { left: [choices("Dialect", "dialect", Object.fromEntries(says)), h("div.actions", null, open, ping, unbind, ends), state], right: [h("h3", null, "On the socket"), talk], update };
}

export function receiveStep(run) {
  const firing = () => ["POST", "/mock/trigger", { subscription: subject() }];
  const made = () => flow.resource && example(topicOf(topicIn(flow.resource)), flow.resource, release());
  const writing = () => ["POST", `${base()}/${made().resourceType}`, made()];
  const fire = button("Fire an event", () => run("fire"), { id: "fire" });
  const what = h("p.hint");
  const written = h("p.hint", { role: "status" });
  const act = (main, req, ...below) => h("div", null, h("div.actions", null, main, copyButton("Copy as curl", () => curl(...req()))), below);
  const write = act(button("Do it with a write", () => run("write")), writing, what, written);
  const list = h("ol.frames", { "aria-label": "Notifications, newest first", data: { empty: "There are no notifications yet. Bind a socket, then fire an event." } });
  function update() {
    const resource = made();
    fire.disabled = !subject() || flow.busy;
    fire.className = flow.bound ? "primary" : "";
    write.hidden = !resource;
    if (resource) what.textContent = `Creates a resource that fires the topic: ${[resource.resourceType, resource.status].filter(Boolean).join(", ")}.`;
    draw(list, flow.frames);
  }
  return {
    left: [act(fire, firing, h("p.hint", null, "A notification about a sample resource. Nothing is stored.")), write],
    right: [h("h3", null, "Notifications, newest first"), list],
    update, button: fire,
    fire: () => request(...firing()),
    async write() {
      const { body } = await request(...writing());
      const name = `${body.resourceType}/${body.id}`;
      fill(written, "Wrote ", h("a", { href: `/resources/${name}?release=${release()}` }, name), ".");
    },
  };
}

/** draw adds new rows at the top and removes old ones. Open rows stay open. */
function draw(list, rows) {
  const at = rows.indexOf(list.newest);
  list.prepend(...rows.slice(0, at < 0 ? rows.length : at).map(line));
  while (list.children.length > rows.length) list.lastChild.remove();
  [list.newest] = rows;
}

function line({ at, kind = "", tone, text, body, events, total, status, size }) {
  text ??= events.length ? `${numbers(events[0].number, events.at(-1).number)} ${events[0].focus}` : `${count(total)} events so far${status === "active" ? "" : `, ${status}`}`;
  const parts = [h("time", null, time(at)), h(`b.${tone}`, null, kind), h("span", null, text), size && h("span.hint", null, bytes(size))];
  if (!body) return h("li.line", null, parts);
  const inside = h("div");
  const open = () => inside.firstChild || inside.append(copyButton("Copy", () => JSON.stringify(body, null, 2)), jsonTree(body, 4));
  return h(`li.${kind}`, null, h("details", { on: { toggle: open } }, h("summary.line", null, parts), inside));
}

const languages = {
  "client.mjs": ["JavaScript", "Node 22 or a browser, nothing to install. Node 20 needs --experimental-websocket."],
  "client.go.txt": ["Go", "With github.com/coder/websocket v1.8.15."],
  "client.py.txt": ["Python", "With websockets 15.0.1 from PyPI."],
};

export function codeStep() {
  const { draft } = flow;
  const shown = code();
  const needs = h("p.hint");
  const sources = {};
  const tabs = toggles("Language", languages, () => draft.code, (file) => { draft.code = file; load(); });
  async function load() {
    const file = draft.code;
    sources[file] ??= (await request("GET", `/ui/samples/${file}`)).text;
    changed();
  }
  load();
  function update() {
    tabs.update();
    [, needs.textContent] = languages[draft.code];
    const filled = { fhir: location.origin + base(), id: subject() || "ID", heartbeat: heartbeatIn(flow.resource) };
    shown.show((sources[draft.code] ?? "").replace(/{{(\w+)}}/g, (_, name) => filled[name]));
  }
  return { left: [tabs, needs, shown], update };
}
