// The one connection a page keeps: the stream of the journal, and the state of
// the room, fetched anew when the stream says that something happened. Views
// listen; nothing else in the page polls.

import { get } from "./api.js";
import { address } from "./room.js";

const listeners = { entry: new Set(), state: new Set(), link: new Set(), gap: new Set(), restart: new Set() };

/**
 * on calls f for "entry" (one journal entry), "state" (the room as it is),
 * "link" ("connecting", "live", "lost"), "gap" (number of entries the stream
 * skipped) or "restart" (another process answers now). It answers the function
 * that ends it.
 */
export function on(kind, f) {
  listeners[kind].add(f);
  if (kind === "link") f(link);
  if (kind === "state" && state) f(state);
  return () => listeners[kind].delete(f);
}

function tell(kind, value) {
  for (const f of listeners[kind]) f(value);
}

let link = "connecting";
let instance;
let last; // id of the last entry that came, to resume from
let state;
let source;
let retry;

function setLink(value) {
  if (link === value) return;
  link = value;
  tell("link", value);
}

/** current is the room as last seen, or undefined. */
export const current = () => state;

/** connect opens the stream; it opens itself again whenever it breaks. */
export function connect() {
  const query = new URLSearchParams({ most: "1000" });
  if (last) query.set("last-event-id", last);
  source = new EventSource(address(`/mock/journal/stream?${query}`));
  source.addEventListener("hello", (event) => {
    const hello = JSON.parse(event.data);
    const restarted = instance && instance !== hello.instance;
    instance = hello.instance;
    last ??= `${instance}-${hello.last}`;
    setLink("live");
    if (restarted) tell("restart", hello);
    refresh();
  });
  source.addEventListener("message", (event) => {
    last = event.lastEventId;
    tell("entry", JSON.parse(event.data));
    refresh();
  });
  source.addEventListener("gap", (event) => tell("gap", JSON.parse(event.data).skipped));
  source.addEventListener("error", () => {
    // The browser would wait three seconds; a restarted server is back sooner.
    source.close();
    setLink("lost");
    clearTimeout(retry);
    retry = setTimeout(connect, 500);
  });
}

// At most one fetch of the state is under way, and at most two a second start.
let wanted = false;
let busy = false;

/** refresh fetches the state of the room soon. */
export async function refresh() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted && link === "live") {
    wanted = false;
    try {
      state = await get("/mock/state");
      tell("state", state);
    } catch { /* the stream notices a server that is gone */ }
    await new Promise((done) => setTimeout(done, 500));
  }
  busy = false;
}

addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => event.persisted && connect());
