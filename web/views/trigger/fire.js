// Synthetic events: POST /mock/trigger.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { post, curl } from "../../kernel/api.js";
import { on } from "../../kernel/stream.js";
import { tail, numbers } from "../../kernel/format.js";
import { kept } from "./kept.js";

export function fireSection() {
  const draft = kept("trigger-fire", { target: "", about: "made", interaction: "create", count: "1", interval: "", reference: "", focus: "" });
  const target = h("select", { on: { change: () => set("target", target.value) } });
  const select = (name, options) => h("select", { on: { change: (e) => set(name, e.target.value) } }, Object.entries(options).map(([value, title]) => new Option(title, value, false, draft[name] === value)));
  const input = (name, props) => h("input", { value: draft[name], autocomplete: "off", spellcheck: "false", ...props, on: { input: (e) => set(name, e.target.value) } });
  const boxes = {
    topic: field("For", target),
    interaction: field("As if by", select("interaction", { create: "a create", update: "an update", delete: "a delete" })),
    count: field("How many", input("count", { inputmode: "numeric" })),
    interval: field("Time between", input("interval", { placeholder: "at once" }), "Such as 250ms or 2s."),
    about: field("About", select("about", { made: "a resource the server makes up", reference: "a reference", focus: "a resource of yours" })),
    reference: field("Reference", input("reference", { placeholder: "Encounter/example" }), "Stored or not."),
    focus: field("Resource", h("textarea", { rows: 6, spellcheck: "false", value: draft.focus, on: { input: (e) => set("focus", e.target.value) } })),
  };
  boxes.subscription = boxes.topic;
  const go = h("button.primary", { type: "submit" }, "Fire");
  const said = h("div", { role: "status" });
  const command = h("pre", { tabindex: "0" });
  const element = h("section.section.make", { "aria-label": "Fire events" },
    h("form.do", { on: { submit: (event) => { event.preventDefault(); fire(); } } },
      h("h2", null, "Fire events"),
      boxes.topic, h("div.three", null, boxes.interaction, boxes.count, boxes.interval), boxes.about, boxes.reference, boxes.focus,
      h("div.actions", null, go)),
    h("div.wire", null, h("h3", null, "POST /mock/trigger"), h("div.code", null, command, copyButton("Copy", () => command.textContent)), said));

  function set(name, value) {
    draft[name] = value;
    draft.keep();
    Object.values(boxes).forEach((box) => box.refuse());
    update();
  }

  /** request is the body of the call; a text that is no JSON stays as it is typed. */
  function request() {
    const [kind, name] = draft.target.split(/ (.*)/s);
    const body = kind === "subscription" ? { subscription: name } : { topic: name ?? "" };
    if (draft.about === "reference") body.reference = draft.reference.trim();
    if (draft.about === "focus") {
      try { body.focus = JSON.parse(draft.focus); } catch { body.focus = draft.focus; }
    }
    if (draft.interaction !== "create") body.interaction = draft.interaction;
    if (draft.count.trim() !== "1") body.count = Number.isInteger(Number(draft.count)) && draft.count.trim() ? Number(draft.count) : draft.count;
    if (draft.interval.trim()) body.interval = draft.interval.trim();
    return body;
  }

  function update() {
    boxes.reference.hidden = draft.about !== "reference";
    boxes.focus.hidden = draft.about !== "focus";
    command.textContent = curl("POST", "/mock/trigger", request());
  }

  async function fire() {
    const body = request();
    if (typeof body.focus === "string") return boxes.focus.refuse("this is no JSON");
    go.disabled = true;
    try {
      const { events, scheduled } = await post("/mock/trigger", body);
      const runs = new Map();
      for (const e of events) runs.set(e.subscription, [runs.get(e.subscription)?.[0] ?? e.number, e.number]);
      fill(said,
        runs.size === 0 && h("p", null, "It concerned no subscription. ", h("a", { href: "/timeline?show=decisions" }, "Why?")),
        h("ul.set-off", null, [...runs].map(([id, [first, last]]) => h("li", null, h("a.mono", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, id), ` got event ${numbers(first, last)}`))),
        scheduled > 0 && h("p.hint", null, `${scheduled} more follow in their time.`));
    } catch (error) {
      // The detail begins with the member it is about.
      const name = Object.keys(boxes).find((key) => error.message.startsWith(key) || error.issues?.some((i) => i.expression.some((x) => x.startsWith(key))));
      const box = boxes[name] && !boxes[name].hidden ? boxes[name] : draft.about === "focus" ? boxes.focus : null;
      if (box) box.refuse(error.message);
      fill(said, h("p.error", null, error.message));
    }
    go.disabled = false;
  }

  let listed = "";
  const end = on("state", (state) => {
    const key = JSON.stringify([state.topics.map((t) => t.url), state.subscriptions.map((s) => s.id)]);
    if (key === listed) return;
    listed = key;
    fill(target,
      h("optgroup", { label: "Everybody on a topic" }, state.topics.map((t) => new Option(t.title || tail(t.url), `topic ${t.url}`))),
      h("optgroup", { label: "One subscription" }, state.subscriptions.map((s) => new Option(`${s.id} (${s.content})`, `subscription ${s.id}`))));
    if ([...target.options].some((o) => o.value === draft.target)) target.value = draft.target;
    draft.target = target.value;
    update();
  });
  update();
  return { element, end };
}
