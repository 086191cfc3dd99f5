package journal_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
)

func put(path string) journal.Entry {
	return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "PUT", Path: path, Status: 200, RequestBody: []byte("0123456789")}}
}

func TestReserve_ComesBeforeWhatItCaused(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(bound("a"))
	seq := j.Reserve()
	j.Record(sent("a", "handshake"))
	if got := seqs(j.Entries(journal.Filter{})); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("before it is complete: got %v, want 1 and 3", got)
	}
	if _, ok := j.Entry(seq); ok {
		t.Error("an entry that is not complete was returned")
	}
	if _, last := j.Range(); last != 1 {
		t.Errorf("the last entry: got %d, want 1: whoever reads on from 3 would miss 2", last)
	}
	if got, skipped, err := j.Follow(t.Context(), 0, 10); err != nil || skipped != 0 || !slices.Equal(seqs(got), []uint64{1}) {
		t.Errorf("follow: got %v, %d skipped, %v; want 1", seqs(got), skipped, err)
	}
	j.Complete(seq, put("/x"))
	if got, _, err := j.Follow(t.Context(), 1, 10); err != nil || !slices.Equal(seqs(got), []uint64{2, 3}) || got[0].Exchange.Path != "/x" {
		t.Errorf("follow: got %v, %v; want 2 and 3", seqs(got), err)
	}
	if e, ok := j.Entry(seq); !ok || e.Size != 10 || !e.Time.Equal(start) {
		t.Errorf("got %+v, %v", e, ok)
	}
	if _, last := j.Range(); last != 3 {
		t.Errorf("the last entry: got %d, want 3", last)
	}
	j.Complete(seq, put("/y")) // has no effect
	if e, _ := j.Entry(seq); e.Exchange.Path != "/x" {
		t.Errorf("an entry was completed twice: %+v", e)
	}
}

func TestReserve_WakesReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 5})
		seq := j.Reserve()
		followed, settled := make(chan []uint64, 1), make(chan struct{})
		go func() {
			got, _, _ := j.Follow(t.Context(), 0, 10)
			followed <- seqs(got)
		}()
		go func() {
			j.Settle(t.Context())
			close(settled)
		}()
		synctest.Wait()
		select {
		case <-settled:
			t.Error("settled before the entry was complete")
		case got := <-followed:
			t.Errorf("followed %v before the entry was complete", got)
		default:
		}
		later := j.Reserve() // nobody who waits now waits for it
		j.Complete(seq, put("/x"))
		<-settled
		if got := <-followed; !slices.Equal(got, []uint64{1}) {
			t.Errorf("followed %v, want 1", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		j.Settle(ctx) // returns, though later is not complete
		j.Complete(later, put("/y"))
	})
}

// An entry that is no longer kept does not delay readers and is not completed.
func TestReserve_IsDroppedLikeAnyEntry(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(3)
	seq := j.Reserve()
	for range 3 {
		j.Record(bound("a"))
	}
	if first, last := j.Range(); first != 2 || last != 4 {
		t.Errorf("range: got %d to %d, want 2 to 4", first, last)
	}
	j.Complete(seq, put("/x"))
	for _, e := range j.Entries(journal.Filter{}) {
		if e.Kind != journal.Bound {
			t.Errorf("got %+v", e)
		}
	}
	if _, payload := j.Held(); payload != 0 {
		t.Errorf("%d bytes are held for nothing", payload)
	}
	j, _ = newJournal(-1) // keeps nothing
	j.Complete(j.Reserve(), put("/x"))
	if _, last := j.Range(); last != 1 {
		t.Errorf("got %d", last)
	}
}

// Payload is dropped oldest first, also from an entry that was completed late.
func TestReserve_CountsItsPayload(t *testing.T) {
	t.Parallel()
	j := journal.New(clock.NewManual(start), journal.Options{Size: 10, Payload: 25})
	seq := j.Reserve()
	for range 3 { // 30 bytes: the first is dropped, and everything before it is thinned
		j.Complete(j.Reserve(), put("/y"))
	}
	j.Complete(seq, put("/x"))
	e, _ := j.Entry(seq)
	if _, payload := j.Held(); payload != 20 || !e.Dropped || e.Exchange.RequestBody != nil {
		t.Errorf("%d bytes are held, the late entry is %+v", payload, e)
	}
	if e, _ := j.Entry(4); e.Dropped {
		t.Error("the newest entry lost its payload")
	}
}

func TestReserve_ConcurrentUse(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 300
	j, _ := newJournal(writers * each * 2)
	ctx, cancel := context.WithCancel(t.Context())
	var read []uint64
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for seq := uint64(0); seq < writers*each*2; {
			got, skipped, err := j.Follow(ctx, seq, 7)
			if err != nil || skipped != 0 {
				t.Errorf("%d skipped, %v", skipped, err)
				return
			}
			for _, e := range got {
				if e.Kind == "" {
					t.Error("an entry is not complete")
				}
			}
			read = append(read, seqs(got)...)
			seq = got[len(got)-1].Seq
		}
	}()
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				seq := j.Reserve()
				j.Record(bound("a"))
				j.Complete(seq, put("/x"))
			}
		})
	}
	all.Wait()
	<-followed
	cancel()
	for i, seq := range read {
		if seq != uint64(i+1) {
			t.Fatalf("entry %d has number %d", i, seq)
		}
	}
}

// An entry whose completion takes too long becomes a new one, and does not hold up readers.
func TestReserve_IsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(clock.Real(), journal.Options{Size: 10})
		seq := j.Reserve()
		j.Record(bound("a"))
		begin := time.Now()
		j.Settle(t.Context())
		if waited := time.Since(begin); waited != 5*time.Second {
			t.Errorf("waited %s, want 5s", waited)
		}
		got, skipped, err := j.Follow(t.Context(), 0, 10)
		if err != nil || skipped != 0 || !slices.Equal(seqs(got), []uint64{1, 2}) || got[0].Kind != "" {
			t.Errorf("followed %v, %d skipped, %v", got, skipped, err)
		}
		if _, last := j.Range(); last != 2 {
			t.Errorf("the last entry: got %d, want 2", last)
		}
		j.Complete(seq, put("/x"))
		if got, _, err := j.Follow(t.Context(), 2, 10); err != nil || len(got) != 1 || got[0].Seq != 3 || got[0].Exchange.Path != "/x" {
			t.Errorf("followed %v, %v; want the exchange as entry 3", got, err)
		}
		if got := seqs(j.Entries(journal.Filter{})); !slices.Equal(got, []uint64{2, 3}) {
			t.Errorf("got %v, want 2 and 3", got)
		}
		// The newest up to a number, not the newest of all.
		if got := seqs(j.Entries(journal.Filter{Upto: 2, Limit: 1})); !slices.Equal(got, []uint64{2}) {
			t.Errorf("got %v, want 2", got)
		}
	})
}
