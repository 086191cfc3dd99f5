// Requests to the server. An error response becomes a Refusal, which names the
// element that each problem is about.

import { address, inside } from "./room.js";
import { signedIn } from "./signin.js";

/** Refusal is the error for a response that is not a success. */
export class Refusal extends Error {
  constructor(status, body, text) {
    const issues = readIssues(body);
    super(issues.map((issue) => issue.text).join("\n") || text || `the server responded with status ${status}`);
    this.status = status;
    this.body = body;
    /** Each is {text, code, severity, expression: [paths]}. */
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

/** typeOf returns the media type of the bodies of requests to a path. */
const typeOf = (path) => (inside(path).startsWith("/fhir/") ? "application/fhir+json" : "application/json");

/**
 * request sends a request and returns {status, headers, body, text}; body is
 * the parsed JSON, or null. It throws a Refusal, or an Error if the server does
 * not respond.
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
    throw new Error("the server does not respond; is it running?");
  }
  const text = await response.text();
  let parsed = null;
  try {
    if (text) parsed = JSON.parse(text);
  } catch { /* a response that is not JSON is shown as text */ }
  if (!response.ok) throw new Refusal(response.status, parsed, text);
  return { status: response.status, headers: response.headers, body: parsed, text };
}

export const get = async (path) => (await request("GET", path)).body;
export const post = async (path, body) => (await request("POST", path, body)).body;

/** curl returns the shell command that sends a request. */
export function curl(method, path, body, headers = {}) {
  const url = new URL(address(path), location.origin).href;
  const parts = ["curl"];
  if (method === "HEAD") parts.push("--head");
  else if (method !== "GET") parts.push("-X", method);
  parts.push(quote(url));
  const all = body ? { "Content-Type": typeOf(path), ...headers } : headers;
  for (const [name, value] of Object.entries(all)) parts.push("\\\n  -H", quote(`${name}: ${value}`));
  if (signedIn()) parts.push('\\\n  -H "Authorization: Bearer $SIGNALFHIR_AUTH_TOKEN"'); // not to show the token
  if (body) parts.push("\\\n  --data-raw", quote(typeof body === "string" ? body : JSON.stringify(body, null, 2)));
  return parts.join(" ");
}

const quote = (text) => (/^[\w:/.,=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
