// What the room holds: types, resources of a type, one resource with its
// versions. Plain and quick.

import { h, fill, copyButton } from "../kernel/dom.js";
import { get, curl } from "../kernel/api.js";
import { jsonTree } from "../kernel/json.js";
import { on, current } from "../kernel/stream.js";
import { count, ago } from "../kernel/format.js";

const page = 50; // resources of a type shown at a time

export function mount(root, path, query) {
  const [type, id, version] = path;
  const release = query.get("release") ?? "R5";
  const base = `/fhir/${release}`;
  const here = (...parts) => `/resources/${parts.map(encodeURIComponent).join("/")}${release === "R5" ? "" : `?release=${release}`}`;

  const types = h("nav.types", { "aria-label": "Types" });
  const list = h("section.ids", { "aria-label": type ? `Resources of type ${type}` : "Resources" });
  const one = h("section.one", { "aria-label": "Resource" });
  const depth = id ? "one" : type ? "ids" : "types";
  root.append(
    h("div.head", null, h("div", null,
      h("h1", null, "Resources"),
      crumbs()),
      releases()),
    h("div.browser", { data: { depth } }, types, list, one));

  function crumbs() {
    return h("p.lede.mono", null, h("a", { href: here() }, base), type && ["/", h("a", { href: here(type) }, type)], id && ["/", h("a", { href: here(type, id) }, id)], version && ["/_history/", version]);
  }

  function releases() {
    const all = Object.keys(current()?.fhir ?? {});
    if (all.length < 2) return null;
    return h("div.tabs", { role: "group", "aria-label": "FHIR release" }, all.map((r) => h("a.tab", { href: r === "R5" ? "/resources" : `/resources?release=${r}`, "aria-current": r === release ? "true" : null }, r)));
  }

  let counted = "";
  function showTypes(state) {
    const mine = state.types.filter((t) => t.release === release);
    const key = JSON.stringify(mine);
    if (key === counted) return;
    counted = key;
    fill(types, h("ul", null, mine.map((t) => h("li", null, h("a", { href: here(t.type), "aria-current": t.type === type ? "true" : null }, h("span.cut", null, t.type), h("span.num.quiet", null, count(t.count)))))),
      mine.length === 0 && h("p.empty", null, "This release holds nothing yet. ", h("a", { href: "/trigger" }, "Write something"), "."));
  }

  // The list of a type, newest first.
  let shown = page;
  let wanted = "";
  const search = h("input", { type: "search", placeholder: "Id", "aria-label": "Find by id", on: { input: () => { wanted = search.value.trim(); showList(); } } });
  const rows = h("ul.rows-of-type");
  const below = h("div.actions");
  const problem = h("p.error", { role: "alert" });
  if (type) list.append(h("div.actions", null, search), rows, below, problem);
  let turn = 0;
  async function showList() {
    if (!type) return;
    const mine = ++turn;
    try {
      const find = wanted ? `&_id=${encodeURIComponent(wanted)}` : "";
      const bundle = await get(`${base}/${encodeURIComponent(type)}?_sort=-_lastUpdated&_count=${shown}${find}`);
      if (mine !== turn) return;
      problem.textContent = "";
      const found = (bundle.entry ?? []).filter((e) => e.search?.mode !== "outcome").map((e) => e.resource);
      fill(rows, found.map((r) => h("li", null, h("a", { href: here(type, r.id), "aria-current": r.id === id ? "true" : null },
        h("span.mono.cut", null, r.id), h("span.quiet.cut", null, gist(r)), h("time.quiet", { datetime: r.meta?.lastUpdated }, ago(Date.now() - new Date(r.meta?.lastUpdated)))))),
      found.length === 0 && h("li.empty", null, wanted ? `There is no ${type} with the id ${wanted}.` : `There is no ${type}.`));
      fill(below, bundle.total > found.length && [h("button.small", { type: "button", on: { click: () => { shown += page; showList(); } } }, "More"), h("span.hint", null, `${count(found.length)} of ${count(bundle.total)}`)]);
    } catch (error) {
      if (mine === turn) problem.textContent = error.message;
    }
  }

  async function showOne() {
    if (!id) return;
    const address = `${base}/${encodeURIComponent(type)}/${encodeURIComponent(id)}`;
    const parts = [];
    try {
      const history = (await get(`${address}/_history`)).entry ?? [];
      const versions = history.map((e) => ({
        id: /_history\/([^/]+)$/.exec(e.fullUrl ?? "")?.[1] ?? /"([^"]+)"/.exec(e.response?.etag ?? "")?.[1] ?? e.resource?.meta?.versionId,
        method: e.request?.method, at: e.response?.lastModified ?? e.resource?.meta?.lastUpdated, resource: e.resource,
      }));
      const chosen = version ? versions.find((v) => v.id === version) : versions[0];
      parts.push(h("nav.versions", { "aria-label": "Versions" }, versions.map((v, i) => h("a", { href: i === 0 ? here(type, id) : here(type, id, v.id), "aria-current": v === chosen ? "true" : null },
        `version ${v.id}`, h("span.quiet", null, ` ${{ POST: "created", PUT: "written", PATCH: "patched", DELETE: "deleted" }[v.method] ?? ""} ${ago(Date.now() - new Date(v.at))}`)))));
      if (!chosen) parts.push(h("p.empty", null, `Version ${version} is not kept.`));
      else if (!chosen.resource) parts.push(h("p.empty", null, "The resource was deleted in this version."));
      else parts.push(...body(chosen.resource, version ? `${address}/_history/${version}` : address));
    } catch (error) {
      parts.push(h("p.error", null, error.message));
    }
    fill(one, parts);
  }

  function body(resource, address) {
    const pretty = JSON.stringify(resource, null, 2);
    const tree = jsonTree(resource, 4);
    linkReferences(tree);
    const raw = h("pre", { hidden: true }, pretty);
    const toggle = h("button.small", { type: "button", "aria-pressed": "false", on: { click: () => {
      raw.hidden = !raw.hidden;
      tree.hidden = !raw.hidden;
      toggle.setAttribute("aria-pressed", String(!raw.hidden));
    } } }, "Raw");
    return [
      h("div.actions", null, toggle, copyButton("Copy JSON", () => pretty), copyButton("Copy as curl", () => curl("GET", address)),
        h("a", { href: `/trigger?type=${encodeURIComponent(type)}&id=${encodeURIComponent(id)}` }, "Edit"),
        type === "Subscription" && h("a", { href: `/timeline?subscription=${encodeURIComponent(id)}` }, "What happened to it")),
      h("div.payload", { tabindex: "0", role: "region", "aria-label": "JSON" }, tree, raw),
    ];
  }

  /** linkReferences makes links of the references in a tree, also in what opens later. */
  function linkReferences(tree) {
    const link = () => {
      for (const text of tree.querySelectorAll(".leaf .text:not([data-seen])")) {
        text.dataset.seen = "";
        const name = text.parentElement.querySelector(".key")?.textContent;
        const found = name === "reference" && /^"(?:.*\/)?([A-Z][A-Za-z]+)\/([A-Za-z0-9\-.]{1,64})"$/.exec(text.textContent);
        if (found) text.replaceWith(h("a.text", { href: here(found[1], found[2]), data: { seen: "" } }, text.textContent));
      }
    };
    link();
    new MutationObserver(link).observe(tree, { childList: true, subtree: true });
  }

  // A burst of writes is one look.
  let due = 0;
  const ends = [
    on("state", showTypes),
    on("entry", (entry) => {
      if (entry.kind !== "change" || !entry.resource?.startsWith(`${type}/`)) return;
      due ||= setTimeout(() => {
        due = 0;
        showList();
        if (!version) showOne();
      }, 300);
    }),
    on("restart", () => { showList(); showOne(); }),
  ];
  showList();
  showOne();
  return () => { ends.forEach((end) => end()); clearTimeout(due); turn++; };
}

/** gist is what tells one resource from another of its type. */
function gist(r) {
  const name = Array.isArray(r.name) ? r.name[0]?.text ?? [r.name[0]?.given?.join(" "), r.name[0]?.family].filter(Boolean).join(" ") : r.name;
  const code = r.code?.text ?? r.code?.coding?.[0]?.display;
  return [r.title ?? name ?? code, r.status].filter((s) => typeof s === "string" && s).join(", ");
}
