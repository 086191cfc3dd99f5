// One entry in full: first a summary, then the JSON.

import { h, fill, copyButton } from "../../kernel/dom.js";
import { get, curl } from "../../kernel/api.js";
import { current } from "../../kernel/stream.js";
import { inside, again } from "../../kernel/room.js";
import { jsonTree } from "../../kernel/json.js";
import { time, bytes, what, numbers } from "../../kernel/format.js";
import { readStatus } from "../../kernel/notification.js";

/** detail fetches an entry and shows it. walk(step) opens the next or previous entry of its subscription. */
export async function detail(panel, item, { close, walk }) {
  const title = h("h2", { tabindex: "-1" }, what(item).slice(0, 300));
  const go = (step, name, arrow) => h("button.small", { type: "button", title: name, "aria-label": name, data: { step }, on: { click: () => walk(step) } }, arrow);
  // The old content stays until the new one is there, so that nothing flickers.
  const body = panel.querySelector(".detail-body") ?? h("div.detail-body");
  fill(panel,
    h("header", null, title, h("div.actions", null,
      item.subscription && [go(-1, "Previous of this subscription", "↑"), go(1, "Next of this subscription", "↓")],
      h("button.small", { type: "button", on: { click: close }, "aria-label": "Close this entry" }, "Close"))),
    body);
  let entry = item;
  let gone = "";
  if (item.seq) {
    try {
      entry = { ...item, ...(await get(`/mock/journal/${item.seq}`)) };
      // After a restart the same number belongs to another entry.
      if (entry.time !== item.time) throw new Error(`this was before the ${again}; its frames and bodies are gone`);
    } catch (error) {
      entry = item;
      gone = error.message;
    }
  }
  if (!title.isConnected) return; // another one was chosen meanwhile
  fill(body, gone && h("p.error", null, gone), facts(entry), ...content(entry));
  panel.scrollTop = 0;
}

/** focus moves the focus into the panel: to its title, or to the button of a step. */
export const focus = (panel, step) => panel.querySelector(step ? `[data-step="${step}"]` : "h2")?.focus();

/** releaseOf returns the FHIR release of an entry, if it is known. */
const releaseOf = (e) => e.release ?? /^\/fhir\/(R\w+)/.exec(inside(e.http?.path ?? ""))?.[1] ?? current()?.subscriptions.find((s) => s.id === e.subscription)?.release;

/** resource returns a link to the resource that a reference names. */
function resource(reference, fallback) {
  const [, release = fallback, id] = /^(?:.*\/fhir\/(R\w+)\/)?([A-Z]\w*\/[\w.-]+)(?:\/_history\/.*)?$/.exec(reference) ?? [];
  if (!id) return h("span.mono", null, reference);
  return h("a.mono", { href: `/resources/${id}${release && release !== "R5" ? `?release=${release}` : ""}` }, id);
}

// The kinds of entry that belong to a change, which the view Why? explains.
const decided = new Set(["change", "fired", "not-fired", "appended", "not-sent", "sent"]);

function facts(e) {
  const rows = [];
  const row = (name, ...value) => { if (value.some((v) => v !== undefined && v !== null && v !== "")) rows.push(h("dt", null, name), h("dd", null, ...value)); };
  row("At", `${time(e.time)}, entry ${e.seq}`);
  row("Subscription", e.subscription && resource(`Subscription/${e.subscription}`, releaseOf(e)));
  row("Socket", e.socket && h("a.mono", { href: `/timeline?socket=${encodeURIComponent(e.socket)}` }, e.socket));
  row("Topic", e.topic && h("span.mono", null, e.topic));
  row("Resource", e.resource && resource(e.resource, releaseOf(e)));
  row("Dialect", e.dialect);
  row("Token", e.token && h("span.mono", null, e.token));
  row("Events", numbers(e.first, e.last));
  row("Close code", e.code);
  if (e.http) row("Response", `${e.http.status} after ${e.http.took < 10 ? e.http.took.toFixed(2) : Math.round(e.http.took)} ms`);
  row("Size", e.size && bytes(e.size));
  if (!e.frame) row("Says", e.text);
  if (decided.has(e.kind) && (e.resource || e.first)) row("Why?", h("a", { href: `/why?${new URLSearchParams({ seq: e.seq, ...(e.subscription && { subscription: e.subscription }) })}` }, "each question that was asked, with its answer"));
  else if (e.subscription) row("Why?", h("a", { href: `/why?${new URLSearchParams({ subscription: e.subscription })}` }, "what it was notified of, and what it was not"));
  return h("dl.facts", null, rows);
}

