// A write of one's own: an editor, the request it stands for, and what the write
// set off, from the stream.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { get, request, curl } from "../../kernel/api.js";
import { on } from "../../kernel/stream.js";
import { tail, numbers } from "../../kernel/format.js";
import { kept } from "./kept.js";

export function writeSection(query) {
  const draft = kept("trigger-write", { release: "R5", type: "Encounter", id: "", text: "" });
  const type = h("input", { value: draft.type, list: "types-held", autocomplete: "off", spellcheck: "false", on: { change: () => { set("type", type.value.trim()); load(); } } });
  const id = h("input", { value: draft.id, list: "ids-held", autocomplete: "off", spellcheck: "false", placeholder: "the server chooses one", on: { change: () => { set("id", id.value.trim()); if (draft.id) load(); } } });
  const text = h("textarea", { rows: 22, value: draft.text, spellcheck: "false", wrap: "off", on: { input: () => { set("text", text.value); box.refuse(problemOf(text.value)); }, keydown: indent } });
  const box = field("Resource", text, "Tab indents; Escape and then Tab leaves.");
  const types = h("datalist", { id: "types-held" });
  const ids = h("datalist", { id: "ids-held" });
  const save = h("button.primary", { type: "submit" });
  const remove = h("button", { type: "button", on: { click: () => send("DELETE") } }, "Delete");
  const issues = h("ul.issues");
  const command = h("pre", { tabindex: "0" });
  const line = h("h3");
  const setOff = h("div", { role: "status" });
  const element = h("section.section.make", { "aria-label": "Write a resource" },
    h("form.do", { on: { submit: (event) => { event.preventDefault(); send(draft.id ? "PUT" : "POST"); } } },
      h("h2", null, "Write a resource"),
      h("div.three", null, field("Type", type), field("Id", id)), types, ids,
      box, h("div.actions", null, save, remove, h("button", { type: "button", on: { click: () => load(true) } }, "Another example")), h("div", { role: "alert" }, issues)),
    h("div.wire", null, setOff, line, h("div.code", null, command, copyButton("Copy", () => command.textContent))));

  const base = () => `/fhir/${draft.release}`;
  const path = () => `${base()}/${draft.type}${draft.id ? `/${draft.id}` : ""}`;

  function set(name, value) {
    draft[name] = value;
    draft.keep();
    update();
  }

  function update() {
    const method = draft.id ? "PUT" : "POST";
    save.textContent = draft.id ? "Save" : "Create";
    remove.hidden = !draft.id;
    line.textContent = `${method} ${path()}`;
    command.textContent = curl(method, path(), draft.text);
  }

  /** load fills the editor: with the resource of that id, else with one like those there are. */
  async function load(another) {
    fill(issues);
    let resource = null;
    try {
      if (draft.id && !another) resource = await get(path()).catch((error) => { if (error.status !== 404 && error.status !== 410) throw error; });
      if (!resource) {
        const found = (await get(`${base()}/${encodeURIComponent(draft.type)}?_sort=-_lastUpdated&_count=20`)).entry?.map((e) => e.resource).filter((r) => r.resourceType === draft.type) ?? [];
        resource = found[another ? Math.floor(Math.random() * found.length) : 0];
        resource = resource ? { ...resource, id: draft.id || undefined } : { resourceType: draft.type, id: draft.id || undefined };
      }
      if (another) { id.value = ""; draft.id = ""; delete resource.id; }
      const { meta, ...rest } = resource;
      const { versionId, lastUpdated, source, ...kept } = meta ?? {};
      text.value = JSON.stringify(Object.keys(kept).length ? { ...rest, meta: kept } : rest, null, 2);
      set("text", text.value);
      box.refuse();
    } catch (error) {
      show(error);
    }
  }

  async function send(method) {
    fill(issues);
    fill(setOff);
    const problem = method !== "DELETE" && problemOf(text.value);
    if (problem) return box.refuse(problem);
    box.refuse();
    watch = { reference: draft.id && `${draft.type}/${draft.id}`, entries: [] };
    save.disabled = true;
    try {
      const answer = await request(method, path(), method === "DELETE" ? null : text.value);
      const stored = answer.body;
      const reference = method === "DELETE" ? `${draft.type}/${draft.id}` : `${stored.resourceType}/${stored.id}`;
      watch.reference = reference;
      watch.said = method === "DELETE" ? ["Deleted ", h("span.mono", null, reference), "."] : [answer.status === 201 ? "Created " : "Saved ", h("a.mono", { href: `/resources/${reference}` }, reference), ` as version ${stored.meta?.versionId}.`];
      drawSetOff();
    } catch (error) {
      watch = null;
      show(error);
    }
    save.disabled = false;
  }

  /** show lists what the server refused, with the line of each where it can be found. */
  function show(error) {
    const list = error.issues?.length ? error.issues : [{ text: error.message, code: "", expression: [] }];
    fill(issues, list.map((issue) => {
      const at = lineOf(text.value, issue.expression[0]);
      return h("li", null, issue.code && h("b.bad", null, issue.code, " "), issue.text,
        issue.expression.length > 0 && h("span.mono.quiet", null, ` ${issue.expression.join(", ")}`),
        at && h("button.small", { type: "button", on: { click: () => select(at) } }, `line ${at}`));
    }));
    box.refuse(list.length === 1 ? "The server refused it; see below." : `The server refused it for ${list.length} reasons; see below.`);
  }

  function select(line) {
    const lines = text.value.split("\n");
    const from = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    text.focus();
    text.setSelectionRange(from, from + lines[line - 1].length);
    text.scrollTop = (line - 4) * parseFloat(getComputedStyle(text).lineHeight);
  }

  // What a write set off comes on the stream: the change, the topics it fired or
  // did not, the events and the frames.
  let watch = null;
  function note(entry) {
    if (!watch) return;
    if (entry.kind === "sent" ? entry.type === "event-notification" && watch.entries.some((e) => e.kind === "appended" && e.subscription === entry.subscription && e.first <= entry.last) : ["fired", "not-fired", "appended", "not-sent"].includes(entry.kind) && (entry.resource === watch.reference || !watch.reference)) {
      if (watch.entries.length < 100) watch.entries.push(entry);
      drawSetOff();
    }
  }

  function drawSetOff() {
    if (!watch?.said) return;
    const of = (kind) => watch.entries.filter((e) => e.kind === kind && (!e.resource || e.resource === watch.reference));
    const fired = of("fired");
    fill(setOff, h("h3", null, "What it set off"), h("p", null, watch.said),
      h("ul.set-off", null,
        fired.map((e) => h("li.out", null, `Topic ${tail(e.topic)} fired.`)),
        of("appended").map((e) => {
          const frames = watch.entries.filter((f) => f.kind === "sent" && f.subscription === e.subscription && f.first <= e.first && e.first <= f.last).length;
          return h("li", null, h("a.mono", { href: `/timeline?subscription=${encodeURIComponent(e.subscription)}` }, e.subscription), ` got event ${numbers(e.first)}`, frames ? `, sent to ${frames === 1 ? "a socket" : `${frames} sockets`}.` : ", for $events: no socket is bound.");
        }),
        of("not-sent").filter((e) => !e.first).map((e) => h("li.quiet", null, e.subscription && h("span.mono", null, e.subscription, " "), e.text)),
        of("not-fired").map((e) => h("li.quiet", null, `Topic ${tail(e.topic)} did not fire: ${e.text}`))),
      watch.entries.length === 0 && h("p.quiet", null, "No topic is about this type, so nobody is notified."));
  }

  let held = "";
  const ends = [
    on("entry", note),
    on("state", (state) => {
      const mine = state.types.filter((t) => t.release === draft.release).map((t) => t.type);
      if (mine.join() === held) return;
      held = mine.join();
      fill(types, mine.map((t) => new Option(t, t)));
    }),
  ];

  const wanted = query.get("type");
  if (wanted) {
    draft.type = type.value = wanted;
    draft.id = id.value = query.get("id") ?? "";
    draft.release = query.get("release") ?? "R5";
    load();
    requestAnimationFrame(() => element.scrollIntoView());
  } else if (!draft.text) {
    load();
  }
  update();
  return { element, end: () => ends.forEach((end) => end()) };
}

