package room_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

// builtin returns the default seed of the server.
func builtin(t testing.TB) *seed.Seed {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "seed.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, refused := seed.Read(data)
	if refused != nil {
		t.Fatal(refused)
	}
	return s
}

func open(t testing.TB, o room.Options) *room.Room {
	t.Helper()
	r, err := room.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// deterministic returns options under which every room is the same.
func deterministic(s *seed.Seed) (room.Options, *clock.Adjustable) {
	c := clock.NewManual(time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC))
	return room.Options{Seed: s, Clock: c, Random: random.Seeded(1)}, c
}

// contents returns everything that a room holds and reports, as lines of text.
func contents(t testing.TB, r *room.Room) []string {
	t.Helper()
	var all []string
	for _, release := range fhir.Releases {
		b := r.Base(release)
		versions, _, err := b.Log("", "", time.Time{}, 0, 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			line := fmt.Sprint(release, " ", v.Type, "/", v.ID, " ", v.VersionID, " ", v.Method, " ", v.Created, " ", v.At, " ")
			if v.Resource != nil {
				line += string(v.Resource.JSON)
			}
			all = append(all, line)
		}
		all = append(all, b.TopicURLs()...)
	}
	for _, s := range r.Subscriptions() {
		all = append(all, fmt.Sprintf("%+v", s))
	}
	for _, g := range r.Generators().List() {
		all = append(all, fmt.Sprintf("%+v", g.Spec), fmt.Sprint(g.Written, g.Refused, g.LastError))
	}
	return all
}

func entries(r *room.Room) []string {
	var all []string
	for _, e := range r.Journal().Entries(journal.Filter{}) {
		all = append(all, fmt.Sprintf("%d %v %s %s %s %s %s %s %s %s", e.Seq, e.Time, e.Kind, e.Subscription, e.Topic, e.Resource, e.Release, e.Version, e.Interaction, e.Text))
	}
	return all
}

// A room whose seed was checked by another room is the same as one that checks it
// itself, even after its generators have run and after a reset.
func TestNew_SecondRoomOfASeedIsLikeTheFirst(t *testing.T) {
	t.Parallel()
	shared := builtin(t)
	run := func(s *seed.Seed) (opened, later, reset, told []string) {
		o, c := deterministic(s)
		r := open(t, o)
		opened = contents(t, r)
		c.Advance(time.Minute)
		later = contents(t, r)
		if err := r.Reset(); err != nil {
			t.Fatal(err)
		}
		return opened, later, contents(t, r), entries(r)
	}
	opened, later, reset, told := run(shared)
	if len(opened) < 40 || len(later) == len(opened) {
		t.Fatalf("a room opens with %d lines and has %d a minute later; is it the built-in seed?", len(opened), len(later))
	}
	for name, s := range map[string]*seed.Seed{"checked": shared, "unchecked": builtin(t)} {
		opened2, later2, reset2, told2 := run(s)
		for _, pair := range [][2][]string{{opened, opened2}, {later, later2}, {reset, reset2}, {told, told2}} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s (-first +second):\n%s", name, diff)
			}
		}
	}
}

// Every room refuses an invalid seed with the same text. A room that checks invariants
// does not rely on one that does not.
func TestNew_EveryRoomRefusesAnInvalidSeed(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, resource, text string }{
		{"form", `{"resourceType":"Patient","id":"a","gender":1}`, "R5 resources[0] (Patient/a): "},
		{"invariant", `{"resourceType":"Patient","id":"a","contact":[{"gender":"male"}]}`, "pat-1"},
		{"topic", `{"resourceType":"SubscriptionTopic","id":"a","url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient","fhirPathCriteria":"("}]}`, "R5 resources[0] (SubscriptionTopic/a): "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := seed.Read([]byte(`{"resources":[` + tt.resource + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if r, err := room.New(room.Options{Seed: s, SkipInvariants: true}); err == nil {
				r.Close()
			} else if tt.name == "invariant" {
				t.Fatalf("a room without invariants: %v", err)
			}
			first := ""
			for range 2 {
				r, err := room.New(room.Options{Seed: s})
				if err == nil {
					r.Close()
					t.Fatal("accepts it")
				}
				if !strings.Contains(err.Error(), tt.text) || first != "" && err.Error() != first {
					t.Errorf("got %q, then %q, want %q in both", first, err, tt.text)
				}
				first = err.Error()
			}
		})
	}
}

