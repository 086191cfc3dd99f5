// The Subscription that the form describes, in each release: R5 has elements, R4B and
// R4 have extensions of the Subscriptions Backport guide.

const backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-";

// A text that is not a number is sent as it is: the server refuses it.
const whole = (text) => (/^\d+$/.test(text) ? Number(text) : text || undefined);

// In the order in which they are written: a refusal names them by index.
const onChannel = [["heartbeatPeriod", "heartbeat-period", "valueUnsignedInt"], ["timeout", "timeout", "valueUnsignedInt"], ["maxCount", "max-count", "valuePositiveInt"]];

/** written returns the resource of a draft in a release. */
export function written(release, id, draft) {
  const filters = draft.filters[draft.topic] ?? [];
  const head = { resourceType: "Subscription", ...(id && { id }) };
  if (release === "R5") {
    return {
      ...head,
      status: "requested",
      topic: draft.topic,
      end: draft.end || undefined,
      filterBy: filters.length ? filters.map((f) => ({ ...f, value: f.value || undefined })) : undefined,
      channelType: { system: "http://terminology.hl7.org/CodeSystem/subscription-channel-type", code: "websocket" },
      heartbeatPeriod: whole(draft.heartbeatPeriod),
      timeout: whole(draft.timeout),
      contentType: "application/fhir+json",
      content: draft.content,
      maxCount: whole(draft.maxCount),
    };
  }
  const extension = onChannel.map(([name, url, member]) => draft[name] && { url: backport + url, [member]: whole(draft[name]) }).filter(Boolean);
  return {
    ...head,
    meta: { profile: [`${backport}subscription`] },
    status: "requested",
    end: draft.end || undefined,
    reason: "tried on the page",
    criteria: draft.topic,
    _criteria: filters.length ? { extension: filters.map((f) => ({ url: `${backport}filter-criteria`, valueString: `${f.resourceType ? `${f.resourceType}?` : ""}${f.filterParameter}${f.modifier ? `:${f.modifier}` : ""}=${f.comparator ?? ""}${f.value}` })) } : undefined,
    channel: {
      extension: extension.length ? extension : undefined,
      type: "websocket",
      payload: "application/fhir+json",
      _payload: { extension: [{ url: `${backport}payload-content`, valueCode: draft.content }] },
    },
  };
}

/** topicIn returns the canonical of the topic of a stored Subscription. */
export const topicIn = (resource) => resource?.topic ?? resource?.criteria;

/** heartbeatIn returns the seconds between its heartbeats, 0 for none. */
export const heartbeatIn = (resource) => resource?.heartbeatPeriod ?? resource?.channel?.extension?.find((e) => e.url === `${backport}heartbeat-period`)?.valueUnsignedInt ?? 0;

/** filtersIn returns its filters without modifier and comparator, each as [name, value]. */
export function filtersIn(resource) {
  const plain = (resource?.filterBy ?? []).filter((f) => !f.modifier && !f.comparator).map((f) => [f.filterParameter, f.value]);
  const criteria = (resource?._criteria?.extension ?? []).map((e) => /^(?:\w+\?)?([\w.-]+)=(.*)$/.exec(e.valueString ?? "")).filter(Boolean);
  return [...plain, ...criteria.map(([, name, value]) => [name, value])];
}

/** fieldOf returns the field of the form for an element: {name, index, member}. */
export function fieldOf(expression = "", draft) {
  const [, name, index, member] = /^Subscription\.(\w+)(?:\[(\d+)\])?\.?(\w+)?/.exec(expression) ?? [];
  const filter = /^Subscription\.criteria\.extension\[(\d+)\]/.exec(expression);
  const extension = /^Subscription\.channel\.extension\[(\d+)\]/.exec(expression);
  if (filter) return { name: "filterBy", index: filter[1], member: "value" };
  if (extension) return { name: onChannel.filter(([field]) => draft[field])[extension[1]]?.[0] };
  if (/^Subscription\.channel\.payload/.test(expression)) return { name: "content" };
  return { name: name === "criteria" ? "topic" : name, index, member };
}
