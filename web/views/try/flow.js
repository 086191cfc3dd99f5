// The state of the view Try it, which acts as a client: the form, the subscription,
// its token, the socket, and what came over the socket. It outlives the view, so a
// socket stays bound while the user is in another view. The form survives a reload.

import { request, get } from "../../kernel/api.js";
import { on, current, now } from "../../kernel/stream.js";
import { address, stored, again } from "../../kernel/room.js";
import { readStatus } from "../../kernel/notification.js";
import { written } from "./resource.js";

const most = 200; // rows kept of each kind
const patience = 5000; // ms to wait for the response to a bind
const away = 5000; // ms until a dropped socket connects again

/** The state. Views write only draft, and then call changed(). */
export const flow = {
  draft: { mode: "new", release: "", topic: "", filters: {}, content: "id-only", heartbeatPeriod: "30", timeout: "", end: "", maxCount: "", id: "", existing: "", dialect: "ig", code: "client.mjs" },
  created: "", // id of the subscription that this view created
  resource: null, // the subscription as the server has it
  token: null, // {secret, issued, expires, url, body}
  last: null, // number of the last event; null before the first handshake
  count: 0, // events seen
  socket: null,
  opened: 0,
  bound: false,
  ended: "", // why the last socket closed
  back: 0, // when a dropped socket connects again
  talk: [], // messages on the socket other than events, newest first: {at, tone, kind, text, body}
  frames: [], // notifications, newest first: {…, events, total, status, size}
  busy: false, // "Do all of it" is running
  gone: "", // says what is gone after a restart, a reset or a deletion
  instance: "",
};
const kept = ["draft", "created", "token", "last", "instance"];
const saved = JSON.parse(sessionStorage.getItem(stored("try")) ?? "{}");
Object.assign(flow, saved, { draft: { ...flow.draft, ...saved.draft } });
const save = () => sessionStorage.setItem(stored("try"), JSON.stringify(Object.fromEntries(kept.map((key) => [key, flow[key]]))));
addEventListener("pagehide", save);

let frame;
let listener = () => {};
/** changed saves the state, and draws at most once per animation frame. */
export function changed() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    save();
    listener();
  });
}
export function watch(f) { listener = f; }

/** subject returns the id of the subscription of the flow, "" before there is one. */
export const subject = () => (flow.draft.mode === "new" ? flow.created : flow.draft.existing);
/** releases returns the releases that the server offers, newest first. */
export const releases = () => Object.keys(current()?.fhir ?? {}).sort().reverse();
/** release returns the release of the subscription of the flow. */
export const release = () => (flow.draft.mode === "existing" && current()?.subscriptions.find((s) => s.id === flow.draft.existing)?.release)
  || (releases().includes(flow.draft.release) ? flow.draft.release : releases()[0] ?? "R5");
export const base = () => address(`/fhir/${release()}`);
export const path = (rest = "") => `${base()}/Subscription/${encodeURIComponent(subject() || "ID")}${rest}`;

let seen = ""; // id of the subscription if the previous state had it: a state without it means that it is gone
on("state", (state) => {
  const id = subject();
  const there = state.subscriptions.find((s) => s.id === id);
  const restarted = flow.instance && flow.instance !== state.instance;
  flow.instance = state.instance;
  if (id && (restarted || (!there && seen === id))) {
    flow.gone = there ? `The ${again}: the token is gone, and Subscription/${id} counts from zero again.`
      : `${restarted ? `The ${again}` : "The subscription was deleted, or the room was reset"}: Subscription/${id} and its token are gone. What you typed is still here.`;
    flow.token = flow.last = null;
    flow.count = 0;
    if (!there) flow.created = flow.resource = "";
  }
  seen = there ? id : "";
  if (there && (flow.resource?.id !== id || flow.resource.status !== there.status)) read(id);
  changed();
});

async function read(id) {
  try {
    flow.resource = await get(path());
  } catch { /* the next state shows that it is gone */ }
  if (id !== subject()) flow.resource = null;
  changed();
}

/** about lets change choose another subscription. Token and event numbers belong to one subscription. */
export function about(change) {
  const before = subject();
  change();
  if (subject() !== before) {
    leave("another subscription was chosen");
    flow.token = flow.last = flow.resource = null;
    flow.count = 0;
    flow.gone = seen = "";
    if (subject()) read(subject());
  }
  changed();
}

/** draftRequest returns the write that the form describes: [method, path, resource]. */
export function draftRequest() {
  const id = flow.draft.id.trim() || flow.created;
  return [id ? "PUT" : "POST", `${base()}/Subscription${id && `/${encodeURIComponent(id)}`}`, written(release(), id, flow.draft)];
}

/** subscribe creates the subscription, or updates the one it created before. */
export async function subscribe() {
  const { body } = await request(...draftRequest());
  about(() => { flow.created = body.id; });
  flow.resource = body;
  flow.gone = seen = ""; // the next state may be older than the write
}

export async function takeToken() {
  const { body } = await request("POST", path("/$get-ws-binding-token"));
  const p = Object.fromEntries(body.parameter.map((p) => [p.name, p]));
  flow.token = { secret: p.token.valueString, issued: now(), expires: Date.parse(p.expiration.valueDateTime), url: p["websocket-url"].valueUrl, body };
  flow.gone = "";
}

/** left returns how long the token is still valid, in ms. */
export const left = () => (flow.token ? flow.token.expires - now() : 0);

