package synth

import (
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// State is a generator as it stands: its spec, with Running telling whether it
// runs now, and what it did.
type State struct {
	Spec
	Written   uint64 `json:"written"` // writes made, refused ones included
	Refused   uint64 `json:"refused"`
	Last      *Last  `json:"last,omitempty"`
	LastError string `json:"lastError,omitempty"` // why the latest refused write was refused
}

// Last tells of the latest write of a generator.
type Last struct {
	At        time.Time `json:"at"`
	Method    string    `json:"method"`
	Reference string    `json:"reference"` // "Encounter/ward-3"
	Note      string    `json:"note"`      // "admitted"
}

// generator plays one scenario.
//
// Lock order: turn, then mu. turn is held while a write is handed over, which
// takes as long as the writer takes; mu only for memory work, so that the state
// can always be read.
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
	ended bool // it was removed: it never writes again
}

// run is the time from one start to the next stop. It is a chain of timer
// calls of which at most one is pending or under way.
type run struct {
	timer clock.Timer
	due   time.Time     // when the next write should happen
	done  chan struct{} // closed when the chain has ended
}

// newGenerator makes a stopped generator of a spec that was checked.
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

// start lets the clock drive the generator, the first write one interval from
// now. It reports false where the generator was removed.
func (g *generator) start() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	if g.run != nil {
		return true
	}
	r := &run{due: g.clock.Now().Add(g.every), done: make(chan struct{})}
	g.run, g.state.Running = r, true
	r.timer = g.clock.AfterFunc(g.every, func() { g.tick(r) })
	return true
}

// stop ends the run and waits for a write that is under way: when it returns
// the clock makes no more of them.
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
	<-r.done // the tick under way sees that its run is over and closes it
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
		_, _ = g.write() // counted; the next tick goes on
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.run != r {
		close(r.done)
		return
	}
	// Due times are counted from the start and not from the end of each write,
	// so that a rate holds. Who falls more than a second behind starts anew: a
	// slow writer gets a lower rate and no avalanche.
	now := g.clock.Now()
	r.due = r.due.Add(g.every)
	if behind := now.Sub(r.due); behind > time.Second {
		r.due = now
	}
	r.timer.Reset(max(0, r.due.Sub(now)))
}

func (g *generator) current(r *run) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.run == r
}

// write makes the next write of the story. It reports false where the generator
// was removed.
func (g *generator) write() (*fhir.Error, bool) {
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
	err := g.writer.Apply(w)

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

// setRate changes the time between writes; the next one is due that long from now.
func (g *generator) setRate(rate string, every time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Rate, g.every = rate, every
	r := g.run
	if r == nil {
		return
	}
	r.due = g.clock.Now()
	if r.timer.Stop() {
		r.due = r.due.Add(every)
		r.timer.Reset(every)
	} // else a tick is under way, which counts on from due
}
