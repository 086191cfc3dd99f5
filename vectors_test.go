package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
)

// The test vectors of spec.md appendix C, through HTTP and real sockets.

// vectorServer has the admission topic and one id-only subscription on it.
func vectorServer(t *testing.T, r fhir.Release, edit ...func(*command.Serve)) *testServer {
	t.Helper()
	s := start(t, edit...).on(r)
	s.must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	return s
}

func TestVector1To4_AdmissionTopicFiresOnEnteringInProgress(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.bind("abc")

		created := s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		id := created.body["id"].(string)
		f := ws.wantEvent("1") // vector 1
		event := asList(f.status()["notificationEvent"])[0].(map[string]any)
		if got, want := event["focus"].(map[string]any)["reference"], s.fhir+"/Encounter/"+id; got != want {
			t.Errorf("focus: got %v, want %s", got, want)
		}

		s.must(200, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		ws.nothing() // vector 2

		s.must(200, "PUT", "Encounter/"+id, encounter(id, "completed"))
		ws.nothing()
		s.must(200, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		ws.wantEvent("2") // vector 3

		s.must(204, "DELETE", "Encounter/"+id, nil)
		ws.nothing() // vector 4
	})
}

func TestVector5_TriggerWithoutCriteriaFiresOnEveryInteraction(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		topic := map[string]any{
			"resourceType": "SubscriptionTopic", "id": "any", "url": "http://example.org/any", "status": "active",
			"resourceTrigger": []any{map[string]any{"resource": "Encounter"}},
		}
		s.must(201, "PUT", "SubscriptionTopic/any", topic)
		s.must(201, "PUT", "Subscription/full", websocketSubscription("full", "http://example.org/any", "content", "full-resource"))
		ws := s.bind("full")
		s.must(201, "PUT", "Encounter/2", encounter("2", "planned"))
		s.must(200, "PUT", "Encounter/2", encounter("2", "in-progress"))
		s.must(204, "DELETE", "Encounter/2", nil)
		ws.wantEvent("1")
		ws.wantEvent("2")
		f := ws.wantEvent("3")
		entries := asList(f.body["entry"])
		if len(entries) != 2 {
			t.Fatalf("got %d entries, want the status and the deleted resource\n%s", len(entries), f.raw)
		}
		deleted := entries[1].(map[string]any)
		if request := deleted["request"].(map[string]any); request["method"] != "DELETE" || request["url"] != "Encounter/2" {
			t.Errorf("request: got %v, want DELETE Encounter/2", request)
		}
		if _, has := deleted["resource"]; has {
			t.Error("the entry of a deleted resource carries a resource (NB-29)")
		}
		if event := asList(f.status()["notificationEvent"])[0].(map[string]any); event["focus"] == nil {
			t.Error("a delete event has no focus (NB-28)")
		}
	})
}

func TestVector6_FilteredEventIsNotCounted(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL,
			"filterBy", []any{map[string]any{"resourceType": "Encounter", "filterParameter": "patient", "value": "Patient/123"}}))
		ws := s.bind("one")
		s.must(201, "POST", "Encounter", encounter("", "in-progress", "subject", reference("Patient/9")))
		ws.nothing()
		s.must(201, "POST", "Encounter", encounter("", "in-progress", "subject", reference("Patient/123")))
		ws.wantEvent("1")
	})
}

func TestVector7_TwoSocketsGetTheSameBytes(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		one, two := s.bind("abc"), s.bind("abc")
		s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		a, b := one.wantEvent("1"), two.wantEvent("1")
		if !bytes.Equal(a.raw, b.raw) {
			t.Errorf("the frames differ:\n%s\n%s", a.raw, b.raw)
		}
		one.nothing()
		two.nothing()
	})
}

func TestVector8_OneTokenForTwoSubscriptionsGivesTwoHandshakesInOrder(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.must(201, "PUT", "Subscription/def", websocketSubscription("def", admissionURL))
		ws := s.dial()
		ws.send("bind-with-token " + s.token("def", "abc"))
		for _, want := range []string{"def", "abc"} {
			if f := ws.next(); f.kind() != "handshake" || f.subscription() != want {
				t.Fatalf("got %s of %s, want the handshake of %s", f.kind(), f.subscription(), want)
			}
		}
	})
}

func TestVector9_EventsShareBundlesUpToMaxCount(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t, func(o *command.Serve) { o.BatchWindow = time.Second }).on(r)
		s.must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
		s.must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "maxCount", 2))
		ws := s.bind("abc")
		for range 5 {
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		wants := []struct{ numbers, total string }{{"1,2", "2"}, {"3,4", "4"}}
		for _, want := range wants {
			if f := ws.wantEvent(want.numbers); f.total() != want.total {
				t.Errorf("total: got %s, want %s", f.total(), want.total)
			}
		}
		ws.nothing()
		s.clock.Advance(time.Second)
		if f := ws.wantEvent("5"); f.total() != "5" {
			t.Errorf("total: got %s, want 5", f.total())
		}
	})
}

