package room_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
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

// newProcess returns one that may hold 100 bytes.
func newProcess() *process {
	p := &process{clock: clock.NewManual(time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC))}
	p.Ceiling = memory.New(memory.Options{Limit: 100, Clock: p.clock, Live: p.live.Load, Collect: func() { p.collections.Add(1) }})
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
	for name, test := range map[string]struct {
		bytes       int
		letGo       func(*room.Rooms) error
		collections int64
	}{
		"a reset":           {5 << 20, func(r *room.Rooms) error { return in(r).Reset() }, 1},
		"a reset of little": {1 << 10, func(r *room.Rooms) error { return in(r).Reset() }, 0},
		"a close":           {5 << 20, func(r *room.Rooms) error { return r.Delete("a") }, 1},
		"a close of little": {1 << 10, func(r *room.Rooms) error { return r.Delete("a") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess()
			options := room.Options{Clock: p.clock, Memory: p.Ceiling, SkipInvariants: true}
			rooms := room.NewRooms(room.RoomsOptions{Default: open(t, options), Clock: p.clock, Max: 1, TTL: time.Hour, Leave: func(string, *room.Room, string) {}})
			t.Cleanup(rooms.Close)
			if _, _, err := rooms.Put("a", "", func() (*room.Room, error) { return room.New(options) }); err != nil {
				t.Fatal(err)
			}
			if err := store(in(rooms).Base(fhir.R5), "p", test.bytes); err != nil {
				t.Fatal(err)
			}
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

// in returns the room a.
func in(r *room.Rooms) *room.Room {
	info, _ := r.Get("a")
	return info.Room
}

func TestMemory_AboveTheCeiling(t *testing.T) {
	t.Parallel()
	p := newProcess()
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
	rooms := room.NewRooms(room.RoomsOptions{Default: r, Clock: clock.Real()})
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
	if rooms.Relieve() {
		t.Error("there was something to do without twice")
	}
}
