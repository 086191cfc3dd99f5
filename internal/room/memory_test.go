package room_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/memory"
	"signalfhir/internal/room"
)

// process is a process whose memory a test sets.
type process struct {
	*memory.Ceiling
	clock       *clock.Adjustable
	live        atomic.Int64
	collections atomic.Int64
}

// newProcess returns one that may hold a number of bytes.
func newProcess(limit int64) *process {
	p := &process{clock: clock.NewManual(time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC))}
	p.Ceiling = memory.New(memory.Options{Limit: limit, Clock: p.clock, Live: p.live.Load, Collect: func() { p.collections.Add(1) }})
	return p
}

// store writes a patient of a number of bytes.
func store(b *room.Base, id string, bytes int) error {
	o := fhir.NewObject("resourceType", "Patient", "id", id, "language", "en", "implicitRules", "http://example.org/"+strings.Repeat("x", bytes))
	_, err := b.Update("Patient", id, o, room.Request{Base: "http://localhost/fhir/R5"})
	return err
}

// A room that is let go asks for a collection, because nothing else may happen afterwards;
// but not for a few bytes.
func TestMemory_IsCollectedAfterMuchWasLetGo(t *testing.T) {
	t.Parallel()
	resource := func(bytes int) func(*testing.T, *room.Room) {
		return func(t *testing.T, r *room.Room) {
			if err := store(r.Base(fhir.R5), "p", bytes); err != nil {
				t.Error(err)
			}
		}
	}
	event := func(t *testing.T, r *room.Room) {
		b := r.Base(fhir.R5)
		topicOn(t, b, "t", "")
		put(t, b, "Subscription", "s", `"status":"requested","topic":"http://example.org/t","channelType":{"code":"websocket"},"content":"full-resource"`)
		focus := fhir.NewObject("resourceType", "Patient", "id", "p", "implicitRules", "http://example.org/"+strings.Repeat("x", 9<<20))
		if _, err := r.Trigger(t.Context(), room.Trigger{Subscription: "s", Focus: focus, Count: 1}); err != nil {
			t.Error(err)
		}
	}
	frame := func(_ *testing.T, r *room.Room) {
		r.Record(journal.Entry{Kind: journal.Sent, Frame: make([]byte, 9<<20)})
	}
	reset := func(r *room.Rooms) error { return in(r).Reset() }
	remove := func(r *room.Rooms) error { return r.Delete("a") }
	for name, test := range map[string]struct {
		hold        func(*testing.T, *room.Room)
		letGo       func(*room.Rooms) error
		collections int64
	}{
		"a reset":                   {resource(5 << 20), reset, 1},
		"a reset of an event":       {event, reset, 1},
		"a reset of little":         {resource(1 << 10), reset, 0},
		"a reset keeps the journal": {frame, reset, 0},
		"a close":                   {resource(5 << 20), remove, 1},
		"a close of an event":       {event, remove, 1},
		"a close of a journal":      {frame, remove, 1},
		"a close of little":         {resource(1 << 10), remove, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(1 << 40)
			options := room.Options{Clock: p.clock, Memory: p.Ceiling, SkipInvariants: true}
			rooms := room.NewRooms(room.RoomsOptions{Default: open(t, options), Clock: p.clock, Max: 1, TTL: time.Hour, Leave: func(string, *room.Room, string) {}})
			t.Cleanup(rooms.Close)
			if _, _, err := rooms.Put("a", "", func() (*room.Room, error) { return room.New(options) }); err != nil {
				t.Fatal(err)
			}
			test.hold(t, in(rooms))
			if err := test.letGo(rooms); err != nil {
				t.Fatal(err)
			}
			p.clock.Advance(time.Minute)
			if n := p.collections.Load(); n != test.collections {
				t.Errorf("%d collections, want %d", n, test.collections)
			}
		})
	}
}

// A deletion above the ceiling asks for a collection too: the client deletes because there
// is no memory, and waits for it.
func TestMemory_IsCollectedAfterADeletionAboveTheCeiling(t *testing.T) {
	t.Parallel()
	for live, want := range map[int64]int64{100: 0, 101: 1} {
		p := newProcess(100)
		b := open(t, room.Options{Clock: p.clock, Memory: p.Ceiling, SkipInvariants: true}).Base(fhir.R5)
		for _, id := range []string{"p", "q"} {
			if err := store(b, id, 10); err != nil {
				t.Fatal(err)
			}
		}
		p.live.Store(live)
		remove := func(id string) room.Operation {
			return room.Operation{Method: http.MethodDelete, Type: "Patient", ID: id, Place: "Bundle.entry[0]"}
		}
		if _, err := b.Transaction([]room.Operation{remove("p"), remove("q")}, room.Request{}); err != nil {
			t.Errorf("%d bytes: %v", live, err)
		}
		p.clock.Advance(time.Minute)
		if n := p.collections.Load(); n != want {
			t.Errorf("%d bytes: %d collections, want %d", live, n, want)
		}
	}
}

// A journal cannot be deleted. So it keeps payload of a sixteenth of the ceiling at most, and
// none above it.
func TestMemory_BoundsTheJournal(t *testing.T) {
	t.Parallel()
	p := newProcess(1600)
	r := open(t, room.Options{Clock: p.clock, Memory: p.Ceiling})
	p.live.Store(1600)
	record := func() uint64 {
		r.Record(journal.Entry{Kind: journal.Sent, Frame: make([]byte, 60)})
		all := r.Journal().Entries(journal.Filter{})
		return all[len(all)-1].Seq
	}
	dropped := func(seq uint64) bool {
		e, _ := r.Journal().Entry(seq)
		return e.Dropped
	}
	first := record()
	if dropped(first) {
		t.Error("60 bytes are dropped, want that 100 are kept")
	}
	second := record()
	if !dropped(first) || dropped(second) {
		t.Errorf("dropped: %v and %v, want the older one of 60 bytes", dropped(first), dropped(second))
	}
	p.live.Store(1601)
	if third := record(); !dropped(third) {
		t.Error("payload is kept above the ceiling")
	}
}

