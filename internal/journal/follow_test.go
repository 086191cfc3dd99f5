package journal_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
)

func TestFollow_ContinuesWhereItStopped(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(5)
	for range 4 {
		j.Record(bound("a"))
	}
	for _, c := range []struct {
		after   uint64
		most    int
		want    []uint64
		skipped uint64
	}{{0, 10, []uint64{1, 2, 3, 4}, 0}, {2, 10, []uint64{3, 4}, 0}, {0, 2, []uint64{1, 2}, 0}} {
		got, skipped, err := j.Follow(t.Context(), c.after, c.most)
		if err != nil || skipped != c.skipped || !slices.Equal(seqs(got), c.want) {
			t.Errorf("after %d: got %v, %d skipped, %v; want %v, %d", c.after, seqs(got), skipped, err, c.want, c.skipped)
		}
	}
	for range 4 { // 1 to 3 are dropped
		j.Record(bound("a"))
	}
	got, skipped, err := j.Follow(t.Context(), 1, 10)
	if err != nil || skipped != 2 || !slices.Equal(seqs(got), []uint64{4, 5, 6, 7, 8}) {
		t.Errorf("got %v, %d skipped, %v; want 4 to 8 and two skipped", seqs(got), skipped, err)
	}
}

func TestFollow_WaitsForTheNextEntryOrTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 5})
		time.AfterFunc(time.Second, func() { j.Record(bound("a")) })
		begin := time.Now()
		if got, _, err := j.Follow(t.Context(), 0, 10); err != nil || len(got) != 1 || time.Since(begin) != time.Second {
			t.Errorf("got %d entries after %s, %v; want one after 1s", len(got), time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, _, err := j.Follow(ctx, 1, 10); !errors.Is(err, context.DeadlineExceeded) || got != nil {
			t.Errorf("got %v, %v; want nothing and the end of the context", seqs(got), err)
		}
	})
}

func TestFollow_OfAnEmptyRingReportsWhatItSkips(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(-1)
	j.Record(bound("a"))
	j.Record(bound("a"))
	if got, skipped, err := j.Follow(t.Context(), 0, 10); err != nil || skipped != 2 || len(got) != 0 {
		t.Errorf("got %v, %d skipped, %v; want two skipped", seqs(got), skipped, err)
	}
	if first, last := j.Range(); first != 0 || last != 2 {
		t.Errorf("range: got %d to %d, want 0 to 2", first, last)
	}
}

// Several readers and writers: each reader sees every number once and in order,
// or learns that it was skipped.
func TestFollow_LosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(50)
	const writers, each = 4, 500
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for seq := uint64(0); seq < writers*each; {
				entries, skipped, err := j.Follow(ctx, seq, 20)
				if err != nil {
					t.Errorf("after %d: %v", seq, err)
					return
				}
				seq += skipped
				for _, e := range entries {
					if seq++; e.Seq != seq {
						t.Errorf("got entry %d, want %d", e.Seq, seq)
						return
					}
				}
			}
		})
	}
	for range writers {
		all.Go(func() {
			for range each {
				j.Record(bound("a"))
			}
		})
	}
	all.Wait()
}

func TestTotalsAndRates(t *testing.T) {
	t.Parallel()
	j, c := newJournal(-1) // counted although nothing is kept
	j.Record(journal.Entry{Kind: journal.Change})
	j.Record(journal.Entry{Kind: journal.Fired, Topic: "t"})
	c.Advance(2 * time.Second)
	j.Record(journal.Entry{Kind: journal.Fired, Topic: "t"})
	j.Record(journal.Entry{Kind: journal.Appended, Subscription: "a"})
	j.Record(sent("a", "event-notification"))
	j.Record(journal.Entry{Kind: journal.Sent, Type: "pong"})
	j.Record(journal.Entry{Kind: journal.Received})
	totals, fired := j.Totals()
	if want := (journal.Totals{Changes: 1, Fired: 2, Events: 1, Frames: 2, Received: 1}); totals != want || fired["t"] != 2 {
		t.Errorf("totals: got %+v %v, want %+v", totals, fired, want)
	}
	c.Advance(time.Second)
	r := j.Rates()
	last := len(r.Changes) - 1
	if r.Changes[last-3] != 1 || r.Events[last-1] != 1 || r.Frames[last-1] != 2 || r.Received[last-1] != 1 || r.Frames[last] != 0 || !r.End.Equal(start.Add(3*time.Second)) {
		t.Errorf("rates: got %v %v until %s", r.Changes[last-4:], r.Frames[last-4:], r.End)
	}
	c.Advance((journal.Seconds - 2) * time.Second)
	if r := j.Rates(); r.Frames[0] != 2 || r.Changes[0] != 0 {
		t.Errorf("at the edge: got %d frames, %d changes; want 2, 0", r.Frames[0], r.Changes[0])
	}
	c.Advance(time.Second) // the slot of the old second is reused
	j.Record(sent("a", "heartbeat"))
	if r := j.Rates(); r.Frames[0] != 0 || r.Frames[last] != 1 {
		t.Errorf("beyond the edge: got %d and %d frames, want 0 and 1", r.Frames[0], r.Frames[last])
	}
	j.Record(journal.Entry{Kind: journal.Reset})
	totals, fired = j.Totals()
	if r := j.Rates(); totals != (journal.Totals{}) || len(fired) != 0 || r.Frames[last] != 0 {
		t.Errorf("after a reset: got %+v %v", totals, fired)
	}
}
