package protocol

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
)

// The test vectors of spec.md appendix C, through HTTP and real sockets.

func TestVector1To4_AdmissionTopicFiresOnEnteringInProgress(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")

		created := s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		id := created.Body["id"].(string)
		f := ws.WantEvent("1") // vector 1
		if got, want := at(f.Status(), "notificationEvent", 0, "focus", "reference"), s.FHIR+"/Encounter/"+id; got != want {
			t.Errorf("focus: got %v, want %s", got, want)
		}

		s.Must(200, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		ws.Nothing() // vector 2

		s.Must(200, "PUT", "Encounter/"+id, encounter(id, "completed"))
		ws.Nothing()
		s.Must(200, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		ws.WantEvent("2") // vector 3

		s.Must(204, "DELETE", "Encounter/"+id, nil)
		ws.Nothing() // vector 4
	})
}

func TestVector5_TriggerWithoutCriteriaFiresOnEveryInteraction(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		topic := map[string]any{
			"resourceType": "SubscriptionTopic", "id": "any", "url": "http://example.org/any", "status": "active",
			"resourceTrigger": []any{map[string]any{"resource": "Encounter"}},
		}
		s.Must(201, "PUT", "SubscriptionTopic/any", topic)
		s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", "http://example.org/any", "content", "full-resource"))
		ws := s.Bind("full")
		s.Must(201, "PUT", "Encounter/2", encounter("2", "planned"))
		s.Must(200, "PUT", "Encounter/2", encounter("2", "in-progress"))
		s.Must(204, "DELETE", "Encounter/2", nil)
		ws.WantEvent("1")
		ws.WantEvent("2")
		f := ws.WantEvent("3")
		entries := asList(f.Body["entry"])
		if len(entries) != 2 {
			t.Fatalf("got %d entries, want the status and the deleted resource\n%s", len(entries), f.Raw)
		}
		deleted := entries[1].(map[string]any)
		if request := deleted["request"].(map[string]any); request["method"] != "DELETE" || request["url"] != "Encounter/2" {
			t.Errorf("request: got %v, want DELETE Encounter/2", request)
		}
		if _, has := deleted["resource"]; has {
			t.Error("the entry of a deleted resource carries a resource (NB-29)")
		}
		if event := at(f.Status(), "notificationEvent", 0).(map[string]any); event["focus"] == nil {
			t.Error("a delete event has no focus (NB-28)")
		}
	})
}

func TestVector6_FilteredEventIsNotCounted(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL,
			"filterBy", []any{map[string]any{"resourceType": "Encounter", "filterParameter": "patient", "value": "Patient/123"}}))
		ws := s.Bind("one")
		s.Must(201, "POST", "Encounter", encounter("", "in-progress", "subject", reference("Patient/9")))
		ws.Nothing()
		s.Must(201, "POST", "Encounter", encounter("", "in-progress", "subject", reference("Patient/123")))
		ws.WantEvent("1")
	})
}

func TestVector7_TwoSocketsGetTheSameBytes(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		one, two := s.Bind("abc"), s.Bind("abc")
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		a, b := one.WantEvent("1"), two.WantEvent("1")
		if !bytes.Equal(a.Raw, b.Raw) {
			t.Errorf("the frames differ:\n%s\n%s", a.Raw, b.Raw)
		}
		one.Nothing()
		two.Nothing()
	})
}

func TestVector8_OneTokenForTwoSubscriptionsGivesTwoHandshakesInOrder(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/def", websocketSubscription("def", admissionURL))
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("def", "abc"))
		for _, want := range []string{"def", "abc"} {
			if f := ws.Next(); f.Kind() != "handshake" || f.Subscription() != want {
				t.Fatalf("got %s of %s, want the handshake of %s", f.Kind(), f.Subscription(), want)
			}
		}
	})
}

func TestVector10_EventsWithoutASocketAreCountedAndKept(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		for range 3 {
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "3" {
			t.Fatalf("got %s with total %s, want a handshake with 3", f.Kind(), f.Total())
		}
		ws.Nothing()
		events := s.Must(200, "GET", "Subscription/abc/$events", nil).Notification()
		if got := strings.Join(events.Numbers(), ","); got != "1,2,3" || events.Kind() != "query-event" {
			t.Errorf("$events: got %s %s, want query-event 1,2,3", events.Kind(), got)
		}
	})
}

func TestVector14_StatusOfKnownAndUnknownIDs(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		a := s.Must(200, "GET", "Subscription/$status?id=abc&id=unknown", nil)
		if a.Body["type"] != "searchset" || fmt.Sprint(a.Body["total"]) != "1" {
			t.Fatalf("got %s, want a searchset with total 1", a.Raw)
		}
		self := a.At("link", 0).(map[string]any)
		if self["relation"] != "self" || !strings.HasPrefix(self["url"].(string), s.FHIR+"/Subscription/$status") {
			t.Errorf("link: got %v, want self (OPS-4)", self)
		}
		if kind := a.Notification().Kind(); kind != "query-status" {
			t.Errorf("type: got %s, want query-status", kind)
		}
	})
}

func TestVector15_TokenByPostWithAnEmptyBody(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		before := s.now()
		a := s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil)
		after := s.now()
		wants := []struct{ name, member string }{
			{"token", "valueString"}, {"expiration", "valueDateTime"}, {"subscription", "valueString"}, {"websocket-url", "valueUrl"},
		}
		parameters := asList(a.Body["parameter"])
		if len(parameters) != len(wants) {
			t.Fatalf("got %s, want four parameters", a.Raw)
		}
		for i, want := range wants {
			parameter := parameters[i].(map[string]any)
			if value, _ := parameter[want.member].(string); parameter["name"] != want.name || value == "" {
				t.Errorf("parameter %d: got %v, want %s with %s (OPW-2, OPW-3)", i, parameter, want.name, want.member)
			}
		}
		const ttl = 30 * time.Minute
		expiration, err := time.Parse(time.RFC3339, text(parameters[1], "valueDateTime"))
		if err != nil || expiration.Before(before.Add(ttl).Truncate(time.Second)) || expiration.After(after.Add(ttl)) {
			t.Errorf("expiration: got %v (%v), want 30 minutes from %s to %s (OPW-5)", expiration, err, before, after)
		}
		if got := at(parameters[3], "valueUrl"); got != s.WS {
			t.Errorf("websocket-url: got %v, want %s", got, s.WS)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: got %q, want no-store (OP-3)", got)
		}
	})
}

func TestVector16_BindWithColonAndNewline(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Dial()
		ws.Send("bind-with-token: " + s.Token("abc") + "\n")
		if f := ws.Next(); f.Kind() != "handshake" {
			t.Fatalf("got %s, want a handshake (WS-15)", f.Raw)
		}
	})
}

func TestVector17_TurningOffSendsALastHeartbeatAndNoMoreEvents(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "status", "off"))
		if f := ws.Next(); f.Kind() != "heartbeat" || f.Status()["status"] != "off" {
			t.Fatalf("got %s, want a heartbeat with status off (WS-34)", f.Raw)
		}
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		ws.Nothing()
	})
}

func TestVector18_EventsWithinBounds(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		for range 5 {
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		f := s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=2&eventsUntilNumber=3", nil).Notification()
		if got := strings.Join(f.Numbers(), ","); got != "2,3" || f.Total() != "5" {
			t.Errorf("got events %s with total %s, want 2,3 with 5 (OPE-3, OPE-8)", got, f.Total())
		}
	})
}
