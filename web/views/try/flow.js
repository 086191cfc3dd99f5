// The flow of a client as Try it plays it: what was typed, the subscription, its
// token, the socket and what came over it. It outlives the view, so a socket
// stays bound while somebody looks at Live, and what was typed a reload.

import { request, get } from "../../kernel/api.js";
import { on, refresh } from "../../kernel/stream.js";

export const base = "/fhir/R5";
const most = 200; // frames kept
const dropFor = 5000; // ms a dropped socket stays away

const blank = {
  mode: "new", topic: "", filters: {}, content: "id-only", heartbeatPeriod: "30", timeout: "", end: "", maxCount: "", id: "",
  existing: "", dialect: "ig", code: "client.mjs",
};

/** What the page knows. Views read it and write `draft`, then call changed(). */
export const flow = {
  draft: blank, // as typed
  created: "", // id of the subscription that was made here
  resource: null, // the subscription as the server has it
  answer: null, // {status, body} to the last write of it
  token: null, // {secret, issued, expires, url, body}
  last: null, // number of the last event seen; null before the first handshake
  socket: null,
  opened: 0,
  bound: false,
  ended: "", // why the last socket closed
  back: 0, // when a dropped socket comes back
  said: [], // the talk on the socket, newest first: {at, way, text, tone}
  frames: [], // newest first: {at, kind, text, body, events, total, status, recovered}
  count: 0, // events seen
  gone: "", // what a restart or somebody else took away
  instance: "",
};
const kept = ["draft", "created", "token", "last", "instance"];
try {
  const saved = JSON.parse(sessionStorage.getItem("try") ?? "{}");
  for (const key of kept) if (saved[key] !== undefined) flow[key] = saved[key];
  flow.draft = { ...blank, ...flow.draft };
} catch { /* somebody else's entry */ }

const listeners = new Set();
let frame;
/** changed saves and tells the views, at most once a frame of the screen. */
export function changed() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    save();
    for (const f of listeners) f();
  });
}
export function watch(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}
function save() {
  try {
    sessionStorage.setItem("try", JSON.stringify(Object.fromEntries(kept.map((key) => [key, flow[key]]))));
  } catch { /* a full or forbidden storage costs the reload, not the flow */ }
}
addEventListener("pagehide", save);

/** subject is the id of the subscription the flow is about, "" before there is one. */
export const subject = () => (flow.draft.mode === "new" ? flow.created : flow.draft.existing);

// Tokens and subscriptions the state showed once, so that a state from before
// they were made does not look like their end.
const shown = new Set();
on("state", (state) => {
  const restarted = flow.instance && flow.instance !== state.instance;
  flow.instance = state.instance;
  const id = subject();
  const there = state.subscriptions.some((s) => s.id === id);
  if (restarted) {
    if (id) flow.gone = there ? `The server was restarted. Subscription/${id} is of its seed and counts anew; its token is gone.` : `The server was restarted: Subscription/${id} and its token are gone. What you typed is still here.`;
    forget(there);
  } else if (id && !there && shown.has(id)) {
    flow.gone = `Subscription/${id} was deleted, and its token with it. What you typed is still here.`;
    forget(false);
  } else if (flow.token && shown.has(flow.token.secret) && !state.tokens.some((t) => t.token === flow.token.secret)) {
    flow.token = null;
  }
  for (const s of state.subscriptions) if (s.id === id) shown.add(id);
  for (const t of state.tokens) shown.add(t.token);
  if (there && flow.resource?.id !== id) read();
  changed();
});

function forget(there) {
  shown.clear();
  flow.token = flow.last = flow.answer = null;
  if (there) return;
  flow.resource = null;
  flow.created = flow.draft.existing = "";
}

async function read() {
  const id = subject();
  try {
    const resource = await get(`${base}/Subscription/${encodeURIComponent(id)}`);
    if (id === subject()) flow.resource = resource;
    changed();
  } catch { /* the state will say that it is gone */ }
}

/** about makes another subscription the subject: token and numbers are of one. */
export function about(change) {
  const before = subject();
  change();
  if (subject() !== before) {
    leave("another subscription was chosen");
    flow.token = flow.last = flow.resource = flow.answer = null;
    flow.gone = "";
    if (subject()) read();
  }
  changed();
}

