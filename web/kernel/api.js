// Requests to the server. A refusal becomes a Refusal that knows which element
// each problem concerns.

import { address, inside } from "./room.js";

/** Refusal is an answer other than success. */
export class Refusal extends Error {
  constructor(status, body, text) {
    const issues = readIssues(body);
    super(issues.map((issue) => issue.text).join("\n") || text || `the server answered ${status}`);
    this.status = status;
    this.body = body;
    /** {text, code, severity, expression: [paths]} each. */
    this.issues = issues;
  }
}

function readIssues(body) {
  if (body?.resourceType === "OperationOutcome") {
    return body.issue.map((issue) => ({
      text: issue.diagnostics ?? issue.details?.text ?? issue.code,
      code: issue.code,
      severity: issue.severity,
      expression: issue.expression ?? [],
    }));
  }
  if (body?.issues?.length) {
    return body.issues.map((issue) => ({ text: issue.detail, code: issue.code, severity: "error", expression: issue.expression ?? [] }));
  }
  return body?.detail ? [{ text: body.detail, code: "", severity: "error", expression: [] }] : [];
}

/** typeOf is the media type of what is sent to a path. */
const typeOf = (path) => (inside(path).startsWith("/fhir/") ? "application/fhir+json" : "application/json");

/**
 * request sends a request and answers {status, headers, body, text}; body is
 * the parsed JSON, or null. It throws a Refusal, or an Error where the server
 * does not answer.
 */
export async function request(method, path, body, headers = {}) {
  const type = typeOf(path);
  const init = { method, headers: { Accept: type, ...headers } };
  if (body !== undefined && body !== null) {
    init.body = typeof body === "string" ? body : JSON.stringify(body);
    init.headers["Content-Type"] ??= type;
  }
  let response;
  try {
    response = await fetch(address(path), init);
  } catch {
    throw new Error("the server does not answer; is it running?");
  }
  const text = await response.text();
  let parsed = null;
  try {
    if (text) parsed = JSON.parse(text);
  } catch { /* an answer that is no JSON is shown as text */ }
  if (!response.ok) throw new Refusal(response.status, parsed, text);
  return { status: response.status, headers: response.headers, body: parsed, text };
}

export const get = async (path) => (await request("GET", path)).body;
export const post = async (path, body) => (await request("POST", path, body)).body;

/** curl is the command that sends a request, ready for a shell. */
export function curl(method, path, body, headers = {}) {
  const url = new URL(address(path), location.origin).href;
  const parts = ["curl"];
  if (method === "HEAD") parts.push("--head");
  else if (method !== "GET") parts.push("-X", method);
  parts.push(quote(url));
  const all = body ? { "Content-Type": typeOf(path), ...headers } : headers;
  for (const [name, value] of Object.entries(all)) parts.push("\\\n  -H", quote(`${name}: ${value}`));
  if (body) parts.push("\\\n  --data-raw", quote(typeof body === "string" ? body : JSON.stringify(body, null, 2)));
  return parts.join(" ");
}

const quote = (text) => (/^[\w:/.,=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
