// What was typed, kept over a reload for as long as the tab is open.

import { stored } from "../../kernel/room.js";

/** kept is a draft by name: its members, and keep() to store them. */
export function kept(name, fresh) {
  let before = {};
  try {
    before = JSON.parse(sessionStorage.getItem(stored(name))) ?? {};
  } catch { /* nothing usable was kept */ }
  const draft = { ...fresh };
  for (const key of Object.keys(fresh)) if (typeof before[key] === "string") draft[key] = before[key];
  Object.defineProperty(draft, "keep", { value: () => sessionStorage.setItem(stored(name), JSON.stringify(draft)) });
  return draft;
}
