package clock

import (
	"container/heap"
	"sync"
	"time"
)

// Manual is a clock that stands still until it is moved. Moving it runs what
// becomes due, one call at a time and in order of time, on the goroutine that
// moves it; when Advance returns, everything has run. It is safe for concurrent
// use.
type Manual struct {
	// moving is held while the clock moves, so that two movers do not mix their
	// calls; it guards nothing else. A call may use every method but Advance and
	// Set, which would wait for themselves.
	moving sync.Mutex

	mu   sync.Mutex // guards now, due and next
	now  time.Time
	due  timers
	next uint64 // breaks ties: what was scheduled first runs first
}

// NewManual makes a clock that shows start.
func NewManual(start time.Time) *Manual { return &Manual{now: start} }

// Now is the time the clock shows.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// AfterFunc schedules f for when the clock has moved on by d. A d of zero or
// less is due at the next move, however small; a call that always asks for
// another with no delay never lets the move end.
func (m *Manual) AfterFunc(d time.Duration, f func()) Timer {
	t := &manualTimer{clock: m, call: f, at: -1}
	t.Reset(d)
	return t
}

// Advance moves the clock on by d and runs what becomes due meanwhile, each
// call at its own time. Calls scheduled by calls run too if they fall due. A d
// of zero or less runs what is due already.
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

// move runs what is due by to; moving must be held.
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

// pop moves the clock to the next timer due by to and answers its call; when
// there is none it moves the clock to to and answers nil.
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

// Pending is the number of calls that are scheduled.
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
	at    int // place in the heap, -1 while not scheduled
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
	// Nothing is due in the past, or it would overtake what waits for now.
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
