package room_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

// A move whose time is up while something goes on is not done.
func TestClock_AMoveThatDoesNotSettle(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{ClockStart: newYear})
	hold := r.Hold()
	m, err := r.AdvanceClock(context.Background(), time.Second, time.Time{}, time.Millisecond)
	for err != nil { // the time was up before its turn came
		m, err = r.AdvanceClock(context.Background(), time.Second, time.Time{}, time.Millisecond)
	}
	if m.Done || !strings.HasSuffix(m.Note, `it stopped after 1ms, its timeout. POST /mock/clock/advance {"by":"0s"} goes on`) {
		t.Fatalf("got %+v, want that it is not done", m)
	}
	seen := make(chan uint64, 1)
	go func() {
		r.Record(journal.Entry{Kind: journal.Lenient, Text: "before the move"})
		seen <- r.Journal().Seq()
		hold.Release()
	}()
	m, err = r.AdvanceClock(context.Background(), 0, time.Time{}, time.Minute)
	if last := <-seen; err != nil || !m.Done || m.Since != last {
		t.Errorf("got %+v %v, want it to begin after entry %d", m, err, last)
	}
}

// What a call begins belongs to the call.
func TestClock_WhatACallBegins(t *testing.T) {
	t.Parallel()
	const calls = 200
	r := open(t, room.Options{ClockStart: newYear})
	for i := range calls {
		r.Clock().AfterFunc(time.Duration(i)*time.Second, func() {
			hold := r.Hold()
			go func() {
				defer hold.Release()
				r.Record(journal.Entry{Kind: journal.Lenient, Text: "goes on"})
			}()
		}, clock.What{Kind: clock.Heartbeat, Of: "beat"})
	}
	m, err := r.AdvanceClock(context.Background(), time.Hour, time.Time{}, time.Minute)
	if err != nil || !m.Done || len(m.Happened) != calls {
		t.Fatalf("got %+v %v, want calls that had an effect", m, err)
	}
	for i, e := range r.Journal().Entries(journal.Filter{Kinds: []string{journal.Lenient}}) {
		if want := newYear.Add(time.Duration(i) * time.Second); !e.Time.Equal(want) {
			t.Fatalf("got %s, want %s", e.Time, want)
		}
	}
}

// What never ends holds up a move for a while, and the journal says so.
func TestClock_WhatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := open(t, room.Options{ClockStart: newYear})
		r.Clock().AfterFunc(time.Second, func() { r.Hold() })
		m, err := r.AdvanceClock(context.Background(), time.Hour, time.Time{}, time.Minute)
		if err != nil || !m.Done {
			t.Fatalf("got %+v %v, want it done", m, err)
		}
		entries := r.Journal().Entries(journal.Filter{Kinds: []string{journal.Clock}})
		if text := entries[len(entries)-1].Text; !strings.HasSuffix(text, "calls that ran: 1; sockets and requests that took too long to end: 1") {
			t.Errorf("got %q, want that it did not wait for ever", text)
		}
	})
}
