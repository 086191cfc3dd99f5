// Step 1: the form for a Subscription, with the resource beside it.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { get, curl } from "../../kernel/api.js";
import { jsonTree } from "../../kernel/json.js";
import { tail } from "../../kernel/format.js";
import { on, current } from "../../kernel/stream.js";
import { flow, releases, release, path, about, changed, draftRequest } from "./flow.js";
import { fieldOf } from "./resource.js";

const contents = {
  empty: ["empty", "Only the event number. The client asks the server what happened."],
  "id-only": ["id-only", "The number and a reference. The client reads the resource with its own permissions."],
  "full-resource": ["full-resource", "The resource, and those that the topic includes."],
};
const inputs = {
  heartbeatPeriod: "Seconds without a notification until a heartbeat; 0 for none.",
  timeout: "Seconds to deliver one notification.",
  end: "When it ends, such as 2030-01-01T00:00:00Z.",
  maxCount: "Maximum number of events in a notification.",
  id: "With an id, this is a PUT. Without one, the server chooses the id.",
};
const hints = { patient: "Patient/example", subject: "Patient/example", owner: "Practitioner/example-nurse" };

let topics = [];
export const topicOf = (canonical) => topics.find((t) => t.url === canonical?.split("|")[0]);

export const button = (name, click, props) => h("button", { type: "button", on: { click }, ...props }, name);

/** choices returns a group of radio buttons for {value: [title, explanation]}. */
export function choices(legend, name, options) {
  const error = h("p.error", { hidden: true });
  const box = h("fieldset.choices", null, h("legend", null, legend), Object.entries(options).map(([value, [title, meaning]]) => h("label", null,
    h("input", { type: "radio", name, value, checked: flow.draft[name] === value, on: { change: () => { flow.draft[name] = value; box.refuse(); changed(); } } }),
    h("span", null, title, h("span.hint", null, meaning)))), error);
  box.refuse = (text) => { error.hidden = !text; error.textContent = text ?? ""; };
  return box;
}

/** toggles returns a row of buttons for {key: [name]}. update() marks the current one as pressed. */
export function toggles(label, options, current, choose) {
  const box = h("div.tabs", { role: "group", "aria-label": label }, Object.entries(options).map(([key, [name]]) => button(name, () => choose(key), { class: "small", data: { key } })));
  box.update = () => { for (const b of box.children) b.setAttribute("aria-pressed", b.dataset.key === current()); };
  return box;
}

/** response shows the body of a response. It draws again only for another body. */
export function response(title, open) {
  const box = h("div");
  let shown;
  box.show = (body) => {
    if (body !== shown) fill(box, body && [h("h3", null, title), jsonTree(body, open)]);
    shown = body;
  };
  return box;
}

