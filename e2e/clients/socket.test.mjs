// npm ws against the socket: topic subscriptions of every release, and the
// protocol of R4 before there were topics.
import assert from "node:assert/strict";
import { open, releases, request, serverFor, testOn, value } from "./support.mjs";

for (const [release, shape] of Object.entries(releases)) {
  testOn(release, `${release}: ws binds with a token and is notified`, async (t) => {
    const server = await serverFor(t);
    const base = server.bases[release];
    const subscription = await request("POST", `${base}/Subscription`, shape.subscription("full-resource", "Patient/ws"));
    assert.equal(subscription.status, "active");

    const token = await request("POST", `${base}/Subscription/${subscription.id}/$get-ws-binding-token`);
    const ws = await open(t, value(token, "websocket-url"));
    ws.send(`bind-with-token ${value(token, "token")}`);
    const handshake = await ws.next();
    assert.equal(handshake.type, shape.bundleType);
    assert.equal(handshake.entry[0].resource.resourceType, shape.statusType);
    const first = shape.status(handshake.entry[0].resource);
    assert.deepEqual([first.type, first.total, first.events], ["handshake", "0", []]);
    assert.ok(first.subscription.endsWith(`Subscription/${subscription.id}`), first.subscription);

    await request("POST", `${base}/Encounter`, shape.encounter("Patient/other"));
    const encounter = await request("POST", `${base}/Encounter`, shape.encounter("Patient/ws"));
    const bundle = await ws.next();
    const status = shape.status(bundle.entry[0].resource);
    assert.deepEqual([status.type, status.total], ["event-notification", "1"]);
    assert.deepEqual(status.events, [{ number: "1", focus: `${base}/Encounter/${encounter.id}` }]);
    assert.deepEqual(bundle.entry[1].resource, encounter);
    assert.equal(bundle.entry[1].fullUrl, `${base}/Encounter/${encounter.id}`);

    // One socket is bound to several subscriptions, and is unbound from one again.
    const other = await request("POST", `${base}/Subscription`, shape.subscription("id-only", "Patient/ws"));
    const second = await request("GET", `${base}/Subscription/${other.id}/$get-ws-binding-token`);
    ws.send(`bind-with-token: ${value(second, "token")}`);
    assert.equal(shape.status((await ws.next()).entry[0].resource).type, "handshake");
    ws.send(`unbind-with-token ${value(token, "token")}`);
    await server.mock("await", { bound: { subscription: subscription.id, count: 0 } });
    await request("PUT", `${base}/Encounter/${encounter.id}`, { ...encounter, status: "planned" });
    await request("PUT", `${base}/Encounter/${encounter.id}`, encounter);
    const last = await ws.next();
    assert.ok(shape.status(last.entry[0].resource).subscription.endsWith(`Subscription/${other.id}`));
    assert.equal(last.entry[1]?.resource, undefined);
  });
}

for (const path of ["/ws", "/websocket"]) {
  testOn("R4", `R4: a client of the old protocol is bound and pinged on ${path}`, async (t) => {
    const server = await serverFor(t, "--seed", "none");
    const base = server.bases.R4;
    const subscription = await request("POST", `${base}/Subscription`, {
      resourceType: "Subscription",
      status: "requested",
      reason: "clients",
      criteria: "Observation?status=final",
      channel: { type: "websocket" },
    });
    assert.equal(subscription.status, "active");
    const ws = await open(t, server.url.replace("http", "ws") + path);
    ws.send(`bind ${subscription.id}`);
    assert.equal(await ws.text(), `bound ${subscription.id}`);

    const observation = { resourceType: "Observation", status: "preliminary", code: { text: "pulse" } };
    const created = await request("POST", `${base}/Observation`, observation);
    await request("PUT", `${base}/Observation/${created.id}`, { ...created, status: "final" });
    assert.equal(await ws.text(), `ping ${subscription.id}`);

    // A wrong id is refused and the socket stays open. If the write before it had matched,
    // its ping would have come first.
    await request("POST", `${base}/Observation`, observation);
    ws.send("bind nobody");
    assert.equal((await ws.next()).resourceType, "OperationOutcome");
    await request("POST", `${base}/Observation`, { ...observation, status: "final" });
    assert.equal(await ws.text(), `ping ${subscription.id}`);
  });
}
