// One entry in full: first what it says, then the JSON it says it with.

import { h, fill, copyButton } from "../../kernel/dom.js";
import { get, curl } from "../../kernel/api.js";
import { jsonTree } from "../../kernel/json.js";
import { time, bytes, what, numbers, tail } from "../../kernel/format.js";

/** detail fetches an entry and shows it; walk(step) goes to another of its subscription. */
export async function detail(panel, item, { close, walk }) {
  const title = h("h2", { tabindex: "-1" }, what(item));
  const body = h("div.detail-body", null, h("p.quiet", null, "Reading …"));
  fill(panel,
    h("header", null, title, h("button.small", { type: "button", on: { click: close }, "aria-label": "Close this entry" }, "Close")),
    body);
  let entry = item;
  let gone = "";
  if (item.seq) {
    try {
      entry = { ...item, ...(await get(`/mock/journal/${item.seq}`)) };
      // After a restart the same number is another entry.
      if (entry.time !== item.time) throw new Error("this was before the server was restarted; its frames and bodies are gone");
    } catch (error) {
      entry = item;
      gone = error.message;
    }
  }
  if (!body.isConnected) return;
  fill(body, gone && h("p.error", null, gone), facts(entry), ...content(entry),
    item.subscription && h("div.actions", null,
      h("button.small", { type: "button", on: { click: () => walk(-1) } }, "Previous of this subscription"),
      h("button.small", { type: "button", on: { click: () => walk(1) } }, "Next")));
}

/** focus moves the keyboard to a detail that was opened by it. */
export const focus = (panel) => panel.querySelector("h2")?.focus();

const resource = (reference) => h("a.mono", { href: `/resources/${reference.split("/").slice(-2).join("/")}` }, reference.split("/").slice(-2).join("/"));

function facts(e) {
  const rows = [];
  const row = (name, ...value) => { if (value.some((v) => v !== undefined && v !== null && v !== "")) rows.push(h("dt", null, name), h("dd", null, ...value)); };
  row("At", `${time(e.time)}, entry ${e.seq}`);
  row("Subscription", e.subscription && h("a.mono", { href: `/resources/Subscription/${e.subscription}` }, e.subscription));
  row("Socket", e.socket && h("a.mono", { href: `/timeline?socket=${encodeURIComponent(e.socket)}` }, e.socket));
  row("Topic", e.topic && h("span.mono", null, e.topic));
  row("Resource", e.resource && resource(e.resource));
  row("Dialect", e.dialect);
  row("Token", e.token && h("span.mono", null, e.token));
  row("Events", numbers(e.first, e.last));
  row("Close code", e.code);
  if (e.http) row("Answered", `${e.http.status} after ${e.http.took < 10 ? e.http.took.toFixed(2) : Math.round(e.http.took)} ms`);
  row("Size", e.size && bytes(e.size));
  if (!e.frame) row("Says", e.text);
  return h("dl.facts", null, rows);
}

function content(e) {
  if (e.dropped) return [h("p.quiet", null, "The frame or the bodies were let go to bound memory.")];
  if (e.http) return exchange(e.http);
  if (e.frame) return [payload("Frame", e.frame)];
  return [];
}

function exchange(http) {
  const parts = [h("div.actions", null, copyButton("Copy as curl", () => curl(http.method, http.path, http.requestBody, repeated(http.requestHeaders))))];
  const refusal = parse(http.responseBody);
  if (http.status >= 400 && refusal) {
    const issues = refusal.issue ?? refusal.issues ?? (refusal.detail ? [{ diagnostics: refusal.detail }] : []);
    parts.push(h("ul.issues", null, issues.map((i) => h("li", null, h("b.bad", null, i.code ?? "problem"), " ", i.diagnostics ?? i.detail ?? "", i.expression?.length ? h("span.mono.quiet", null, ` ${i.expression.join(", ")}`) : null))));
  }
  if (http.truncated) parts.push(h("p.quiet", null, "A body was longer than what is kept of it."));
  parts.push(headers("Request headers", http.requestHeaders));
  if (http.requestBody) parts.push(payload("Request body", http.requestBody));
  parts.push(headers("Answer's headers", http.responseHeaders));
  if (http.responseBody) parts.push(payload("Answer's body", http.responseBody));
  return parts;
}

/** repeated are the headers a repetition needs. */
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

/** payload shows a text that is mostly JSON: what it says, as a tree, or raw. */
function payload(title, text) {
  const value = parse(text);
  const pretty = value ? JSON.stringify(value, null, 2) : text;
  const tree = value ? jsonTree(value) : null;
  const raw = h("pre", { hidden: Boolean(tree) }, pretty);
  const toggle = tree && h("button.small", { type: "button", "aria-pressed": "false" }, "Raw");
  toggle?.addEventListener("click", () => {
    raw.hidden = !raw.hidden;
    tree.hidden = !raw.hidden;
    toggle.setAttribute("aria-pressed", String(!raw.hidden));
  });
  return h("section.part", null,
    value && notification(value),
    h("div.actions", null, h("h3", null, title), toggle, copyButton("Copy as fixture", () => pretty)),
    h("div.payload", { tabindex: "0", role: "region", "aria-label": title }, tree, raw));
}

/** notification is what a notification bundle says, of any release. */
function notification(bundle) {
  if (bundle.resourceType === "OperationOutcome") {
    return h("ul.issues", null, bundle.issue?.map((i) => h("li", null, h("b.bad", null, i.code), " ", i.diagnostics ?? "")));
  }
  const status = readStatus(bundle.entry?.[0]?.resource);
  if (!status) return null;
  return h("div.says", null,
    h("p", null, h("b", null, status.type), `: the subscription is ${status.status}, ${status.total ?? "no count of"} events since its start.`),
    h("ul", null,
      status.events.map((e) => h("li", null, `event #${e.number}`, e.focus ? [" about ", resource(e.focus)] : " without content", e.context.length ? [" with ", e.context.map((c, i) => [i ? ", " : "", resource(c)])] : null)),
      status.errors.map((text) => h("li.bad", null, text))));
}

function readStatus(r) {
  if (r?.resourceType === "SubscriptionStatus") {
    return {
      type: r.type, status: r.status, total: r.eventsSinceSubscriptionStart,
      events: (r.notificationEvent ?? []).map((e) => ({ number: e.eventNumber, focus: e.focus?.reference, context: (e.additionalContext ?? []).map((c) => c.reference) })),
      errors: (r.error ?? []).map((e) => e.text ?? e.coding?.[0]?.code ?? "error"),
    };
  }
  if (r?.resourceType !== "Parameters") return null;
  const value = (p) => { for (const key of Object.keys(p ?? {})) if (key.startsWith("value")) return p[key]; };
  const named = (list, name) => (list ?? []).filter((p) => p.name === name);
  const one = (name) => value(named(r.parameter, name)[0]);
  if (!one("type")) return null;
  return {
    type: one("type"), status: one("status"), total: one("events-since-subscription-start"),
    events: named(r.parameter, "notification-event").map((e) => ({
      number: value(named(e.part, "event-number")[0]),
      focus: value(named(e.part, "focus")[0])?.reference,
      context: named(e.part, "additional-context").map((c) => value(c).reference),
    })),
    errors: named(r.parameter, "error").map((e) => value(e)?.text ?? tail(value(e)?.coding?.[0]?.code)),
  };
}
