package journal

import (
	"context"
	"fmt"
	"testing"
	"time"

	"signalfhir/internal/clock"
)

// Awaiting made-up subscriptions leaves nothing behind: what is kept per
// subscription awaited or counted is bounded.
func TestJournal_WhatIsKeptIsBounded(t *testing.T) {
	t.Parallel()
	j := New(clock.NewManual(time.Unix(0, 0)), Options{Size: 10})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for i := range 100 {
		j.Await(ended, fmt.Sprint("vain", i), func(Tally) bool { return false })
		j.Await(ended, fmt.Sprint("met", i), func(Tally) bool { return true })
	}
	if len(j.waiting) != 0 || len(j.tallies) != 0 {
		t.Errorf("kept %d waits and %d tallies, want none", len(j.waiting), len(j.tallies))
	}
	for i := range maxTallies + 5 {
		j.Record(Entry{Kind: Sent, Type: "handshake", Subscription: fmt.Sprint(i)})
	}
	if len(j.tallies) != maxTallies || len(j.tallied) != maxTallies {
		t.Errorf("kept %d tallies (%d tallied), want %d", len(j.tallies), len(j.tallied), maxTallies)
	}
	if j.tallies["4"] != nil || j.tallies["5"] == nil {
		t.Error("want the oldest tallies dropped first")
	}
}
