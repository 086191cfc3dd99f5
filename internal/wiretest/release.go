package wiretest

import (
	"strings"

	"signalfhir/internal/fhir"
)

// Backport begins the URLs of the extensions of the backport guide.
const Backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"

// InRelease returns path and resource of a request in the words of a release.
func InRelease(r fhir.Release, path string, resource map[string]any) (string, map[string]any) {
	if r == fhir.R5 || r == "" {
		return path, resource
	}
	switch resource["resourceType"] {
	case "Encounter":
		resource = With(resource, "class", map[string]any{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"})
		if resource["status"] == "completed" {
			resource["status"] = "finished"
		}
	case "Subscription":
		resource = BackportSubscription(resource)
	case "SubscriptionTopic":
		if r == fhir.R4 {
			return strings.Replace(path, "SubscriptionTopic", "Basic", 1), basicOf(resource)
		}
	}
	return path, resource
}

// BackportSubscription returns a subscription on a topic by the backport guide.
func BackportSubscription(r5 map[string]any) map[string]any {
	extension := func(name, member string, value any) any {
		return map[string]any{"url": Backport + name, member: value}
	}
	var onChannel []any
	for name, as := range map[string]struct{ id, member string }{
		"heartbeatPeriod": {"heartbeat-period", "valueUnsignedInt"},
		"timeout":         {"timeout", "valueUnsignedInt"},
		"maxCount":        {"max-count", "valuePositiveInt"},
	} {
		if value, ok := r5[name]; ok {
			onChannel = append(onChannel, extension(as.id, as.member, value))
		}
	}
	channel := map[string]any{
		"type": "websocket", "payload": "application/fhir+json",
		"_payload": map[string]any{"extension": []any{extension("payload-content", "valueCode", r5["content"])}},
	}
	if onChannel != nil {
		channel["extension"] = onChannel
	}
	sub := map[string]any{"resourceType": "Subscription", "id": r5["id"], "status": r5["status"], "reason": "test", "criteria": r5["topic"], "channel": channel}
	if end, ok := r5["end"]; ok {
		sub["end"] = end
	}
	var filters []any
	for _, f := range AsList(r5["filterBy"]) {
		filter := f.(map[string]any)
		criteria, _ := filter["filterParameter"].(string)
		if typ, ok := filter["resourceType"].(string); ok {
			criteria = typ + "?" + criteria
		}
		filters = append(filters, extension("filter-criteria", "valueString", criteria+"="+filter["value"].(string)))
	}
	if filters != nil {
		sub["_criteria"] = map[string]any{"extension": filters}
	}
	return sub
}

// basicOf returns a topic as a Basic with cross-version extensions (TOP-2).
func basicOf(topic map[string]any) map[string]any {
	const prefix = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic."
	basic := map[string]any{
		"resourceType": "Basic", "id": topic["id"],
		"code": map[string]any{"coding": []any{map[string]any{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}}},
	}
	var all []any
	for name, value := range topic {
		if name != "resourceType" && name != "id" {
			all = append(all, extensionsOf(prefix+name, value)...)
		}
	}
	basic["extension"] = all
	return basic
}

func extensionsOf(url string, value any) []any {
	switch v := value.(type) {
	case []any:
		var all []any
		for _, one := range v {
			all = append(all, extensionsOf(url, one)...)
		}
		return all
	case map[string]any:
		var parts []any
		for name, member := range v {
			parts = append(parts, extensionsOf(name, member)...)
		}
		return []any{map[string]any{"url": url, "extension": parts}}
	case bool:
		return []any{map[string]any{"url": url, "valueBoolean": v}}
	default:
		return []any{map[string]any{"url": url, "valueString": v}}
	}
}

// statusOfParameters returns the status of R4 as the SubscriptionStatus it stands for.
func statusOfParameters(p map[string]any) map[string]any {
	names := map[string]string{
		"subscription": "subscription", "topic": "topic", "status": "status", "type": "type",
		"events-since-subscription-start": "eventsSinceSubscriptionStart",
		"event-number":                    "eventNumber", "timestamp": "timestamp", "focus": "focus",
	}
	status := map[string]any{"resourceType": "Parameters"}
	var events []any
	for _, one := range AsList(p["parameter"]) {
		parameter := one.(map[string]any)
		name, _ := parameter["name"].(string)
		if name != "notification-event" {
			status[names[name]] = valueOf(parameter)
			continue
		}
		event := map[string]any{}
		var context []any
		for _, two := range AsList(parameter["part"]) {
			part := two.(map[string]any)
			if part["name"] == "additional-context" {
				context = append(context, valueOf(part))
				continue
			}
			event[names[part["name"].(string)]] = valueOf(part)
		}
		if context != nil {
			event["additionalContext"] = context
		}
		events = append(events, event)
	}
	if events != nil {
		status["notificationEvent"] = events
	}
	return status
}

// valueOf returns the value of a parameter, of whichever type it is.
func valueOf(parameter map[string]any) any {
	for name, v := range parameter {
		if strings.HasPrefix(name, "value") {
			return v
		}
	}
	return nil
}
