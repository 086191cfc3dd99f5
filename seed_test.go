package main

import (
	"testing"
	"time"
)

func TestSeed_IsAlive(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	ws := s.bind("admission-full", "discharge-id-only", "lab-full", "task-id-only")
	s.clock.Advance(5 * time.Minute)
	seen := map[string]bool{}
	for len(seen) < 4 {
		if f := ws.next(); f.kind() == "event-notification" {
			seen[f.subscription()] = true
		}
	}
}

func TestReset_ReturnsToTheSeed(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	before := s.must(200, "GET", "Patient?_summary=count", nil)
	ws := s.bind("admission-id-only")
	token := s.token("admission-id-only")
	s.must(201, "PUT", "Patient/mine", map[string]any{"resourceType": "Patient", "id": "mine"})
	s.must(204, "DELETE", "Subscription/lab-full", nil)

	s.must(204, "POST", "/mock/reset", nil)
	ws.outcome("deleted") // the socket stays and is told that its binding is gone
	ws.nothing()
	s.must(404, "GET", "Patient/mine", nil)
	s.must(200, "GET", "Subscription/lab-full", nil)
	if after := s.must(200, "GET", "Patient?_summary=count", nil); compact(after.body["total"]) != compact(before.body["total"]) {
		t.Errorf("patients: got %v, want %v as at the start", after.body["total"], before.body["total"])
	}
	ws.send("bind-with-token " + token)
	ws.outcome("unknown")
	ws.send("bind-with-token " + s.token("admission-id-only"))
	if f := ws.next(); f.kind() != "handshake" || f.total() != "0" {
		t.Errorf("got %s with total %s, want a handshake with 0", f.kind(), f.total())
	}
}
