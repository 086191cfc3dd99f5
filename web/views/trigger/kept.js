// What was typed, kept over a reload for as long as the tab is open.

/** kept is a draft by name: its members, and keep() to store them. */
export function kept(name, fresh) {
  let stored = {};
  try {
    stored = JSON.parse(sessionStorage.getItem(name)) ?? {};
  } catch { /* nothing usable was kept */ }
  const draft = { ...fresh };
  for (const key of Object.keys(fresh)) if (typeof stored[key] === "string") draft[key] = stored[key];
  Object.defineProperty(draft, "keep", { value: () => sessionStorage.setItem(name, JSON.stringify(draft)) });
  return draft;
}
