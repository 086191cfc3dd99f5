package main

import (
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// beating returns a server with manners, whose subscriptions a and b have a heartbeat each
// 20 s, a socket that is bound to both, and one that is bound to a 5 s later.
func beating(t *testing.T, r fhir.Release, manners string) (s *testServer, both, one *wiretest.Socket) {
	t.Helper()
	s = vectorServer(t, r)
	for _, id := range []string{"a", "b"} {
		s.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "heartbeatPeriod", 20))
	}
	s.Must(200, "PUT", "/mock/manners", manners)
	both = s.Bind("b", "a")
	s.clock.Advance(5 * time.Second) // their heartbeats are due at different times
	one = s.Bind("a")
	return s, both, one
}

// One heartbeat has an entry for each subscription of its socket, and takes the place of the
// others.
func TestManners_SharedHeartbeat(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s, both, one := beating(t, r, `{"sharedHeartbeat":true,"noTopic":true}`)
		s.Must(200, "POST", "/mock/trigger", `{"subscription":"b"}`)
		both.WantEvent("1") // 5 s after the bind, so a is silent first
		s.clock.Advance(15 * time.Second)
		f := both.Next()
		if n := len(asList(f.At("entry"))); n != 2 || f.Kind() != "heartbeat" || strings.Contains(string(f.Raw), "SubscriptionTopic") {
			t.Errorf("got %d entries in %s, want one for each subscription, without a topic", n, f.Raw)
		}
		second := wiretest.Frame{Raw: f.Raw, Body: map[string]any{"entry": asList(f.At("entry"))[1:]}}
		if f.Subscription() != "a" || f.Total() != "0" || second.Subscription() != "b" || second.Total() != "1" || second.Kind() != "heartbeat" {
			t.Errorf("got %s, want a without events and b with one", f.Raw)
		}
		sent := s.Journal("?kind=sent&text=heartbeat&socket=s1&bodies=true")
		if len(sent) != 2 || sent[0].Frame != string(f.Raw) || sent[0].Text != "by manners: no topic, one heartbeat for several subscriptions" ||
			sent[1].Subscription != "b" || sent[1].Frame != "" || sent[1].Text != "by manners: one with the heartbeat of Subscription/a" {
			t.Errorf("the journal has %+v", sent)
		}
		both.Nothing()
		one.Nothing() // it was bound later
		s.clock.Advance(5 * time.Second)
		if f := one.Next(); len(asList(f.At("entry"))) != 1 || f.Subscription() != "a" || f.Kind() != "heartbeat" {
			t.Errorf("got %s, want a heartbeat of a alone", f.Raw)
		}
		both.Nothing() // b would have had one of its own
		s.clock.Advance(15 * time.Second)
		if f := both.Next(); len(asList(f.At("entry"))) != 2 {
			t.Errorf("got %s, want one for both a period later", f.Raw)
		}
		s.Must(200, "PUT", "/mock/manners", `{}`)
		s.clock.Advance(20 * time.Second)
		for range 2 {
			if f := both.Next(); len(asList(f.At("entry"))) != 1 || f.Kind() != "heartbeat" {
				t.Errorf("got %s, want a heartbeat for each", f.Raw)
			}
		}
	})
}

// Subscriptions of several releases, and of several formats, do not fit into one bundle.
func TestManners_SharedHeartbeatOfOneRelease(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/a", websocketSubscription("a", admissionURL, "heartbeatPeriod", 20))
	old := s.on(fhir.R4)
	_, topic := wiretest.InRelease(fhir.R4, "SubscriptionTopic/admission-r4", with(admissionTopic(), "id", "admission-r4"))
	old.Must(201, "PUT", "Basic/admission-r4", topic)
	old.Must(201, "PUT", "Subscription/o", websocketSubscription("o", admissionURL, "heartbeatPeriod", 20))
	s.Must(200, "PUT", "/mock/manners", `{"sharedHeartbeat":true}`)
	ws := s.Bind("a")
	ws.Send("bind-with-token " + old.Token("o"))
	ws.Next()
	s.clock.Advance(20 * time.Second)
	for range 2 {
		if f := ws.Next(); len(asList(f.At("entry"))) != 1 || f.Kind() != "heartbeat" {
			t.Errorf("got %s, want a heartbeat for each", f.Raw)
		}
	}
}

func TestManners_KeepaliveInPlaceOfHeartbeats(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s, both, one := beating(t, r, `{"heartbeat":"keepalive"}`)
		s.clock.Advance(15 * time.Second)
		if f := both.Next(); string(f.Raw) != "keepalive 2026-01-01T10:00:20Z" {
			t.Errorf("got %s", f.Raw)
		}
		both.Nothing()
		s.clock.Advance(5 * time.Second)
		if f := one.Next(); string(f.Raw) != "keepalive 2026-01-01T10:00:25Z" {
			t.Errorf("got %s", f.Raw)
		}
		both.Nothing()
		if sent := s.Journal("?kind=sent&text=heartbeat&socket=s1"); len(sent) != 2 || sent[0].Text != "by manners: a text in place of a notification" {
			t.Errorf("the journal has %+v", sent)
		}
	})
}

// Without heartbeats there are none; one that a test asks for comes, and so does the last one
// of a subscription that is off.
func TestManners_NoHeartbeats(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s, both, one := beating(t, r, `{"heartbeat":"none"}`)
		s.clock.Advance(5 * time.Minute)
		both.Nothing()
		one.Nothing()
		s.Must(200, "POST", "/mock/subscriptions/a/notifications", `{"type":"heartbeat"}`)
		if f := one.Next(); f.Kind() != "heartbeat" {
			t.Errorf("got %s", f.Raw)
		}
		s.Must(200, "PATCH", "/mock/subscriptions/a", `{"status":"off"}`)
		if f := one.Next(); f.Kind() != "heartbeat" || f.Status()["status"] != "off" {
			t.Errorf("got %s", f.Raw)
		}
	})
}

// A heartbeat for all of a socket does not come from a binding whose token has expired.
func TestManners_SharedHeartbeatEndsWithTheToken(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, id := range []string{"a", "b"} {
		s.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "heartbeatPeriod", 7*60))
	}
	s.Must(200, "PUT", "/mock/manners", `{"name":"medplum"}`)
	ws := s.Dial()
	bind := func(id string) {
		ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token(id) + `"}}`)
		ws.Next()
	}
	entries := func(want ...string) {
		t.Helper()
		f := ws.Next()
		all := asList(f.At("entry"))
		if len(all) != len(want) || f.Kind() != "heartbeat" || f.Subscription() != want[0] {
			t.Errorf("got %s, want a heartbeat of %v", f.Raw, want)
		}
	}
	bind("a")
	s.clock.Advance(7 * time.Minute)
	entries("a")
	s.clock.Advance(3 * time.Minute)
	bind("b")
	for range 3 { // 14, 21 and 28 minutes
		s.clock.Advance(4 * time.Minute)
		entries("a", "b")
		s.clock.Advance(3 * time.Minute)
	}
	ws.Outcome("expired")
	s.clock.Advance(4 * time.Minute)
	entries("b")
}
