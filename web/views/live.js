// The pipeline as a picture: a change, the topics it fires, the subscriptions that
// number an event, the frames that carry it, the sockets they go to.

import { h, svg, fill } from "../kernel/dom.js";
import { on, now } from "../kernel/stream.js";
import { post } from "../kernel/api.js";
import { count, span, ago, tail, numbers } from "../kernel/format.js";

const most = 7; // items that a stage shows

export function mount(root) {
  const pipeline = new Pipeline();
  const chart = h("figure.chart");
  const tables = h("div");
  const topic = h("select", { "aria-label": "Topic to fire" });
  const fire = h("button.primary", { type: "button", on: { click: () => trigger(topic.value, refusal) } }, "Fire an event");
  const refusal = h("p.error", { role: "alert" });

  root.append(
    h("div.head", null,
      h("div", null,
        h("h1", null, "From a change to a socket"),
        h("p.lede", null, "A change fires a topic. Each subscription that the change matches numbers an event. A frame goes to every socket that is bound to the subscription."),
        refusal),
      h("div.actions", null, topic, fire, h("a", { href: "/try" }, "Bind a socket"))),
    pipeline.element, chart, tables);

  const ends = [
    on("state", (state) => {
      const chosen = topic.value;
      if (topic.options.length !== state.topics.length) {
        fill(topic, state.topics.map((t) => new Option(t.title || tail(t.url), t.url)));
        if (chosen) topic.value = chosen;
      }
      fire.disabled = state.topics.length === 0;
      pipeline.update(state);
      fill(chart, drawChart(state.rates));
      fill(tables, subscriptions(state), h("div.pair", null, sockets(state), tokens(state)));
    }),
    on("entry", (entry) => pipeline.note(entry)),
    on("restart", () => pipeline.forget()),
  ];
  // Ages and remaining times change although nothing happens.
  const tick = setInterval(() => { for (const f of ageing(root)) f(); }, 1000);
  const resized = new ResizeObserver(() => pipeline.draw());
  resized.observe(pipeline.element);
  return () => {
    ends.forEach((end) => end());
    clearInterval(tick);
    resized.disconnect();
    pipeline.stop();
  };
}

async function trigger(url, refusal) {
  refusal.textContent = "";
  try {
    await post("/mock/trigger", { topic: url });
  } catch (error) {
    refusal.textContent = error.message;
  }
}

// An element with an age is written again each second.
const ages = new WeakMap();
function aged(element, write) {
  ages.set(element, () => write(element));
  element.dataset.aged = "";
  write(element);
  return element;
}
const ageing = (root) => [...root.querySelectorAll("[data-aged]")].map((e) => ages.get(e)).filter(Boolean);

const stages = [
  ["changes", "Changes", "a resource is written, or an event is triggered"],
  ["topics", "Topics", "define which changes matter"],
  ["subscriptions", "Subscriptions", "made by clients; each numbers its events"],
  ["frames", "Frames", "notifications, as they are sent"],
  ["sockets", "Sockets", "bound with a token from $get-ws-binding-token"],
];

/** Pipeline draws the latest changes and frames between the topics, subscriptions and sockets. */
class Pipeline {
  constructor() {
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.stages = {};
    this.changes = []; // {key, seq, interaction, release, resource, fired: [topic urls]}
    this.frames = []; // {key, subscription, socket, type, first, last}
    this.lit = new Map(); // key of an item -> when it was highlighted
    this.heat = new Map(); // subscription -> when it last did something
    this.element = h("section.pipeline.card", { "aria-label": "From a change to a socket" }, this.lines,
      stages.map(([key, title, meaning]) => {
        const total = h("span.total", null, "0");
        const rate = h("span.rate");
        const list = h("ol");
        this.stages[key] = { total, rate, list };
        return h("div.stage", { role: "group", "aria-labelledby": `pipeline-${key}` },
          h("header", null, h("h2", { id: `pipeline-${key}` }, title), h("p", null, total, rate), h("p", null, meaning)), list);
      }));
  }

  forget() {
    this.changes = [];
    this.frames = [];
    this.render();
  }

