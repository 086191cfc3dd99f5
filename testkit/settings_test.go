package testkit_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"signalfhir/testkit"
)

// Each activation does to a subscription that is requested what its name says.
func TestServer_Activation(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithClock(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)))
	const id = "admission-id-only"
	requested := s.Get("Subscription/" + id)
	requested["status"] = "requested"
	// filters returns the filters of the stored subscription.
	filters := func() []any {
		list, _ := s.Get("Subscription/" + id)["filterBy"].([]any)
		return list
	}
	requested["filterBy"] = []any{map[string]any{"filterParameter": "patient", "value": "Patient/ingrid"}}
	for name, row := range map[string]struct {
		activation *testkit.Activation
		want       string
	}{
		"at once":         {testkit.ActivateAtOnce(), "active"},
		"never":           {testkit.ActivateNever(), "requested"},
		"with an error":   {testkit.ActivateWithError("a test"), "error"},
		"after a time":    {testkit.ActivateAfter(time.Minute), "requested"},
		"at a bind":       {testkit.ActivateAtBind(), "requested"},
		"without filters": {testkit.ActivateWithoutFilters("patient"), "active"},
	} {
		s.SetSettings(testkit.Settings{Activations: []testkit.ActivationRule{{Subscription: id, Activation: row.activation}}})
		s.PatchSubscription(id, testkit.SubscriptionPatch{Status: "off"}) // an active one stays active
		s.Put(requested)
		if got := s.Get("Subscription/" + id)["status"]; got != row.want {
			t.Errorf("%s: got %s, want %s", name, got, row.want)
		}
		switch name {
		case "after a time":
			s.Advance(time.Minute)
		case "at a bind":
			next(t, bind(t, s, id))
			for s.Get("Subscription/" + id)["status"] == "requested" { // it becomes active after the handshake
			}
		case "without filters":
			if got := filters(); len(got) > 0 {
				t.Errorf("got %v, want no filters", got)
			}
			continue
		default:
			continue
		}
		if got := s.Get("Subscription/" + id)["status"]; got != "active" {
			t.Errorf("%s: got %s, want active", name, got)
		}
	}
	s.SetSettings(testkit.Settings{Activation: testkit.RefuseToActivate("a test")})
	s.PatchSubscription(id, testkit.SubscriptionPatch{Status: "off"})
	body, err := json.Marshal(requested)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPut, s.URL+"/fhir/R5/Subscription/"+id, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("got %d, want 422", res.StatusCode)
	}
	s.PatchSubscription(id, testkit.SubscriptionPatch{Replay: "all"})
	for _, row := range []struct {
		replay any
		want   string
	}{{"all", "all"}, {testkit.RoomsReplay, ""}} {
		if got := s.PatchSubscription(id, testkit.SubscriptionPatch{Replay: row.replay}).Replay; got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}
