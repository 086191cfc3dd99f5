package protocol

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/testkit"
)

// trigger makes events for one subscription.
func (s *server) trigger(subscription string, count int) {
	s.T.Helper()
	s.control("POST", "trigger", map[string]any{"subscription": subscription, "count": count})
}

// settings sets the settings of the room.
func (s *server) settings(json string) {
	s.T.Helper()
	s.control("PUT", "settings", json)
}

// unbound waits until no socket is bound to a subscription.
func (s *server) unbound(subscription string) {
	s.T.Helper()
	s.control("POST", "await", map[string]any{"bound": map[string]any{"subscription": subscription, "count": 0}, "timeout": "30s"})
}

// wantEvents reads events with the numbers from first to last, one a frame.
func wantEvents(ws *socket, first, last int) {
	ws.T.Helper()
	for n := first; n <= last; n++ {
		ws.WantEvent(fmt.Sprint(n))
	}
}

// A client that binds again after a drop gets what came meanwhile, and then what is new.
func TestReplay_MissedAfterADrop(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"replay":"missed"}`)
		s.trigger("abc", 1)
		ws := s.Bind("abc")
		wantEvents(ws, 1, 1) // no socket got it before
		s.trigger("abc", 2)
		wantEvents(ws, 2, 3)
		ws.Nothing() // it is written, so it is not lost with the connection
		s.control("DELETE", "sockets/s1?cut=true", nil)
		s.unbound("abc")
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		s.trigger("abc", 1)
		again := s.Bind("abc")
		wantEvents(again, 4, 5)
		s.trigger("abc", 1)
		if f := again.WantEvent("6"); f.Total() != "6" {
			t.Errorf("got %s", f.Raw)
		}
		again.Nothing()
		if numbers := s.Must(200, "GET", "Subscription/abc/$events", nil).Notification().Numbers(); strings.Join(numbers, ",") != "1,2,3,4,5,6" {
			t.Errorf("$events has %v", numbers)
		}
		var replayed []string
		for _, e := range s.Journal("?kind=sent&subscription=abc") {
			if e.Text == "replayed" {
				replayed = append(replayed, fmt.Sprint(e.Socket, " ", e.Type, " ", e.First))
			}
		}
		if got := strings.Join(replayed, ", "); got != "s1 event-notification 1, s2 event-notification 4, s2 event-notification 5" {
			t.Errorf("the journal shows as replayed: %s", got)
		}
		explained := string(s.Must(200, "GET", "/mock/explain?subscription=abc", nil).Raw)
		if strings.Count(explained, `"text":"replayed"`) != 3 || !strings.Contains(explained, "it got event 4, sent to s2") {
			t.Errorf("the explanation does not say what was replayed: %s", explained)
		}
	})
}

func TestReplay_PoliciesOfRoomAndSubscription(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.trigger("abc", 5)
	bind := func(policy string, first int) {
		t.Helper()
		ws := s.Bind("abc")
		if wantEvents(ws, first, 5); policy == "" {
			t.Error("no policy")
		}
		ws.Nothing()
		ws.Conn.CloseNow()
		s.unbound("abc")
	}
	bind("none", 6)
	s.settings(`{"replay":"last:2"}`)
	bind("last:2", 4)
	if a := s.control("PATCH", "subscriptions/abc", `{"replay":"all"}`); a.Body["replay"] != "all" {
		t.Errorf("got %s", a.Raw)
	}
	bind("all", 1)
	s.control("PATCH", "subscriptions/abc", `{"replay":null}`)
	bind("last:2", 4)
	s.control("PATCH", "subscriptions/abc", `{"replay":"none"}`)
	bind("none", 6)
	s.control("PATCH", "subscriptions/abc", `{"counter":0,"replay":null}`)
	bind("last:2 of none", 6)
	s.refused(400, "PATCH", "subscriptions/abc", `{"replay":"last:0"}`, `replay: got "last:0", expected none`)
	s.refused(400, "PATCH", "subscriptions/abc", `{"replay":3}`, "replay: expected a string or null")
	s.refused(400, "PUT", "settings", `{"replay":"some"}`, `replay: got "some", expected none`)
}

// With maxCount, a bundle has as many as the client takes.
func TestReplay_FillsBundlesUpToMaxCount(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "maxCount", 2, "content", "full-resource"))
		s.trigger("abc", 3)
		s.settings(`{"replay":"all"}`)
		ws := s.Bind("abc")
		if f := ws.WantEvent("1,2"); f.Total() != "2" {
			t.Errorf("got %s, want the total of its last event (NB-4)", f.Raw)
		}
		ws.WantEvent("3")
	})
}

// A large log does not close a client that reads, however little may wait for it.
func TestReplay_ALargeLogClosesNoSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--queue-bytes", "262144", "--queue-bytes-total", "524288")
	const events = 3000 // some 2 MB
	s.trigger("abc", events)
	s.settings(`{"replay":"all"}`)
	clients := []*socket{s.Bind("abc"), s.Bind("abc")}
	s.trigger("abc", 10)
	for _, ws := range clients {
		wantEvents(ws, 1, events+10)
		ws.Nothing()
	}
}

// The protocol of R4 without topics says ping for each event.
func TestReplay_OfAClassicSubscription(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.settings(`{"replay":"last:2","activation":"at-bind"}`)
	s.Must(201, "PUT", "Subscription/old", `{"resourceType":"Subscription","id":"old","status":"requested","reason":"x","criteria":"Observation?","channel":{"type":"websocket"}}`)
	s.trigger("old", 3)
	ws := s.Dial()
	ws.Send("bind old")
	for _, want := range []string{"bound old", "ping old", "ping old"} {
		if f := ws.Next(); string(f.Raw) != want {
			t.Fatalf("got %s, want %s", f.Raw, want)
		}
	}
	ws.Nothing()
	if stored := s.Must(200, "GET", "Subscription/old", nil); stored.Body["status"] != "active" {
		t.Errorf("got %s, want that the bind made it active", stored.Raw)
	}
}

// Events of a requested subscription are counted and kept, not sent (LC-13).
func TestActivation_NeverStaysRequested(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"activation":"never"}`)
		if a := s.Must(201, "PUT", "Subscription/new", websocketSubscription("new", admissionURL)); a.Body["status"] != "requested" {
			t.Fatalf("got %s, want it requested", a.Raw)
		}
		ws := s.Bind("new")
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		ws.Nothing()
		status := s.Must(200, "GET", "Subscription/new/$status", nil).Body
		if f := (response{Body: status}).Notification(); f.Status()["status"] != "requested" || f.Total() != "1" {
			t.Errorf("$status: got %s", compact(status))
		}
		if lost := s.Journal("?kind=not-sent&subscription=new"); len(lost) != 1 || lost[0].Text != "the subscription is in status requested; $events has the event" {
			t.Errorf("the journal has %+v", lost)
		}
		if a := s.Must(200, "PUT", "Subscription/new", websocketSubscription("new", admissionURL, "status", "active")); a.Body["status"] != "requested" {
			t.Errorf("got %s, want it still requested", a.Raw)
		}
		if a := s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "content", "empty")); a.Body["status"] != "active" {
			t.Errorf("got %s, want that an active one stays active", a.Raw)
		}
		s.control("PATCH", "subscriptions/new", `{"status":"active"}`)
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		ws.WantEvent("2")
		if a := s.Must(200, "GET", "Subscription/new", nil); a.Body["status"] != "active" || a.At("meta", "versionId") != "3" {
			t.Errorf("got %s, want version 3, active", a.Raw)
		}
		s.Must(200, "PUT", "Subscription/new", websocketSubscription("new", admissionURL, "status", "off"))
		if a := s.Must(200, "PUT", "Subscription/new", websocketSubscription("new", admissionURL)); a.Body["status"] != "requested" {
			t.Errorf("got %s, want that asking again follows the settings", a.Raw)
		}
	})
}

