// Package memory keeps a server below a ceiling of memory. A [Ceiling] knows how much the
// process holds, refuses what would make it hold more, and asks for a collection when much
// was let go. It knows nothing of what is held.
//
// What a process holds is known only after a collection: until then garbage counts too. So
// the check of a write is a comparison with what the last collection left. Only if that is
// above the ceiling does it ask for another one, and not often, before it refuses.
package memory

import (
	"math"
	"net/http"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// Options are the settings of a [Ceiling].
type Options struct {
	Limit int64       // bytes
	Clock clock.Clock // measures the pauses between collections
	// Live returns the bytes that the last collection left. It has to be cheap.
	Live func() int64
	// Collect frees what is not in use. Live is right when it returns.
	Collect func()
	// Relieve lets go of what the server can do without, and reports whether there was
	// any. nil: there is nothing.
	Relieve func() bool
}

// A collection takes a part of the processor, so there is a pause after each that
// [Ceiling] asks for: ten times what the collection took, and at least minPause.
const (
	minPause = 200 * time.Millisecond
	share    = 10
)

// Ceiling is a soft limit of the memory of the process. It is safe for concurrent use. A nil
// Ceiling limits nothing.
type Ceiling struct {
	options Options

	mu       sync.Mutex // guards all below
	again    time.Time  // when the next collection may begin
	underway chan struct{}
	asked    clock.Timer // a collection that [Ceiling.Freed] asked for; nil: none
	closed   bool
	running  sync.WaitGroup // collections that Freed asked for
}

// New returns a ceiling.
func New(o Options) *Ceiling {
	if o.Relieve == nil {
		o.Relieve = func() bool { return false }
	}
	return &Ceiling{options: o}
}

// Live returns the bytes that the last collection left, and 0 if c is nil.
func (c *Ceiling) Live() int64 {
	if c == nil {
		return 0
	}
	return c.options.Live()
}

// Limit returns the ceiling in bytes, and the largest number if c is nil.
func (c *Ceiling) Limit() int64 {
	if c == nil {
		return math.MaxInt64
	}
	return c.options.Limit
}

// Over reports whether the process held more than the ceiling after the last collection.
// It costs as much as the comparison of two numbers.
func (c *Ceiling) Over() bool { return c.Live() > c.Limit() }

// Check refuses what makes the server hold more, with 507 too-costly, if it holds more than
// the ceiling. Before it refuses it asks for a collection, and lets go of what the server
// can do without, unless that was done just before. Callers hold no locks.
func (c *Ceiling) Check() error {
	if !c.Over() {
		return nil
	}
	c.collect()
	if !c.Over() {
		return nil
	}
	return fhir.Refuse(http.StatusInsufficientStorage, fhir.CodeTooCostly,
		"the server uses %d MiB of memory, and --max-memory allows %d MiB; DELETE resources, subscriptions or rooms, remove generators, or reset a room with POST /mock/reset, and try again, or start the server with a larger --max-memory. It still serves reads",
		(c.Live()+1<<20-1)>>20, c.Limit()>>20)
}

// collect frees memory. If a collection is under way, collect waits for that one; if there
// was one just before, it returns at once. It returns false in both cases.
func (c *Ceiling) collect() bool {
	c.mu.Lock()
	if other := c.underway; other != nil {
		c.mu.Unlock()
		<-other
		return false
	}
	if c.options.Clock.Now().Before(c.again) {
		c.mu.Unlock()
		return false
	}
	mine := make(chan struct{})
	c.underway = mine
	c.mu.Unlock()

	begun := c.options.Clock.Now()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		now := c.options.Clock.Now()
		c.again = now.Add(max(minPause, share*now.Sub(begun)))
		c.underway = nil
		close(mine)
	}()
	c.options.Collect()
	if c.Over() && c.options.Relieve() {
		c.options.Collect()
	}
	return true
}

// Freed says that the server holds much less than before. It asks for a collection soon, so
// that the memory comes back although nothing else happens.
func (c *Ceiling) Freed() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil || c.closed {
		return
	}
	c.running.Add(1)
	// The request that freed the memory may still refer to it, for a moment.
	c.asked = c.options.Clock.AfterFunc(max(minPause, c.again.Sub(c.options.Clock.Now())), func() {
		defer c.running.Done()
		c.mu.Lock()
		c.asked = nil
		c.mu.Unlock()
		if !c.collect() { // what was there before may not have been free yet
			c.Freed()
		}
	})
}

// Close ends what Freed has asked for.
func (c *Ceiling) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	if c.asked != nil && c.asked.Stop() {
		c.asked = nil
		c.running.Done()
	}
	c.mu.Unlock()
	c.running.Wait()
}