  stop() { cancelAnimationFrame(this.frame); }

  /** note adds an entry of the journal. */
  note(entry) {
    switch (entry.kind) {
      case "change":
        this.add(this.changes, { key: `c${entry.seq}`, seq: entry.seq, interaction: entry.interaction, release: entry.release, resource: entry.resource, fired: [] });
        break;
      case "fired":
        this.changeOf(entry).fired.push(entry.topic);
        this.light(`t${entry.topic}`);
        break;
      case "appended":
        this.changeOf(entry);
        this.light(`s${entry.subscription}`);
        this.heat.set(entry.subscription, entry.seq);
        break;
      case "sent":
        if (!entry.subscription) return;
        this.add(this.frames, { key: `f${entry.seq}`, ...entry });
        this.light(`k${entry.socket}`);
        this.heat.set(entry.subscription, entry.seq);
        break;
      default:
        return;
    }
    this.render();
  }

  add(list, item) {
    list.unshift(item);
    if (list.length > most) list.pop();
    this.light(item.key);
  }

  /** light highlights an item and its lines for a while. */
  light(key) { this.lit.set(key, performance.now()); }

  /** changeOf returns the change of an event. It adds one for a triggered event, which has no write. */
  changeOf(entry) {
    const found = this.changes.find((c) => c.resource === entry.resource);
    if (found) return found;
    const made = { key: `c${entry.seq}`, seq: entry.seq, interaction: "triggered", release: entry.release, resource: entry.resource ?? tail(entry.topic), fired: [] };
    this.add(this.changes, made);
    return made;
  }

  update(state) {
    this.state = state;
    const perMinute = (series) => series.slice(-60).reduce((a, b) => a + b, 0);
    const { totals, rates, counts } = state;
    const say = (key, total, rate) => {
      this.stages[key].total.textContent = count(total);
      this.stages[key].rate.textContent = rate;
    };
    say("changes", totals.changes, `${count(perMinute(rates.changes))} a minute`);
    say("topics", state.topics.length, `${count(totals.fired)} fired`);
    say("subscriptions", state.subscriptions.length, `${count(perMinute(rates.events))} events a minute`);
    say("frames", totals.frames, `${count(perMinute(rates.frames))} a minute`);
    say("sockets", counts.sockets, counts.tokens === 1 ? "1 token" : `${count(counts.tokens)} tokens`);
    this.render();
  }

