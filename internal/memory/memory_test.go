package memory_test

import (
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
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
	asked             int    // how often somebody asked what is live
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
	g.asked++
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

func (g *gauge) hasAsked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// letOthersRun gives other goroutines the time to do something wrong. Those that do right
// wait.
func letOthersRun() {
	for range 1000 {
		runtime.Gosched()
	}
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
	others := make(chan error, 8)
	g.during = func() {
		for range cap(others) {
			all.Go(func() { others <- g.Check() })
		}
		for g.hasAsked() < 1+cap(others) { // each has seen that it is too much
			runtime.Gosched()
		}
		letOthersRun()
	}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
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

// What was freed after the last collection needs another one, after its pause.
func TestFreed_AsksAgainIfThereWasACollectionJustBefore(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	g.set(50, 500, 0)
	g.Freed()
	g.clock.Advance(100 * time.Millisecond)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	g.set(0, 50, 0)
	g.clock.Advance(100 * time.Millisecond) // what Freed asked for comes within the pause
	g.wantCollections(t, 1)
	g.clock.Advance(time.Minute)
	g.wantCollections(t, 2)
}

func TestClose_WaitsForACollection(t *testing.T) {
	t.Parallel()
	g := newGauge(t)
	begun, end := make(chan struct{}), make(chan struct{})
	g.during = func() {
		close(begun)
		<-end
	}
	g.Freed()
	go g.clock.Advance(time.Minute)
	<-begun
	closed := make(chan int, 1)
	go func() {
		g.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		closed <- g.collectionsAtOnce
	}()
	letOthersRun()
	close(end)
	if n := <-closed; n != 0 {
		t.Error("Close does not wait for the collection that is under way")
	}
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

// It counts the stacks of goroutines, which hold what is on them. It is not parallel, so that
// nothing else is held.
func TestOfProcess_CountsStacks(t *testing.T) {
	c := memory.OfProcess(1, nil)
	defer c.Close()
	deep, end := make(chan struct{}), make(chan struct{})
	const stacks = 64 // of at least a megabyte
	for range stacks {
		go descend(1000, func() {
			deep <- struct{}{}
			<-end
		})
	}
	for range stacks {
		<-deep
	}
	_ = c.Check()
	if live := c.Live(); live < stacks*mib {
		t.Errorf("%d bytes are live, want those of %d stacks", live, stacks)
	}
	close(end)
}

// descend calls a function with a stack of n kilobytes.
func descend(n int, then func()) byte {
	var frame [1024]byte
	frame[n%len(frame)] = 1
	if n == 0 {
		then()
	} else {
		frame[0] += descend(n-1, then)
	}
	return frame[0]
}

// What is in a pool is not in use. It is not parallel, so that nothing else is held.
func TestOfProcess_EmptiesPools(t *testing.T) {
	c := memory.OfProcess(1, nil)
	defer c.Close()
	var pool sync.Pool
	for range 16 { // with the race detector a pool forgets some
		pool.Put(new([16 * mib]byte))
	}
	_ = c.Check()
	if live := c.Live(); live >= 16*mib {
		t.Errorf("%d bytes are live, want less: they are in a pool", live)
	}
	runtime.KeepAlive(&pool)
}

func TestLimitRuntime(t *testing.T) {
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	undo := memory.LimitRuntime(4 << 40)
	if limit() != 5<<40 {
		t.Errorf("the limit is %d, want a quarter more than the ceiling", limit())
	}
	undo()
	if limit() != math.MaxInt64 {
		t.Errorf("the limit is %d, want none as before", limit())
	}
	debug.SetMemoryLimit(3 << 40) // as GOMEMLIMIT does
	undo = memory.LimitRuntime(4 << 40)
	if limit() != 3<<40 {
		t.Errorf("the limit is %d, want that of GOMEMLIMIT", limit())
	}
	undo()
	if limit() != 3<<40 {
		t.Errorf("the limit is %d, want that of GOMEMLIMIT still", limit())
	}
}

// It measures after each collection, whoever asked for that.
func TestOfProcess_ReadsAfterEachCollection(t *testing.T) {
	t.Parallel()
	c := memory.OfProcess(1<<40, nil)
	defer c.Close()
	held := make([]byte, 512*mib)
	collected := func(enough func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !enough(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes are live", c.Live())
			}
			runtime.GC()
		}
	}
	collected(func() bool { return c.Live() >= 512*mib })
	runtime.KeepAlive(held)
	collected(func() bool { return c.Live() < 512*mib })
}
