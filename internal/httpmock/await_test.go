package httpmock

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
)

// waiting returns a wait in an empty room that keeps so many entries.
func waiting(t *testing.T, size int, body string) *wait {
	t.Helper()
	r, err := room.New(room.Options{JournalSize: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return waitIn(t, r, body)
}

func waitIn(t *testing.T, r *room.Room, body string) *wait {
	t.Helper()
	var in awaitBody
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	c, err := in.condition(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w := &wait{condition: c, room: r, given: in.Since != nil}
	if err := w.begin(in.Since); err != nil {
		t.Fatal(err)
	}
	return w
}

func ping(socket string) journal.Entry {
	return journal.Entry{Kind: journal.Received, Type: "ping", Socket: socket}
}

func exchange(path string) journal.Entry {
	return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "POST", Path: path, Status: 200}}
}

// Each entry that counts begins the time anew, others do not. The seq is that of the last
// one that counted, so that the next await passes over nothing else.
func TestQuiet_BeginsAnewWithEachEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"quiet":{"for":"200ms","kinds":["received"]}}`)
		begun := time.Now()
		go func() {
			for range 5 {
				time.Sleep(150 * time.Millisecond)
				w.room.Record(ping("s1"))
			}
			for range 5 {
				time.Sleep(10 * time.Millisecond)
				w.room.Record(journal.Entry{Kind: journal.Lenient})
			}
		}()
		if !w.run(t.Context()) {
			t.Fatal("it did not become quiet")
		}
		if took := time.Since(begun); took != 950*time.Millisecond {
			t.Errorf("quiet after %s, want 200ms after the last of five, 150ms apart", took)
		}
		if w.seq != 6 { // the first is the reset of a new room
			t.Errorf("seq: got %d, want 6", w.seq)
		}
	})
}

func TestQuiet_IsInVainIfEntriesKeepComing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"quiet":{"for":"200ms"}}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				time.Sleep(90 * time.Millisecond)
				w.room.Record(ping("s1"))
			}
		}()
		if w.run(ctx) {
			t.Error("it became quiet")
		}
		m := New(Options{Sockets: func(*room.Room) []socket.State { return nil }})
		if got := m.instead(w); !strings.HasPrefix(got, "11 entries came meanwhile; the last was entry 12 received ping s1") {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		<-ctx.Done()
		time.Sleep(time.Second) // the recorder ends
	})
}

// An exchange that has begun ends the quiet, although its entry is not complete.
func TestQuiet_SeesAnExchangeBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"quiet":{"for":"200ms","kinds":["http"]}}`)
		begun := time.Now()
		go func() {
			time.Sleep(100 * time.Millisecond)
			w.room.Journal().Reserve()
		}()
		if !w.run(t.Context()) || time.Since(begun) != 300*time.Millisecond {
			t.Errorf("quiet after %s, want 300ms", time.Since(begun))
		}
	})
}

// A condition about exchanges counts them in their order: the one that began first is
// waited for, although another is over before it.
func TestAwait_CountsExchangesInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"journal":{"kind":"http"}}`)
		j := w.room.Journal()
		first, second := j.Reserve(), j.Reserve()
		j.Complete(second, exchange("/second"))
		done := make(chan bool)
		go func() { done <- w.run(t.Context()) }()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("it was met by the second, so the next await would miss the first")
		default:
		}
		j.Complete(first, exchange("/first"))
		if !<-done || w.seq != first {
			t.Errorf("got entry %d, want %d", w.seq, first)
		}
		next := waitIn(t, w.room, `{"journal":{"kind":"http"},"since":2}`)
		if !next.run(t.Context()) || next.seq != second {
			t.Errorf("the next one: got entry %d, want %d", next.seq, second)
		}
	})
}

// Other conditions do not wait for exchanges: a request that takes long may have caused
// what they wait for.
func TestAwait_OthersDoNotWaitForExchanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"journal":{"kind":"received"}}`)
		begun := time.Now()
		w.room.Journal().Reserve()
		w.room.Record(ping("s1"))
		if !w.run(t.Context()) || time.Since(begun) != 0 || w.seq != 3 {
			t.Errorf("got entry %d after %s, want 3 at once", w.seq, time.Since(begun))
		}
	})
}

