import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "./client.mjs"; // your client
import { startServer } from "./signalfhir.mjs";

test("the client comes back when the server restarts", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const client = connect(server.fhir, "task-id-only");
  t.after(() => client.close());
  const { seq } = await server.mock("await", { bound: { subscription: "task-id-only" }, timeout: "1m" });

  await server.mock("restart", { numbers: "kept" });
  await server.mock("await", { boundAgain: { subscription: "task-id-only" }, since: seq, timeout: "1m" });
  await server.mock("trigger", { subscription: "task-id-only" });
  assert.equal(await client.next(), 1);
});
