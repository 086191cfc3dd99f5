// Step 1: the form that stands for a Subscription, and what it stands for.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { get, curl } from "../../kernel/api.js";
import { on } from "../../kernel/stream.js";
import { tail } from "../../kernel/format.js";
import { flow, base, about, changed, draftRequest, subject } from "./flow.js";

const contents = {
  empty: ["empty", "Only the number: something happened. What it was, the client asks with $events or a search."],
  "id-only": ["id-only", "The number and a reference to the resource. The client reads it, under its own rights."],
  "full-resource": ["full-resource", "The resource itself, and those the topic sends along. No further request is needed."],
};
const comparators = { eq: "equals", ne: "is not", gt: "is above", lt: "is below", ge: "is at least", le: "is at most", sa: "starts after", eb: "ends before", ap: "is about" };
const modifiers = { not: "is not", above: "is above, in the hierarchy,", below: "is below, in the hierarchy,", in: "is in the value set", "not-in": "is not in the value set", contains: "contains", exact: "is exactly", text: "has the text", missing: "is missing:", identifier: "has the identifier" };
// What a parameter of this name points to: its resources are offered as values.
const targets = { patient: "Patient", subject: "Patient", owner: "Practitioner", performer: "Practitioner", encounter: "Encounter" };

/** Topics as the server has them; step 4 reads their triggers. */
export let topics = [];
export const topicOf = (canonical) => topics.find((t) => t.url === (canonical ?? "").split("|")[0]);

