package journal_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

func newJournal(size int) (*journal.Journal, *clock.Adjustable) {
	c := clock.NewManual(start)
	return journal.New(c, journal.Options{Size: size}), c
}

func seqs(entries []journal.Entry) []uint64 {
	found := []uint64{}
	for _, e := range entries {
		found = append(found, e.Seq)
	}
	return found
}

func sent(subscription, typ string) journal.Entry {
	return journal.Entry{Kind: journal.Sent, Subscription: subscription, Type: typ}
}

func bound(subscription string) journal.Entry {
	return journal.Entry{Kind: journal.Bound, Subscription: subscription, Socket: "s1"}
}

func unbound(subscription string) journal.Entry {
	return journal.Entry{Kind: journal.Unbound, Subscription: subscription, Socket: "s1"}
}

// tally returns the present tally of a subscription.
func tally(j *journal.Journal, subscription string) journal.Tally {
	return j.Tally(subscription)
}

func TestRecord_NumbersAndStamps(t *testing.T) {
	t.Parallel()
	j, c := newJournal(10)
	if got := j.Entries(journal.Filter{}); got == nil || len(got) != 0 {
		t.Errorf("an empty journal: got %#v, want an empty list, not nil", got)
	}
	j.Record(journal.Entry{Kind: journal.Opened, Socket: "s1", Text: "127.0.0.1"})
	c.Advance(time.Second)
	j.Record(journal.Entry{Kind: journal.Sent, Subscription: "a", Socket: "s1", Type: "event-notification", First: 3, Last: 5})
	want := []journal.Entry{
		{Seq: 1, Time: start, Kind: "opened", Socket: "s1", Text: "127.0.0.1", Count: 1},
		{Seq: 2, Time: start.Add(time.Second), Kind: "sent", Subscription: "a", Socket: "s1", Type: "event-notification", First: 3, Last: 5, Count: 1},
	}
	if diff := cmp.Diff(want, j.Entries(journal.Filter{}), cmpopts.IgnoreUnexported(journal.Entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// An entry says how many there are with it: sockets open or bound, or notifications sent.
func TestRecord_Counts(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(20)
	socket := func(kind string) journal.Entry { return journal.Entry{Kind: kind, Socket: "s1"} }
	var got, want []int
	for _, step := range []struct {
		e     journal.Entry
		count int
	}{
		{socket(journal.Opened), 1}, {socket(journal.Opened), 2}, {bound("a"), 1}, {bound("b"), 1}, {bound("a"), 2},
		{sent("a", "handshake"), 1}, {sent("a", "heartbeat"), 1}, {sent("b", "handshake"), 1}, {sent("a", "handshake"), 2},
		{unbound("a"), 1}, {socket(journal.Closed), 1}, {socket(journal.Reset), 0},
		{socket(journal.Opened), 2}, {bound("a"), 1}, {unbound("b"), 0}, {sent("a", "handshake"), 1}, // a reset closes no socket
	} {
		j.Record(step.e)
		want = append(want, step.count)
	}
	for _, e := range j.Entries(journal.Filter{}) {
		got = append(got, int(e.Count))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if seen := tally(j, "a"); seen.Open != 2 || seen.Bound != 1 {
		t.Errorf("got %+v, want 2 open and 1 bound", seen)
	}
	if reset, last := j.Span(); reset != 12 || last != 16 {
		t.Errorf("got a reset at %d and the last at %d, want 12 and 16", reset, last)
	}
}

func TestEntries_KeepsTheLastOnesInOrder(t *testing.T) {
	t.Parallel()
	for _, size := range []int{-1, 1, 2, 3, 7} {
		j, _ := newJournal(size)
		for n := range uint64(16) {
			kept := min(n, uint64(max(size, 0)))
			want := []uint64{}
			for seq := n - kept + 1; seq <= n; seq++ {
				want = append(want, seq)
			}
			if got := seqs(j.Entries(journal.Filter{})); !slices.Equal(got, want) {
				t.Fatalf("size %d after %d entries: got %v, want %v", size, n, got, want)
			}
			j.Record(journal.Entry{Kind: journal.Opened})
		}
	}
}

func TestEntries_Filter(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(bound("a"))
	j.Record(bound("b"))
	j.Record(sent("a", "heartbeat"))
	for name, c := range map[string]struct {
		filter journal.Filter
		want   []uint64
	}{
		"all":                   {journal.Filter{}, []uint64{1, 2, 3}},
		"subscription":          {journal.Filter{Subscription: "a"}, []uint64{1, 3}},
		"kind":                  {journal.Filter{Kinds: []string{journal.Bound}}, []uint64{1, 2}},
		"subscription and kind": {journal.Filter{Subscription: "a", Kinds: []string{journal.Bound}}, []uint64{1}},
		"nothing":               {journal.Filter{Subscription: "c"}, []uint64{}},
	} {
		if got := seqs(j.Entries(c.filter)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestTally_AddsUpWhatTheRingDropped(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(1)
	j.Record(bound("a"))
	j.Record(bound("a"))
	j.Record(unbound("a"))
	for range 5 {
		j.Record(sent("a", "event-notification"))
	}
	j.Record(sent("a", "handshake"))
	j.Record(sent("b", "handshake"))
	j.Record(journal.Entry{Kind: journal.NotSent, Subscription: "a", Type: "handshake"})
	want := journal.Tally{Bound: 1, Sent: map[string]int{"event-notification": 5, "handshake": 1}}
	if diff := cmp.Diff(want, tally(j, "a")); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
}

func TestTally_StartsAgainAfterAReset(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(bound("a"))
	j.Record(sent("a", "handshake"))
	j.Record(journal.Entry{Kind: journal.Reset})
	j.Record(unbound("a")) // a binding from before the reset, reported late
	if diff := cmp.Diff(journal.Tally{Sent: map[string]int{}}, tally(j, "a")); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	if got := len(j.Entries(journal.Filter{})); got != 4 {
		t.Errorf("entries: got %d, want 4: a reset is part of the history", got)
	}
}

func TestAwait_ReturnsAtOnceIfTheConditionHolds(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(bound("a"))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	seen, ok := j.Await(ended, "a", func(t journal.Tally) bool { return t.Bound == 1 })
	if !ok || seen.Bound != 1 {
		t.Errorf("got %+v, %v; want one bound, true, whatever the context", seen, ok)
	}
}

func TestAwait_WaitsForTheEntryThatMeetsTheCondition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 10})
		looked := 0
		var seen journal.Tally
		var ok bool
		var waiter sync.WaitGroup
		waiter.Go(func() {
			seen, ok = j.Await(t.Context(), "a", func(t journal.Tally) bool { looked++; return t.Sent["event-notification"] >= 2 })
		})
		synctest.Wait()
		j.Record(sent("b", "event-notification"))                        // of another subscription
		j.Record(journal.Entry{Kind: journal.Status, Subscription: "a"}) // changes no tally
		synctest.Wait()
		if looked != 1 {
			t.Errorf("looked %d times, want 1: nothing changed the tally", looked)
		}
		j.Record(sent("a", "event-notification"))
		synctest.Wait()
		if looked != 2 || ok {
			t.Errorf("looked %d times, met %v; want 2, false", looked, ok)
		}
		j.Record(sent("a", "event-notification"))
		waiter.Wait()
		if !ok || seen.Sent["event-notification"] != 2 {
			t.Errorf("got %+v, %v; want two events, true", seen, ok)
		}
	})
}

func TestAwait_EndsWithItsContextAndReturnsWhatWasSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 10})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		time.AfterFunc(time.Second, func() { j.Record(bound("a")) })
		begin := time.Now()
		seen, ok := j.Await(ctx, "a", func(t journal.Tally) bool { return t.Bound >= 2 })
		if ok || seen.Bound != 1 {
			t.Errorf("got %+v, %v; want one bound, false", seen, ok)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("took %s, want 10s", took)
		}
	})
}

