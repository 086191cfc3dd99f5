// The whole flow of a subscription client, in the browser: take a token, open
// the socket the server names, bind, read frames.

const fhir = location.origin + "/fhir/R5";
const form = document.querySelector("#listen");
const choice = document.querySelector("#subscription");
const fire = document.querySelector("#fire");
const state = document.querySelector("#state");
const frames = document.querySelector("#frames");
const mostFrames = 200;
let socket;

for (const element of document.querySelectorAll("[data-path]")) {
  element.firstChild.textContent = fhir;
}
for (const element of document.querySelectorAll("[data-socket]")) {
  element.textContent = location.origin.replace(/^http/, "ws") + element.dataset.socket;
}

async function request(url, options) {
  const response = await fetch(url, options);
  const body = response.status === 204 ? null : await response.json();
  if (!response.ok) {
    const issues = body?.issue?.map((issue) => issue.diagnostics) ?? [body?.detail ?? response.statusText];
    throw new Error(issues.join("; "));
  }
  return body;
}

async function list() {
  const bundle = await request(`${fhir}/Subscription?_count=200`);
  for (const { resource } of bundle.entry ?? []) {
    if (resource?.resourceType !== "Subscription") continue;
    choice.append(new Option(`${resource.id} (${resource.content ?? "empty"})`, resource.id));
  }
  if (choice.options.length === 0) say("There is no subscription yet. Create one, then reload the page.");
}

function say(text) {
  state.textContent = text;
}

function summary(bundle) {
  if (bundle.resourceType === "OperationOutcome") {
    return "refused: " + bundle.issue.map((issue) => issue.diagnostics).join("; ");
  }
  const status = bundle.entry[0].resource;
  const events = (status.notificationEvent ?? []).map((e) => `#${e.eventNumber} ${e.focus?.reference.split("/").slice(-2).join("/") ?? ""}`);
  return [status.type, `total ${status.eventsSinceSubscriptionStart}`, ...events].join("  ");
}

function show(text) {
  const row = document.createElement("li");
  const details = document.createElement("details");
  const title = document.createElement("summary");
  const body = document.createElement("pre");
  try {
    const bundle = JSON.parse(text);
    title.textContent = `${new Date().toLocaleTimeString()}  ${summary(bundle)}`;
    body.textContent = JSON.stringify(bundle, null, 2);
  } catch {
    title.textContent = text;
  }
  details.append(title, body);
  row.append(details);
  frames.prepend(row);
  while (frames.children.length > mostFrames) frames.lastChild.remove();
}

async function listen(id) {
  socket?.close(1000);
  fire.disabled = true;
  say("Taking a token …");
  const parameters = await request(`${fhir}/Subscription/${id}/$get-ws-binding-token`, { method: "POST" });
  const value = (name) => parameters.parameter.find((p) => p.name === name);
  socket = new WebSocket(value("websocket-url").valueUrl);
  const mine = socket;
  socket.onopen = () => {
    socket.send(`bind-with-token ${value("token").valueString}`);
    say(`Bound to ${id}.`);
    fire.disabled = false;
  };
  socket.onmessage = (message) => show(message.data);
  socket.onclose = (event) => {
    if (mine !== socket) return;
    fire.disabled = true;
    say(`The socket closed with ${event.code}${event.reason ? ": " + event.reason : ""}. Listen again to reconnect.`);
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  listen(choice.value).catch((error) => say(error.message));
});

fire.addEventListener("click", () => {
  request("/mock/trigger", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ subscription: choice.value }),
  }).catch((error) => say(error.message));
});

list().catch((error) => say(error.message));