/** How each dialect writes a command, with or without a token. */
export const dialects = {
  ig: ["Text, as in the guide", (verb, token) => (token ? `${verb} ${token}` : verb)],
  "ig-colon": ["Text with a colon", (verb, token) => (token ? `${verb}: ${token}` : verb)],
  medplum: ["JSON, as in Medplum", (type, token) => JSON.stringify({ type, payload: token && { token } })],
};

function note(row) {
  row.at = Date.now();
  for (const list of [row.events && flow.frames, !row.events?.length && row.kind !== "heartbeat" && flow.talk]) {
    if (list && list.unshift(row) > most) list.pop();
  }
  changed();
}
const say = (text, tone = "quiet") => note({ kind: "socket", text, tone });

function send(verb, token) {
  const text = dialects[flow.draft.dialect][1](verb, token);
  flow.socket.send(text);
  note({ kind: "sent", text, tone: "in" });
}

let responded = () => {}; // ends the wait for the response to a bind
/** bind binds the socket with the token. It opens a socket if there is none. */
export async function bind() {
  if (left() <= 0) await takeToken();
  if (!flow.socket) await open();
  flow.socket.held.push(flow.token.secret);
  const response = new Promise((done) => { responded = done; setTimeout(done, patience); });
  send("bind-with-token", flow.token.secret);
  await response;
  if (!flow.bound) throw new Error("The socket was not bound. The messages on the socket have the response of the server.");
}

async function open() {
  const socket = new WebSocket(flow.token.url);
  Object.assign(flow, { socket, back: 0, ended: "", opened: now() });
  socket.held = []; // tokens it was bound with
  say(`opening ${flow.token.url}`);
  let work = Promise.resolve(); // frames are handled in order, even if one waits for $events
  socket.onmessage = ({ data }) => { work = work.then(() => receive(data)); };
  await new Promise((opened, fail) => {
    socket.onopen = opened;
    socket.onclose = ({ code, reason }) => {
      if (flow.socket === socket) closed(code, reason);
      fail(new Error("The socket did not open."));
    };
  });
}

/** renew binds the same socket with a new token before the old one expires. */
export async function renew() {
  await takeToken();
  await bind();
}

/** unbind unbinds every token that the socket was bound with. */
export function unbind() {
  for (const secret of flow.socket.held.splice(0)) send("unbind-with-token", secret);
  flow.bound = false;
}

export const ping = () => send("ping");

// What to do after a close code, if the reason does not say.
const advice = { 1001: "connect again later", 1006: "the connection broke", 1008: "take a new token" };

function closed(code, reason) {
  Object.assign(flow, { socket: null, bound: false, ended: [code, reason && `“${reason}”`, advice[code] && `(${advice[code]})`].filter(Boolean).join(" ") });
  say(`closed with ${flow.ended}`, advice[code] ? "bad" : "quiet");
  responded();
}

/** leave closes the socket. It does not wait for the close frame of the server. */
export function leave(reason = "closed by this page", code = 1000) {
  flow.back = 0;
  flow.socket?.close(code, reason);
  if (flow.socket) closed(code, reason);
}

/** drop closes the socket and connects again a little later. */
export function drop() {
  leave("dropped by this page", 4000);
  const back = flow.back = Date.now() + away;
  setTimeout(() => flow.back === back && bind().catch((error) => say(error.message, "bad")), away);
}

/** parse reads a frame. If it is not a notification, its kind is "outcome" or "received". */
function parse(text) {
  let body;
  try { body = JSON.parse(text); } catch { /* a pong is not JSON */ }
  const status = readStatus(body?.entry?.[0]?.resource);
  if (body?.resourceType === "OperationOutcome") return { kind: "outcome", tone: "bad", body, text: body.issue.map((i) => i.diagnostics ?? i.code).join("; ") };
  if (!status) return { kind: "received", tone: "out", body, text };
  const events = status.events.map((e) => ({ number: Number(e.number), focus: e.focus?.split("/").slice(-2).join("/") ?? "" }));
  return { kind: status.type, tone: status.type === "heartbeat" ? "quiet" : "out", body, events, size: new Blob([text]).size, total: Number(status.total), status: status.status };
}

function keep(frame) {
  for (const { number } of frame.events ?? []) {
    if (number > flow.last) flow.count++;
    flow.last = Math.max(flow.last, number);
  }
  note(frame);
}

async function receive(text) {
  const got = parse(text);
  if (got.kind === "outcome" && got.body.issue.some((i) => ["unknown", "expired", "forbidden", "deleted"].includes(i.code))) {
    flow.token = null;
    flow.bound = false;
  }
  if (got.kind === "handshake") {
    flow.bound = true;
    flow.last ??= got.total;
    if (got.total < flow.last) flow.last = 0; // the server counts from zero again
  }
  if (got.status === "off") flow.bound = false;
  if (got.kind === "handshake" || got.kind === "outcome") responded();
  // Numbers have no gaps: the events between the last one and this one were missed.
  if (got.events?.length) await recover(got.events[0].number - 1);
  keep(got);
  await recover(got.total ?? 0);
}

async function recover(to) {
  const from = flow.last + 1;
  if (flow.last === null || from > to) return;
  try {
    keep({ ...parse((await request("GET", path(`/$events?eventsSinceNumber=${from}&eventsUntilNumber=${to}`))).text), kind: "recovered", tone: "in" });
    if (flow.last < to) say(`the server no longer has the events up to #${to}`, "bad");
    flow.last = Math.max(flow.last, to);
  } catch (error) {
    say(`events #${from} to #${to} were missed, and $events failed: ${error.message}`, "bad");
  }
}
