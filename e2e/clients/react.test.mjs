// useSubscription of @medplum/react-hooks in a page.
import assert from "node:assert/strict";
import { root } from "./dom.mjs";
import { communication, load, pass, signIn } from "./medplum.mjs";
import { request, serverFor, testOn, until } from "./support.mjs";

const core = await load("@medplum/core");
const { MedplumProvider, useSubscription } = await import("@medplum/react-hooks");
const { createElement, useState } = await import("react");
const { createRoot } = await import("react-dom/client");

function Latest({ criteria, log }) {
  const [text, setText] = useState("nothing yet");
  useSubscription(criteria, (bundle) => setText(bundle.entry[1].resource.id), {
    onSubscriptionConnect: (id) => log.push(`connect ${id}`),
    onError: (error) => log.push(error),
  });
  return createElement("p", null, text);
}

testOn("R4", "@medplum/react-hooks 5: a component is notified, and gives up when it goes", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval", "Date"], now: Date.now() });
  const server = await serverFor(t, "--seed", "none");
  const medplum = await signIn(t, core, server.url);
  const log = [];
  const page = createRoot(root);
  t.after(() => page.unmount());
  const show = (child) => page.render(createElement(MedplumProvider, { medplum }, child));

  show(createElement(Latest, { criteria: "Communication?status=completed", log }));
  await until("the component to subscribe", () => log.length === 1);
  const first = await medplum.createResource(communication());
  await until("the component to show it", () => root.textContent === first.id);

  // Another criteria is another subscription on the same socket.
  show(createElement(Latest, { criteria: "Communication?status=in-progress", log }));
  await until("the component to subscribe again", () => log.length === 2);
  await medplum.createResource(communication());
  const second = await medplum.createResource(communication("in-progress"));
  await until("the component to show the other", () => root.textContent === second.id);

  // The hook waits three seconds after it was unmounted, then ten for the socket.
  show(null);
  await until("nobody to be subscribed", () => medplum.getSubscriptionManager().getCriteriaCount() === 0);
  await pass(t, medplum, 15);
  await until("the server to have forgotten it", async () => ((await request("GET", `${server.bases.R4}/Subscription`)).entry ?? []).length === 0);
  assert.deepEqual(log.map((l) => String(l).split(" ")[0]), ["connect", "connect"]);
});