func TestActivation_AtBind(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"activation":"at-bind","replay":"all"}`)
		if a := s.Must(201, "PUT", "Subscription/new", websocketSubscription("new", admissionURL)); a.Body["status"] != "requested" {
			t.Fatalf("got %s, want it requested", a.Raw)
		}
		s.trigger("new", 2)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("new"))
		if f := ws.Next(); f.Kind() != "handshake" || f.Status()["status"] != "requested" || f.Total() != "2" {
			t.Errorf("got %s", f.Raw)
		}
		if f := ws.WantEvent("1"); f.Status()["status"] != "active" {
			t.Errorf("got %s", f.Raw)
		}
		ws.WantEvent("2")
		ws.Nothing()
		if a := s.Must(200, "GET", "Subscription/new", nil); a.Body["status"] != "active" || a.At("meta", "versionId") != "2" {
			t.Errorf("got %s, want version 2, active", a.Raw)
		}
		s.trigger("new", 1)
		ws.WantEvent("3")
		second := s.Dial()
		second.Send("bind-with-token " + s.Token("new"))
		if f := second.Next(); f.Status()["status"] != "active" {
			t.Errorf("got %s", f.Raw)
		}
	})
}

func TestActivation_AfterATime(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.settings(`{"activation":{"after":"1ms"}}`)
	if a := s.Must(201, "PUT", "Subscription/new", websocketSubscription("new", admissionURL)); a.Body["status"] != "requested" {
		t.Fatalf("got %s, want it requested", a.Raw)
	}
	s.awaitEntry("kind=status&subscription=new", func(e entry) bool { return e.Text == "active" })
	if a := s.Must(200, "GET", "Subscription/new", nil); a.Body["status"] != "active" || a.At("meta", "versionId") != "2" {
		t.Errorf("got %s, want version 2, active", a.Raw)
	}
	s.settings(`{"activation":{"after":"1h"}}`)
	s.Must(201, "PUT", "Subscription/later", websocketSubscription("later", admissionURL))
	s.Must(204, "DELETE", "Subscription/later", nil)
}

func TestActivation_IntoError(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"activation":{"error":"no capacity"}}`)
		a := s.Must(201, "PUT", "Subscription/new", websocketSubscription("new", admissionURL))
		if a.Body["status"] != "error" || r != fhir.R5 && a.Body["error"] != "no capacity" {
			t.Errorf("got %s, want it in error", a.Raw)
		}
		if status := string(s.Must(200, "GET", "Subscription/new/$status", nil).Raw); !strings.Contains(status, `"text":"no capacity"`) {
			t.Errorf("$status: got %s", status)
		}
		ws := s.Bind("new")
		s.trigger("new", 1)
		ws.Nothing()
		s.settings(`{}`)
		s.Must(200, "PUT", "Subscription/new", websocketSubscription("new", admissionURL))
		s.trigger("new", 1)
		ws.WantEvent("2")
	})
}

