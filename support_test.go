package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"

	"github.com/coder/websocket"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func asCloseError(err error, into *websocket.CloseError) bool { return errors.As(err, into) }

// admissionTopic is the topic of the test vectors (spec.md 1.3.6).
func admissionTopic() map[string]any {
	return map[string]any{
		"resourceType": "SubscriptionTopic",
		"id":           "admission",
		"url":          admissionURL,
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

const admissionURL = "http://example.org/FHIR/R5/SubscriptionTopic/admission"

// websocketSubscription is a subscription on a topic, with changes.
func websocketSubscription(id, topic string, changes ...any) map[string]any {
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

func encounter(id, status string, changes ...any) map[string]any {
	e := map[string]any{"resourceType": "Encounter", "status": status}
	if id != "" {
		e["id"] = id
	}
	for i := 0; i+1 < len(changes); i += 2 {
		e[changes[i].(string)] = changes[i+1]
	}
	return e
}

func reference(to string) map[string]any { return map[string]any{"reference": to} }

func compact(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}
