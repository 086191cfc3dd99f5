// Synthetic events: POST /mock/trigger.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { post, curl } from "../../kernel/api.js";
import { on } from "../../kernel/stream.js";
import { address } from "../../kernel/room.js";
import { count, tail, numbers } from "../../kernel/format.js";
import { editor } from "./editor.js";
import { kept } from "./kept.js";
import { lineOf, problemOf } from "./scan.js";

export function fireSection() {
  const draft = kept("trigger-fire", { target: "", about: "made", interaction: "create", count: "1", interval: "", reference: "", focus: "" });
  const listen = (name) => ({ input: (event) => set(name, event.target.value) });
  const select = (name, options = {}) => h("select", { on: listen(name) }, Object.entries(options).map(([value, title]) => new Option(title, value, false, draft[name] === value)));
  const input = (name, props) => h("input", { value: draft[name], autocomplete: "off", spellcheck: "false", ...props, on: listen(name) });
  const target = select("target");
  const boxes = {
    topic: field("For", target),
    interaction: field("Interaction", select("interaction", { create: "create", update: "update", delete: "delete" })),
    count: field("How many", input("count", { inputmode: "numeric" })),
    interval: field("Time between", input("interval", { placeholder: "at once" }), "Such as 250ms or 2s."),
    about: field("About", select("about", { made: "a resource that the server makes", reference: "a reference", focus: "a resource that you write" })),
    reference: field("Reference", input("reference", { placeholder: "Encounter/example" }), "Stored or not."),
    focus: editor("Resource", draft.focus, 8, (text) => set("focus", text)),
  };
  const said = h("div", { role: "status" });
  const send = h("button.primary", { type: "submit", disabled: true }, "Fire"); // until there is a target
  const command = h("pre", { tabindex: "0" });
  const element = h("section.section.make", { "aria-label": "Fire events" },
    h("form.do", { on: { submit: (event) => { event.preventDefault(); fire(); } } },
      h("h2", null, "Fire events"),
      boxes.topic, h("div.three", null, boxes.interaction, boxes.count, boxes.interval), boxes.about, boxes.reference, boxes.focus,
      h("div.actions", null, send)),
    h("div.wire", null, h("h3", null, `POST ${address("/mock/trigger")}`), h("div.code", null, command, copyButton("Copy", () => command.textContent)), said));

  function set(name, value) {
    draft[name] = value;
    draft.keep();
    if (name !== "focus") boxes[name]?.refuse();
    update();
  }

  /** request returns the body of the call. A text that is not JSON stays as it was typed. */
  function request() {
    const { about, interaction, count, interval } = draft;
    const [kind, name] = draft.target.split(/ (.*)/s);
    const body = { [kind || "topic"]: name ?? "" };
    if (about === "reference") body.reference = draft.reference.trim();
    if (about === "focus") body.focus = problemOf(draft.focus) ? draft.focus : JSON.parse(draft.focus);
    if (interaction !== "create") body.interaction = interaction;
    if (count.trim() !== "1") body.count = /^\s*\d+\s*$/.test(count) ? Number(count) : count;
    if (interval.trim()) body.interval = interval.trim();
    return body;
  }

  function update() {
    boxes.reference.hidden = draft.about !== "reference";
    boxes.focus.hidden = draft.about !== "focus";
    command.textContent = curl("POST", "/mock/trigger", request());
  }

  let busy = false;
  async function fire() {
    if (busy) return;
    Object.values(boxes).forEach((box) => box.refuse());
    fill(said);
    const problem = draft.about === "focus" && problemOf(draft.focus);
    if (problem) return refuse([{ text: problem, expression: ["focus"] }]);
    busy = true;
    try {
      const { events, scheduled } = await post("/mock/trigger", request());
      const runs = Map.groupBy(events, (e) => e.subscription);
      fill(said,
        !runs.size && h("p", null, "No subscription got an event. ", h("a", { href: "/timeline?show=decisions" }, "Why?")),
        h("ul.set-off", null, [...runs].map(([id, run]) => h("li", null, h("a.mono", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, id), ` got event ${numbers(run[0].number, run.at(-1).number)}`))),
        scheduled > 0 && h("p.hint", null, `${count(scheduled)} more will follow.`));
    } catch (error) {
      refuse(error.issues?.length ? error.issues : [{ text: error.message, expression: [] }]);
    }
    busy = false;
  }

  /** refuse shows each problem beside its field, and the others below the request. */
  function refuse(issues) {
    const beside = new Map();
    for (const { text, expression: [about = ""] } of issues) {
      const box = boxes[about] ?? boxes[/^\w+(?=[:.])/.exec(text)] ?? (/^[A-Z]/.test(about) ? boxes.focus : null);
      const line = box === boxes.focus && lineOf(draft.focus, about);
      const place = box?.hidden ? null : box;
      beside.set(place, [...(beside.get(place) ?? []), line ? `line ${line}: ${text}` : text]);
    }
    for (const [box, texts] of beside) box?.refuse(texts.join("\n"));
    fill(said, beside.get(null)?.map((text) => h("p.error", null, text)));
    element.querySelector("[aria-invalid]")?.focus();
  }

  let listed = "";
  const end = on("state", ({ topics, subscriptions }) => {
    const options = [topics.map((t) => [t.title || tail(t.url), `topic ${t.url}`]), subscriptions.map((s) => [`${s.id} (${s.content})`, `subscription ${s.id}`])];
    const key = JSON.stringify(options);
    if (key === listed) return;
    listed = key;
    fill(target, ["All subscriptions on a topic", "One subscription"].map((label, i) => h("optgroup", { label }, options[i].map((o) => new Option(...o)))));
    if (options.flat().some(([, value]) => value === draft.target)) target.value = draft.target;
    draft.target = target.value;
    send.disabled = !draft.target;
    update();
  });
  update();
  return { element, end };
}
