// The tests for both major versions of @medplum/core. The packages are used as
// published. Two waits are shortened: the first delay before the client connects again
// is the shortest possible (1 s of 1 to 5), and if a test lets time pass, setInterval
// and Date are those of node:test.
import assert from "node:assert/strict";
import { cuttable, queue, request, serverFor, testOn, until } from "./support.mjs";

// load imports a version, which chooses its delay at that moment.
export async function load(name) {
  const random = Math.random;
  Math.random = () => 0;
  try {
    return await import(name);
  } finally {
    Math.random = random;
  }
}

export const communication = (status = "completed") => ({ resourceType: "Communication", status });
const CRITERIA = "Communication?status=completed";

// signIn returns a client of a signed-in user.
export async function signIn(t, core, url) {
  const medplum = new core.MedplumClient({ baseUrl: url });
  t.after(() => medplum.getSubscriptionManager().closeWebSocket());
  const profile = await medplum.startClientLogin("my-app", "anything");
  assert.equal(profile.id, "dev");
  return medplum;
}

// follow subscribes and puts the events of the emitter into queues. An error that the
// test does not take from its queue fails the test.
function follow(medplum, criteria = CRITERIA) {
  const emitter = medplum.subscribeToCriteria(criteria);
  const events = {};
  for (const type of ["connect", "disconnect", "message", "close", "error"]) {
    events[type] = queue(`the event ${type} of ${criteria}`);
    emitter.addEventListener(type, (event) => events[type].put(event.payload));
  }
  return {
    ...events,
    connected: async () => (await events.connect.next()).subscriptionId,
    // resource returns the resource of the next notification.
    resource: async () => (await events.message.next()).entry[1].resource,
  };
}

const subscriptions = async (base) => ((await request("GET", `${base}/Subscription`)).entry ?? []).map((e) => e.resource.id);

// only waits until the server has exactly these subscriptions.
const only = (base, ...ids) =>
  until(`Subscription to be ${ids.join() || "empty"}`, async () => {
    const found = await subscriptions(base);
    return found.join() === ids.join() || Promise.reject(new Error(found.join()));
  });

// pass lets time pass for the client, which pings every five seconds. It returns early
// if the client closes its socket.
export async function pass(t, medplum, seconds) {
  const ws = medplum.getSubscriptionManager().getWebSocket();
  const received = queue("a pong");
  const heard = (event) => JSON.parse(event.data).type === "pong" && received.put("pong");
  const closed = () => received.put("close");
  ws.addEventListener("message", heard);
  ws.addEventListener("close", closed);
  for (let s = 0; s < seconds; s += 5) {
    t.mock.timers.tick(5000);
    if ((await received.next()) === "close") break;
  }
  ws.removeEventListener("message", heard);
  ws.removeEventListener("close", closed);
}

