// Evaluates HL7's search parameters on HL7's examples with HL7's own FHIRPath
// engine, for differential_test.go to compare with ours. The specification's
// folder is the argument; each line of the output is one evaluation:
//
//   {"release", "file", "entry", "url", "code", "expression", "values" | "error"}
//
// entry is the index of a resource inside a bundle, -1 for the resource of the
// file itself. The engine has no model of R4B; its R4 model is used for that.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fhirpath from "fhirpath";
import r4 from "fhirpath/fhir-context/r4";
import r5 from "fhirpath/fhir-context/r5";

const models = { R4: r4, R4B: r4, R5: r5 };
const folder = process.argv[2];
const read = (...path) => JSON.parse(readFileSync(join(folder, ...path), "utf8"));

// resolve returns the type and id that a reference contains, or the contained resource.
// It does not use a server, as that of the engine does. A plain object has no FHIR type,
// which "is" needs, so each becomes a node of the engine.
function resolve(references) {
  const root = this.dataRoot[0].data;
  return references.flatMap((node) => {
    const reference = typeof node.data === "string" ? node.data : node.data.reference ?? "";
    const type = node.data.type;
    const parts = reference.split("/_history/")[0].split("/");
    let target;
    if (reference === "#") {
      target = root;
    } else if (reference.startsWith("#")) {
      target = root.contained?.find((inner) => inner.id === reference.slice(1));
    } else if (parts.length > 1) {
      target = { resourceType: parts.at(-2), id: parts.at(-1) };
    } else if (type) {
      target = { resourceType: type.split("/").at(-1) };
    }
    return target ? [node.constructor.makeResNode(this, target, null, null, null, null)] : [];
  });
}

const options = { userInvocationTable: { resolve: { fn: resolve, arity: { 0: [] }, internalStructures: true } } };

// The search parameters of these apply to every type.
const bases = ({ resourceType }) =>
  ["Bundle", "Binary", "Parameters"].includes(resourceType) ? [resourceType, "Resource"] : [resourceType, "Resource", "DomainResource"];

const lines = [];
for (const [release, model] of Object.entries(models)) {
  const parameters = read(`search-parameters.${release}.json`).filter((p) => p.expression);
  const compiled = new Map();
  for (const file of readdirSync(join(folder, "examples", release)).filter((name) => name.endsWith(".json")).sort()) {
    const whole = read("examples", release, file);
    const resources = [[-1, whole], ...(whole.entry ?? []).map((entry, i) => [i, entry.resource])];
    for (const [entry, resource] of resources) {
      if (!resource) continue;
      for (const { url, code, base, expression } of parameters) {
        if (!base.some((type) => bases(resource).includes(type))) continue;
        const line = { release, file, entry, url, code, expression };
        try {
          if (!compiled.has(expression)) compiled.set(expression, fhirpath.compile(expression, model, options));
          // The engine modifies the resource that it gets.
          line.values = compiled.get(expression)(structuredClone(resource));
        } catch (error) {
          line.error = String(error?.message ?? error);
        }
        lines.push(JSON.stringify(line));
      }
    }
  }
}
process.stdout.write(lines.join("\n") + "\n");
