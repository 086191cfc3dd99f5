// Shared by the tests of this folder: servers, topic subscriptions and notifications in
// the three releases, and a connection that can be cut.
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import WebSocket from "ws";
import { startServer } from "../recipes/node/signalfhir.mjs";

export const TOPIC = "http://example.org/FHIR/R5/SubscriptionTopic/admission";

// How long a test waits, in ms. Only a failure takes that long.
const PATIENCE = 10_000;

// Node 22 has a WebSocket; on Node 20, that of npm ws is used. Medplum's
// client looks for a global one.
globalThis.WebSocket ??= WebSocket;

// serverFor runs a server until the tests that t belongs to have ended.
export async function serverFor(t, ...options) {
  const server = await startServer(...options);
  t.after(() => server.stop());
  return server;
}

const offered = await (async () => {
  const server = await startServer("--seed", "none");
  await server.stop();
  return server.bases;
})();

// testOn declares a test that needs a release. It is skipped if the server does not
// offer that release.
export function testOn(release, name, body) {
  test(name, { timeout: 30_000}, body);
}

// until polls for a condition. Its failure has the last error or value.
export async function until(what, condition, patience = PATIENCE) {
  const end = performance.now() + patience;
  for (;;) {
    let seen;
    try {
      seen = await condition();
      if (seen) return seen;
    } catch (error) {
      seen = error;
    }
    if (performance.now() > end) throw new Error(`waited ${patience} ms for ${what}; last seen: ${seen}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// queue collects values and returns them in order: next() waits for one. If none comes, the
// failure says what it waited for.
export function queue(what) {
  const kept = [];
  const waiting = [];
  return {
    put(value) {
      const wake = waiting.shift();
      if (wake) wake(value);
      else kept.push(value);
    },
    async next() {
      if (kept.length) return kept.shift();
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${PATIENCE} ms for ${what}`)), PATIENCE);
      });
      return Promise.race([new Promise((resolve) => waiting.push(resolve)), late]).finally(() => clearTimeout(timer));
    },
    // rest returns the values that were not taken.
    rest: () => kept.splice(0),
  };
}

// open opens a socket with npm ws; next() returns a frame as text.
export async function open(t, url) {
  const socket = new WebSocket(url);
  const frames = queue("a frame");
  socket.on("message", (data) => frames.put(data.toString()));
  t.after(() => socket.terminate());
  await once(socket, "open");
  return { socket, send: (text) => socket.send(text), text: frames.next, next: async () => JSON.parse(await frames.next()) };
}

// request is fetch for FHIR; it throws a refusal as an error.
export async function request(method, url, body) {
  const response = await fetch(url, {
    method,
    headers: body && { "Content-Type": "application/fhir+json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export const value = (parameters, name) => {
  const p = parameters.parameter.find((p) => p.name === name);
  return p && Object.entries(p).find(([key]) => key.startsWith("value"))[1];
};

const backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

// For each release: a subscription on a topic, a resource that causes an event, and how to
// read a notification.
const topicSubscription4 = (content, patient) => ({
  resourceType: "Subscription",
  meta: { profile: [`${backport}backport-subscription`] },
  status: "requested",
  reason: "clients",
  criteria: TOPIC,
  _criteria: { extension: [{ url: `${backport}backport-filter-criteria`, valueString: `Encounter?patient=${patient}` }] },
  channel: {
    type: "websocket",
    payload: "application/fhir+json",
    _payload: { extension: [{ url: `${backport}backport-payload-content`, valueCode: content }] },
  },
});
const encounter4 = (patient) => ({
  resourceType: "Encounter",
  status: "in-progress",
  class: { system: "http://terminology.hl7.org/CodeSystem/v3-ActCode", code: "IMP" },
  subject: { reference: patient },
});
const statusResource = (resource) => ({
  type: resource.type,
  subscription: resource.subscription.reference,
  total: resource.eventsSinceSubscriptionStart,
  events: (resource.notificationEvent ?? []).map((e) => ({ number: e.eventNumber, focus: e.focus?.reference })),
});
const statusParameters = (resource) => ({
  type: value(resource, "type"),
  subscription: value(resource, "subscription").reference,
  total: value(resource, "events-since-subscription-start"),
  events: resource.parameter
    .filter((p) => p.name === "notification-event")
    .map((p) => ({ number: value({ parameter: p.part }, "event-number"), focus: value({ parameter: p.part }, "focus")?.reference })),
});

export const releases = {
  R5: {
    bundleType: "subscription-notification",
    subscription: (content, patient) => ({
      resourceType: "Subscription",
      status: "requested",
      topic: TOPIC,
      reason: "clients",
      filterBy: [{ resourceType: "Encounter", filterParameter: "patient", value: patient }],
      channelType: { code: "websocket" },
      contentType: "application/fhir+json",
      content,
    }),
    encounter: (patient) => ({ resourceType: "Encounter", status: "in-progress", subject: { reference: patient } }),
    statusType: "SubscriptionStatus",
    status: statusResource,
  },
  R4B: { bundleType: "history", subscription: topicSubscription4, encounter: encounter4, statusType: "SubscriptionStatus", status: statusResource },
  R4: { bundleType: "history", subscription: topicSubscription4, encounter: encounter4, statusType: "Parameters", status: statusParameters },
};

// cuttable forwards a port to that of a server. cut() breaks every WebSocket as a lost
// network does, without a close frame. It does not break requests.
export async function cuttable(t, url) {
  const target = new URL(url);
  const open = new Set();
  const webSockets = new Set();
  const proxy = net.createServer((near) => {
    const far = net.connect(target.port, target.hostname);
    near.once("data", (head) => /^upgrade: websocket/im.test(head) && webSockets.add(near));
    for (const [a, b] of [[near, far], [far, near]]) {
      open.add(a);
      a.on("error", () => b.destroy());
      a.on("close", () => (open.delete(a), webSockets.delete(a), b.destroy()));
      a.pipe(b);
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    open.forEach((socket) => socket.destroy());
    proxy.close();
  });
  return { url: `http://127.0.0.1:${proxy.address().port}`, cut: () => webSockets.forEach((socket) => socket.destroy()) };
}