function content(e) {
  if (e.dropped) return [h("p.quiet", null, "The frame or the bodies were dropped to limit memory.")];
  if (e.http) return exchange(e.http);
  if (e.frame) return [payload("Frame", e.frame, releaseOf(e))];
  return [];
}

function exchange(http) {
  const parts = [h("div.actions", null, copyButton("Copy as curl", () => curl(http.method, http.path, http.requestBody, repeated(http.requestHeaders))))];
  const refusal = parse(http.responseBody);
  const refused = http.status >= 400 && refusal;
  if (refused) {
    const issues = refusal.issue ?? refusal.issues ?? (refusal.detail ? [{ diagnostics: refusal.detail }] : []);
    parts.push(h("ul.issues", null, issues.map((i) => h("li", null, h("b.bad", null, i.code ?? "problem"), " ", i.diagnostics ?? i.detail ?? "", i.expression?.length ? h("span.mono.quiet", null, ` ${i.expression.join(", ")}`) : null))));
  }
  if (http.truncated) parts.push(h("p.quiet", null, "A body is cut: it was longer than what the journal keeps."));
  parts.push(headers("Request headers", http.requestHeaders));
  if (http.requestBody) parts.push(payload("Request body", http.requestBody));
  parts.push(headers("Response headers", http.responseHeaders));
  if (http.responseBody) parts.push(payload("Response body", http.responseBody, releaseOf({ http }), refused));
  return parts;
}

/** repeated returns the headers that a repetition of the request needs. */
function repeated(all = {}) {
  return Object.fromEntries(Object.entries(all).filter(([name]) => /^(content-type|accept|prefer|if-)/i.test(name) && all[name] !== "*/*"));
}

const headers = (title, all = {}) => h("details.part", null, h("summary", null, title),
  h("dl.facts", null, Object.entries(all).sort().map(([name, value]) => [h("dt", null, name), h("dd.mono", null, value)])));

function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** payload shows a text, which is mostly JSON: a summary unless it was told before, and a tree or the raw text. */
function payload(title, text, release, told) {
  const value = parse(text);
  const tree = value && jsonTree(value, text.length < 4000 ? 9 : 3);
  const raw = h("pre", { hidden: Boolean(tree) }, text);
  const toggle = tree && h("button.small", { type: "button", "aria-pressed": "false" }, "Raw");
  toggle?.addEventListener("click", () => {
    raw.hidden = !raw.hidden;
    tree.hidden = !raw.hidden;
    toggle.setAttribute("aria-pressed", String(!raw.hidden));
  });
  return h("section.part", null,
    value && !told && notification(value, release),
    h("div.actions", null, h("h3", null, title), toggle, copyButton("Copy as fixture", () => (value ? pretty(text) : text))),
    h("div.payload", { tabindex: "0", role: "region", "aria-label": title }, tree, raw));
}

/** pretty indents JSON and changes no token: a decimal keeps its zeros. */
function pretty(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/\s+|"[^"\\]*(?:\\.[^"\\]*)*"|[{[]\s*[}\]]|[{}[\],:]/g, (token) => {
    if (/^["\s]/.test(token)) return token.trim() && token;
    if (token.length > 1) return token[0] + token.at(-1); // nothing in it
    if (token === ":") return ": ";
    if (token === ",") return `,${line()}`;
    depth += "{[".includes(token) ? 1 : -1;
    return "{[".includes(token) ? token + line() : line() + token;
  });
}

/** notification returns the summary of a notification bundle of any release. */
function notification(bundle, release) {
  if (bundle.resourceType === "OperationOutcome") {
    return h("ul.issues", null, bundle.issue?.map((i) => h("li", null, h("b.bad", null, i.code), " ", i.diagnostics ?? "")));
  }
  const status = readStatus(bundle.entry?.[0]?.resource);
  if (!status) return null;
  return h("div.says", null,
    h("p", null, h("b", null, status.type), `: the subscription is ${status.status}, ${status.total ?? "no count of"} ${String(status.total) === "1" ? "event" : "events"} since its start.`),
    h("ul", null,
      status.events.map((e) => h("li", null, `event #${e.number}`, e.focus ? [" about ", resource(e.focus, release)] : " without content", e.context.length ? [" with ", e.context.map((c, i) => [i ? ", " : "", resource(c, release)])] : null)),
      status.errors.map((text) => h("li.bad", null, text))));
}
