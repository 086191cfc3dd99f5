// What the room holds: types, resources of a type, one resource with its
// versions. Plain and quick.

import { h, fill, copyButton } from "../kernel/dom.js";
import { get, curl } from "../kernel/api.js";
import { jsonTree } from "../kernel/json.js";
import { on } from "../kernel/stream.js";
import { count, ago } from "../kernel/format.js";

const page = 50; // resources of a type shown at a time

// Each step is a view of its own. What was focused goes over to the next, so that
// the keyboard goes on where it was; raw stays raw.
let came = null;
let asRaw = false;

export function mount(root, path, query) {
  const [type, id, version] = path;
  const release = query.get("release") ?? "R5";
  const base = `/fhir/${release}`;
  const list = { find: query.get("find") ?? "", from: Number(query.get("from")) || 0 };

  /** here is the address of a type, a resource or a version; within a type the list stays as it is. */
  function here(...parts) {
    const q = new URLSearchParams();
    if (release !== "R5") q.set("release", release);
    if (parts[0] === type) for (const name of ["find", "from"]) if (list[name]) q.set(name, list[name]);
    return `/${["resources", ...parts.map(encodeURIComponent)].join("/")}${q.size ? `?${q}` : ""}`;
  }

  const tabs = h("div.tabs", { role: "group", "aria-label": "FHIR release", hidden: true });
  const types = h("nav.types", { "aria-label": "Types" });
  const ids = h("section.ids", { "aria-label": type ? `Resources of type ${type}` : "Resources" });
  const one = h("section.one", { "aria-label": id ? `${type}/${id}` : "Resource", tabindex: "-1" });
  root.append(
    h("div.head", null, h("div", null,
      h("h1", null, "Resources"),
      h("p.lede.mono", null, h("a", { href: here() }, base), type && ["/", h("a", { href: here(type) }, type)], id && ["/", h("a", { href: here(type, id) }, id)], version && ["/_history/", version])), tabs),
    h("div.browser", { data: { depth: id ? "one" : type ? "ids" : "types" } }, types, ids, one));

  /** draw fills a pane; the link or button that had the focus keeps it. */
  function draw(pane, ...children) {
    const place = pane.contains(document.activeElement) && nameOf(document.activeElement);
    fill(pane, ...children);
    const again = place && [...pane.querySelectorAll("a, button")].find((e) => nameOf(e) === place);
    again?.focus({ preventScroll: true });
    if (!came || ![types, rows, one].includes(pane) || !pane.closest(`.${came.pane}`)) return;
    const to = pane === one ? one : [...pane.querySelectorAll("a")].find((a) => nameOf(a) === came.name);
    if (document.activeElement === document.body) (to?.checkVisibility() ? to : one).focus({ preventScroll: true });
    came = null;
  }

  let counted = "";
  function showTypes(state) {
    const releases = Object.keys(state.fhir);
    const mine = state.types.filter((t) => t.release === release);
    const key = JSON.stringify([mine, releases]);
    if (key === counted) return;
    counted = key;
    tabs.hidden = releases.length < 2;
    fill(tabs, releases.map((r) => h("a.tab", { href: r === "R5" ? "/resources" : `/resources?release=${r}`, "aria-current": r === release ? "true" : null }, r)));
    draw(types, h("ul", null, mine.map((t) => h("li", null, h("a", { href: here(t.type), "aria-current": t.type === type ? "true" : null }, h("span.cut", null, t.type), h("span.num.quiet", null, count(t.count)))))),
      mine.length === 0 && h("p.empty", null, "This release holds nothing yet. ", h("a", { href: "/trigger" }, "Write something"), "."));
  }

  // The list of a type, what changed last first, also what was deleted.
  const search = h("input", { type: "search", placeholder: "Part of an id", "aria-label": "Find by a part of the id", value: list.find, autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => go(0, search.value.trim()));
  const rows = h("ul.rows-of-type");
  const pager = h("div.actions");
  const problem = h("p.error", { role: "alert" });
  if (type) ids.append(search, rows, pager, problem);

  function go(from, find = list.find) {
    Object.assign(list, { from, find });
    history.replaceState(null, "", here(...path));
    return showList();
  }

  let turn = 0;
  async function showList() {
    if (!type) return;
    const mine = ++turn;
    try {
      const q = new URLSearchParams({ release, type, text: list.find, offset: list.from, limit: page });
      const { total, resources } = await get(`/mock/resources?${q}`);
      if (mine !== turn) return;
      if (list.from && !resources.length) return go(0);
      problem.textContent = "";
      draw(rows, resources.map((r) => h("li", null, h("a", { href: here(type, r.id), "aria-current": r.id === id ? "true" : null, class: r.deleted ? "gone-resource" : null },
        h("span.mono.cut", null, r.id), h("span.quiet.cut", null, r.deleted ? "deleted" : gist(r.resource)), time(r.updated)))),
        !total && h("li.empty", null, list.find ? `No ${type} has an id with “${list.find}”.` : `There is no ${type}.`));
      const step = (label, from) => h("button.small", { type: "button", disabled: from < 0 || from >= total, on: { click: () => go(from) } }, label);
      draw(pager, total > page && [step("Newer", list.from - page), step("Older", list.from + page), h("span.hint", null, `${count(list.from + 1)} to ${count(list.from + resources.length)} of ${count(total)}`)]);
    } catch (error) {
      if (mine === turn) problem.textContent = error.message;
    }
  }

  let drawn = "";
  async function showOne() {
    if (!id) return;
    const address = `${base}/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;
    const parts = [];
    try {
      const versions = ((await get(`${address}/_history`)).entry ?? []).map((e) => ({
        id: e.resource?.meta?.versionId ?? /"([^"]+)"/.exec(e.response?.etag ?? "")?.[1],
        method: e.request?.method, at: e.response?.lastModified ?? e.resource?.meta?.lastUpdated, resource: e.resource,
      }));
      const key = JSON.stringify(versions.map((v) => [v.id, v.at]));
      if (key === drawn) return; // an open branch stays open
      drawn = key;
      const chosen = version ? versions.find((v) => v.id === version) : versions[0];
      parts.push(h("nav.versions", { "aria-label": "Versions" }, versions.map((v, i) => h("a", { href: i === 0 ? here(type, id) : here(type, id, v.id), "aria-current": v === chosen ? "true" : null },
        `version ${v.id}`, h("span.quiet", null, ` ${{ POST: "created", PUT: "written", PATCH: "patched", DELETE: "deleted" }[v.method] ?? ""} `, time(v.at))))));
      if (!chosen) parts.push(h("p.empty", null, `Version ${version} is not kept.`));
      else if (!chosen.resource) parts.push(h("p.empty", null, "The resource was deleted in this version."));
      else parts.push(...body(chosen.resource, version ? `${address}/_history/${version}` : address));
    } catch (error) {
      drawn = "";
      parts.push(h("p.error", null, error.message));
    }
    draw(one, parts);
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
    const edit = new URLSearchParams({ type, id, ...(release === "R5" ? {} : { release }) });
    return [
      h("div.actions", null, toggle, copyButton("Copy JSON", () => pretty), copyButton("Copy as curl", () => curl("GET", address)),
        h("a", { href: `/trigger?${edit}` }, "Edit"),
        type === "Subscription" && h("a", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, "What happened to it")),
      h("div.payload", { tabindex: "0", role: "region", "aria-label": "JSON" }, tree, raw),
    ];
  }

  /** linkReferences makes links of the references to this base in a tree, also in what opens later. */
  function linkReferences(tree) {
    const link = () => {
      for (const text of tree.querySelectorAll(".leaf .text:not([data-seen])")) {
        text.dataset.seen = "";
        if (text.parentElement.querySelector(".key")?.textContent !== "reference") continue;
        const relative = text.textContent.slice(1, -1).replace(`${location.origin}${base}/`, "");
        const [, to, name, , was] = /^([A-Z][A-Za-z]+)\/([A-Za-z0-9\-.]{1,64})(\/_history\/([A-Za-z0-9\-.]{1,64}))?$/.exec(relative) ?? [];
        if (to) text.replaceWith(h("a.text", { href: here(to, name, ...(was ? [was] : [])), data: { seen: "" } }, text.textContent));
      }
    };
    link();
    new MutationObserver(link).observe(tree, { childList: true, subtree: true });
  }

  // A burst of writes is one look.
  let due = 0;
  let touched = false;
  const ends = [
    on("state", showTypes),
    on("entry", (entry) => {
      if (entry.kind !== "change" || !entry.resource?.startsWith(`${type}/`)) return;
      touched ||= entry.resource === `${type}/${id}`;
      due ||= setTimeout(() => {
        due = 0;
        showList();
        if (touched) showOne();
        touched = false;
      }, 300);
    }),
    on("restart", () => { showList(); showOne(); }),
    on("gap", () => { showList(); showOne(); }),
  ];
  const ticking = setInterval(() => {
    for (const t of root.querySelectorAll("time")) t.textContent = since(t.dateTime);
  }, 5000);
  showList();
  showOne();
  return () => {
    const a = document.activeElement;
    came = root.contains(a) && a.href ? { pane: a.closest(".types, .ids, .one")?.classList[0] ?? "one", name: nameOf(a) } : null;
    ends.forEach((end) => end());
    clearTimeout(due);
    clearInterval(ticking);
    turn++;
  };
}

/** nameOf is what a link or a button is known by when its pane is drawn anew. */
const nameOf = (element) => element.pathname ?? element.textContent;

const since = (iso) => ago(Date.now() - new Date(iso));
const time = (iso) => h("time.quiet", { datetime: iso, title: iso }, since(iso));

/** gist is what tells one resource from another of its type. */
function gist(r) {
  const name = Array.isArray(r.name) ? r.name[0]?.text ?? [r.name[0]?.given?.join(" "), r.name[0]?.family].filter(Boolean).join(" ") : r.name;
  const code = r.code?.text ?? r.code?.coding?.[0]?.display;
  return [r.title ?? name ?? code, r.status].filter((s) => typeof s === "string" && s).join(", ");
}
