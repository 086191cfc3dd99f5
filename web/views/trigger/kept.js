// Drafts: what the user typed. They survive a reload, until the tab is closed.

import { stored } from "../../kernel/room.js";

/** kept returns the draft of a name: its members, and keep() to store them. */
export function kept(name, fresh) {
  let before = {};
  try {
    before = JSON.parse(sessionStorage.getItem(stored(name))) ?? {};
  } catch { /* what is stored is not usable */ }
  const draft = { ...fresh };
  for (const key of Object.keys(fresh)) if (typeof before[key] === "string") draft[key] = before[key];
  Object.defineProperty(draft, "keep", { value: () => sessionStorage.setItem(stored(name), JSON.stringify(draft)) });
  return draft;
}
