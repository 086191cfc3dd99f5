// The effects of a write, from the stream: the change, the topics that fired or did
// not, the events, the frames.

import { h, fill } from "../../kernel/dom.js";
import { on } from "../../kernel/stream.js";
import { tail, numbers } from "../../kernel/format.js";

const most = 2000; // entries looked at for one write
const grace = 200; // ms within which the entries that a request causes follow it on the stream

/**
 * effect shows the effects of writes in element. Call begin(method, path) before a
 * request, and said(reference, words) once it was accepted.
 */
export function effect(element) {
  let write = {};

  function note(entry) {
    const { entries = [], settled, mine, method, path } = write;
    if (settled ? !mine.some((e) => concerns(entry, e)) : entries.length === most) return;
    entries.push(entry);
    // A request comes before what it caused.
    if (!write.from && entry.http?.method === method && entry.http?.path === path) {
      const begun = write;
      write.from = entries.length;
      setTimeout(() => {
        begun.over = true;
        if (begun === write) draw();
      }, grace);
    }
    draw();
  }

  /** decisions returns the entries that belong to the write: from its change to the next one. */
  function decisions({ entries, from, reference }) {
    const caused = entries.slice(from);
    const begin = caused.findIndex((e) => e.kind === "change" && e.resource === reference);
    const end = caused.findIndex((e, i) => i > begin && e.kind === "change");
    if (begin >= 0 && end >= 0) write.over = true;
    return begin < 0 ? [] : caused.slice(begin, end < 0 ? undefined : end).filter((e) => e.resource === reference && e.type !== "trigger");
  }

  /** why returns why nobody is notified, or "" if somebody is. */
  function why(mine, of, reference) {
    if (!mine.length) return "Nothing changed";
    if (mine.length === 1) return `No topic is about ${reference.split("/")[0]}`;
    if (!of("fired").length) return "No topic fired";
    return of("appended").length || of("not-sent").length ? "" : "No subscription is on the topic";
  }

  function draw() {
    const { entries, words, reference, missed } = write;
    if (!words) return;
    if (write.from && !write.settled) {
      write.mine = decisions(write);
      write.settled = write.over;
    }
    const { mine, settled } = write;
    const of = (kind) => (mine ?? []).filter((e) => e.kind === kind);
    const name = (id) => h("a.mono", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, id);
    const nobody = settled && why(mine, of, reference);
    fill(element, h("h3", null, "What it caused"), h("p", null, words),
      h("ul.set-off", null,
        of("fired").map((e) => h("li.out", null, `Topic ${tail(e.topic)} fired.`)),
        of("appended").map((e) => {
          const about = entries.filter((other) => concerns(other, e));
          const frames = about.filter((other) => other.kind === "sent").length;
          const kept = about.find((other) => other.kind === "not-sent");
          return h("li", null, name(e.subscription), ` got event ${numbers(e.first)}`, frames ? `, sent to ${frames === 1 ? "a socket" : `${frames} sockets`}.` : kept ? `: ${kept.text}.` : ".");
        }),
        of("not-sent").map((e) => h("li.quiet", null, e.subscription && [name(e.subscription), " got no event: "], e.text)),
        of("not-fired").map((e) => h("li.quiet", null, `Topic ${tail(e.topic)} did not fire: ${e.text}`))),
      missed ? h("p.quiet", null, "The stream skipped entries; ", h("a", { href: "/timeline" }, "the timeline"), " has them.") : nobody && h("p.quiet", null, `${nobody}, so nobody is notified.`));
  }

  const ends = [
    on("entry", note),
    on("gap", () => {
      write.missed ||= !write.settled;
      draw();
    }),
  ];
  return {
    begin(method, path) {
      write = { method, path, entries: [] };
    },
    said(reference, words) {
      Object.assign(write, { reference, words });
      draw();
    },
    end: () => ends.forEach((end) => end()),
  };
}

/** concerns reports whether an entry is about the delivery of an event. */
function concerns({ kind, type, subscription, first, last = first }, event) {
  const delivery = kind === "sent" ? type === "event-notification" : kind === "not-sent";
  return delivery && event.kind === "appended" && subscription === event.subscription && first <= event.first && event.first <= last;
}
