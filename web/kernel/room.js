// The room that the page belongs to. Everything in a room has an address below the
// path of the room, including this file. The path of the default room is empty.

/** root is the path of the room, without a trailing slash. */
export const root = new URL("../..", import.meta.url).pathname.slice(0, -1);

/** name is the name of the room, "" for the default room. */
export const [, name = ""] = /\/rooms\/([^/]+)$/.exec(root) ?? [];

/** address returns the address of a path in the room. It returns an address of the room unchanged. */
export const address = (path) => (root && path.startsWith(`${root}/`) ? path : root + path);

/** inside returns the path in the room of an address: the inverse of address. */
export const inside = (path) => (path.startsWith(`${root}/`) ? path.slice(root.length) : path);

/** visit sets the address of the page to a path in the room. */
export const visit = (path) => history.replaceState(null, "", address(path));

/** stored returns the key under which a tab stores data of this room. Other rooms have other keys. */
export const stored = (key) => key + root;

/** again says why the room is in its first state again. */
export const again = name ? "room was reopened" : "server was restarted";
