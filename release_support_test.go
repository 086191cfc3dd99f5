package main

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// Tests say what they send in the words of R5, and read frames in them; here is
// how that looks in the other releases.

// eachRelease runs a test on every release.
func eachRelease(t *testing.T, f func(t *testing.T, r fhir.Release)) {
	t.Helper()
	t.Parallel()
	for _, r := range fhir.Releases {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			f(t, r)
		})
	}
}

// on is the same server, spoken to in another release.
func (s *testServer) on(r fhir.Release) *testServer {
	other := *s
	other.release = r
	other.fhir = s.url + "/fhir/" + string(r)
	return &other
}

const backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"

// inRelease is a request in the words of a release.
func inRelease(r fhir.Release, path string, resource map[string]any) (string, map[string]any) {
	if r == fhir.R5 || r == "" {
		return path, resource
	}
	switch resource["resourceType"] {
	case "Encounter":
		resource = with(resource, "class", map[string]any{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"})
		if resource["status"] == "completed" {
			resource["status"] = "finished"
		}
	case "Subscription":
		resource = backportOf(resource)
	case "SubscriptionTopic":
		if r == fhir.R4 {
			return strings.Replace(path, "SubscriptionTopic", "Basic", 1), basicOf(resource)
		}
	}
	return path, resource
}

func with(resource map[string]any, name string, value any) map[string]any {
	changed := map[string]any{name: value}
	for k, v := range resource {
		if k != name {
			changed[k] = v
		}
	}
	return changed
}

// backportOf is a subscription on a topic by the backport guide.
func backportOf(r5 map[string]any) map[string]any {
	extension := func(name, member string, value any) any {
		return map[string]any{"url": backport + name, member: value}
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
	for _, f := range asList(r5["filterBy"]) {
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

// basicOf is a topic as a Basic with cross-version extensions (TOP-2).
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

// statusOfParameters reads the status of R4 as the SubscriptionStatus it stands for.
func statusOfParameters(p map[string]any) map[string]any {
	value := func(parameter map[string]any) any {
		for name, v := range parameter {
			if strings.HasPrefix(name, "value") {
				return v
			}
		}
		return nil
	}
	names := map[string]string{
		"subscription": "subscription", "topic": "topic", "status": "status", "type": "type",
		"events-since-subscription-start": "eventsSinceSubscriptionStart",
		"event-number":                    "eventNumber", "timestamp": "timestamp", "focus": "focus",
	}
	status := map[string]any{"resourceType": "Parameters"}
	var events []any
	for _, one := range asList(p["parameter"]) {
		parameter := one.(map[string]any)
		name, _ := parameter["name"].(string)
		if name != "notification-event" {
			status[names[name]] = value(parameter)
			continue
		}
		event := map[string]any{}
		var context []any
		for _, two := range asList(parameter["part"]) {
			part := two.(map[string]any)
			if part["name"] == "additional-context" {
				context = append(context, value(part))
				continue
			}
			event[names[part["name"].(string)]] = value(part)
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
