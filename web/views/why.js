// Why a subscription was notified of a change, or was not: each question the
// server asked, with its answer.

import { h, fill } from "../kernel/dom.js";
import { get } from "../kernel/api.js";
import { on } from "../kernel/stream.js";
import { visit } from "../kernel/room.js";
import { time, what } from "../kernel/format.js";
import { verdicts } from "./why/verdict.js";

const most = 30; // changes shown

export function mount(root, path, query) {
  const asked = { subscription: query.get("subscription") ?? "", resource: query.get("resource") ?? "", seq: query.get("seq") ?? "" };
  const ids = h("datalist", { id: "why-subscriptions" });
  const subscription = h("input", { id: "why-subscription", value: asked.subscription, list: ids.id, placeholder: "any", spellcheck: "false", autocomplete: "off" });
  const resource = h("input", { id: "why-resource", value: asked.resource, placeholder: "any, as in Encounter/1", spellcheck: "false", autocomplete: "off" });
  const answer = h("div.answers", { "aria-live": "polite" });
  const problem = h("p.error", { role: "alert" });
  const form = h("form.ask", { on: { submit: (event) => {
    event.preventDefault();
    Object.assign(asked, { subscription: subscription.value.trim(), resource: resource.value.trim(), seq: "" });
    ask(true);
  } } },
  h("div.field", null, h("label", { for: subscription.id }, "Subscription"), subscription),
  h("div.field", null, h("label", { for: resource.id }, "Resource"), resource),
  h("button.primary", { type: "submit" }, "Ask"), ids);
  root.append(
    h("div.head", null, h("div", null, h("h1", null, "Why?"),
      h("p.lede", null, "Why a subscription was notified of a change, or was not: each question the server asked, with its answer. Criteria and filters are evaluated again, as they are now. What happened to an event comes from the journal."))),
    form, problem, answer);

  let turn = 0;
  async function ask(typed) {
    const q = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
    if (typed) visit(`/why${q.size ? `?${q}` : ""}`);
    const mine = ++turn;
    problem.textContent = "";
    if (!q.size) return fill(answer, h("p.empty", null, "Name a subscription, a resource, or both. Every change in the timeline has a link to this view."));
    try {
      const { changes } = await get(`/mock/explain?${q}`);
      if (mine !== turn) return;
      draw(changes.reverse());
    } catch (error) {
      if (mine === turn) problem.textContent = error.message;
    }
  }

  function draw(changes) {
    const opened = new Set([...answer.querySelectorAll("details")].filter((d) => d.open !== d.defaultOpen).map((d) => d.dataset.key));
    fill(answer, changes.slice(0, most).map((c) => article(c)),
      !changes.length && h("p.empty", null, asked.seq ? "That entry does not belong to a change." : "The journal has no such change."),
      changes.length > most && h("p.quiet", null, `and ${changes.length - most} older ones`));
    for (const d of answer.querySelectorAll("details")) {
      d.defaultOpen = d.open;
      d.dataset.key = d.closest("article").dataset.seq + d.querySelector("summary").textContent;
      if (opened.has(d.dataset.key)) d.open = !d.open;
    }
  }

  function article(c) {
    const title = c.version ? `${c.interaction} ${c.resource}` : `triggered event about ${c.resource}`;
    return h("article.card", { data: { seq: c.seq }, "aria-label": title },
      h("header", null,
        h("h2", null, title, c.version && h("span.quiet", null, ` version ${c.version}`)),
        h("p.quiet", null, `${time(c.time)}, ${c.release ?? ""} `, h("a", { href: `/timeline/${c.seq}` }, "in the timeline"))),
      c.note && h("p.quiet", null, c.note),
      c.verdict && verdicts(c.verdict, asked.subscription),
      (c.note || !c.verdict) && c.steps.length > 0 && h("ul.happened", null, c.steps.map((s) => h("li", null, h("a", { href: `/timeline/${s.seq}` }, s.subscription ? `${s.subscription}: ` : "", what({ ...s, resource: c.resource, type: s.kind === "sent" ? "sent event" : undefined }))))));
  }

  let soon;
  const again = new Set(["change", "fired", "appended", "sent", "not-sent", "reset"]);
  const ends = [
    on("state", (state) => {
      const list = state.subscriptions.map((s) => s.id).slice(0, 500);
      if (list.join() === ids.dataset.of) return;
      ids.dataset.of = list.join();
      fill(ids, list.map((id) => new Option(id)));
    }),
    on("entry", (entry) => {
      if (asked.seq || !again.has(entry.kind) || (asked.resource && entry.resource && entry.resource !== asked.resource)) return;
      clearTimeout(soon);
      soon = setTimeout(ask, 300);
    }),
    on("restart", () => ask()),
  ];
  ask();
  return () => { turn++; clearTimeout(soon); ends.forEach((end) => end()); };
}