// Rooms with the same seed share no mutable state.
func TestNew_RoomsOfASeedAreIsolated(t *testing.T) {
	t.Parallel()
	s := builtin(t)
	before := s.Resources[fhir.R5][0].AppendJSON(nil)
	o, _ := deterministic(s)
	untouched := open(t, o)
	want := contents(t, untouched)

	const rooms = 50
	opened := make([]*room.Room, rooms)
	var all sync.WaitGroup
	for i := range rooms {
		all.Go(func() {
			o, _ := deterministic(s)
			r, err := room.New(o)
			if err != nil {
				t.Error(err)
				return
			}
			opened[i] = r
			b := r.Base(fhir.R5)
			write := func(op room.Operation) {
				if _, err := b.Write(op, room.Request{}); err != nil {
					t.Errorf("room %d: %s %s/%s: %v", i, op.Method, op.Type, op.ID, err)
				}
			}
			patch := fmt.Sprintf(`[{"op":"replace","path":"/status","value":"completed"},{"op":"add","path":"/meta/tag","value":[{"code":"room-%d"}]}]`, i)
			write(room.Operation{Method: http.MethodPatch, Type: "Encounter", ID: "example", Patch: room.JSONPatch([]byte(patch))})
			write(room.Operation{Method: http.MethodDelete, Type: "Patient", ID: "kofi"})
			topic, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"SubscriptionTopic","id":"discharge","url":"http://example.org/room-%d","status":"active","resourceTrigger":[{"resource":"Encounter"}]}`, i))
			if err != nil {
				t.Error(err)
				return
			}
			write(room.Operation{Method: http.MethodPut, Type: "SubscriptionTopic", ID: "discharge", Object: topic})
			if i%2 == 0 {
				if err := r.Reset(); err != nil {
					t.Errorf("room %d: reset: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	for i, r := range opened {
		if r == nil {
			continue
		}
		defer r.Close()
		got := contents(t, r)
		if i%2 == 0 {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("room %d after its reset (-want +got):\n%s", i, diff)
			}
			continue
		}
		text := strings.Join(got, "\n")
		if n := strings.Count(text, `"room-`); n != 1 || !strings.Contains(text, fmt.Sprintf(`"room-%d"`, i)) {
			t.Errorf("room %d has %d tags of rooms, want its own", i, n)
		}
		if !strings.Contains(text, fmt.Sprintf("\nhttp://example.org/room-%d\n", i)) || strings.Count(text, "\nhttp://example.org/room-") != 1 {
			t.Errorf("room %d has the topics of another", i)
		}
		if _, err := r.Base(fhir.R5).Read("Patient", "kofi"); err == nil || fhir.AsError(err).Status != http.StatusGone {
			t.Errorf("room %d: the patient it deleted: %v", i, err)
		}
	}
	if diff := cmp.Diff(want, contents(t, untouched)); diff != "" {
		t.Errorf("the room nobody wrote to (-before +after):\n%s", diff)
	}
	if after := s.Resources[fhir.R5][0].AppendJSON(nil); string(after) != string(before) {
		t.Errorf("the seed became %s", after)
	}
}

// BenchmarkOpen measures the second and later rooms of a process.
func BenchmarkOpen(b *testing.B) {
	o := room.Options{Seed: builtin(b)}
	open(b, o)
	b.ReportAllocs()
	for b.Loop() {
		r, err := room.New(o)
		if err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

// BenchmarkOpen_Heap measures the memory of an open room.
func BenchmarkOpen_Heap(b *testing.B) {
	o := room.Options{Seed: builtin(b)}
	open(b, o)
	const rooms = 200
	for b.Loop() {
		before := heap()
		held := make([]*room.Room, rooms)
		for i := range held {
			r, err := room.New(o)
			if err != nil {
				b.Fatal(err)
			}
			held[i] = r
		}
		b.ReportMetric(float64(heap()-before)/rooms, "heap-B/room")
		for _, r := range held {
			r.Close()
		}
	}
}

// BenchmarkOpen_Parallel opens many rooms at once, as a test suite does, with one write
// in each.
func BenchmarkOpen_Parallel(b *testing.B) {
	o := room.Options{Seed: builtin(b)}
	open(b, o)
	const rooms = 200
	for b.Loop() {
		var all sync.WaitGroup
		for range rooms {
			all.Go(func() {
				r, err := room.New(o)
				if err != nil {
					b.Error(err)
					return
				}
				defer r.Close()
				on := r.Base(fhir.R5)
				encounter, err := on.Read("Encounter", "mateo")
				if err == nil {
					_, err = on.Update("Encounter", "mateo", encounter.Object.Clone(), room.Request{})
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first may have freed what refers to more
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
