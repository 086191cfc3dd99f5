// The frame of the page: it shows the view that an address names, below the parts
// that all views share. A view is a module with mount(root, path, query), which
// returns the function that ends it.

import { connect, on } from "./kernel/stream.js";
import { h, fill } from "./kernel/dom.js";
import { signIn } from "./kernel/signin.js";
import { name as room, address, inside, again } from "./kernel/room.js";

const views = {
  "": ["Live", () => import("./views/live.js")],
  timeline: ["Timeline", () => import("./views/timeline.js")],
  try: ["Try it", () => import("./views/try.js")],
  trigger: ["Trigger", () => import("./views/trigger.js")],
  why: ["Why?", () => import("./views/why.js")],
  resources: ["Resources", () => import("./views/resources.js")],
};

const root = document.querySelector("#view");
const notice = document.querySelector("#notice");
let unmount;
let shown; // name of the view that is mounted
let turn = 0;
let broken = false; // a view could not be loaded

/** decode decodes a segment of the address, which a user may have typed. */
function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

async function show(focus) {
  const mine = ++turn;
  const [name, ...rest] = inside(location.pathname).split("/").filter(Boolean).map(decode);
  const key = views[name ?? ""] ? name ?? "" : "";
  const [title, load] = views[key];
  for (const a of document.querySelectorAll("nav a")) {
    const here = new URL(a.href).pathname === address(`/${key}`);
    if (here) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  document.title = [key && title, room, "signalfhir"].filter(Boolean).join(" · ");
  let view;
  try {
    view = await load();
  } catch (error) {
    if (mine === turn) fill(root, h("p.empty", null, `This view could not be loaded: ${error.message}`));
    broken = true; // the browser never fetches a module again that failed to load; a reload does
    return;
  }
  if (mine !== turn) return;
  unmount?.();
  fill(root);
  root.className = `view-${key || "live"}`;
  unmount = view.mount(root, rest, new URLSearchParams(location.search));
  if (focus && shown !== key) {
    root.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shown = key;
}

/** A link within the page changes the view. The document is not loaded again. */
document.addEventListener("click", (event) => {
  const a = event.target.closest("a[href]");
  if (!a || a.target || a.download || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(a.href);
  const [name] = inside(url.pathname).split("/").filter(Boolean);
  if (url.origin !== location.origin || url.hash || !(name === undefined || name in views)) return;
  event.preventDefault();
  history.pushState(null, "", url);
  show(true);
});
addEventListener("popstate", () => show(false));

if (room) document.querySelector(".brand").after(h("p.room.cut", { title: room }, `room ${room}`));

const link = document.querySelector("#link");
const words = { connecting: "connecting", live: "live", lost: "connection lost, trying again" };
on("link", (state) => {
  link.dataset.state = state;
  link.textContent = words[state];
  if (broken && state === "live") location.reload();
});
on("closed", () => { link.textContent = "the room is closed"; });
on("locked", () => { link.textContent = "not signed in"; signIn(); });
let quiet;
function say(text) {
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(quiet);
  quiet = setTimeout(() => { notice.hidden = true; }, 8000);
}
on("restart", () => say(`The ${again}. It holds its seed again; earlier tokens and sockets are gone.`));
on("gap", (skipped) => say(`${skipped} entries came too fast to show here. The export of the timeline has those that the journal still keeps.`));

const themes = ["system", "light", "dark"];
const theme = document.querySelector("#theme");
function paint(name) {
  document.documentElement.dataset.theme = name;
  theme.dataset.theme = name;
  theme.setAttribute("aria-label", `Colours: ${name === "system" ? "as the system" : name}`);
  theme.title = theme.getAttribute("aria-label");
}
paint(localStorage.getItem("theme") ?? "system");
theme.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  localStorage.setItem("theme", next);
  paint(next);
});

connect();
show(false);