func TestActivation_Refused(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.settings(`{"activation":{"refuse":"no capacity"}}`)
	a := s.Must(422, "PUT", "Subscription/new", websocketSubscription("new", admissionURL))
	if code, why, at := a.Issue(); code != "business-rule" || why != "the server refuses the subscription: no capacity" || len(at) != 1 {
		t.Errorf("got %s", a.Raw)
	}
	s.Must(404, "GET", "Subscription/new", nil)
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL)) // it is active
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "status", "off"))
	s.Must(422, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
}

// The server stores fewer filters than it was asked for, and says so.
func TestActivation_DropsFilters(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"activation":{"drop-filters":["patient","none"]}}`)
		filters := []any{map[string]any{"resourceType": "Encounter", "filterParameter": "patient", "value": "Patient/1"}}
		filtered := websocketSubscription("new", admissionURL, "filterBy", filters)
		a := s.Must(201, "PUT", "Subscription/new", filtered)
		if a.Body["status"] != "active" || strings.Contains(string(a.Raw), "Patient/1") || a.Body["filterBy"] != nil || a.Body["_criteria"] != nil {
			t.Errorf("got %s, want no filter", a.Raw)
		}
		if warning := a.Header.Get("Warning"); !strings.Contains(warning, "does not filter by patient") {
			t.Errorf("got the warning %q", warning)
		}
		outcome := s.Must(200, "PUT", "Subscription/new", filtered, "Prefer", "return=OperationOutcome")
		if !strings.Contains(string(outcome.Raw), "does not filter by patient") {
			t.Errorf("got %s, want the warning", outcome.Raw)
		}
		ws := s.Bind("new")
		s.Must(201, "POST", "Encounter", with(encounter("", "in-progress"), "subject", reference("Patient/9")))
		ws.WantEvent("1")
		if a := s.Must(201, "PUT", "Subscription/plain", websocketSubscription("plain", admissionURL)); a.Header.Get("Warning") != "" {
			t.Errorf("got the warning %q for a subscription without filters", a.Header.Get("Warning"))
		}
		wrong := []any{map[string]any{"resourceType": "Encounter", "filterParameter": "meal", "value": "x"}}
		s.Must(422, "PUT", "Subscription/wrong", websocketSubscription("wrong", admissionURL, "filterBy", wrong))
	})
}

func TestActivation_TheFirstRuleThatFitsDecides(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "SubscriptionTopic/other", with(with(admissionTopic(), "id", "other"), "url", "http://example.org/other"))
	s.settings(compact(map[string]any{"activation": "never", "activations": []any{
		map[string]any{"subscription": "lab-*", "topic": "http://example.org/other", "activation": map[string]any{"error": "other"}},
		map[string]any{"subscription": "lab-?", "activation": "at-once"},
		map[string]any{"topic": "http://example.org/other", "activation": "at-bind"},
	}}))
	for _, one := range []struct{ id, topic, status string }{
		{"lab-1", "http://example.org/other", "error"},
		{"lab-1x", "http://example.org/other", "error"},
		{"lab-2", admissionURL, "active"},
		{"lab-22", admissionURL, "requested"},
		{"x", "http://example.org/other", "requested"},
	} {
		if a := s.Must(201, "PUT", "Subscription/"+one.id, websocketSubscription(one.id, one.topic)); a.Body["status"] != one.status {
			t.Errorf("%s on %s: got %v, want %s", one.id, one.topic, a.Body["status"], one.status)
		}
	}
	for id, status := range map[string]string{"x": "active", "lab-22": "requested"} {
		s.Bind(id).Nothing() // the handshake comes before the status changes
		if a := s.Must(200, "GET", "Subscription/"+id, nil); a.Body["status"] != status {
			t.Errorf("%s after its bind: got %v, want %s", id, a.Body["status"], status)
		}
	}
}

func TestSettings_ReadBackAndRefuse(t *testing.T) {
	t.Parallel()
	s := start(t)
	const plain = `{"replay":"none","activation":"at-once"}` + "\n"
	if a := s.control("GET", "settings", nil); string(a.Raw) != plain {
		t.Errorf("got %s", a.Raw)
	}
	const all = `{"replay":"last:3","activation":{"after":"5s"},"activations":[{"subscription":"a*","activation":{"drop-filters":["patient"]}},{"topic":"http://x.org/t","activation":{"refuse":"why"}}]}` + "\n"
	if a := s.control("PUT", "settings", all); string(a.Raw) != all {
		t.Errorf("got %s, want %s", a.Raw, all)
	}
	for body, problem := range map[string]string{
		`{"activation":"sometimes"}`:                                           `activation: got "sometimes", expected "at-once"`,
		`{"activation":{}}`:                                                    "activation: got {}",
		`{"activation":{"after":"5s","error":"x"}}`:                            "activation: got {",
		`{"activation":{"error":" "}}`:                                         "activation: got {",
		`{"activation":{"refuse":"\u0000"}}`:                                   "activation: got {",
		`{"activation":{"error":""}}`:                                          "activation: got {",
		`{"activation":{"later":"5s"}}`:                                        "activation: got {",
		`{"activation":{"drop-filters":[]}}`:                                   "activation: got {",
		`{"activation":{"after":"soon"}}`:                                      `activation.after: got "soon"`,
		`{"activation":{"after":"-1s"}}`:                                       `activation.after: got "-1s"`,
		`{"activations":[{"subscription":"a"}]}`:                               "activations[0].activation: ",
		`{"activations":[{"activation":"never"}]}`:                             "activations[0]: ",
		`{"activations":[{"subscription":"[","activation":"never"}]}`:          "activations[0].subscription: ",
		`{"activations":[{"subscription":"a","when":1,"activation":"never"}]}`: `unknown member "when"`,
		`{"replays":"all"}`:                                                    `did you mean "replay"`,
	} {
		s.refused(400, "PUT", "settings", body, problem)
	}
	if a := s.control("GET", "settings", nil); string(a.Raw) != all {
		t.Errorf("a refusal changed the settings to %s", a.Raw)
	}
	s.control("POST", "reset", nil)
	if a := s.control("GET", "settings", nil); string(a.Raw) != plain {
		t.Errorf("after a reset: got %s", a.Raw)
	}
}

// A reset takes a room back to the settings it began with, which its seed does not depend
// on.
func TestSettings_WithWhichARoomBegins(t *testing.T) {
	t.Parallel()
	kit := testkit.Start(t, testkit.WithSettings(testkit.Settings{Replay: "all", Activation: testkit.ActivateNever()}))
	s := serverOf(t, kit)
	want := func() {
		t.Helper()
		if a := s.control("GET", "settings", nil); string(a.Raw) != `{"replay":"all","activation":"never"}`+"\n" {
			t.Errorf("got %s", a.Raw)
		}
		if a := s.Must(200, "GET", "Subscription/admission-id-only", nil); a.Body["status"] != "active" {
			t.Errorf("got %s, want the subscription of the seed active", a.Raw)
		}
		if a := s.Must(201, "PUT", "Subscription/new", websocketSubscription("new", admissionURL)); a.Body["status"] != "requested" {
			t.Errorf("got %s", a.Raw)
		}
	}
	want()
	kit.SetSettings(testkit.Settings{})
	kit.Reset()
	want()
}