export function subscribeStep(run) {
  const { draft } = flow;
  const touch = (name, box) => (event) => {
    draft[name] = event.target.value;
    box?.refuse();
    changed();
  };
  const text = (name, label, hint, props) => {
    const control = h("input", { value: draft[name], autocomplete: "off", spellcheck: "false", ...props });
    const box = field(label, control, hint);
    control.addEventListener("input", touch(name, box));
    return box;
  };
  const boxes = {
    heartbeatPeriod: text("heartbeatPeriod", "heartbeatPeriod", "Seconds of silence after which a heartbeat comes; 0 for none.", { inputmode: "numeric" }),
    timeout: text("timeout", "timeout", "Seconds the server tries to deliver one notification.", { inputmode: "numeric" }),
    end: text("end", "end", "When it ends by itself, such as 2030-01-01T00:00:00Z.", {}),
    maxCount: text("maxCount", "maxCount", "Most events in one notification.", { inputmode: "numeric" }),
    id: text("id", "id", "With an id the request is a PUT; without, the server chooses one.", {}),
  };
  const topic = h("select", { on: { change: (event) => { touch("topic", boxes.topic)(event); drawFilters(); } } });
  boxes.topic = field("Topic", topic, " ");
  const existing = h("select", { on: { change: () => { about(() => { draft.existing = existing.value; }); } } });
  const existingBox = field("Subscription", existing, "It keeps its topic, filters and content; the flow goes on with a token for it.");

  const wrong = h("p.error", { hidden: true });
  const content = h("fieldset.choices", null, h("legend", null, "Content of a notification"),
    Object.entries(contents).map(([value, [name, meaning]]) => h("label", null,
      h("input", { type: "radio", name: "content", value, checked: draft.content === value, on: { change: (event) => { boxes.content.refuse(); touch("content")(event); } } }),
      h("span", null, h("b", null, name), h("span.hint", null, meaning)))), wrong);
  boxes.content = { control: content.querySelector("input"), refuse: (t) => { wrong.hidden = !t; wrong.textContent = t ?? ""; } };

  // Filters, of the topic that is chosen: those of another come back with it.
  const filters = h("fieldset.filters");
  const values = h("datalist", { id: "filter-values" });
  let rows = [];
  const offers = () => topicOf(draft.topic)?.canFilterBy ?? [];
  const mine = () => (draft.filters[draft.topic] ??= []);
  function drawFilters() {
    const about = topicOf(draft.topic);
    boxes.topic.querySelector(".hint").textContent = about?.description ?? "";
    rows = mine().map(filterRow);
    fill(filters, h("legend", null, "Only events where"),
      rows,
      about && offers().length === 0 && h("p.hint", null, "This topic offers no filter: every event of it comes."),
      offers().length > 0 && rows.length === 0 && h("p.hint", null, `Every event comes. The topic offers to filter by ${offers().map((o) => o.filterParameter).join(", ")}.`),
      offers().length > 0 && h("button.small", { type: "button", on: { click: add } }, "Add a filter"));
    changed();
  }
  function add() {
    const [first] = offers().filter((o) => !mine().some((f) => f.parameter === o.filterParameter)).concat(offers());
    mine().push({ resource: first.resource ?? "", parameter: first.filterParameter, op: "", value: "" });
    drawFilters();
    rows.at(-1).value.focus();
  }
  function filterRow(filter, i) {
    const named = `Filter ${i + 1}:`;
    const offer = offers().find((o) => o.filterParameter === filter.parameter && (o.resource ?? "") === filter.resource);
    const error = h("p.error", { id: `filter-${i}`, hidden: true });
    const parameter = h("select", { "aria-label": `${named} parameter` }, offers().map((o, n) => new Option(o.filterParameter, n)));
    parameter.selectedIndex = offers().indexOf(offer);
    const op = h("select", { "aria-label": `${named} comparison` }, new Option("is", ""),
      (offer?.comparator ?? []).map((c) => new Option(`${comparators[c] ?? c} (${c})`, `c:${c}`)),
      (offer?.modifier ?? []).map((m) => new Option(`${modifiers[m] ?? m} (:${m})`, `m:${m}`)));
    op.value = filter.op;
    const value = h("input", { "aria-label": `${named} value`, "aria-describedby": error.id, value: filter.value, placeholder: targets[filter.parameter] ? `${targets[filter.parameter]}/example` : "value", autocomplete: "off", spellcheck: "false", list: "filter-values" });
    const row = h("div.filter", null, parameter, op, value,
      h("button.small", { type: "button", "aria-label": `Remove filter ${i + 1}`, on: { click: () => { mine().splice(i, 1); drawFilters(); filters.querySelector("button:last-child").focus(); } } }, "Remove"), error);
    parameter.addEventListener("change", () => {
      const chosen = offers()[parameter.value];
      Object.assign(filter, { parameter: chosen.filterParameter, resource: chosen.resource ?? "", op: "" });
      drawFilters();
    });
    op.addEventListener("change", () => { filter.op = op.value; row.refuse(); changed(); });
    value.addEventListener("input", () => { filter.value = value.value; row.refuse(); changed(); });
    value.addEventListener("focus", () => suggest(filter.parameter));
    row.value = value;
    row.refuse = (t, member) => {
      const control = { filterParameter: parameter, comparator: op, modifier: op }[member] ?? value;
      for (const c of [parameter, op, value]) c.removeAttribute("aria-invalid");
      error.hidden = !t;
      error.textContent = t ?? "";
      if (t) control.setAttribute("aria-invalid", "true");
      row.control = control;
    };
    return row;
  }
  async function suggest(parameter) {
    fill(values);
    if (!targets[parameter]) return;
    try {
      const bundle = await get(`${base}/${targets[parameter]}?_count=50`);
      fill(values, (bundle.entry ?? []).map(({ resource: r }) => h("option", { value: `${r.resourceType}/${r.id}` }, [...(r.name?.[0]?.given ?? []), r.name?.[0]?.family].filter(Boolean).join(" "))));
    } catch { /* a suggestion more or less */ }
  }

  async function load() {
    try {
      topics = ((await get(`${base}/SubscriptionTopic?_count=500`)).entry ?? []).map((e) => e.resource).filter((r) => r.resourceType === "SubscriptionTopic" && r.status !== "retired");
    } catch { return; }
    if (!draft.topic) draft.topic = topics[0]?.url ?? "";
    fill(topic, topics.map((t) => new Option(t.title || tail(t.url), t.url)));
    if (draft.topic && !topicOf(draft.topic)) topic.append(new Option(`${tail(draft.topic)}, which the server does not have`, draft.topic));
    topic.value = draft.topic;
    drawFilters();
  }

  const modes = h("div.tabs", { role: "group", "aria-label": "Which subscription" }, [["new", "A new one"], ["existing", "One there is"]].map(([mode, name]) =>
    h("button.small", { type: "button", data: { mode }, on: { click: () => about(() => { draft.mode = mode; }) } }, name)));
  const more = h("details", null, h("summary", null, "More: heartbeat, end, id"), h("div.more", null, Object.values(boxes).slice(0, 5)));
  const create = h("button", { type: "submit" });
  const another = h("button", { type: "button", on: { click: () => about(() => { flow.created = ""; }) } }, "Begin another one");
  const form = h("form", { novalidate: true, on: { submit: (event) => { event.preventDefault(); run("subscribe"); } } },
    boxes.topic, filters, content, more, h("div.actions", null, create, another), values);

  const shown = h("pre", { tabindex: "0" });
  const copy = copyButton("Copy", () => shown.textContent);
  let as = "json";
  const views = h("div.tabs", { role: "group", "aria-label": "Show as" }, [["json", "JSON"], ["curl", "curl"]].map(([key, name]) =>
    h("button.small", { type: "button", data: { key }, on: { click: () => { as = key; changed(); } } }, name)));
  const line = h("h3");
  const wire = h("div", null, h("div.wire-head", null, line, views), h("div.code", null, shown, copy));

  let lines;
  function update() {
    const fresh = draft.mode === "new";
    for (const b of modes.children) b.setAttribute("aria-pressed", b.dataset.mode === draft.mode);
    form.hidden = !fresh;
    existingBox.hidden = fresh;
    const [method, path, resource] = fresh ? draftRequest() : ["GET", `${base}/Subscription/${encodeURIComponent(subject() || "ID")}`, flow.resource];
    line.textContent = `${method} ${path}`;
    create.textContent = method === "PUT" && flow.created === resource.id ? `Update ${flow.created}` : "Subscribe";
    another.hidden = !flow.created;
    for (const b of views.children) b.setAttribute("aria-pressed", b.dataset.key === as);
    const now = as === "curl" ? curl(method, path, fresh ? resource : undefined) : resource ? JSON.stringify(resource, null, 2) : "";
    if (now !== shown.textContent) {
      // What a keystroke changed lights up.
      const before = new Set(lines);
      fill(shown, now.split("\n").map((l, i) => [i ? "\n" : "", lines && !before.has(l) ? h("mark", null, l) : l]));
      lines = now.split("\n");
    }
    wire.hidden = !now;
  }

  /** refuse shows each problem beside its field and answers those that fit none. */
  function refuse(issues = []) {
    const rest = [];
    const texts = new Map();
    for (const box of [...Object.values(boxes), ...rows]) box.refuse();
    for (const issue of issues) {
      const [, name, index, member] = /^Subscription\.(\w+)(?:\[(\d+)\])?(?:\.(\w+))?/.exec(issue.expression[0] ?? "") ?? [];
      const box = name === "filterBy" ? rows[index] : boxes[name];
      if (!box) {
        rest.push(issue.text);
        continue;
      }
      texts.set(box, [...(texts.get(box) ?? []), issue.text]);
      box.refuse(texts.get(box).join("\n"), member);
      if (more.contains(box)) more.open = true;
    }
    texts.keys().next().value?.control.focus();
    return rest;
  }

  const ends = [
    on("state", (state) => {
      const ids = state.subscriptions.map((s) => s.id);
      if (draft.existing && !ids.includes(draft.existing)) ids.unshift(draft.existing);
      if (ids.join() !== [...existing.options].slice(1).map((o) => o.value).join()) {
        fill(existing, new Option("choose one", ""), ids.map((id) => new Option(id, id)));
      }
      existing.value = draft.existing;
    }),
    on("entry", (entry) => { if (entry.resource?.startsWith("SubscriptionTopic/")) load(); }),
    on("restart", load),
  ];
  load();
  return { left: [modes, existingBox, form], right: wire, update, refuse, end: () => ends.forEach((f) => f()) };
}