/** draftRequest is the write that the form stands for: [method, path, resource]. */
export function draftRequest() {
  const { draft } = flow;
  const id = draft.id.trim() || flow.created;
  // What is no number goes as it is, so that it is the server who says so.
  const whole = (text) => (text.trim() === "" ? undefined : /^\d+$/.test(text.trim()) ? Number(text) : text);
  const filters = draft.filters[draft.topic] ?? [];
  const resource = {
    resourceType: "Subscription",
    id: id || undefined,
    status: "requested",
    topic: draft.topic,
    end: draft.end.trim() || undefined,
    filterBy: filters.length === 0 ? undefined : filters.map(({ resource, parameter, op, value }) => ({
      resourceType: resource || undefined,
      filterParameter: parameter,
      comparator: op.startsWith("c:") ? op.slice(2) : undefined,
      modifier: op.startsWith("m:") ? op.slice(2) : undefined,
      value: value || undefined,
    })),
    channelType: { system: "http://terminology.hl7.org/CodeSystem/subscription-channel-type", code: "websocket" },
    heartbeatPeriod: whole(draft.heartbeatPeriod),
    timeout: whole(draft.timeout),
    contentType: "application/fhir+json",
    content: draft.content,
    maxCount: whole(draft.maxCount),
  };
  return [id ? "PUT" : "POST", `${base}/Subscription${id ? `/${encodeURIComponent(id)}` : ""}`, JSON.parse(JSON.stringify(resource))];
}

/** subscribe creates the subscription, or updates the one made before. */
export async function subscribe() {
  const answer = await request(...draftRequest());
  shown.delete(answer.body.id); // the state may still be of before
  about(() => { flow.created = answer.body.id; });
  Object.assign(flow, { answer, resource: answer.body, gone: "" });
  changed();
}

export const tokenPath = () => `${base}/Subscription/${encodeURIComponent(subject() || "ID")}/$get-ws-binding-token`;

export async function takeToken() {
  const { body } = await request("POST", tokenPath());
  const value = (name) => Object.entries(body.parameter.find((p) => p.name === name)).find(([key]) => key.startsWith("value"))[1];
  flow.token = { secret: value("token"), issued: Date.now(), expires: Date.parse(value("expiration")), url: value("websocket-url"), body };
  flow.gone = "";
  changed();
}

/** valid tells whether there is a token that has not expired. */
export const valid = () => flow.token !== null && flow.token.expires > Date.now();

/** How each dialect says bind, unbind and ping. */
export const dialects = {
  ig: { name: "Text, as the guide draws it", bind: (t) => `bind-with-token ${t}`, unbind: (t) => `unbind-with-token ${t}`, ping: "ping" },
  "ig-colon": { name: "Text with a colon", bind: (t) => `bind-with-token: ${t}`, unbind: (t) => `unbind-with-token: ${t}`, ping: "ping" },
  medplum: {
    name: "JSON, as Medplum's client",
    bind: (t) => JSON.stringify({ type: "bind-with-token", payload: { token: t } }),
    unbind: (t) => JSON.stringify({ type: "unbind-from-token", payload: { token: t } }),
    ping: JSON.stringify({ type: "ping" }),
  },
};

function say(way, text, tone = "quiet") {
  flow.said.unshift({ at: Date.now(), way, text, tone });
  if (flow.said.length > most) flow.said.pop();
  changed();
}

function send(text) {
  flow.socket.send(text);
  say("→", text, "in");
}

let held = []; // tokens this socket was bound with
/** bind opens a socket where there is none and binds it with the token. */
export async function bind() {
  if (!valid()) await takeToken();
  if (flow.socket) return bindNow();
  flow.back = 0;
  flow.ended = "";
  const socket = flow.socket = new WebSocket(flow.token.url);
  let work = Promise.resolve(); // one frame after the other, also where one has to ask for $events
  held = [];
  say("·", `opening ${flow.token.url}`);
  socket.onmessage = ({ data }) => { work = work.then(() => receive(String(data))); };
  socket.onclose = ({ code, reason }) => {
    if (flow.socket === socket) ended(code, reason);
  };
  await new Promise((open, fail) => {
    socket.onopen = open;
    socket.addEventListener("close", () => fail(new Error(`the socket did not open: ${flow.ended}`)));
  });
  flow.opened = Date.now();
  bindNow();
}

function bindNow() {
  held.push(flow.token.secret);
  send(dialects[flow.draft.dialect].bind(flow.token.secret));
}

/** unbind takes back every token the socket was bound with. */
export function unbind() {
  for (const secret of held) send(dialects[flow.draft.dialect].unbind(secret));
  held = [];
  flow.bound = false;
}

