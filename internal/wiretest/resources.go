package wiretest

// AdmissionURL is the canonical URL of [AdmissionTopic].
const AdmissionURL = "http://example.org/FHIR/R5/SubscriptionTopic/admission"

// AdmissionTopic returns the topic of the test vectors (spec.md 1.3.6).
func AdmissionTopic() map[string]any {
	return map[string]any{
		"resourceType": "SubscriptionTopic",
		"id":           "admission",
		"url":          AdmissionURL,
		"status":       "active",
		"resourceTrigger": []any{map[string]any{
			"resource":             "http://hl7.org/fhir/StructureDefinition/Encounter",
			"supportedInteraction": []any{"create", "update"},
			"queryCriteria": map[string]any{
				"previous":        "status:not=in-progress",
				"resultForCreate": "test-passes",
				"current":         "status=in-progress",
				"resultForDelete": "test-fails",
				"requireBoth":     true,
			},
		}},
		"canFilterBy": []any{map[string]any{
			"resource":        "Encounter",
			"filterParameter": "patient",
		}},
		"notificationShape": []any{map[string]any{
			"resource": "Encounter",
			"include":  []any{"Encounter:patient"},
		}},
	}
}

// Admission gives the server [AdmissionTopic] and an id-only subscription on it, abc.
func (s *Server) Admission() {
	s.T.Helper()
	s.Must(201, "PUT", "SubscriptionTopic/admission", AdmissionTopic())
	s.Must(201, "PUT", "Subscription/abc", WebsocketSubscription("abc", AdmissionURL))
}

// WebsocketSubscription returns a subscription on a topic. changes are pairs of an element
// and its value; nil removes the element.
func WebsocketSubscription(id, topic string, changes ...any) map[string]any {
	sub := map[string]any{
		"resourceType": "Subscription",
		"id":           id,
		"status":       "requested",
		"topic":        topic,
		"channelType":  map[string]any{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
		"contentType":  "application/fhir+json",
		"content":      "id-only",
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(sub, changes[i].(string))
			continue
		}
		sub[changes[i].(string)] = changes[i+1]
	}
	return sub
}

// Encounter returns an encounter, without an id if that is "". changes are pairs of an
// element and its value.
func Encounter(id, status string, changes ...any) map[string]any {
	e := map[string]any{"resourceType": "Encounter", "status": status}
	if id != "" {
		e["id"] = id
	}
	for i := 0; i+1 < len(changes); i += 2 {
		e[changes[i].(string)] = changes[i+1]
	}
	return e
}

// Patient returns a patient with a family name.
func Patient(id, family string) map[string]any {
	return map[string]any{"resourceType": "Patient", "id": id, "name": []any{map[string]any{"family": family}}}
}

// Reference returns a reference.
func Reference(to string) map[string]any { return map[string]any{"reference": to} }

// With returns a copy of a resource with another value of an element.
func With(resource map[string]any, name string, value any) map[string]any {
	changed := map[string]any{name: value}
	for k, v := range resource {
		if k != name {
			changed[k] = v
		}
	}
	return changed
}
