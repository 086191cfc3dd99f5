// The sign-in to a server that has a token (--auth-token). The server sets a cookie,
// which the stream, sockets and downloads carry too.

import { h, field } from "./dom.js";
import { address } from "./room.js";

let dialog;
const key = "signed in";

/** signedIn reports whether somebody has signed in to this server here. */
export const signedIn = () => localStorage.getItem(key) !== null;

/** signIn asks for the token, and loads the page again once it is right. */
export function signIn() {
  if (dialog) return;
  const token = h("input", { type: "password", name: "client_secret", autocomplete: "current-password", required: true });
  const box = field("Token of the server", token, "The one it was started with: --auth-token, or SIGNALFHIR_AUTH_TOKEN.");
  const form = h("form.stack", { on: { submit: submit } },
    h("h2", null, "Sign in"), box, h("button.primary", { type: "submit" }, "Sign in"));
  dialog = h("dialog.signin", { "aria-label": "Sign in", on: { cancel: (event) => event.preventDefault() } }, form);
  document.body.append(dialog);
  dialog.showModal();

  async function submit(event) {
    event.preventDefault();
    const body = new URLSearchParams({ grant_type: "client_credentials", client_id: "page", client_secret: token.value });
    let response;
    try {
      response = await fetch(address("/oauth2/token"), { method: "POST", body });
    } catch {
      box.refuse("The server does not respond; is it running?");
      return;
    }
    if (response.ok) {
      localStorage.setItem(key, "yes");
      location.reload();
    } else box.refuse((await response.json()).error_description ?? `The server responded with status ${response.status}.`);
  }
}