  /** render draws at most once per animation frame. */
  render() {
    if (!this.state) return;
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  paint() {
    const { state } = this;
    const several = Object.keys(state.fhir).length > 1; // releases, each with changes of its own
    const busiest = [...state.subscriptions].sort((a, b) => (this.heat.get(b.id) ?? 0) - (this.heat.get(a.id) ?? 0) || b.sockets.length - a.sockets.length || b.events - a.events);
    // The list has the most active subscriptions, in their usual order.
    const kept = new Set(busiest.slice(0, most).map((s) => s.id));
    this.shown = state.subscriptions.filter((s) => kept.has(s.id));
    const topics = [...state.topics].sort((a, b) => b.events - a.events).slice(0, most).map((t) => t.url);
    this.shownTopics = state.topics.filter((t) => topics.includes(t.url));
    this.put("changes", this.changes.map((c) => [c.key, h("a.item", { href: `/why?seq=${c.seq}`, title: "Why was a subscription notified, or not?", data: { key: c.key } }, h("b.cut", null, c.resource), h("small", null, h("span", null, c.interaction), several && h("span", null, c.release)))]), 0,
      "Nothing was written yet. Fire an event, or start a generator under Trigger.");
    this.put("topics", this.shownTopics.map((t) => [`t${t.url}`, h("div.item", { data: { key: `t${t.url}` }, title: t.url }, h("b.cut", null, t.title || tail(t.url)), h("small", null, h("span.cut", null, t.resources.join(", ")), h("span", null, `${count(t.events)} fired`)))]),
      state.topics.length - this.shownTopics.length, "No topic yet. Write a SubscriptionTopic under Trigger.");
    this.put("subscriptions", this.shown.map((s) => [`s${s.id}`, h("a.item", { href: `/timeline?subscription=${encodeURIComponent(s.id)}`, data: { key: `s${s.id}` } }, h("b.cut.state", { data: { state: s.status } }, s.id), h("small", null, h("span.cut", null, s.content), h("span", null, `#${count(s.events)}`)))]),
      state.subscriptions.length - this.shown.length, "Nobody subscribed yet.");
    this.put("frames", this.frames.map((f) => [f.key, h("a.item", { href: `/timeline/${f.seq}`, data: { key: f.key } }, h("b.cut", null, f.type), h("small", null, h("span.cut", null, f.subscription), h("span", null, numbers(f.first, f.last))))]), 0,
      "No frame was sent. A frame needs a bound socket.");
    this.put("sockets", state.sockets.slice(-most).map((s) => [`k${s.id}`, h("a.item", { href: `/timeline?socket=${encodeURIComponent(s.id)}`, data: { key: `k${s.id}` } }, h("b.cut", null, s.id), h("small", null, h("span.cut", null, s.dialect || "no message yet"), h("span", null, s.bindings.length === 1 ? "1 binding" : `${s.bindings.length} bindings`)))]),
      Math.max(0, state.sockets.length - most), ["No socket is open. ", h("a", { href: "/try" }, "Bind one here"), "."]);
    this.draw();
  }

  put(key, items, more, otherwise) {
    fill(this.stages[key].list,
      items.map(([id, item]) => {
        this.glow(item, id, "lit");
        return h("li", null, item);
      }),
      more > 0 && h("li.hint", null, `and ${count(more)} more`),
      items.length === 0 && h("li.empty", null, otherwise));
  }

  /** glow continues an animation where the last drawing left it. */
  glow(element, key, name) {
    const age = performance.now() - (this.lit.get(key) ?? -Infinity);
    if (age > 4000) return this.lit.delete(key);
    element.classList.add(name);
    element.style.animationDelay = `${-age}ms`;
  }

  /** draw draws the lines between the items. */
  draw() {
    if (!this.shown) return;
    const area = this.element.getBoundingClientRect();
    const boxes = new Map([...this.element.querySelectorAll(".item")].map((e) => [e.dataset.key, e.getBoundingClientRect()]));
    const paths = [];
    const line = (from, to, key) => {
      const a = boxes.get(from);
      const b = boxes.get(to);
      if (!a || !b || b.left <= a.right) return;
      const x1 = a.right - area.left, y1 = a.top + a.height / 2 - area.top;
      const x2 = b.left - area.left, y2 = b.top + b.height / 2 - area.top;
      const bend = (x2 - x1) / 2;
      const path = svg("path", { d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` });
      this.glow(path, key, "fresh");
      paths.push(path);
    };
    for (const s of this.shown) line(`t${s.topic.split("|")[0]}`, `s${s.id}`, `s${s.id}`);
    for (const c of this.changes) for (const t of c.fired) line(c.key, `t${t}`, c.key);
    for (const f of this.frames) {
      line(`s${f.subscription}`, f.key, f.key);
      line(f.key, `k${f.socket}`, f.key);
    }
    this.lines.replaceChildren(...paths.filter((p) => !p.classList.contains("fresh")), ...paths.filter((p) => p.classList.contains("fresh")));
  }
}

function drawChart(rates) {
  // A bar is five seconds: fewer, wider bars are easier to read than 300 thin ones.
  const sum = (series) => {
    const out = [];
    for (let i = 0; i < series.length; i += 5) out.push(series.slice(i, i + 5).reduce((a, b) => a + b, 0));
    return out;
  };
  const frames = sum(rates.frames);
  const events = sum(rates.events);
  const top = Math.max(4, ...frames, ...events);
  const w = 10;
  const y = (v) => 100 - (v / top) * 96;
  return [
    h("figcaption", null, h("h2", null, "The last five minutes"), h("span.key", null, "frames sent"), h("span.key.events-key", null, "events numbered"),
      h("span.hint", null, `maximum in 5 s: ${count(Math.max(...frames, ...events))}`)),
    svg("svg", { viewBox: `0 0 ${frames.length * w} 100`, preserveAspectRatio: "none", role: "img", "aria-label": `${count(frames.reduce((a, b) => a + b, 0))} frames and ${count(events.reduce((a, b) => a + b, 0))} events in the last five minutes` },
      frames.map((v, i) => v > 0 && svg("rect", { class: "frames", x: i * w + 1.5, y: y(v), width: w - 3, height: 100 - y(v) })),
      svg("path", { class: "events", d: "M" + events.map((v, i) => `${i * w + w / 2} ${y(v)}`).join("L") })),
    h("div.axis", { "aria-hidden": "true" }, h("span", null, "5 min ago"), h("span", null, "now")),
  ];
}

function table(title, heads, rows, otherwise) {
  return h("section.section", null, h("h2", null, title),
    rows.length === 0 ? h("p.empty", null, otherwise)
      : h("div.scroll", { tabindex: "0", role: "region", "aria-label": title }, h("table", null, h("thead", null, h("tr", null, heads.map(([name, c]) => h(c ? `th.${c}` : "th", { scope: "col" }, name)))), h("tbody", null, rows))));
}

const shownRows = 100;

function subscriptions(state) {
  const rows = state.subscriptions.slice(0, shownRows).map((s) => h("tr", null,
    h("td", null, h("a.mono", { href: `/resources/Subscription/${encodeURIComponent(s.id)}` }, s.id)),
    h("td.state", { data: { state: s.status }, title: (s.errors ?? []).join("\n") || null }, s.status),
    h("td", null, tail(s.topic)),
    h("td", null, s.content),
    h("td.num", null, count(s.events)),
    h("td", null, s.heartbeatPeriod ? `every ${s.heartbeatPeriod} s` : "none"),
    h("td", null, s.lastFrame ? aged(h("span"), (e) => { e.textContent = ago(now() - new Date(s.lastFrame)); }) : "never"),
    h("td", null, s.sockets.length ? s.sockets.map((id) => h("a.mono", { href: `/timeline?socket=${encodeURIComponent(id)}` }, id, " ")) : h("span.quiet", null, "none")),
    h("td", null, h("a", { href: `/why?subscription=${encodeURIComponent(s.id)}`, "aria-label": `Why ${s.id} was notified, or was not` }, "Why?"))));
  if (state.subscriptions.length > shownRows) rows.push(h("tr", null, h("td", { colspan: 9 }, `and ${count(state.subscriptions.length - shownRows)} more`)));
  return table("Subscriptions", [["Id"], ["Status"], ["Topic"], ["Content"], ["Events", "num"], ["Heartbeat"], ["Last frame"], ["Sockets"], ["Notified"]], rows, "There is no subscription.");
}

function sockets(state) {
  return table("Sockets", [["Id"], ["Dialect"], ["Bound to"], ["Open for"]], state.sockets.slice(-shownRows).map((s) => h("tr", null,
    h("td", null, h("a.mono", { href: `/timeline?socket=${encodeURIComponent(s.id)}` }, s.id)),
    h("td", null, s.dialect || h("span.quiet", null, "no message yet")),
    h("td.mono", null, s.bindings.join(", ") || h("span.quiet", null, "nothing")),
    h("td", null, aged(h("span"), (e) => { e.textContent = span(now() - new Date(s.opened)); })))), "No socket is open.");
}

function tokens(state) {
  return table("Tokens", [["Fingerprint"], ["For"], ["Time left"]], state.tokens.slice(0, shownRows).map((t) => h("tr", null,
    h("td.mono", null, t.fingerprint),
    h("td.mono", null, t.subscriptions.join(", ")),
    h("td", null, aged(h("span"), (e) => {
      const left = new Date(t.expires) - now();
      const whole = new Date(t.expires) - new Date(t.issued);
      fill(e, h("meter", { min: 0, max: whole, low: whole / 5, value: Math.max(0, left), "aria-label": "Time left" }), left > 0 ? span(left) : "expired");
    })))), "There is no valid token. A client gets one with $get-ws-binding-token.");
}
