package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"weak"

	"signalfhir/internal/clock"
)

// OfProcess returns a ceiling for the memory of this process. relieve is
// [Options.Relieve].
func OfProcess(limit int64, relieve func() bool) *Ceiling {
	h := &heap{}
	h.read()
	h.watch()
	return New(Options{Limit: limit, Clock: clock.Real(), Live: h.live.Load, Collect: h.collect, Relieve: relieve})
}

// heap knows what the last collection of the process left.
type heap struct{ live atomic.Int64 }

// read reads what the last collection left. Stacks are not garbage, and many sockets have
// many.
func (h *heap) read() {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	live := int64(0)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			live += int64(s.Value.Uint64())
		}
	}
	h.live.Store(live)
}

// mark is collected by the next collection.
type mark struct{ _ *mark }

// watch reads after each collection of the process, until h is collected itself.
func (h *heap) watch() {
	runtime.AddCleanup(&mark{}, func(h weak.Pointer[heap]) {
		if h := h.Value(); h != nil {
			h.read()
			h.watch()
		}
	}, weak.Make(h))
}

// collect runs a collection and returns the memory to the system. What was in a pool, as
// the context of a request in a room that has closed since, only goes with the second one.
func (h *heap) collect() {
	runtime.GC()
	debug.FreeOSMemory()
	h.read()
}

// LimitRuntime makes the collector of this process work harder before limit is reached. It
// leaves the limit of GOMEMLIMIT alone. It returns a function that undoes what it did.
//
// The collector's own limit is a quarter above the ceiling: its memory has garbage too.
// What is live may be above that, because reads go on. Then the collector takes half of
// the processor at most.
func LimitRuntime(limit int64) (undo func()) {
	before := debug.SetMemoryLimit(-1)
	if before != math.MaxInt64 {
		return func() {}
	}
	debug.SetMemoryLimit(limit + limit/4)
	return func() { debug.SetMemoryLimit(before) }
}
