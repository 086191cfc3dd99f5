package synth

import (
	"sync"
	"time"

	"signalfhir/internal/clock"
)

// State is the state of a generator: its spec, with Running set if it runs now, and
// what it has done.
type State struct {
	Spec
	Written   uint64 `json:"written"` // writes made, including refused ones
	Refused   uint64 `json:"refused"`
	Last      *Last  `json:"last,omitempty"`
	LastError string `json:"lastError,omitempty"` // why the latest refused write was refused
}

// Last describes the latest write of a generator.
type Last struct {
	At        time.Time `json:"at"`
	Method    string    `json:"method"`
	Reference string    `json:"reference"` // "Encounter/ward-3"
	Note      string    `json:"note"`      // "admitted"
}

// generator plays one scenario.
//
// Lock order: turn, then mu. turn is held while the writer handles a write, which
// may take long; mu only for memory work, so that the state can always be read.
type generator struct {
	name   string
	clock  clock.Clock
	writer Writer

	turn  sync.Mutex // orders the writes of the timer and of steps; guards story
	story *story

	mu    sync.Mutex // guards all below, and the due and timer of run
	state State
	every time.Duration
	run   *run // nil while stopped
	ended bool // removed: it never writes again
}

// run is the time from one start to the next stop. It is a chain of timer calls, at
// most one of which is pending or under way.
type run struct {
	timer clock.Timer
	due   time.Duration // how much time has elapsed on the clock when the next write is due
	done  chan struct{} // closed when the chain has ended
}

// newGenerator returns a stopped generator for a checked spec.
func newGenerator(c clock.Clock, w Writer, spec Spec) *generator {
	spec = spec.withDefaults()
	of, _ := findScenario(spec.Scenario)
	every, _ := interval(spec.Rate)
	spec.Running = false
	return &generator{
		name:   spec.Name,
		clock:  c,
		writer: w,
		story:  newStory(spec.Name, of, spec.Patients, spec.Seed),
		state:  State{Spec: spec},
		every:  every,
	}
}

func (g *generator) snapshot() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// start lets the clock drive the generator; the first write is one interval from
// now. It returns false if the generator was removed.
func (g *generator) start() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	if g.run != nil {
		return true
	}
	r := &run{due: g.clock.Elapsed() + g.every, done: make(chan struct{})}
	g.run, g.state.Running = r, true
	r.timer = g.clock.AfterFunc(g.every, func() { g.tick(r) }, clock.What{Kind: clock.Generator, Of: g.name})
	return true
}

// stop ends the run and waits for a write that is under way. After it returns, the
// clock triggers no more writes.
func (g *generator) stop() {
	g.mu.Lock()
	r := g.run
	if r == nil {
		g.mu.Unlock()
		return
	}
	g.run, g.state.Running = nil, false
	pending := r.timer.Stop()
	g.mu.Unlock()
	if pending {
		close(r.done)
		return
	}
	<-r.done // the tick under way sees that its run is over and closes done
}

// end stops the generator for good.
func (g *generator) end() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.stop()
	g.turn.Lock() // wait for a step
	defer g.turn.Unlock()
}

// tick is one call of the clock.
func (g *generator) tick(r *run) {
	if g.current(r) {
		_, _ = g.write() // errors are counted; the next tick continues
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.run != r {
		close(r.done)
		return
	}
	// Due times are counted from the start and not from the end of each write, so
	// that the rate holds. A generator that falls more than a second behind starts
	// counting again: a slow writer gets a lower rate, not a burst.
	now := g.clock.Elapsed()
	r.due += g.every
	if now-r.due > time.Second {
		r.due = now
	}
	r.timer.Reset(r.due - now)
}

func (g *generator) current(r *run) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.run == r
}

// write makes the next write of the story. It returns false if the generator was
// removed.
func (g *generator) write() (err error, more bool) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	ended := g.ended
	g.mu.Unlock()
	if ended {
		return nil, false
	}
	now := g.clock.Now()
	w := g.story.next(now)
	w.Releases = g.state.Releases
	err = g.writer.Apply(w)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Written++
	g.state.Last = &Last{At: now.UTC(), Method: w.Method, Reference: w.Type + "/" + w.ID, Note: w.Note}
	if err != nil {
		g.state.Refused++
		g.state.LastError = w.Method + " " + w.Type + "/" + w.ID + ": " + err.Error()
	}
	return err, true
}

// setRate changes the interval between writes; the next one is due one interval from now.
func (g *generator) setRate(rate string, every time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Rate, g.every = rate, every
	r := g.run
	if r == nil {
		return
	}
	r.due = g.clock.Elapsed()
	if r.timer.Stop() {
		r.due += every
		r.timer.Reset(every)
	} // otherwise a tick is under way, which continues from due
}
