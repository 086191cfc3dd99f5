// Reads the first entry of a notification of any release.

import { tail } from "./format.js";

/**
 * readStatus reads a SubscriptionStatus, or the Parameters that R4 has instead, as
 * {type, status, total, events: [{number, focus, context}], errors}. It returns null
 * for another resource.
 */
export function readStatus(r) {
  if (r?.resourceType === "SubscriptionStatus") {
    return {
      type: r.type, status: r.status, total: r.eventsSinceSubscriptionStart,
      events: (r.notificationEvent ?? []).map((e) => ({ number: e.eventNumber, focus: e.focus?.reference, context: (e.additionalContext ?? []).map((c) => c.reference) })),
      errors: (r.error ?? []).map((e) => e.text ?? e.coding?.[0]?.code ?? "error"),
    };
  }
  if (r?.resourceType !== "Parameters") return null;
  const value = (p) => { for (const key of Object.keys(p ?? {})) if (key.startsWith("value")) return p[key]; };
  const named = (list, name) => (list ?? []).filter((p) => p.name === name);
  const one = (name) => value(named(r.parameter, name)[0]);
  if (!one("type")) return null;
  return {
    type: one("type"), status: one("status"), total: one("events-since-subscription-start"),
    events: named(r.parameter, "notification-event").map((e) => ({
      number: value(named(e.part, "event-number")[0]),
      focus: value(named(e.part, "focus")[0])?.reference,
      context: named(e.part, "additional-context").map((c) => value(c).reference),
    })),
    errors: named(r.parameter, "error").map((e) => value(e)?.text ?? tail(value(e)?.coding?.[0]?.code)),
  };
}
