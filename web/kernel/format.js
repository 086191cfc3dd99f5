// Formats times, numbers and journal entries.

import { inside } from "./room.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });

/** time returns the time of day with milliseconds. */
export const time = (iso) => clock.format(new Date(iso));

const number = new Intl.NumberFormat("en");
/** count groups digits: 12,345. */
export const count = (n) => number.format(n);

/** bytes formats a size: 812 B, 3.4 kB. */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  return n < 1e6 ? `${(n / 1000).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

/** span formats a length of time: 850 ms, 12 s, 4 min, 2 h. */
export function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 120e3) return `${Math.floor(ms / 1000)} s`;
  return ms < 7200e3 ? `${Math.floor(ms / 60e3)} min` : `${Math.floor(ms / 3600e3)} h`;
}

/** ago formats an age: "now", "12 s ago". */
export const ago = (ms) => (ms < 1000 ? "now" : `${span(ms)} ago`);

/** tail returns the last segment of a canonical or a path, which serves as a short name. */
export const tail = (url) => (url ?? "").split("|")[0].split("/").at(-1);

/** numbers formats a range of event numbers: "#3" or "#3–5". */
export const numbers = (first, last) => (!first ? "" : !last || first === last ? `#${first}` : `#${first}–${last}`);

const tones = {
  http: "in", received: "in", opened: "in",
  sent: "out", appended: "out", fired: "out", change: "in",
  refused: "bad", overflow: "bad", "not-sent": "bad", fault: "bad",
  bound: "good",
};

/** tone returns the colour class of an entry: in, out, good, bad or quiet. */
export function tone(entry) {
  if (entry.kind === "http") return entry.http?.status >= 400 ? "bad" : "in";
  if (entry.kind === "closed") return [1000, 1001, 1005].includes(entry.code) ? "quiet" : "bad";
  if (entry.kind === "sent" && (entry.type === "heartbeat" || entry.type === "pong")) return "quiet";
  if (entry.kind === "sent" && entry.type === "outcome") return "bad";
  if (entry.kind === "status") return entry.text === "active" ? "good" : entry.text === "error" ? "bad" : "quiet";
  if (entry.kind === "room") return entry.type === "opened" ? "good" : "quiet";
  return tones[entry.kind] ?? "quiet";
}

/** arrow returns the direction of an entry: to the server, from it, or inside it. */
export function arrow(entry) {
  switch (entry.kind) {
    case "http": case "received": case "opened": return "→";
    case "sent": return "←";
    default: return "·";
  }
}

/** what describes an entry in one line. */
export function what(entry) {
  const sub = entry.subscription ?? "";
  switch (entry.kind) {
    case "http": return `${entry.http.method} ${inside(entry.http.path)}`;
    case "sent": return [entry.type, numbers(entry.first, entry.last)].filter(Boolean).join(" ");
    case "received": return entry.text || entry.type || "frame";
    case "opened": return `socket opened ${entry.text ?? ""}`;
    case "closed": return `closed ${entry.code ?? ""} ${entry.text ?? ""}`;
    case "change": return `${entry.interaction} ${entry.resource}`;
    case "fired": return `${tail(entry.topic)} fired for ${entry.resource ?? ""}`;
    case "not-fired": return `${tail(entry.topic)} not fired: ${entry.text ?? ""}`;
    case "appended": return `event ${numbers(entry.first, entry.last)} ${entry.resource ?? ""}`;
    case "bound": return `bound to ${sub}`;
    case "unbound": return `unbound from ${sub}: ${entry.text ?? ""}`;
    case "token": return `token ${entry.type ?? ""} ${entry.token ?? ""} ${entry.text ?? ""}`;
    case "status": return `${sub} is ${entry.text}`;
    case "room": return entry.text;
    default: return [entry.kind, entry.text].filter(Boolean).join(": ");
  }
}
