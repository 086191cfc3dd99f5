// Receives the events of Subscription/{{id}} and misses none.
// Run it: node client.mjs (with Node 20: node --experimental-websocket client.mjs)

const base = "{{fhir}}";
const id = "{{id}}";
const heartbeat = {{heartbeat}}; // seconds between heartbeats; 0: there are none

let last; // number of the last event; unknown until the first handshake
let pause = 200; // ms before the next attempt

function handle(event, how = "event") {
  const number = Number(event.eventNumber);
  if (number <= last) return; // it was received before
  last = number;
  console.log(`${how} #${number} ${event.focus?.reference ?? ""}`);
}

async function call(method, operation) {
  const response = await fetch(`${base}/Subscription/${id}/${operation}`, { method });
  const body = await response.json();
  if (response.ok) return body;
  const error = new Error(body.issue.map((issue) => issue.diagnostics).join("; "));
  error.final = response.status < 500; // asking again would not help
  throw error;
}

async function takeToken() {
  const { parameter } = await call("POST", "$get-ws-binding-token");
  const value = (name) => parameter.find((p) => p.name === name);
  return {
    token: value("token").valueString,
    expires: Date.parse(value("expiration").valueDateTime),
    url: value("websocket-url").valueUrl,
  };
}

/** Returns the status that a notification begins with. R4 has Parameters where later releases have a SubscriptionStatus. */
function statusOf(bundle) {
  const { resource } = bundle.entry[0];
  if (resource.resourceType !== "Parameters") return resource;
  const value = (list, name) => {
    const found = list.find((p) => p.name === name) ?? {};
    return found.valueString ?? found.valueCode ?? found.valueReference;
  };
  return {
    type: value(resource.parameter, "type"),
    status: value(resource.parameter, "status"),
    eventsSinceSubscriptionStart: value(resource.parameter, "events-since-subscription-start"),
    notificationEvent: resource.parameter.filter((p) => p.name === "notification-event")
      .map(({ part }) => ({ eventNumber: value(part, "event-number"), focus: value(part, "focus") })),
  };
}

/** Fetches the events up to a number that did not come over the socket. */
async function recover(to) {
  if (last >= to) return;
  const bundle = await call("GET", `$events?eventsSinceNumber=${last + 1}&eventsUntilNumber=${to}`);
  for (const event of statusOf(bundle).notificationEvent ?? []) handle(event, "recovered");
  if (last < to) console.log(`lost up to #${to}: the server no longer has them`);
  last = Math.max(last, to);
}

async function receive(message) {
  if (message.resourceType === "OperationOutcome") throw new Error(message.issue[0].diagnostics);
  const status = statusOf(message);
  const total = Number(status.eventsSinceSubscriptionStart);
  if (status.type === "handshake") {
    console.log(`handshake, ${total} events so far`);
    last ??= total; // start here
    if (total < last) last = 0; // the server counts from zero again
    pause = 200;
  }
  if (status.status !== "active") console.log(`the subscription is ${status.status}`);
  const events = status.notificationEvent ?? [];
  await recover(events.length ? Number(events[0].eventNumber) - 1 : total); // numbers have no gaps
  for (const event of events) handle(event);
}

async function session() {
  const first = await takeToken();
  const socket = new WebSocket(first.url);
  let renewal, silence;
  let work = Promise.resolve(); // messages are handled in order
  try {
    await new Promise((_, end) => {
      const bind = ({ token, expires }) => {
        if (socket.readyState !== WebSocket.OPEN) return;
        socket.send(`bind-with-token ${token}`);
        // A new token, on the same socket, before this one expires.
        renewal = setTimeout(() => takeToken().then(bind).catch(end), 0.8 * (expires - Date.now()));
      };
      const alive = () => {
        clearTimeout(silence);
        if (heartbeat) silence = setTimeout(() => end(new Error("no heartbeat: the connection is dead")), 2500 * heartbeat);
      };
      socket.onopen = () => { bind(first); alive(); };
      socket.onmessage = ({ data }) => {
        alive();
        work = work.then(() => receive(JSON.parse(data))).catch(end);
      };
      socket.onclose = ({ code, reason }) => work.then(() => end(new Error(`socket closed: ${code} ${reason}`)));
    });
  } finally {
    clearTimeout(renewal);
    clearTimeout(silence);
    socket.close();
  }
}

while (true) {
  await session().catch((error) => {
    if (error.final) throw error;
    console.log(`${error.message}; trying again`);
  });
  await new Promise((done) => setTimeout(done, pause));
  pause = Math.min(2 * pause, 5000);
}