func TestVector10_EventsWithoutASocketAreCountedAndKept(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		for range 3 {
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		ws := s.dial()
		ws.send("bind-with-token " + s.token("abc"))
		if f := ws.next(); f.kind() != "handshake" || f.total() != "3" {
			t.Fatalf("got %s with total %s, want a handshake with 3", f.kind(), f.total())
		}
		ws.nothing()
		events := frame{body: s.must(200, "GET", "Subscription/abc/$events", nil).body}
		if got := strings.Join(events.numbers(), ","); got != "1,2,3" || events.kind() != "query-event" {
			t.Errorf("$events: got %s %s, want query-event 1,2,3", events.kind(), got)
		}
	})
}

func TestVector11_HeartbeatsComeEachPeriodAndCountNothing(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.must(201, "PUT", "Subscription/beat", websocketSubscription("beat", admissionURL, "heartbeatPeriod", 1))
		ws := s.bind("beat")
		s.clock.Advance(3 * time.Second)
		for range 3 {
			if f := ws.next(); f.kind() != "heartbeat" || f.total() != "0" {
				t.Fatalf("got %s with total %s, want a heartbeat with 0", f.kind(), f.total())
			}
		}
		ws.nothing()
	})
}

func TestVector12_ExpiredTokenIsRefusedAndTheSocketStays(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		token := s.token("abc")
		s.clock.Advance(31 * time.Minute)
		ws := s.dial()
		ws.send("bind-with-token " + token)
		f := ws.next()
		if code, text, _ := (answered{body: f.body}).issue(); code != "expired" || !strings.Contains(text, "2026-01-01T10:30:00Z") {
			t.Fatalf("got %s, want an OperationOutcome expired that names the time", f.raw)
		}
		ws.nothing()
	})
}

func TestVector14_StatusOfKnownAndUnknownIDs(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		a := s.must(200, "GET", "Subscription/$status?id=abc&id=unknown", nil)
		if a.body["type"] != "searchset" || fmt.Sprint(a.body["total"]) != "1" {
			t.Fatalf("got %s, want a searchset with total 1", a.raw)
		}
		self := asList(a.body["link"])[0].(map[string]any)
		if self["relation"] != "self" || !strings.HasPrefix(self["url"].(string), s.fhir+"/Subscription/$status") {
			t.Errorf("link: got %v, want self (OPS-4)", self)
		}
		if kind := (frame{body: a.body}).kind(); kind != "query-status" {
			t.Errorf("type: got %s, want query-status", kind)
		}
	})
}

func TestVector15_TokenByPostWithAnEmptyBody(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		a := s.must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil)
		wants := []struct{ name, member string }{
			{"token", "valueString"}, {"expiration", "valueDateTime"}, {"subscription", "valueString"}, {"websocket-url", "valueUrl"},
		}
		parameters := asList(a.body["parameter"])
		if len(parameters) != len(wants) {
			t.Fatalf("got %s, want four parameters", a.raw)
		}
		for i, want := range wants {
			parameter := parameters[i].(map[string]any)
			if value, _ := parameter[want.member].(string); parameter["name"] != want.name || value == "" {
				t.Errorf("parameter %d: got %v, want %s with %s (OPW-2, OPW-3)", i, parameter, want.name, want.member)
			}
		}
		if got := parameters[1].(map[string]any)["valueDateTime"]; got != "2026-01-01T10:30:00Z" {
			t.Errorf("expiration: got %v, want 30 minutes from now (OPW-5)", got)
		}
		if got := parameters[3].(map[string]any)["valueUrl"]; got != s.ws {
			t.Errorf("websocket-url: got %v, want %s", got, s.ws)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: got %q, want no-store (OP-3)", got)
		}
	})
}

func TestVector16_BindWithColonAndNewline(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.dial()
		ws.send("bind-with-token: " + s.token("abc") + "\n")
		if f := ws.next(); f.kind() != "handshake" {
			t.Fatalf("got %s, want a handshake (WS-15)", f.raw)
		}
	})
}

func TestVector17_TurningOffSendsALastHeartbeatAndNoMoreEvents(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.bind("abc")
		s.must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "status", "off"))
		if f := ws.next(); f.kind() != "heartbeat" || f.status()["status"] != "off" {
			t.Fatalf("got %s, want a heartbeat with status off (WS-34)", f.raw)
		}
		s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		ws.nothing()
	})
}

func TestVector18_EventsWithinBounds(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		for range 5 {
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		f := frame{body: s.must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=2&eventsUntilNumber=3", nil).body}
		if got := strings.Join(f.numbers(), ","); got != "2,3" || f.total() != "5" {
			t.Errorf("got events %s with total %s, want 2,3 with 5 (OPE-3, OPE-8)", got, f.total())
		}
	})
}
