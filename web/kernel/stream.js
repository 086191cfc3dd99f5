// The stream of the journal, which is the only connection that the page keeps open,
// and the state of the room, which is fetched again after entries of the stream.
// Views listen to both; nothing in the page polls.

import { get } from "./api.js";
import { released } from "./press.js";
import { address, name } from "./room.js";

const listeners = { entry: new Set(), state: new Set(), link: new Set(), gap: new Set(), restart: new Set(), closed: new Set(), locked: new Set() };

/**
 * on calls f for "entry" (one journal entry), "state" (the state of the room),
 * "link" ("connecting", "live", "lost"), "gap" (number of entries the stream
 * skipped), "restart" (a new room of the same name has replaced the room),
 * "closed" (the link is lost and the room no longer exists) or "locked" (the
 * server wants a sign-in, and the page has none). It returns the function that
 * stops the calls.
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
let last; // id of the last entry received, to resume from
let state;
let came; // when the state came, by the clock of the browser
let source;
let retry;

function setLink(value) {
  if (link === value) return;
  link = value;
  tell("link", value);
}

/** current returns the latest state of the room, or undefined. */
export const current = () => state;

/**
 * now returns the time of the room in ms. A manual clock stands still until somebody moves
 * it, and a state follows each move. A real one goes on as that of the browser, which may
 * be fast or slow.
 */
export function now() {
  if (!state) return Date.now();
  const { mode, now } = state.clock;
  return Date.parse(now) + (mode === "manual" ? 0 : Date.now() - came);
}

/** connect opens the stream, and opens it again whenever it breaks. */
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
    get("/mock/state").catch(({ status }) => { // an EventSource does not say why it failed
      if (link !== "lost") return;
      if (status === 404 && name) tell("closed");
      if (status === 401) {
        clearTimeout(retry); // the sign-in loads the page again
        tell("locked");
      }
    });
    clearTimeout(retry);
    retry = setTimeout(connect, 500);
  });
}

// At most one fetch of the state runs at a time, and at most two start per second.
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
      came = Date.now();
      await released();
      tell("state", state);
    } catch { /* the stream reports that the server is gone */ }
    await new Promise((done) => setTimeout(done, 500));
  }
  busy = false;
}

addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => event.persisted && connect());
