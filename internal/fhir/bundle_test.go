package fhir_test

import (
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestEncodeSearchset_Golden(t *testing.T) {
	t.Parallel()
	tests := map[string]*fhir.SearchResult{
		"none": {},
		"page": {
			Total:    3,
			Matches:  []*fhir.Resource{encounter(t, "1", "planned")},
			Included: []*fhir.Resource{patient(t)},
			Links:    []fhir.Link{{Relation: "next", URL: base + "/Encounter?_count=1&_offset=1"}},
			Issues:   []fhir.Issue{{Severity: "warning", Code: "not-supported", Diagnostics: `ignored "colour"`}},
		},
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			s.ID, s.At, s.Base, s.Self = "54f808cf-d159-4c9b-accb-c33eb20f0ecc", at("10:00:00"), base, base+"/Encounter?_count=1"
			got := fhir.R5.EncodeSearchset(s).Bytes()
			golden(t, "searchset-"+name, got)
			fhirtest.Valid(t, fhir.R5, got)
		})
	}
}

func TestEncodeHistory_Golden(t *testing.T) {
	t.Parallel()
	h := &fhir.History{
		ID: "54f808cf-d159-4c9b-accb-c33eb20f0ecc", At: at("10:10:00"), Base: base, Self: base + "/Encounter/2/_history", Total: 4,
		Entries: []fhir.HistoryEntry{
			{Type: "Encounter", ID: "2", VersionID: "4", Method: "PUT", Status: "201", At: at("10:03:00"), Resource: encounter(t, "4", "planned")},
			{Type: "Encounter", ID: "2", VersionID: "3", At: at("10:02:00")},
			{Type: "Encounter", ID: "2", VersionID: "2", Method: "PATCH", At: at("10:01:00"), Resource: encounter(t, "2", "completed")},
			{Type: "Encounter", ID: "2", VersionID: "1", Method: "POST", At: at("10:00:00"), Resource: encounter(t, "1", "planned")},
		},
	}
	got := fhir.R5.EncodeHistory(h).Bytes()
	golden(t, "history", got)
	fhirtest.Valid(t, fhir.R5, got)
}

func TestEncodeStatusBundle_Golden(t *testing.T) {
	t.Parallel()
	active := notification(fhir.QueryStatus, fhir.Empty, 310)
	// OPS-8: events are not repeated here, and the caller's type is ignored.
	failing := notification(fhir.Heartbeat, fhir.FullResource, 7, fhir.NewOccurrence(at("10:00:00"), entry("PUT", patient(t)), nil))
	failing.StatusID, failing.Subscription, failing.Status = "815477f2-a94c-4197-a82a-9f974155debc", "def", fhir.StatusError
	failing.Errors = []fhir.SubscriptionError{{Text: "its topic is gone"}}
	tests := map[string][]*fhir.Notification{
		"none": nil,               // no entry key (7.3)
		"two":  {active, failing}, // the level does not matter
	}
	for name, statuses := range tests {
		t.Run(name, func(t *testing.T) {
			got := fhir.R5.EncodeStatusBundle("e13caf38-c856-461f-8374-6fe71248684c", at("10:00:00"), base+"/Subscription/$status?id=abc&id=def", statuses)
			golden(t, "status-"+name, got)
			fhirtest.Valid(t, fhir.R5, got)
		})
	}
	if failing.Type != fhir.Heartbeat || failing.Events == nil {
		t.Error("EncodeStatusBundle changed its arguments")
	}
}