export const ping = () => send(dialects[flow.draft.dialect].ping);

/** renew binds the same socket with a new token before the old one expires. */
export async function renew() {
  await takeToken();
  if (flow.socket) bindNow();
}

const meanings = {
  1000: "a normal end", 1001: "the server is stopping; connect again later", 1003: "the frame was binary", 1005: "closed without a code",
  1006: "the connection broke, or was never made", 1008: "no binding is left; take a new token", 1009: "the message was too large",
  1011: "the server failed", 1013: "frames came faster than they were read; $events has what is missing", 4000: "dropped by this page",
};

function ended(code, reason) {
  flow.socket = null;
  flow.bound = false;
  flow.ended = `${code}${reason ? ` “${reason}”` : ""}: ${meanings[code] ?? "no code this page knows"}`;
  say("·", `closed with ${flow.ended}`, code === 1000 || code === 4000 ? "quiet" : "bad");
}

/** leave closes the socket, and is done with it at once. */
export function leave(reason, code = 1000) {
  flow.back = 0;
  const { socket } = flow;
  if (!socket) return;
  ended(code, reason);
  socket.close(code, reason);
}

/** drop closes the socket and comes back a little later. */
export function drop() {
  leave("dropped", 4000);
  const back = flow.back = Date.now() + dropFor;
  setTimeout(() => {
    if (flow.back === back) bind().catch((error) => say("·", error.message, "bad"));
  }, dropFor);
}

/** parse reads a frame; what is no notification has kind "outcome" or "text". */
function parse(text) {
  let body = null;
  try { body = JSON.parse(text); } catch { /* a pong is no JSON */ }
  const status = body?.entry?.[0]?.resource;
  if (body?.resourceType === "OperationOutcome") return { kind: "outcome", body, text: body.issue.map((i) => i.diagnostics ?? i.code).join("; "), events: [] };
  if (status?.resourceType !== "SubscriptionStatus") return { kind: "text", body, text, events: [] };
  const events = (status.notificationEvent ?? []).map((e) => ({ number: Number(e.eventNumber), focus: (e.focus?.reference ?? "").split("/").slice(-2).join("/") }));
  return { kind: status.type, body, text, events, total: Number(status.eventsSinceSubscriptionStart), status: status.status };
}

function keep(parsed, recovered = false) {
  flow.frames.unshift({ at: Date.now(), recovered, ...parsed });
  if (flow.frames.length > most) flow.frames.pop();
  for (const { number } of parsed.events) {
    if (number > flow.last) {
      flow.last = number;
      flow.count++;
    }
  }
  changed();
}

async function receive(text) {
  const frame = parse(text);
  if (frame.kind === "outcome" || frame.kind === "text") {
    say("←", frame.text, frame.kind === "outcome" ? "bad" : "out");
    if (frame.kind === "outcome") keep(frame);
    if (frame.body?.issue?.some((i) => ["expired", "forbidden", "deleted"].includes(i.code))) flow.bound = false;
    return;
  }
  if (frame.kind === "handshake") {
    flow.bound = true;
    say("←", `handshake, ${frame.total} events so far`, "out");
    flow.last ??= frame.total;
    if (frame.total < flow.last) flow.last = 0; // the server counts anew
  }
  if (frame.status !== "active") say("←", `the subscription is ${frame.status}`, "bad");
  if (frame.status === "off") flow.bound = false;
  // Numbers have no holes: what lies between the last one and this was missed.
  await recover(frame.events.length ? frame.events[0].number - 1 : frame.total);
  keep(frame);
}

async function recover(to) {
  if (flow.last === null || flow.last >= to) return;
  const from = flow.last + 1;
  try {
    const { text } = await request("GET", `${base}/Subscription/${encodeURIComponent(subject())}/$events?eventsSinceNumber=${from}&eventsUntilNumber=${to}`);
    const got = parse(text);
    keep(got, true);
    if (flow.last < to) say("·", `the server no longer has the events up to #${to}`, "bad");
    flow.last = Math.max(flow.last, to);
  } catch (error) {
    say("·", `events #${from} to #${to} were missed, and $events said: ${error.message}`, "bad");
  }
}

/** fire makes a synthetic event for the subscription. */
export const fireRequest = () => ["POST", "/mock/trigger", { subscription: subject() || "ID" }];
export async function fire() {
  await request(...fireRequest());
  refresh();
}
