package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
)

func TestVector9_EventsShareBundlesUpToMaxCount(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t, func(o *command.Serve) { o.BatchWindow = time.Second }).on(r)
		s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
		s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "maxCount", 2))
		ws := s.Bind("abc")
		for range 5 {
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		}
		wants := []struct{ numbers, total string }{{"1,2", "2"}, {"3,4", "4"}}
		for _, want := range wants {
			if f := ws.WantEvent(want.numbers); f.Total() != want.total {
				t.Errorf("total: got %s, want %s", f.Total(), want.total)
			}
		}
		ws.Nothing()
		s.clock.Advance(time.Second)
		if f := ws.WantEvent("5"); f.Total() != "5" {
			t.Errorf("total: got %s, want 5", f.Total())
		}
	})
}

func TestVector11_HeartbeatsComeEachPeriodAndCountNothing(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/beat", websocketSubscription("beat", admissionURL, "heartbeatPeriod", 1))
		ws := s.Bind("beat")
		s.clock.Advance(3 * time.Second)
		for range 3 {
			if f := ws.Next(); f.Kind() != "heartbeat" || f.Total() != "0" {
				t.Fatalf("got %s with total %s, want a heartbeat with 0", f.Kind(), f.Total())
			}
		}
		ws.Nothing()
	})
}

func TestVector12_ExpiredTokenIsRefusedAndTheSocketStays(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		token := s.Token("abc")
		s.clock.Advance(31 * time.Minute)
		ws := s.Dial()
		ws.Send("bind-with-token " + token)
		f := ws.Next()
		if code, text, _ := f.Issue(); code != "expired" || !strings.Contains(text, "2026-01-01T10:30:00Z") {
			t.Fatalf("got %s, want an OperationOutcome expired that names the time", f.Raw)
		}
		ws.Nothing()
	})
}

func TestRenewal_KeepsTheBindingWithoutDoublingEvents(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.clock.Advance(25 * time.Minute)
	ws.Send("bind-with-token " + s.Token("abc"))
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake after renewal (WS-25)", f.Raw)
	}
	s.clock.Advance(20 * time.Minute) // beyond the first token, within the second
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("1")
	ws.Nothing()
}

func TestExpiry_EndsTheBindingAndTheSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.clock.Advance(31 * time.Minute)
	ws.Outcome("expired")
	if code, reason := ws.Closed(); code != 1008 || reason == "" {
		t.Errorf("got %d %q, want 1008 with a reason (WS-33)", code, reason)
	}
}

// WS-33: --keep-expired lets a binding go on, though nobody can bind with the token
// any more.
func TestExpiry_KeepsTheBindingWhereAsked(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.KeepExpired = true })
	secret := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + secret)
	ws.Next()
	s.clock.Advance(31 * time.Minute)
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	ws.WantEvent("1")
	other := s.Dial()
	other.Send("bind-with-token " + secret)
	other.Outcome("expired")
}

func TestEnd_TurnsTheSubscriptionOff(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/ends", websocketSubscription("ends", admissionURL, "end", begin.Add(time.Minute).Format(time.RFC3339)))
	ws := s.Bind("ends")
	s.clock.Advance(2 * time.Minute)
	if f := ws.Next(); f.Kind() != "heartbeat" || f.Status()["status"] != "off" {
		t.Fatalf("got %s, want a last heartbeat with status off (LC-11, WS-34)", f.Raw)
	}
	a := s.Must(200, "GET", "Subscription/ends", nil)
	if a.Body["status"] != "off" || a.Header.Get("ETag") != `W/"2"` {
		t.Errorf("got %s as %s, want status off as version 2 (LC-15)", a.Body["status"], a.Header.Get("ETag"))
	}
}

func TestJournal_TellsHowThingsEnd(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	last := s.Journal("?limit=1")[0].Seq
	secret := s.Token("abc")
	name := token.Fingerprint(secret)
	ws := s.Dial()
	ws.Send("bind-with-token " + secret)
	ws.Next()
	ws.Send("bind-with-token " + secret)
	ws.Next()
	s.clock.Advance(31 * time.Minute)
	ws.Outcome("expired")
	ws.Closed()
	s.AwaitEntry("?kind=closed&socket=s1")
	revoked := s.Token("abc")
	other := s.Dial("?token=" + revoked)
	other.Next()
	s.Must(204, "DELETE", "/mock/tokens/"+revoked, nil)
	other.Outcome("forbidden")
	other.Closed()
	s.AwaitEntry("?kind=closed&socket=s2")
	s.Token("abc")
	s.clock.Advance(31 * time.Minute) // nobody bound it
	third := s.Bind("abc")
	s.Must(204, "POST", "/mock/reset", nil)
	third.Outcome("deleted")
	_ = third.Conn.Close(1000, "done")

	s.AwaitEntry("?kind=closed&socket=s3")
	var got []string
	for _, r := range s.Journal("?kind=token,bound,unbound,closed,reset&since=" + strconv.FormatUint(last, 10)) {
		line := r.Kind
		for _, part := range []string{r.Type, r.Subscription, r.Socket, r.Text} {
			if part != "" && r.Type != "issued" && r.Kind != "reset" {
				line += " " + part
			}
		}
		if r.Code != 0 {
			line += fmt.Sprint(" ", r.Code)
		}
		if r.Token == name {
			line += " (first)"
		} else if r.Token == token.Fingerprint(revoked) {
			line += " (second)"
		}
		got = append(got, line)
	}
	want := []string{
		"token (first)",
		"bound abc s1 (first)",
		"token renewed abc s1 (first)",
		"token expired for abc (first)",
		"unbound abc s1 token expired (first)",
		"closed s1 no binding is left: token expired (by server) 1008",
		"token (second)",
		"bound abc s2 (second)",
		"token revoked (second)",
		"unbound abc s2 token revoked (second)",
		"closed s2 no binding is left: token revoked (by server) 1008",
		"token",
		"token expired for abc",
		"token",
		"bound abc s3",
		"unbound abc s3 room was reset",
		"reset",
		"closed s3 done (by client) 1000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// With an interval the first event comes at once, and one each interval after it.
func TestMock_TriggersAtAnInterval(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	a := s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":3,"interval":"1s"}`)
	if scheduled := a.Body["scheduled"]; scheduled != 2.0 {
		t.Errorf("got %s, want two events to come", a.Raw)
	}
	ws.WantEvent("1")
	ws.Nothing()
	s.clock.Advance(2 * time.Second)
	ws.WantEvent("2")
	ws.WantEvent("3")
}

// The address that --public-url names is not reached from here.
func TestToken_WebsocketURLIsBelowThePublicURL(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.PublicURL = "https://dev.example.org/x/" })
	a := s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil, "X-Forwarded-Host", "other")
	if got := a.Parameters("websocket-url"); !slices.Equal(got, []string{"wss://dev.example.org/x/ws"}) {
		t.Errorf("got %s, want the socket below --public-url", got)
	}
}
