// The room the page is of. Everything a room serves has an address below one
// path, also this file; the path of the default room is empty.

/** root is the path of the room, without a slash at its end. */
export const root = new URL("../..", import.meta.url).pathname.slice(0, -1);

/** name is that of the room, "" for the default one. */
export const name = root.split("/").at(-1);

/** address returns the address of a path in the room. An address of the room stays as it is. */
export const address = (path) => (root && path.startsWith(`${root}/`) ? path : root + path);

/** inside returns the path in the room that an address leads to. */
export const inside = (path) => (path.startsWith(`${root}/`) ? path.slice(root.length) : path);

/** visit makes a path in the room the address of the page. */
export const visit = (path) => history.replaceState(null, "", address(path));

/** stored returns the key of what a tab keeps of this room: the next one starts afresh. */
export const stored = (key) => key + root;

/** again says why all is as at the start. */
export const again = name ? "room was opened anew" : "server was restarted";