// When the time is up, an exchange counts although one that began before it is not over.
func TestAwait_LooksPastExchangesAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"journal":{"kind":"http"}}`)
		j := w.room.Journal()
		j.Reserve()
		second := j.Reserve()
		j.Complete(second, exchange("/second"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !w.run(ctx) || w.seq != second {
			t.Errorf("got entry %d, want %d", w.seq, second)
		}
	})
}

// An await does not count awaits, whose bodies have the text that it waits for.
func TestAwait_DoesNotCountAwaits(t *testing.T) {
	t.Parallel()
	w := waiting(t, 0, `{"journal":{"kind":"http"}}`)
	for _, path := range []string{"/rooms/x/mock/await", "/mock/reset"} {
		j := w.room.Journal()
		j.Complete(j.Reserve(), exchange(path))
	}
	if !w.run(t.Context()) || w.seq != 3 {
		t.Errorf("got entry %d, want 3", w.seq)
	}
}

// What was dropped is not counted silently, before the wait and during it.
func TestAwait_SaysWhatWasDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 4, `{"journal":{"kind":"received"},"since":1}`)
		for range 10 {
			w.room.Record(journal.Entry{Kind: journal.Lenient}) // 2 to 11, of which 8 to 11 are kept
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if w.run(ctx) {
			t.Error("it was met")
		}
		if w.missed != 6 {
			t.Errorf("got %d dropped, want 6", w.missed)
		}
		m := New(Options{Sockets: func(*room.Room) []socket.State { return nil }})
		if got := m.instead(w); !strings.Contains(got, "6 entries after 1 were dropped from the journal before they could be counted") {
			t.Errorf("got %q", got)
		}
		if w = waitIn(t, w.room, `{"journal":{"kind":"lenient"},"since":9}`); !w.run(t.Context()) || w.missed != 0 || w.seq != 10 {
			t.Errorf("got entry %d, %d dropped; want 10, and none that counts", w.seq, w.missed)
		}
	})
}

// lived returns a room in which sockets came and went. Entry 1 is the reset of a new room.
func lived(t *testing.T) *room.Room {
	t.Helper()
	r, err := room.New(room.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	of := func(kind, socket string) journal.Entry {
		return journal.Entry{Kind: kind, Socket: socket, Subscription: "x"}
	}
	for _, e := range []journal.Entry{
		{Kind: journal.Opened, Socket: "s1"}, // 2
		of(journal.Bound, "s1"),
		{Kind: journal.Sent, Type: "handshake", Subscription: "x", Socket: "s1"},
		{Kind: journal.Opened, Socket: "s2"}, // 5
		of(journal.Bound, "s2"),
		{Kind: journal.Sent, Type: "handshake", Subscription: "x", Socket: "s2"},
		of(journal.Unbound, "s1"), // 8
		{Kind: journal.Closed, Socket: "s1"},
		{Kind: journal.Opened, Socket: "s3"}, // 10
		of(journal.Bound, "s3"),
		{Kind: journal.Sent, Type: "handshake", Subscription: "x", Socket: "s3"},
		ping("s3"), // 13
	} {
		r.Record(e)
	}
	return r
}

// A state is met by the entry since which it holds, so that the next await passes over nothing
// that came after. With since, it is met by a later entry that brings it about.
func TestAwait_StatesHoldSinceAnEntry(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]uint64{
		`{"connected":{"count":1}}`:                                            2,
		`{"connected":{"count":2}}`:                                            10,
		`{"connected":{"count":2},"since":2}`:                                  5,
		`{"connected":{"count":1},"since":5}`:                                  10,
		`{"bound":{"subscription":"x"}}`:                                       3,
		`{"bound":{"subscription":"x","count":2}}`:                             11,
		`{"bound":{"subscription":"x","count":2},"since":2}`:                   6,
		`{"bound":{"subscription":"x"},"since":6}`:                             11,
		`{"sent":{"subscription":"x","type":"handshake"}}`:                     4,
		`{"sent":{"subscription":"x","type":"handshake","count":3}}`:           12,
		`{"sent":{"subscription":"x","type":"handshake"},"since":4}`:           7,
		`{"sent":{"subscription":"x","type":"handshake","count":2},"since":4}`: 12,
		`{"boundAgain":{"subscription":"x"}}`:                                  11,
		`{"boundAgain":{"subscription":"x"},"since":10}`:                       11, // the first binding was before
		`{"unbound":{"subscription":"x"}}`:                                     8,
	} {
		if w := waitIn(t, lived(t), body); !w.run(t.Context()) || w.seq != want {
			t.Errorf("%s: met by entry %d, want %d", body, w.seq, want)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, body := range []string{
		`{"connected":{"count":3}}`,
		`{"connected":{"count":0},"since":2}`,
		`{"connected":{"count":1},"since":10}`,
		`{"bound":{"subscription":"x","count":3}}`,
		`{"bound":{"subscription":"x","count":0},"since":2}`,
		`{"bound":{"subscription":"x"},"since":11}`,
		`{"sent":{"subscription":"x","type":"handshake","count":3},"since":4}`,
		`{"boundAgain":{"subscription":"x","count":2}}`,
		`{"boundAgain":{"subscription":"x"},"since":11}`,
	} {
		if w := waitIn(t, lived(t), body); w.run(ended) {
			t.Errorf("%s: met by entry %d, want it not to be met", body, w.seq)
		}
	}
}

// A reset begins the count anew, but not of an await that says since when to count.
func TestAwait_BeginsAnewAtAReset(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]uint64{
		`{"journal":{"kind":"received","count":2}}`:           5,
		`{"journal":{"kind":"received","count":2},"since":1}`: 4,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := waiting(t, 0, body)
			go func() {
				w.room.Record(ping("s1"))
				time.Sleep(time.Second) // the await counts it
				w.room.Record(journal.Entry{Kind: journal.Reset})
				w.room.Record(ping("s1"))
				w.room.Record(ping("s1"))
			}()
			if !w.run(t.Context()) || w.seq != want {
				t.Errorf("%s: met by entry %d, want %d", body, w.seq, want)
			}
			time.Sleep(2 * time.Second) // the recorder ends
		})
	}
}

// A binding is one again only if it is on another socket than those that had one, and once
// for each that has closed.
func TestBoundAgain_ReplacesASocketThatClosed(t *testing.T) {
	t.Parallel()
	of := func(kind, socket string) journal.Entry {
		return journal.Entry{Kind: kind, Socket: socket, Subscription: "x"}
	}
	closed := func(socket string) journal.Entry { return journal.Entry{Kind: journal.Closed, Socket: socket} }
	for name, c := range map[string]struct {
		size    int
		entries []journal.Entry
		again   int
	}{
		"a second client":      {0, []journal.Entry{of(journal.Bound, "s1"), of(journal.Bound, "s2")}, 0},
		"one for one":          {0, []journal.Entry{of(journal.Bound, "s1"), of(journal.Unbound, "s1"), closed("s1"), of(journal.Bound, "s2"), of(journal.Bound, "s3")}, 1},
		"two for two":          {0, []journal.Entry{of(journal.Bound, "s1"), of(journal.Bound, "s2"), closed("s1"), closed("s2"), of(journal.Bound, "s3"), of(journal.Bound, "s4")}, 2},
		"the same one":         {0, []journal.Entry{of(journal.Bound, "s1"), of(journal.Bound, "s2"), closed("s1"), of(journal.Unbound, "s2"), of(journal.Bound, "s2")}, 0},
		"one that was unbound": {0, []journal.Entry{of(journal.Bound, "s1"), of(journal.Unbound, "s1"), closed("s1"), of(journal.Bound, "s2")}, 1},
		"one never bound":      {0, []journal.Entry{closed("s1"), of(journal.Bound, "s2")}, 0},
		"of another":           {0, []journal.Entry{{Kind: journal.Bound, Socket: "s1", Subscription: "y"}, closed("s1"), of(journal.Bound, "s2")}, 0},
		"its binding dropped":  {3, []journal.Entry{of(journal.Bound, "s1"), of(journal.Unbound, "s1"), closed("s1"), of(journal.Bound, "s2")}, 1},
	} {
		w := waiting(t, c.size, `{"journal":{"kind":"reset"}}`)
		for _, e := range c.entries {
			w.room.Record(e)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if w = waitIn(t, w.room, `{"boundAgain":{"subscription":"x","count":9}}`); w.run(ended) || w.counted != c.again {
			t.Errorf("%s: got %d, want %d", name, w.counted, c.again)
		}
	}
}

func TestConnected_WakesWithASocket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := waiting(t, 0, `{"connected":{"count":1}}`)
		for _, kind := range []string{journal.Opened, journal.Closed} {
			done := make(chan bool)
			go func() { done <- w.run(t.Context()) }()
			synctest.Wait()
			w.room.Record(journal.Entry{Kind: kind, Socket: "s1"})
			if !<-done {
				t.Error("it was not met")
			}
			w = waitIn(t, w.room, `{"connected":{"count":0}}`)
		}
	})
}

func TestTokenTaken_KnowsTheSubscriptionsOfAToken(t *testing.T) {
	t.Parallel()
	const entry = "for a1, b, mine.x until 2026-01-01T08:00:00Z"
	for id, want := range map[string]bool{"a1": true, "b": true, "mine.x": true, "a": false, "mine": false, "2026": false, "until": false, "for": false} {
		if covers(entry, id) != want {
			t.Errorf("%s: got %v, want %v", id, !want, want)
		}
	}
}
