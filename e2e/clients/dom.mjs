// A page for programs that need one, with an element for their content. It prints what
// the page shows.
import { JSDOM } from "jsdom";
import WebSocket from "ws";

const { window } = new JSDOM('<div id="root"></div>', { url: "http://localhost:3000/" });
Object.assign(window, { TextDecoder, TextEncoder }); // which jsdom does not have
globalThis.window = window;
globalThis.document = window.document;
globalThis.navigator ??= window.navigator;
globalThis.WebSocket ??= WebSocket;

export const root = window.document.getElementById("root");
let shown = "";
new window.MutationObserver(() => {
  if (root.textContent === shown) return;
  shown = root.textContent;
  if (shown) console.log(shown);
}).observe(root, { childList: true, characterData: true, subtree: true });
