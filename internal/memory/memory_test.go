package memory_test

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/memory"
)

const mib = 1 << 20

// gauge is a process with 100 MiB as its ceiling.
type gauge struct {
	*memory.Ceiling
	clock *clock.Adjustable

	mu                sync.Mutex // guards all below
	held, garbage     int64      // garbage is what a collection frees
	spare             int64      // what the server can do without
	collections       int
	relieved          int
	during            func() // called during a collection
	collectionsAtOnce int
}

func newGauge(t *testing.T) *gauge {
	g := &gauge{clock: clock.NewManual(time.Unix(0, 0)), during: func() {}}
	g.Ceiling = memory.New(memory.Options{Limit: 100 * mib, Clock: g.clock, Live: g.live, Collect: g.collect, Relieve: g.relieve})
	t.Cleanup(g.Close)
	return g
}

func (g *gauge) live() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held + g.garbage + g.spare
}

func (g *gauge) collect() {
	g.mu.Lock()
	g.collections++
	g.collectionsAtOnce++
	if g.collectionsAtOnce > 1 {
		panic("two collections at once")
	}
	g.mu.Unlock()
	g.during()
	g.mu.Lock()
	g.garbage = 0
	g.collectionsAtOnce--
	g.mu.Unlock()
}

func (g *gauge) relieve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.relieved++
	had := g.spare > 0
	g.garbage, g.spare = g.garbage+g.spare, 0
	return had
}

func (g *gauge) set(held, garbage, spare int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.garbage, g.spare = held*mib, garbage*mib, spare*mib
}

// wantCollections checks how many collections there were.
func (g *gauge) wantCollections(t *testing.T, want int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.collections != want {
		t.Errorf("%d collections, want %d", g.collections, want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		held, garbage, spare  int64 // MiB
		refused               bool
		collections, relieved int
	}{
		"below":                                 {held: 100},
		"garbage is no reason":                  {held: 50, garbage: 500, collections: 1},
		"what can be done without is no reason": {held: 50, spare: 500, collections: 2, relieved: 1},
		"above":                                 {held: 101, refused: true, collections: 1, relieved: 1},
		"above, whatever there was":             {held: 101, garbage: 10, spare: 10, refused: true, collections: 2, relieved: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGauge(t)
			g.set(test.held, test.garbage, test.spare)
			for range 3 { // once is enough
				if err := g.Check(); (err != nil) != test.refused {
					t.Errorf("got %v, want a refusal: %v", err, test.refused)
				}
			}
			g.wantCollections(t, test.collections)
			if g.relieved != test.relieved {
				t.Errorf("relieved %d times, want %d", g.relieved, test.relieved)
			}
		})
	}
}

func TestCheck_SaysHowMuchAndWhatToDo(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.set(123, 0, 0)
	err := g.Check()
	if fhir.StatusOf(err) != http.StatusInsufficientStorage || fhir.CodeOf(err) != fhir.CodeTooCostly {
		t.Fatalf("got %v, want 507 too-costly", err)
	}
	for _, want := range []string{"uses 123 MiB", "--max-memory allows 100 MiB", "DELETE", "POST /mock/reset", "larger --max-memory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

// After a refusal there is a pause before the next collection.
func TestCheck_CollectsAgainAfterAPause(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.set(101, 0, 0)
	g.during = func() { g.clock.Advance(time.Second) } // how long a collection takes
	if g.Check() == nil {
		t.Fatal("it was not refused")
	}
	g.set(0, 101, 0)
	g.clock.Advance(10*time.Second - time.Nanosecond)
	if g.Check() == nil {
		t.Error("a second collection came before ten times what the first one took")
	}
	g.clock.Advance(time.Nanosecond)
	if err := g.Check(); err != nil {
		t.Errorf("got %v, want a collection", err)
	}
	g.wantCollections(t, 2)
}

func TestCheck_SharesACollection(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.set(50, 100, 0)
	var all sync.WaitGroup
	begun, others := make(chan struct{}), make(chan error, 8)
	g.during = func() {
		close(begun)
		// Some of these wait for the collection, some come after it.
		for range cap(others) {
			all.Go(func() { others <- g.Check() })
		}
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
	<-begun
	all.Wait()
	for range cap(others) {
		if err := <-others; err != nil {
			t.Error(err)
		}
	}
	g.wantCollections(t, 1)
}

func TestFreed_CollectsSoonAndOnce(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.set(50, 500, 0)
	for range 10 {
		g.Freed()
	}
	g.wantCollections(t, 0)
	g.clock.Advance(time.Minute)
	g.wantCollections(t, 1)
	if g.Live() != 50*mib {
		t.Errorf("%d bytes are live, want 50 MiB", g.Live())
	}
	g.Freed()
	g.clock.Advance(time.Minute)
	g.wantCollections(t, 2)
}

func TestClose_EndsWhatFreedAskedFor(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.Freed()
	g.Close()
	g.Freed()
	g.clock.Advance(time.Minute)
	g.wantCollections(t, 0)
	if n := g.clock.Pending(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

func TestCeiling_NilLimitsNothing(t *testing.T) {
	t.Parallel()
	var c *memory.Ceiling
	c.Freed()
	c.Close()
	if err := c.Check(); err != nil || c.Over() {
		t.Errorf("got %v and %v", err, c.Over())
	}
}

// The ceiling of the process sees what is held after a collection.
func TestOfProcess_MeasuresWhatIsHeld(t *testing.T) {
	t.Parallel()
	c := memory.OfProcess(1, nil) // everything is too much
	defer c.Close()
	held := make([]byte, 256*mib)
	err := c.Check()
	if live := c.Live(); err == nil || live < 256*mib {
		t.Errorf("%d bytes are live, want more than 256 MiB, and a refusal: %v", live, err)
	}
	runtime.KeepAlive(held)
}

// It does so after each collection, whoever asked for that.
func TestOfProcess_ReadsAfterEachCollection(t *testing.T) {
	t.Parallel()
	c := memory.OfProcess(1<<40, nil)
	defer c.Close()
	held := make([]byte, 512*mib)
	for deadline := time.Now().Add(30 * time.Second); c.Live() < 512*mib; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are live, want more than 512 MiB", c.Live())
		}
		runtime.GC()
	}
	runtime.KeepAlive(held)
}