export function subscribeStep(run) {
  const { draft } = flow;
  const boxes = {};
  for (const [name, hint] of Object.entries(inputs)) {
    const input = h("input", { value: draft[name], spellcheck: "false", on: { input: () => { draft[name] = input.value.trim(); boxes[name].refuse(); changed(); } } });
    boxes[name] = field(name, input, hint);
  }
  const more = h("details", null, h("summary", null, "More: heartbeat, end, id"), h("div.more", null, Object.values(boxes)));
  const topic = h("select", { on: { change: () => { draft.topic = topic.value; boxes.topic.refuse(); draw(); } } });
  boxes.topic = field("Topic", topic, " ");
  boxes.content = choices("Content of a notification", "content", contents);
  const existing = h("select", { on: { change: () => about(() => { draft.existing = existing.value; }) } });
  const existingBox = field("Subscription", existing, "Topic, filters and content stay as they are.");

  // Each topic keeps the filters that were typed for it, as in filterBy.
  const filters = h("fieldset");
  let rows = [];
  const mine = () => (draft.filters[draft.topic] ??= []);
  const offers = () => (topicOf(draft.topic)?.canFilterBy ?? []).flatMap(({ resource: resourceType, filterParameter, comparator = [], modifier = [] }) =>
    [{}, ...comparator.map((c) => ({ comparator: c })), ...modifier.map((m) => ({ modifier: m }))].map((op) => ({ resourceType, filterParameter, ...op })));
  const label = (f) => f.filterParameter + (f.comparator ? ` ${f.comparator}` : f.modifier ? `:${f.modifier}` : "");
  function draw() {
    boxes.topic.querySelector(".hint").textContent = topicOf(draft.topic)?.description ?? "";
    const offered = offers();
    rows = mine().map((f, i) => row(f, i, offered));
    fill(filters, h("legend", null, "Only events where"), rows,
      rows.length === 0 && h("p.hint", null, offered.length ? `No filter: all events are sent. The topic offers ${offered.map(label).join(", ")}.` : "The topic has no filters: all events are sent."),
      offered.length > 0 && button("Add a filter", () => {
        mine().push({ ...offered[0], value: "" });
        draw();
        rows.at(-1).value.focus();
      }, { class: "small" }));
    changed();
  }
  function row(filter, i, offered) {
    const error = h("p.error", { id: `filter-${i}`, hidden: true });
    const what = h("select", { "aria-label": `Filter ${i + 1}` }, offered.map((o, n) => new Option(label(o), n)));
    what.selectedIndex = offered.findIndex((o) => label(o) === label(filter) && o.resourceType === filter.resourceType);
    const value = h("input", { "aria-label": `Value of filter ${i + 1}`, "aria-describedby": error.id, value: filter.value, placeholder: hints[filter.filterParameter] ?? "value", spellcheck: "false" });
    const remove = button("Remove", () => { mine().splice(i, 1); draw(); filters.lastChild.focus(); }, { class: "small", "aria-label": `Remove filter ${i + 1}` });
    const box = h("div.filter", null, what, value, remove, error);
    what.onchange = () => { mine()[i] = { ...offered[what.value], value: value.value }; draw(); };
    value.oninput = () => { filter.value = value.value; box.refuse(); changed(); };
    box.value = value;
    box.refuse = (text, member) => {
      error.hidden = !text;
      error.textContent = text ?? "";
      for (const c of [what, value]) c.toggleAttribute("aria-invalid", false);
      if (text) (member === "value" ? value : what).setAttribute("aria-invalid", "true");
    };
    return box;
  }
  // Topics are described by SubscriptionTopic resources, which R4 does not have. The
  // state says on which releases a topic is offered.
  let loaded = false; // before that there is no topic to subscribe to
  async function load() {
    try {
      const described = releases().filter((r) => r !== "R4").map((r) => get(`/fhir/${r}/SubscriptionTopic?_count=500`));
      const all = (await Promise.all(described)).flatMap((bundle) => bundle.entry?.map((e) => e.resource) ?? []);
      const offered = (current()?.topics ?? []).filter((t) => t.releases.includes(release()));
      topics = offered.map((t) => all.find((one) => one.url === t.url) ?? { url: t.url, title: t.title });
    } catch {
      return;
    } finally {
      loaded = true;
      changed();
    }
    draft.topic ||= topics[0]?.url ?? "";
    fill(topic, topics.map((t) => new Option(t.title || tail(t.url), t.url)));
    if (draft.topic && !topicOf(draft.topic)) topic.append(new Option(`${tail(draft.topic)} (not on this server)`, draft.topic));
    topic.value = draft.topic;
    draw();
  }

  const versions = h("div.tabs", { role: "group", "aria-label": "FHIR release" });
  const mode = toggles("Which subscription", { new: ["A new one"], existing: ["An existing one"] }, () => draft.mode, (key) => about(() => { draft.mode = key; }));
  const create = h("button", { type: "submit" });
  const another = button("Start another", () => { create.focus(); about(() => { flow.created = ""; }); });
  const form = h("form", { novalidate: true, on: { submit: (event) => { event.preventDefault(); run("subscribe"); } } }, boxes.topic, filters, boxes.content, more, h("div.actions", null, create, another));

  let as = "json";
  let lines;
  const shown = h("pre", { tabindex: "0" });
  const line = h("h3");
  const stored = response("Stored as", 1);
  const views = toggles("Show as", { json: ["JSON"], curl: ["curl"] }, () => as, (key) => { as = key; lines = null; changed(); });

  function update() {
    const making = draft.mode === "new";
    versions.hidden = !making || versions.children.length < 2;
    for (const b of versions.children) b.setAttribute("aria-pressed", b.dataset.key === release());
    form.hidden = !making;
    existingBox.hidden = making;
    mode.update();
    views.update();
    const [method, address, resource] = making ? draftRequest() : ["GET", path(), flow.resource];
    line.textContent = `${method} ${address}`;
    create.textContent = flow.created && address === path() ? `Update ${flow.created}` : "Subscribe";
    create.disabled = !loaded;
    another.hidden = !flow.created;
    stored.show(making && flow.resource);
    const now = as === "curl" ? curl(method, address, making && resource) : resource ? JSON.stringify(resource, null, 2) : "Nothing is chosen yet.";
    if (now === shown.textContent) return;
    // Highlight the lines that a keystroke changed.
    const before = lines && new Set(lines);
    lines = now.split("\n");
    fill(shown, lines.map((l, i) => [i ? "\n" : "", before && !before.has(l) ? h("mark", null, l) : l]));
  }

  /** refuse shows each problem beside its field. It returns the texts of the others. */
  function refuse(issues = []) {
    const said = new Map();
    for (const box of [...Object.values(boxes), ...rows]) box.refuse();
    const rest = issues.filter(({ expression, text }) => {
      const { name, index, member } = release() === "R5" ? fieldOf(expression[0], {}) : fieldOf(expression[0], draft);
      const box = name === "filterBy" ? rows[index] : boxes[name];
      if (!box) return true;
      said.set(box, said.has(box) ? `${said.get(box)}\n${text}` : text);
      box.refuse(said.get(box), member);
      more.open ||= more.contains(box);
      return false;
    });
    form.querySelector("[aria-invalid]")?.focus();
    return rest.map((issue) => issue.text);
  }

  const ends = [
    on("state", ({ subscriptions, fhir, topics: offered }) => {
      const all = Object.keys(fhir).sort().reverse();
      if (all.join() !== versions.dataset.of) {
        versions.dataset.of = all.join();
        fill(versions, all.map((r) => button(r, () => about(() => {
          Object.assign(draft, { release: r });
          flow.created = ""; // it belongs to the other release
          load();
        }), { class: "small", data: { key: r } })));
        changed();
      }
      const known = offered.map((t) => t.url + t.releases).join();
      if (known !== versions.dataset.topics) {
        versions.dataset.topics = known;
        load();
      }
      const ids = subscriptions.map((s) => s.id);
      if (ids.join() !== existing.dataset.ids) fill(existing, new Option("choose one", ""), ids.map((id) => new Option(id, id)));
      existing.dataset.ids = ids.join();
      existing.value = draft.existing;
    }),
    on("entry", (entry) => { if (entry.resource?.startsWith("SubscriptionTopic/")) load(); }),
    on("restart", load),
  ];
  return {
    left: [mode, versions, existingBox, form],
    right: [h("div.wire-head", null, line, views), h("div.code", null, shown, copyButton("Copy", () => shown.textContent)), stored],
    update, refuse, loaded: () => loaded, end: () => ends.forEach((f) => f()),
  };
}
