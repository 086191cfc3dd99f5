// Runs the programs of docs/clients.md, each as a process of its own, and compares
// their output with the output on the page.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { communication } from "./medplum.mjs";
import { request, serverFor, testOn, until } from "./support.mjs";

const page = readFileSync(new URL("../../docs/clients.md", import.meta.url), "utf8");
const programs = page.split(/^## /m).slice(1).flatMap((section) => {
  const code = section.match(/^```js\n(.*?)^```/ms)?.[1];
  const prints = section.match(/^```text\n(.*?)^```/ms)?.[1];
  const name = section.split("\n", 1)[0];
  assert.equal(code === undefined, prints === undefined, `${name}: a program without what it prints, or the other way round`);
  return code ? [{ name, code, prints }] : [];
});
assert.equal(programs.length, 6);

const medplum4 = { "@medplum/core": "medplum-core-4" };

for (const { name, code, prints } of programs) {
  const inPage = code.includes("document.");
  for (const replaced of name.includes("4 and 5") ? [{}, medplum4] : [{}]) {
    testOn(/R4|medplum/.test(code) ? "R4" : "R5", ["docs/clients.md:", name, ...Object.values(replaced)].join(" "), async (t) => {
      const server = await serverFor(t);
      let program = code.replaceAll("127.0.0.1:8080", new URL(server.url).host);
      for (const [from, to] of Object.entries(replaced)) program = program.replaceAll(`"${from}"`, `"${to}"`);

      // A program from standard input finds modules in the folder where the process runs.
      const surroundings = inPage ? ["--import", "./dom.mjs"] : ["--experimental-websocket"];
      const node = spawn(process.execPath, [...surroundings, "--input-type=module", "-"], { cwd: new URL(".", import.meta.url) });
      t.after(() => node.kill());
      let printed = "";
      let failed = "";
      node.stdout.on("data", (data) => (printed += data));
      node.stderr.on("data", (data) => (failed = (failed + data).slice(-2000)));
      node.stdin.end(program);

      const bare = (text) => text.replace(/ +$/gm, "");
      if (inPage) {
        await until("the page to subscribe", async () => {
          const { sockets } = await request("GET", `${server.url}/mock/sockets`);
          return sockets.some((s) => s.bindings.length > 0) || Promise.reject(new Error(failed));
        });
        await request("POST", `${server.bases.R4}/Communication`, communication());
        await until("the page to show it", () => bare(printed) === prints || Promise.reject(new Error(printed)));
        return; // a page does not end by itself
      }
      const [exit] = await once(node, "exit");
      assert.equal(bare(printed), prints, failed);
      assert.equal(exit, 0, failed);
    });
  }
}
