package clock

import (
	"container/heap"
	"sync"
	"time"
)

// Manual is a clock that does not move until it is told to. Moving it runs the calls that
// become due, one at a time and in order of time, on the goroutine that moves it. When
// Advance returns, all of them have run. It is safe for concurrent use.
type Manual struct {
	// moving is held while the clock moves, so that two movers do not interleave
	// calls; it guards nothing else. A call may use every method except Advance and
	// Set, which would deadlock.
	moving sync.Mutex

	mu   sync.Mutex // guards now, due and next
	now  time.Time
	due  timers
	next uint64 // breaks ties: first scheduled, first run
}

// NewManual returns a clock that shows start.
func NewManual(start time.Time) *Manual { return &Manual{now: start} }

// Now returns the time the clock shows.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// AfterFunc schedules f for when the clock has moved by d. If d is zero or less, f is
// due at the next move, however small; a call that always schedules another without
// delay never lets the move end.
func (m *Manual) AfterFunc(d time.Duration, f func()) Timer {
	t := &manualTimer{clock: m, call: f, at: -1}
	t.Reset(d)
	return t
}

// Advance moves the clock by d and runs the calls that become due, each at its own
// time, including due calls scheduled by calls. If d is zero or less, it runs only
// what is already due.
func (m *Manual) Advance(d time.Duration) {
	m.moving.Lock()
	defer m.moving.Unlock()
	m.move(m.Now().Add(d))
}

// Set moves the clock to a time as [Manual.Advance] does; it never goes back.
func (m *Manual) Set(to time.Time) {
	m.moving.Lock()
	defer m.moving.Unlock()
	m.move(to)
}

// move runs what is due by to; the caller holds moving.
func (m *Manual) move(to time.Time) {
	if now := m.Now(); to.Before(now) {
		to = now
	}
	for {
		call := m.pop(to)
		if call == nil {
			return
		}
		call()
	}
}

// pop moves the clock to the next timer due by to and returns its call. If there is
// none, it moves the clock to to and returns nil.
func (m *Manual) pop(to time.Time) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.due) == 0 || m.due[0].when.After(to) {
		m.now = to
		return nil
	}
	t := heap.Pop(&m.due).(*manualTimer)
	m.now = t.when
	return t.call
}

// Pending returns the number of scheduled calls.
func (m *Manual) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.due)
}

type manualTimer struct {
	clock *Manual
	call  func()
	when  time.Time
	order uint64
	at    int // index in the heap; -1 while not scheduled
}

// Stop implements [Timer].
func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stopLocked()
}

func (t *manualTimer) stopLocked() bool {
	if t.at < 0 {
		return false
	}
	heap.Remove(&t.clock.due, t.at)
	return true
}

// Reset implements [Timer].
func (t *manualTimer) Reset(d time.Duration) bool {
	m := t.clock
	m.mu.Lock()
	defer m.mu.Unlock()
	pending := t.stopLocked()
	// A timer in the past would overtake those that are due now.
	t.when, t.order = m.now.Add(max(d, 0)), m.next
	m.next++
	heap.Push(&m.due, t)
	return pending
}

// timers is a heap by time, then by order of scheduling.
type timers []*manualTimer

func (h timers) Len() int { return len(h) }

func (h timers) Less(i, j int) bool {
	if !h[i].when.Equal(h[j].when) {
		return h[i].when.Before(h[j].when)
	}
	return h[i].order < h[j].order
}

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *timers) Push(x any) {
	t := x.(*manualTimer)
	t.at = len(*h)
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.at = -1
	return t
}
