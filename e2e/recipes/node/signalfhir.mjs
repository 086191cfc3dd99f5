// Starts a signalfhir server for a test and stops it again. Needs the program:
// the path in SIGNALFHIR_BIN, or "signalfhir" on the PATH.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export async function startServer(...options) {
  const program = process.env.SIGNALFHIR_BIN ?? "signalfhir";
  // It ends when its standard input closes, so it cannot outlive the test. The generators of
  // the seed do not run, so only the test makes events.
  const child = spawn(program, ["--listen", "127.0.0.1:0", "--ready-json", "--exit-on-stdin-close", "--generators", "off", ...options], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (data) => (log += data));
  const ended = once(child, "exit");
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    ended.then(([code]) => Promise.reject(new Error(`signalfhir ended with ${code}\n${log}`))),
  ]);
  const ready = JSON.parse(line);
  return {
    url: ready.url,
    fhir: ready.fhir.R5,
    bases: ready.fhir, // of every release that the server offers
    ws: ready.ws,
    log: () => log,
    // mock calls the control API: reset, trigger, await.
    async mock(route, body = {}) {
      const response = await fetch(`${ready.url}/mock/${route}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      if (!response.ok) throw new Error(`/mock/${route}: ${await response.text()}`);
      return response.status === 204 ? null : response.json();
    },
    async stop() {
      child.stdin.end();
      const [code] = await ended;
      if (code !== 0) throw new Error(`signalfhir ended with ${code}\n${log}`);
    },
  };
}
