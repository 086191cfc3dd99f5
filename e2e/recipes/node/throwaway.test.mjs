import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "./signalfhir.mjs";

let server;
before(async () => (server = await startServer()));
after(() => server.stop());

async function post(path, body) {
  const response = await fetch(`${server.fhir}/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/fhir+json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${path}: ${response.status}`);
  return response.json();
}

// frames turns a socket into an iterator of what it receives.
function frames(socket) {
  const waiting = [];
  const queue = [];
  socket.on("message", (data) => {
    const frame = JSON.parse(data);
    const wake = waiting.shift();
    if (wake) wake(frame);
    else queue.push(frame);
  });
  return () => (queue.length ? Promise.resolve(queue.shift()) : new Promise((resolve) => waiting.push(resolve)));
}

test("a subscription on a topic is notified of a write", async () => {
  const subscription = await post("Subscription", {
    resourceType: "Subscription",
    status: "requested",
    topic: "http://example.org/FHIR/R5/SubscriptionTopic/admission",
    filterBy: [{ resourceType: "Encounter", filterParameter: "patient", value: "Patient/node" }],
    channelType: { code: "websocket" },
    contentType: "application/fhir+json",
    content: "full-resource",
  });
  assert.equal(subscription.status, "active");

  const parameters = await post(`Subscription/${subscription.id}/$get-ws-binding-token`);
  const value = (name) => parameters.parameter.find((p) => p.name === name);

  const socket = new WebSocket(value("websocket-url").valueUrl);
  const next = frames(socket);
  await once(socket, "open");
  socket.send(`bind-with-token ${value("token").valueString}`);
  const handshake = (await next()).entry[0].resource;
  assert.equal(handshake.type, "handshake");
  assert.equal(handshake.eventsSinceSubscriptionStart, "0");
  await server.mock("await", { bound: { subscription: subscription.id, count: 1 } });

  await post("Encounter", { resourceType: "Encounter", status: "in-progress", subject: { reference: "Patient/other" } });
  const encounter = await post("Encounter", { resourceType: "Encounter", status: "in-progress", subject: { reference: "Patient/node" } });

  const bundle = await next();
  const status = bundle.entry[0].resource;
  assert.equal(bundle.type, "subscription-notification");
  assert.equal(status.type, "event-notification");
  assert.equal(status.notificationEvent[0].eventNumber, "1");
  assert.equal(status.notificationEvent[0].focus.reference, `${server.fhir}/Encounter/${encounter.id}`);
  assert.deepEqual(bundle.entry[1].resource, encounter);

  await server.mock("trigger", { subscription: subscription.id, count: 3 });
  for (const number of ["2", "3", "4"]) {
    assert.equal((await next()).entry[0].resource.notificationEvent[0].eventNumber, number);
  }
  socket.close();
});

test("the server goes away with 1001", async () => {
  const own = await startServer("--seed", "none");
  const socket = new WebSocket(own.ws);
  await once(socket, "open");
  const closed = once(socket, "close");
  await own.stop();
  const [code] = await closed;
  assert.equal(code, 1001);
});
