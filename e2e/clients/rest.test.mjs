// The FHIR clients for JavaScript without sockets, on every release: they create, take
// tokens, request status and events, and patch.
import assert from "node:assert/strict";
import fhirclient from "fhirclient";
import { Client } from "fhir-kit-client";
import { open, releases, serverFor, testOn, value } from "./support.mjs";

for (const [release, shape] of Object.entries(releases)) {
  const state = (bundle) => shape.status(bundle.entry[0].resource);

  testOn(release, `${release}: fhir-kit-client`, async (t) => {
    const server = await serverFor(t);
    const client = new Client({ baseUrl: server.bases[release] });
    const capabilities = await client.capabilityStatement();
    assert.equal(capabilities.resourceType, "CapabilityStatement");

    const subscription = await client.create({ resourceType: "Subscription", body: shape.subscription("full-resource", "Patient/kit") });
    const { response } = Client.httpFor(subscription);
    assert.equal(response.status, 201);
    assert.match(response.headers.get("location"), new RegExp(`/fhir/${release}/Subscription/${subscription.id}/_history/`));
    const operation = (name, more) => client.operation({ resourceType: "Subscription", id: subscription.id, name, ...more });

    // The default is a POST with an empty body; then the other forms of the request.
    const parameters = await operation("$get-ws-binding-token");
    const wanted = { resourceType: "Parameters", parameter: [{ name: "id", valueId: subscription.id }] };
    for (const other of [
      await operation("$get-ws-binding-token", { method: "GET" }),
      await operation("$get-ws-binding-token", { id: undefined, input: wanted }),
      await operation("$get-ws-binding-token", { id: undefined, method: "GET", input: { id: [subscription.id, subscription.id] } }),
    ]) {
      assert.deepEqual(other.parameter.map((p) => p.name).sort(), parameters.parameter.map((p) => p.name).sort());
    }
    assert.ok(Date.parse(value(parameters, "expiration")) > Date.now());
    assert.ok(value(parameters, "subscription").endsWith(subscription.id));

    const ws = await open(t, value(parameters, "websocket-url"));
    ws.send(`bind-with-token ${value(parameters, "token")}`);
    assert.equal(state(await ws.next()).type, "handshake");
    assert.deepEqual(state(await operation("$status", { method: "GET" })).total, "0");

    const encounter = await client.create({ resourceType: "Encounter", body: shape.encounter("Patient/kit") });
    assert.deepEqual((await ws.next()).entry[1].resource, { ...encounter });

    assert.equal(state(await operation("$status")).total, "1");
    const all = await operation("$status", { id: undefined, method: "GET" });
    assert.ok(all.entry.some((e) => shape.status(e.resource).total === "1"));
    const events = await operation("$events", { method: "GET", input: { eventsSinceNumber: 1 } });
    assert.equal(state(events).type, "query-event");
    assert.deepEqual(state(events).events.map((e) => e.number), ["1"]);

    const off = await client.patch({ resourceType: "Subscription", id: subscription.id, jsonPatch: [{ op: "replace", path: "/status", value: "off" }] });
    assert.equal(off.status, "off");
    assert.equal(state(await ws.next()).type, "heartbeat"); // the last one, with the status
    await client.delete({ resourceType: "Subscription", id: subscription.id });
    await assert.rejects(operation("$status"), (error) => error.response.status === 404 || error.response.status === 410);
  });

  testOn(release, `${release}: fhirclient`, async (t) => {
    const server = await serverFor(t);
    const client = new fhirclient.FhirClient(server.bases[release]);
    assert.match(await client.getFhirVersion(), { R5: /^5\.0\.0$/, R4B: /^4\.3\.0$/, R4: /^4\.0\.1$/ }[release]);
    assert.equal(await client.getFhirRelease(), { R5: 0, R4B: 0, R4: 4 }[release]); // 0: it does not know later releases

    const subscription = await client.create(shape.subscription("full-resource", "Patient/smart"));
    const at = `Subscription/${subscription.id}`;
    const parameters = await client.fhirRequest(`${at}/$get-ws-binding-token`);
    const ws = await open(t, value(parameters, "websocket-url"));
    ws.send(`bind-with-token ${value(parameters, "token")}`);
    assert.equal(state(await ws.next()).type, "handshake");

    const encounter = await client.create(shape.encounter("Patient/smart"));
    assert.deepEqual((await ws.next()).entry[1].resource, encounter);
    await client.update({ ...encounter, status: "planned" });
    await client.update({ ...encounter, status: "in-progress" });
    assert.equal(state(await ws.next()).total, "2");

    assert.equal(state(await client.fhirRequest(`${at}/$status`)).total, "2");
    const events = await client.fhirRequest(`${at}/$events?eventsSinceNumber=2&content=full-resource`);
    assert.deepEqual(state(events).events.map((e) => e.number), ["2"]);

    const off = await client.patch(at, [{ op: "replace", path: "/status", value: "off" }]);
    assert.equal(off.status, "off");
    await client.delete(at);
    const left = [];
    for await (const resource of client.resources("Subscription?_count=100")) left.push(resource.id);
    assert.ok(!left.includes(subscription.id));
  });
}
