// The resources of the room: the types, the resources of a type, one resource with
// its versions.

import { h, fill, copyButton } from "../kernel/dom.js";
import { get, curl } from "../kernel/api.js";
import { jsonTree } from "../kernel/json.js";
import { on, now } from "../kernel/stream.js";
import { released } from "../kernel/press.js";
import { address, visit } from "../kernel/room.js";
import { count, ago } from "../kernel/format.js";

const page = 50; // resources of a type shown at a time

// Each step is a view of its own. The next one has the focus on the same link, and
// shows raw JSON if this one did.
let came = "";
let asRaw = false;

export function mount(root, path, query) {
  let end;
  const wait = on("state", ({ fhir }) => { end ??= show(root, path, query, Object.keys(fhir).at(-1)); });
  return () => { wait(); end?.(); };
}

function show(root, path, query, newest) {
  const [type, id, version] = path;
  const release = query.get("release") ?? newest;
  const base = address(`/fhir/${release}`);
  const list = { find: query.get("find") ?? "", from: Number(query.get("from")) || 0 };

  /** here returns the address of a type, a resource or a version. Within the type, the list keeps its search and page. */
  function here(...parts) {
    const q = new URLSearchParams();
    if (release !== newest) q.set("release", release);
    if (parts[0] === type) for (const name in list) if (list[name]) q.set(name, list[name]);
    return `/${["resources", ...parts.map(encodeURIComponent)].join("/")}${q.size ? `?${q}` : ""}`;
  }

  /** link returns a link to a type, a resource or a version. */
  const link = (parts, current, ...children) => h("a", { href: here(...parts), "aria-current": current ? "true" : null }, children);

  const tabs = h("div.tabs", { role: "group", "aria-label": "FHIR release" });
  const types = h("nav.types", { "aria-label": "Types" });
  const search = h("input", { type: "search", placeholder: "Part of an id", "aria-label": "Find by a part of the id", value: list.find, spellcheck: "false", on: { input: () => go(0, search.value.trim()) } });
  const pager = h("div.actions");
  const rows = h("ul.rows-of-type");
  const problem = h("p.error", { role: "alert" });
  const one = h("section.one", { "aria-label": id ? `${type}/${id}` : "Resource", tabindex: "-1" });
  root.append(
    h("div.head", null, h("div", null,
      h("h1", null, "Resources"),
      h("p.lede.mono", null, link([], false, base), type && ["/", link([type], false, type)], id && ["/", link([type, id], false, id)], version && ["/_history/", version])), tabs),
    h("div.browser", { data: { depth: id ? "one" : type ? "ids" : "types" } }, types,
      h("section.ids", { "aria-label": type ? `Resources of type ${type}` : "Resources" }, type && [search, pager, rows, problem]), one));
  if (came) (id ? one : root).focus({ preventScroll: true });

  /** draw fills a pane; the link or button that has the focus keeps it. */
  function draw(pane, ...children) {
    const at = document.activeElement;
    const name = pane.contains(at) ? nameOf(at) : [document.body, root, one].includes(at) && came;
    fill(pane, ...children);
    const all = [...pane.querySelectorAll("a, button:enabled")];
    const to = name && (all.find((e) => nameOf(e) === name) ?? (pane === pager && all[0]));
    if (!to) return;
    to.focus({ preventScroll: true });
    came = "";
  }

  let counted = "";
  function showTypes(state) {
    const releases = Object.keys(state.fhir);
    const mine = state.types.filter((t) => t.release === release);
    const key = JSON.stringify([mine, releases]);
    if (key === counted) return;
    counted = key;
    draw(tabs, releases.length > 1 && releases.map((r) => h("a.tab", { href: `/resources?release=${r}`, "aria-current": r === release ? "true" : null }, r)));
    draw(types, h("ul", null, mine.map((t) => h("li", null, link([t.type], t.type === type, h("span.cut", null, t.type), h("span.num.quiet", null, count(t.count)))))),
      !mine.length && h("p.empty", null, "This release has no resources yet. ", h("a", { href: "/trigger" }, "Write something"), "."));
  }

  /** go shows a page of the list. */
  function go(from, find = list.find) {
    Object.assign(list, { from, find });
    visit(here(...path));
    showList();
  }

  // The list of a type, the latest change first, including deleted resources.
  let turn = 0;
  async function showList() {
    if (!type) return;
    const mine = ++turn;
    try {
      const { total, resources } = await get(`/mock/resources?${new URLSearchParams({ release, type, text: list.find, offset: list.from, limit: page })}`);
      await released();
      if (mine !== turn) return;
      if (list.from && !resources.length) return go(0);
      problem.textContent = "";
      const step = (label, from) => h("button.small", { type: "button", disabled: from < 0 || from >= total, on: { click: () => go(from) } }, label);
      draw(pager, total > page && [step("Newer", list.from - page), step("Older", list.from + page), h("span.hint", null, `${count(list.from + 1)} to ${count(list.from + resources.length)} of ${count(total)}`)]);
      draw(rows, resources.map((r) => h("li", { data: { deleted: r.deleted } }, link([type, r.id], r.id === id, h("span.mono.cut", null, r.id), h("span.quiet.cut", null, r.deleted ? "deleted" : r.omitted ? "" : gist(r.resource)), time(r.updated)))),
        !total && h("li.empty", null, list.find ? `No ${type} has an id with “${list.find}”.` : `There is no ${type}.`));
    } catch (error) {
      if (mine === turn) problem.textContent = error.message;
    }
  }

  let drawn = "";
  async function showOne() {
    if (!id) return;
    const address = `${base}/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;
    try {
      const versions = ((await get(`${address}/_history`)).entry ?? []).map(({ resource, request, response }) => ({
        resource, name: resource?.meta.versionId ?? /"(.+)"/.exec(response.etag)[1], at: response.lastModified, did: { POST: "created", PUT: "written", DELETE: "deleted" }[request.method],
      }));
      await released();
      const key = JSON.stringify(versions.map((v) => [v.name, v.at]));
      if (key === drawn) return; // an open branch stays open
      drawn = key;
      const chosen = version ? versions.find((v) => v.name === version) : versions[0];
      draw(one, h("nav.versions", { "aria-label": "Versions" }, versions.map((v, i) => link([type, id, ...(i ? [v.name] : [])], v === chosen, `version ${v.name} `, h("span.quiet", null, v.did, " ", time(v.at))))),
        chosen?.resource ? body(chosen.resource, version ? `${address}/_history/${version}` : address) : h("p.empty", null, chosen ? "The resource was deleted in this version." : `Version ${version} is not kept.`));
    } catch (error) {
      drawn = "";
      draw(one, h("p.error", null, error.message));
    }
  }

  function body(resource, address) {
    const pretty = JSON.stringify(resource, null, 2);
    const tree = jsonTree(resource, 4);
    linkReferences(tree);
    const raw = h("pre", null, pretty);
    const toggle = h("button.small", { type: "button", on: { click: () => { asRaw = !asRaw; show(); } } }, "Raw");
    const show = () => {
      raw.hidden = !asRaw;
      tree.hidden = asRaw;
      toggle.setAttribute("aria-pressed", String(asRaw));
    };
    show();
    return [
      h("div.actions", null, toggle, copyButton("Copy JSON", () => pretty), copyButton("Copy as curl", () => curl("GET", address)),
        h("a", { href: `/trigger?${new URLSearchParams({ release, type, id })}` }, "Edit"),
        type === "Subscription" && h("a", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, "What happened to it")),
      h("div.payload", { tabindex: "0", role: "region", "aria-label": "JSON" }, tree, raw),
    ];
  }

  /** linkReferences turns the references to this base in a tree into links, also in nodes that open later. */
  function linkReferences(tree) {
    const look = () => {
      for (const text of tree.querySelectorAll(".leaf .text:not([data-seen])")) {
        text.dataset.seen = "";
        if (text.parentElement.firstChild.textContent !== "reference") continue;
        const to = text.textContent.slice(1, -1).replace(`${location.origin}${base}/`, "").replace("/_history/", "/").split("/");
        if (to.length > 1 && to.length < 4 && /^[A-Z]\w+$/.test(to[0]) && to.every((part) => /^[\w.-]+$/.test(part))) text.replaceWith(h("a.text", { href: here(...to), data: { seen: "" } }, text.textContent));
      }
    };
    look();
    new MutationObserver(look).observe(tree, { childList: true, subtree: true });
  }

  function showAges() {
    for (const t of root.querySelectorAll("time")) t.textContent = since(t.dateTime);
  }

  function showBoth() {
    showList();
    showOne();
  }
  // A burst of writes causes one refresh.
  let due = 0;
  let touched = false;
  const ends = [
    on("state", (state) => { showTypes(state); showAges(); }),
    on("entry", ({ kind, resource }) => {
      if (kind !== "change" || !resource.startsWith(`${type}/`)) return;
      touched ||= resource === `${type}/${id}`;
      due ||= setTimeout(() => {
        showList();
        if (touched) showOne();
        due = touched = false;
      }, 300);
    }),
    on("restart", showBoth),
    on("gap", showBoth),
  ];
  const ticking = setInterval(showAges, 5000);
  showBoth();
  return () => {
    came = (root.contains(document.activeElement) && document.activeElement.pathname) || "";
    ends.forEach((end) => end());
    clearTimeout(due);
    clearInterval(ticking);
    turn++;
  };
}

/** nameOf returns what identifies a link or a button after its pane is drawn again. */
const nameOf = (element) => element.pathname ?? element.textContent;

const since = (iso) => ago(now() - new Date(iso));
const time = (iso) => h("time.quiet", { datetime: iso, title: iso }, since(iso));

/** gist returns what distinguishes a resource from others of its type. */
function gist({ title, name, code, status }) {
  const [person] = Array.isArray(name) ? name : [];
  const called = person ? person.text ?? [person.given, person.family].flat().filter(Boolean).join(" ") : name;
  return [title ?? called ?? code?.text ?? code?.coding?.[0]?.display, status].filter((s) => typeof s === "string" && s).join(", ");
}