// in returns the room a.
func in(r *room.Rooms) *room.Room {
	info, _ := r.Get("a")
	return info.Room
}

func TestMemory_AboveTheCeiling(t *testing.T) {
	t.Parallel()
	p := newProcess(100)
	r := open(t, room.Options{Clock: p.clock, Memory: p.Ceiling, Seed: builtin(t)})
	b := r.Base(fhir.R5)
	for _, id := range []string{"p", "p"} { // two versions
		if err := store(b, id, 10); err != nil {
			t.Fatal(err)
		}
	}
	scheduled := room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 3, Interval: time.Second}
	if _, err := r.Trigger(t.Context(), scheduled); err != nil {
		t.Fatal(err)
	}
	p.live.Store(101)

	want := func(what string, err error) {
		t.Helper()
		if fhir.StatusOf(err) != http.StatusInsufficientStorage {
			t.Errorf("%s: got %v, want 507", what, err)
		}
	}
	want("a write", store(b, "q", 10))
	if _, err := b.Read("Patient", "q"); err == nil {
		t.Error("what was refused is stored")
	}
	_, err := b.BindingToken([]string{"admission-id-only"})
	want("a token", err)
	_, err = r.Trigger(t.Context(), room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 1})
	want("a trigger", err)
	_, err = r.Trigger(t.Context(), scheduled)
	want("a trigger with an interval", err)
	want("a generator", r.Generators().Step(r.Generators().List()[0].Name, 1))
	before, _ := b.Status("admission-id-only")
	p.clock.Advance(10 * time.Second)
	if after, _ := b.Status("admission-id-only"); after.EventsSinceStart != before.EventsSinceStart {
		t.Errorf("the events of a trigger went on, from %d to %d", before.EventsSinceStart, after.EventsSinceStart)
	}
	if _, err := b.Write(room.Operation{Method: http.MethodDelete, Type: "Patient", ID: "p"}, room.Request{}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	if err := r.Reset(); err != nil {
		t.Errorf("a reset: %v", err)
	}
	p.live.Store(100)
	if err := store(b, "q", 10); err != nil {
		t.Errorf("a write at the ceiling: %v", err)
	}
}

// What the rooms can do without are the old versions of resources.
func TestMemory_ReliefDropsOldVersions(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{})
	rooms := room.NewRooms(room.RoomsOptions{Default: r, Clock: clock.Real(), Max: 1, TTL: time.Hour, Leave: func(string, *room.Room, string) {}})
	t.Cleanup(rooms.Close)
	if _, _, err := rooms.Put("a", "", func() (*room.Room, error) { return room.New(room.Options{}) }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := store(in(rooms).Base(fhir.R5), "other", 10); err != nil {
			t.Fatal(err)
		}
	}
	b := r.Base(fhir.R5)
	for _, id := range []string{"p", "p", "gone"} {
		if err := store(b, id, 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Write(room.Operation{Method: http.MethodDelete, Type: "Patient", ID: "gone"}, room.Request{}); err != nil {
		t.Fatal(err)
	}
	if !rooms.Relieve() {
		t.Error("there was nothing to do without")
	}
	for version, want := range map[string]int{"p/1": http.StatusNotFound, "p/2": 0, "gone/1": http.StatusNotFound, "gone/2": http.StatusGone} {
		id, number, _ := strings.Cut(version, "/")
		if _, err := b.ReadVersion("Patient", id, number); fhir.StatusOf(err) != want {
			t.Errorf("%s: got %v, want status %d", version, err, want)
		}
	}
	if _, err := in(rooms).Base(fhir.R5).ReadVersion("Patient", "other", "1"); fhir.StatusOf(err) != http.StatusNotFound {
		t.Errorf("the old version in the other room: got %v, want that it is gone too", err)
	}
	for _, one := range []*room.Room{r, in(rooms)} {
		if entries := one.Journal().Entries(journal.Filter{Kinds: []string{journal.Memory}}); len(entries) != 1 || !strings.Contains(entries[0].Text, "--max-memory") {
			t.Errorf("got %v, want an entry that says what was dropped and why", entries)
		}
	}
	if rooms.Relieve() {
		t.Error("there was something to do without twice")
	}
}

// The events of a trigger share the resource that it names.
func TestMemory_EventsOfATriggerShareTheirFocus(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}}).Base(fhir.R5)
	topicOn(t, b, "t", "")
	put(t, b, "Subscription", "s", `"status":"requested","topic":"http://example.org/t","channelType":{"code":"websocket"},"content":"full-resource"`)
	for id, shared := range map[string]bool{"p": true, "": false} { // without an id each event has another one
		before, _, err := b.Events("s", 0, -1, "", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Room().Trigger(t.Context(), room.Trigger{Subscription: "s", Focus: parsed(t, "Patient", id, someone), Count: 2}); err != nil {
			t.Fatal(err)
		}
		n, _, err := b.Events("s", int64(len(before.Events))+1, -1, "", 1<<20)
		if err != nil || len(n.Events) != 2 {
			t.Fatalf("got %v, %v, want two events", n, err)
		}
		if same := n.Events[0].Focus.Resource == n.Events[1].Focus.Resource; same != shared {
			t.Errorf("with the id %q: shared %v, want %v", id, same, shared)
		}
	}
}