/** problemOf says what keeps a text from being JSON, "" where nothing does. */
function problemOf(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const at = /position (\d+)/.exec(error.message);
    if (!at) return error.message;
    const before = text.slice(0, Number(at[1])).split("\n");
    return `line ${before.length}, column ${before.at(-1).length + 1}: ${error.message.replace(/ in JSON at position.*/, "")}`;
  }
}

/** lineOf finds the line an expression such as Encounter.class[0].code is about. */
function lineOf(text, expression) {
  const names = (expression ?? "").split(".").slice(1).map((part) => /^([A-Za-z_]+)(?:\[(\d+)\])?/.exec(part)).filter(Boolean);
  if (names.length === 0) return 0;
  const lines = text.split("\n");
  let from = 0;
  let found = 0;
  for (const [, name] of names) {
    const next = lines.findIndex((line, i) => i >= from && line.includes(`"${name}"`));
    if (next < 0) break;
    found = next + 1;
    from = next;
  }
  return found;
}

let leaving = false;
/** indent makes Tab insert two spaces, unless Escape came before it. */
function indent(event) {
  const { target, key } = event;
  if (key === "Tab" && !leaving && !event.shiftKey) {
    event.preventDefault();
    target.setRangeText("  ", target.selectionStart, target.selectionEnd, "end");
    target.dispatchEvent(new Event("input"));
  }
  leaving = key === "Escape";
}
