// The section that writes a resource: an editor, its request, and the effects.

import { h, fill, field, copyButton } from "../../kernel/dom.js";
import { get, request, curl } from "../../kernel/api.js";
import { on } from "../../kernel/stream.js";
import { address } from "../../kernel/room.js";
import { editor } from "./editor.js";
import { effect } from "./effect.js";
import { prediction } from "./prediction.js";
import { kept } from "./kept.js";
import { lineOf, problemOf } from "./scan.js";

export function writeSection(query) {
  const draft = kept("trigger-write", { release: "R5", type: "Encounter", id: "", text: "", loaded: "" });
  const input = (name, props) => h("input", { autocomplete: "off", spellcheck: "false", ...props, on: { ...props.on, change: (event) => { set(name, event.target.value.trim()); if (draft[name]) load(); } } });
  const type = input("type", { list: "types-held" });
  const id = input("id", { list: "ids-held", placeholder: "the server chooses one", on: { focus: suggest, input: suggest } });
  const release = h("select", { on: { change: () => { set("release", release.value); load(); } } });
  const releases = field("Release", release);
  const types = h("datalist", { id: "types-held" });
  const ids = h("datalist", { id: "ids-held" });
  const box = editor("Resource", draft.text, 22, (text) => set("text", text));
  const button = (label, does, small) => h(small ? "button.small" : "button", { type: "button", on: { click: does } }, label);
  const save = h("button.primary", { type: "submit" });
  const remove = button("Delete", () => send("DELETE"));
  const note = h("p.hint", { role: "status" });
  const issues = h("ul.issues");
  const line = h("h3");
  const command = h("pre", { tabindex: "0" });
  const deletion = copyButton("Copy the delete as curl", () => curl("DELETE", path()));
  const setOff = h("div.effect", { role: "status" });
  const after = effect(setOff);
  const element = h("section.section.make", { "aria-label": "Write a resource" },
    h("form.do", { on: { submit: (event) => { event.preventDefault(); send(draft.id ? "PUT" : "POST"); } } },
      h("h2", null, "Write a resource"),
      h("div.three", null, field("Type", type), field("Id", id), releases), types, ids,
      box, h("div.actions", null, save, remove, button("What would it do?", predict), button("Another example", () => load(true)), note)),
    h("div.wire", null, h("div", { role: "alert" }, issues), setOff, line, h("div.code", null, command, copyButton("Copy", () => command.textContent)), h("div.actions", null, deletion)));

  const path = () => address(`/fhir/${[draft.release, draft.type, draft.id].filter(Boolean).map(encodeURIComponent).join("/")}`);
  const find = async (text = "") => (await get(`/mock/resources?${new URLSearchParams({ release: draft.release, type: draft.type, text, limit: 20 })}`)).resources.filter((r) => r.resource);

  function set(name, value) {
    draft[name] = value;
    draft.keep();
    show();
  }

  function show() {
    const method = draft.id ? "PUT" : "POST";
    save.textContent = draft.id ? "Save" : "Create";
    remove.hidden = deletion.hidden = !draft.id;
    line.textContent = `${method} ${path()}`;
    command.textContent = curl(method, path(), draft.text);
  }

  let asking = 0;
  function suggest() {
    clearTimeout(asking);
    asking = setTimeout(async () => fill(ids, (await find(id.value.trim()).catch(() => [])).map((r) => new Option(r.id))), 150);
  }

  /** fillIn puts a text in the editor. The user can get an unsaved text back. */
  function fillIn(text, loaded = text) {
    const typed = draft.text !== draft.loaded && draft.text;
    fill(note, typed && typed !== text && ["Your text was replaced. ", button("Put it back", () => fillIn(typed, ""), true)]);
    box.value(text);
    draft.loaded = loaded;
    set("text", text);
  }

  /** load fills the editor with the resource of that id, or with an example made from an existing one. */
  let turn = 0;
  async function load(another) {
    const mine = ++turn;
    fill(issues);
    if (another) id.value = draft.id = "";
    try {
      let resource = draft.id && await get(path()).catch((error) => { if (![404, 410].includes(error.status)) throw error; });
      if (!resource) {
        const like = await find();
        resource = like[another ? Math.floor(Math.random() * like.length) : 0]?.resource;
      }
      if (mine !== turn) return;
      const { resourceType = draft.type, id: was, meta: { versionId, lastUpdated, ...meta } = {}, ...rest } = resource ?? {};
      fillIn(JSON.stringify({ resourceType, ...(draft.id && { id: draft.id }), ...(Object.keys(meta).length && { meta }), ...rest }, null, 2));
    } catch (error) {
      if (mine === turn) refuse(error);
    }
  }

  let busy = false;
  async function send(method) {
    if (busy) return;
    const { text } = draft;
    const problem = method !== "DELETE" && problemOf(text);
    fill(issues);
    fill(setOff);
    box.refuse(problem);
    if (problem) return box.control.focus();
    busy = true;
    after.begin(method, path());
    try {
      const { status, body } = await request(method, path(), method === "DELETE" ? null : text);
      const reference = body ? `${body.resourceType}/${body.id}` : `${draft.type}/${draft.id}`;
      const link = h("a.mono", { href: `/resources/${reference}?release=${draft.release}` }, reference);
      after.said(reference, body ? [status === 201 ? "Created " : "Saved ", link, ` as version ${body.meta.versionId}.`] : ["Deleted ", link, "."]);
      draft.loaded = text;
      draft.keep();
      fill(note);
    } catch (error) {
      refuse(error);
    }
    busy = false;
  }

  /** predict shows the effects that a save would have, without saving. */
  async function predict() {
    const { text } = draft;
    const problem = problemOf(text);
    fill(issues);
    fill(setOff);
    box.refuse(problem);
    if (problem) return box.control.focus();
    try {
      const previous = draft.id && await get(path()).catch((error) => { if (![404, 410].includes(error.status)) throw error; });
      const { body } = await request("POST", "/mock/explain", { release: draft.release, ...(previous && { previous }), current: JSON.parse(text) });
      fill(setOff, h("h3", null, "What it would cause"), prediction(body));
    } catch (error) {
      refuse(error);
    }
  }

  /** refuse lists the issues of a refusal, each with its line if that can be found. */
  function refuse(error) {
    const list = error.issues ?? [];
    fill(issues, list.map(({ code, text, expression }) => {
      const at = lineOf(draft.text, expression[0]);
      return h("li", null, h("b.bad", null, code), ` ${text} `, h("span.mono.quiet", null, expression.join(", ")), at > 0 && button(`line ${at}`, () => box.go(at), true));
    }));
    box.refuse(!list.length ? error.message : list.length === 1 ? "The server refused it." : `The server refused it for ${list.length} reasons.`);
  }

  /** start fills the editor when the view opens: with the stored draft, the resource that the address names, or an example. */
  function start(offered) {
    fill(release, offered.map((r) => new Option(r)));
    releases.hidden = offered.length < 2;
    const wanted = { release: query.get("release") ?? draft.release };
    if (!offered.includes(wanted.release)) wanted.release = offered.at(-1);
    if (query.get("type")) Object.assign(wanted, { type: query.get("type"), id: query.get("id") ?? "" });
    const mine = draft.text && (!wanted.type || draft.text !== draft.loaded) && Object.entries(wanted).every(([name, value]) => draft[name] === value);
    Object.assign(draft, wanted);
    for (const [control, name] of [[release, "release"], [type, "type"], [id, "id"]]) control.value = draft[name];
    if (!mine) load();
    else if (draft.text !== draft.loaded) fill(note, "You typed this and did not save it. ", button("Load what is stored", () => load(), true));
    if (wanted.type) requestAnimationFrame(() => element.scrollIntoView());
    show();
  }

  let held;
  const ends = [after.end, () => { clearTimeout(asking); turn++; }, on("state", (state) => {
    if (held === undefined) start(Object.keys(state.fhir));
    const mine = state.types.filter((t) => t.release === draft.release).map((t) => t.type);
    if (mine.join() !== held) fill(types, mine.map((t) => new Option(t)));
    held = mine.join();
  })];
  return { element, end: () => ends.forEach((end) => end()) };
}