func TestAwait_SeesBindingsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 10})
		j.Record(bound("a"))
		time.AfterFunc(time.Second, func() { j.Record(unbound("a")) })
		if seen, ok := j.Await(t.Context(), "a", func(t journal.Tally) bool { return t.Bound == 0 }); !ok {
			t.Errorf("got %+v, false; want none bound", seen)
		}
	})
}

func TestAwait_AResetWakesWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 10})
		j.Record(bound("a"))
		time.AfterFunc(time.Second, func() { j.Record(journal.Entry{Kind: journal.Reset}) })
		if seen, ok := j.Await(t.Context(), "a", func(t journal.Tally) bool { return t.Bound == 0 }); !ok {
			t.Errorf("got %+v, false; want none bound", seen)
		}
	})
}

// All of many waiters are woken; none misses an entry recorded between its look
// and its wait.
func TestAwait_ManyWaitersManyWriters(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(100)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const waiters, writers, each = 20, 4, 50
	var all sync.WaitGroup
	for w := range waiters {
		all.Go(func() {
			want := 1 + w*writers*each/waiters
			if seen, ok := j.Await(ctx, "a", func(t journal.Tally) bool { return t.Sent["heartbeat"] >= want }); !ok {
				t.Errorf("waiter for %d: gave up at %d", want, seen.Sent["heartbeat"])
			}
		})
	}
	for w := range writers {
		all.Go(func() {
			for range each {
				j.Record(sent("a", "heartbeat"))
				j.Record(sent(fmt.Sprint("other", w), "heartbeat"))
				j.Entries(journal.Filter{Subscription: "a"})
			}
		})
	}
	all.Wait()
}

func TestAwait_ReceivesACopyOfTheTally(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(sent("a", "handshake"))
	tally(j, "a").Sent["handshake"] = 99
	if got := tally(j, "a").Sent["handshake"]; got != 1 {
		t.Errorf("got %d handshakes, want 1", got)
	}
}

func BenchmarkRecord(b *testing.B) {
	j := journal.New(clock.Real(), journal.Options{Size: 10_000})
	e := journal.Entry{Kind: journal.Sent, Subscription: "a", Socket: "s1", Type: "event-notification", First: 1, Last: 1}
	b.ReportAllocs()
	for b.Loop() {
		j.Record(e)
	}
}