// walk declares the tests. graceful: unbinds ten seconds after the last
// removeCriteria and closes then (5), instead of at once and never (4). renews:
// takes a new token before the old one expires.
export function walk(version, core, { graceful, renews }) {
  const named = (text) => `@medplum/core ${version}: ${text}`;
  const start = async (t, ...options) => {
    const server = await serverFor(t, "--seed", "none", ...options);
    return { server, base: server.bases.R4, medplum: await signIn(t, core, server.url) };
  };

  testOn("R4", named("subscribes to a criteria and is notified of what matches"), async (t) => {
    const warned = t.mock.method(console, "warn");
    const { base, medplum } = await start(t);
    const followed = follow(medplum);
    const id = await followed.connected();
    const created = await medplum.readResource("Subscription", id);
    assert.deepEqual([created.criteria, created.status, created.channel.type], [CRITERIA, "active", "websocket"]);

    await medplum.createResource(communication("in-progress"));
    const first = await medplum.createResource(communication());
    const bundle = await followed.message.next();
    assert.equal(bundle.entry[0].resource.resourceType, "SubscriptionStatus");
    assert.equal(bundle.entry[0].resource.subscription.reference, `Subscription/${id}`);
    assert.deepEqual(bundle.entry[1].resource, first);
    const second = await medplum.updateResource({ ...first, topic: { text: "changed" } });
    assert.deepEqual(await followed.resource(), second);

    assert.deepEqual(followed.error.rest(), []);
    assert.equal(warned.mock.callCount(), 0, "Medplum's client warned of something");
    await only(base, id);
  });

  testOn("R4", named("keeps two criteria on one socket apart, and unbinds"), async (t) => {
    t.mock.timers.enable({ apis: ["setInterval", "Date"], now: Date.now() });
    const { server, base, medplum } = await start(t);
    const one = follow(medplum, "Communication?status=completed");
    const oneID = await one.connected();
    const two = follow(medplum, "Communication");
    const twoID = await two.connected();
    const { sockets } = await request("GET", `${server.url}/mock/sockets`);
    assert.deepEqual(sockets.map((s) => [s.dialect, s.bindings.length]), [["medplum", 2]]);

    await medplum.createResource(communication());
    await Promise.all([one.resource(), two.resource()]);

    medplum.unsubscribeFromCriteria("Communication?status=completed");
    if (graceful) await pass(t, medplum, 15);
    assert.equal((await one.disconnect.next()).subscriptionId, oneID);
    await until("the first to be unbound", async () => {
      const { sockets } = await request("GET", `${server.url}/mock/sockets`);
      return sockets.length === 1 && sockets[0].bindings.join() === twoID;
    });
    await medplum.createResource(communication());
    await two.resource();
    assert.deepEqual(one.message.rest(), []);

    // The last one. Version 5 closes the socket by itself.
    medplum.unsubscribeFromCriteria("Communication");
    if (graceful) await pass(t, medplum, 15);
    else medplum.getSubscriptionManager().closeWebSocket();
    await only(base);
  });

  testOn("R4", named("outlives its token"), async (t) => {
    if (renews) t.mock.timers.enable({ apis: ["setInterval", "Date"], now: Date.now() });
    // With less than five minutes left, the client renews every minute.
    const { server, base, medplum } = await start(t, "--token-ttl", renews ? "4m" : "4s");
    const followed = follow(medplum);
    const id = await followed.connected();
    if (renews) {
      await pass(t, medplum, 120);
      assert.deepEqual([await followed.connected(), await followed.connected()], [id, id]);
      assert.deepEqual(followed.close.rest(), []);
      const { sockets } = await request("GET", `${server.url}/mock/sockets`);
      assert.deepEqual(sockets.map((s) => s.bindings), [[id]]);
      await only(base, id);
    } else {
      // Version 4 never renews. The server closes the socket, and the client connects again.
      const next = await followed.connected();
      assert.notEqual(next, id);
      await only(base, next);
    }
    // Each event arrives once, whichever token keeps the binding.
    const written = [await medplum.createResource(communication()), await medplum.createResource(communication())];
    assert.deepEqual([await followed.resource(), await followed.resource()], written);
    // Version 4 fails on the OperationOutcome that says why a binding ended.
    if (renews) assert.deepEqual(followed.error.rest(), []);
  });

  testOn("R4", named("survives a cut and leaves nothing behind"), async (t) => {
    const server = await serverFor(t, "--seed", "none");
    const network = await cuttable(t, server.url);
    const medplum = await signIn(t, core, network.url);
    const followed = follow(medplum);
    const before = await followed.connected();
    await medplum.createResource(communication());
    await followed.resource();

    for (let last = before, times = 0; times < 2; times++) {
      network.cut();
      await followed.close.next();
      const id = await followed.connected();
      assert.notEqual(id, last);
      await only(server.bases.R4, id);
      const written = await medplum.createResource(communication());
      assert.deepEqual(await followed.resource(), written);
      last = id;
    }
    medplum.getSubscriptionManager().closeWebSocket();
    await only(server.bases.R4);
  });

  testOn("R4", named("survives a restart of the server"), async (t) => {
    const first = await serverFor(t, "--seed", "none");
    const medplum = await signIn(t, core, first.url);
    const followed = follow(medplum);
    await followed.connected();
    await first.stop();
    await followed.close.next();

    const server = await serverFor(t, "--seed", "none", "--listen", new URL(first.url).host);
    const id = await followed.connected();
    const written = await medplum.createResource(communication());
    assert.deepEqual(await followed.resource(), written);
    await only(server.bases.R4, id);
  });
}
