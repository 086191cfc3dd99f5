package clock

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Adjustable is a clock that is real or manual. While it is real, it shows the time of the
// machine. While it is manual, it stands still until it is moved. A move runs the calls
// that become due, one at a time and in order of time, on the goroutine that moves the
// clock; when it returns, all of them have run. It is safe for concurrent use. A call may
// use every method except those that move the clock, which would deadlock.
//
// A clock that is real costs little more than package time: its timers are timers of the
// machine, in a list from which they are taken when it becomes manual.
type Adjustable struct {
	moment atomic.Pointer[moment] // what the clock shows; changed under mu

	// moving is held while the clock moves, so that two movers do not interleave calls;
	// it guards nothing else.
	moving sync.Mutex
	holds  holds

	mu        sync.Mutex // guards all below and the timers; calls nothing
	armed     timer      // ring of the pending timers of a real clock
	inRing    int        // how many they are
	durations queue      // those of a manual clock that depend on a duration
	times     queue      // and on the time of day
	scheduled uint64     // breaks ties: first scheduled, first run
	running   int        // calls under way that the machine's timers made
	idle      sync.Cond  // signalled when running is 0
}

// moment is what a clock shows: a time, or that it is real.
type moment struct {
	manual  bool
	now     time.Time     // of a manual clock
	elapsed time.Duration // of a manual clock now; of a real one at since
	since   time.Time     // when the clock became real
}

// Real returns a clock that is real.
func Real() *Adjustable { return newAdjustable(&moment{since: time.Now()}) }

// NewManual returns a clock that is manual and shows start.
func NewManual(start time.Time) *Adjustable { return newAdjustable(&moment{manual: true, now: start}) }

func newAdjustable(m *moment) *Adjustable {
	c := &Adjustable{durations: queue{earlier: earlierDuration}, times: queue{earlier: earlierTime}}
	c.moment.Store(m)
	c.idle.L = &c.mu
	c.armed.next, c.armed.previous = &c.armed, &c.armed
	return c
}

// Now implements [Clock].
func (c *Adjustable) Now() time.Time { return c.moment.Load().time() }

// Elapsed implements [Clock].
func (c *Adjustable) Elapsed() time.Duration { return c.moment.Load().passed() }

// Read implements [Clock].
func (c *Adjustable) Read() (now time.Time, elapsed time.Duration) {
	m := c.moment.Load()
	if m.manual {
		return m.now, m.elapsed
	}
	now = time.Now()
	return now, m.elapsed + now.Sub(m.since)
}

// IsManual reports whether the clock is manual.
func (c *Adjustable) IsManual() bool { return c.moment.Load().manual }

func (m *moment) time() time.Time {
	if m.manual {
		return m.now
	}
	return time.Now()
}

func (m *moment) passed() time.Duration {
	if m.manual {
		return m.elapsed
	}
	return m.elapsed + time.Since(m.since)
}

// AfterFunc implements [Clock]. If d is zero or less and the clock is manual, f is due at
// the next move, however small; a call that always schedules another without delay never
// lets the move end.
func (c *Adjustable) AfterFunc(d time.Duration, f func(), what ...What) Timer {
	t := c.newTimer(f, what)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.afterLocked(d)
	return t
}

// At implements [Clock]. If t has passed and the clock is manual, f is due at the next move.
func (c *Adjustable) At(when time.Time, f func(), what ...What) Timer {
	t := c.newTimer(f, what)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.daily, t.when = true, when
	t.armLocked(t.leftLocked(c.moment.Load()))
	return t
}

// Advance lets time pass on a manual clock. It runs the calls that become due, each at its
// own time, including due calls scheduled by calls. If d is zero or less, it runs only what
// is already due. A real clock does not move.
func (c *Adjustable) Advance(d time.Duration) { c.AdvanceWith(nil, d) }

// AdvanceWith is [Adjustable.Advance] with a follower, which may be nil. It reports whether
// the clock has moved as far as it should. Otherwise it shows when the follower stopped it.
func (c *Adjustable) AdvanceWith(f Follower, d time.Duration) bool {
	c.moving.Lock()
	defer c.moving.Unlock()
	m := c.moment.Load()
	if !m.manual {
		return false
	}
	return c.runUntil(m.elapsed+min(max(d, 0), forever-m.elapsed), f)
}

// Set makes the clock manual and shows now, or the time it shows if now is zero. Calls of
// At whose time has come run, all of them when the clock shows now. It returns when no call
// is under way. It reports whether all calls that are due have run; others stay due.
func (c *Adjustable) Set(f Follower, now time.Time) bool {
	c.moving.Lock()
	defer c.moving.Unlock()
	c.hold(now)
	return c.runUntil(c.Elapsed(), f)
}

// hold makes the clock manual. It returns when no call is under way.
func (c *Adjustable) hold(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.moment.Load()
	if now.IsZero() {
		now = m.time()
	}
	c.moment.Store(&moment{manual: true, now: now.UTC().Round(0), elapsed: m.passed()})
	if m.manual {
		return
	}
	for t := c.armed.next; t != &c.armed; {
		next := t.next
		t.disarmLocked()
		t.queueLocked()
		t = next
	}
	for c.running > 0 {
		c.idle.Wait()
	}
}

// SetReal makes the clock real. Calls of At whose time has come run before it returns,
// unless the follower stops that.
func (c *Adjustable) SetReal(f Follower) {
	c.moving.Lock()
	defer c.moving.Unlock()
	if !c.IsManual() {
		return
	}
	c.hold(time.Now())
	c.runUntil(c.Elapsed(), f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moment.Store(&moment{elapsed: c.moment.Load().elapsed, since: time.Now()})
	for _, q := range []*queue{&c.durations, &c.times} {
		left := q.timers
		q.timers = nil
		for _, t := range left {
			t.at = -1
			t.linkLocked(t.leftLocked(c.moment.Load()))
		}
	}
}

// runUntil runs what is due while so much time has elapsed. The caller holds moving, and
// the clock is manual.
func (c *Adjustable) runUntil(elapsed time.Duration, f Follower) bool {
	for c.moveTo(elapsed) {
		if f != nil && !f.Next() {
			return false
		}
		call := c.take()
		if call == nil {
			continue // it was stopped meanwhile
		}
		call.call()
		if f != nil {
			f.Ran(Call{c.Now(), call.what})
		}
	}
	return true
}

// moveTo moves the clock to the next call that is due while so much time has elapsed, and
// reports whether there is one. Otherwise it moves the clock all the way.
func (c *Adjustable) moveTo(elapsed time.Duration) (due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.moment.Load()
	t, wait := c.nextLocked(m)
	due = t != nil && wait <= elapsed-m.elapsed
	if !due {
		wait = elapsed - m.elapsed
	}
	if wait > 0 {
		c.moment.Store(&moment{manual: true, now: m.now.Add(wait), elapsed: m.elapsed + wait})
	}
	return due
}

// take takes out the timer that is due now, or returns nil.
func (c *Adjustable) take() *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, wait := c.nextLocked(c.moment.Load())
	if t == nil || wait > 0 {
		return nil
	}
	t.stopLocked()
	return t
}

// nextLocked returns the timer of a manual clock that is due next, and how long that is
// from now; nil if there is none.
func (c *Adjustable) nextLocked(m *moment) (*timer, time.Duration) {
	d, t := c.durations.first(), c.times.first()
	switch {
	case d == nil && t == nil:
		return nil, 0
	case d == nil:
		return t, t.leftLocked(m)
	case t == nil:
		return d, d.leftLocked(m)
	}
	inD, inT := d.leftLocked(m), t.leftLocked(m)
	if inD < inT || inD == inT && d.order < t.order {
		return d, inD
	}
	return t, inT
}

// Pending returns the number of pending calls.
func (c *Adjustable) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inRing + len(c.durations.timers) + len(c.times.timers)
}

// Due returns the pending calls, the next one first. It walks all of them.
func (c *Adjustable) Due() []Call {
	type pending struct {
		Call
		order uint64
	}
	c.mu.Lock()
	m := c.moment.Load()
	now := m.time()
	var all []pending
	add := func(t *timer) {
		at := now.Add(t.leftLocked(m))
		if t.daily && t.when.After(at) { // in centuries
			at = t.when
		}
		all = append(all, pending{Call{at, t.what}, t.order})
	}
	for _, t := range c.durations.timers {
		add(t)
	}
	for _, t := range c.times.timers {
		add(t)
	}
	for t := c.armed.next; t != &c.armed; t = t.next {
		add(t)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b pending) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.order, b.order)) })
	calls := make([]Call, len(all))
	for i, p := range all {
		calls[i] = p.Call
	}
	return calls
}

// forever is the longest duration.
const forever = time.Duration(1<<63 - 1)

// timer is a call, pending or not. The lock of its clock guards it.
type timer struct {
	clock *Adjustable
	call  func()
	what  What

	daily bool          // it depends on the time of day
	when  time.Time     // which it is due at if it does
	due   time.Duration // how much time has elapsed when it is due otherwise
	order uint64        // of scheduling

	at             int    // index in the queue of a manual clock; -1 while not in it
	next, previous *timer // in the ring of a real clock; nil while not in it
	machine        *time.Timer
}

func (c *Adjustable) newTimer(f func(), what []What) *timer {
	t := &timer{clock: c, call: f, at: -1}
	if len(what) > 0 {
		t.what = what[0]
	}
	return t
}

// Stop implements [Timer].
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stopLocked()
}

// Reset implements [Timer].
func (t *timer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	pending := t.stopLocked()
	t.afterLocked(d)
	return pending
}

// afterLocked schedules t, which is not pending, after a duration. A timer in the past
// would overtake those that are due now.
func (t *timer) afterLocked(d time.Duration) {
	passed := t.clock.Elapsed()
	d = min(max(d, 0), forever-passed)
	t.daily, t.due = false, passed+d
	t.armLocked(d)
}

// armLocked schedules t for when it is due, which is so long from now.
func (t *timer) armLocked(left time.Duration) {
	t.clock.scheduled++
	t.order = t.clock.scheduled
	if t.clock.IsManual() {
		t.queueLocked()
	} else {
		t.linkLocked(left)
	}
}

// queueLocked puts t into a queue of a manual clock.
func (t *timer) queueLocked() {
	if !t.daily {
		heap.Push(&t.clock.durations, t)
		return
	}
	// All times are compared by the wall clock.
	t.when = t.when.Round(0)
	heap.Push(&t.clock.times, t)
}

// linkLocked puts t, which is due so long from now, into the ring of a real clock.
func (t *timer) linkLocked(left time.Duration) {
	ring := &t.clock.armed
	t.next, t.previous = ring, ring.previous
	t.previous.next, ring.previous = t, t
	t.clock.inRing++
	if t.machine == nil {
		t.machine = time.AfterFunc(left, t.fire)
	} else {
		t.machine.Reset(left)
	}
}

// disarmLocked takes t out of the ring of a real clock. The machine's timer may have fired;
// then fire finds that t is not pending.
func (t *timer) disarmLocked() {
	t.previous.next, t.next.previous = t.next, t.previous
	t.next, t.previous = nil, nil
	t.clock.inRing--
	t.machine.Stop()
}

func (t *timer) stopLocked() (pending bool) {
	switch {
	case t.next != nil:
		t.disarmLocked()
	case t.at >= 0 && t.daily:
		heap.Remove(&t.clock.times, t.at)
	case t.at >= 0:
		heap.Remove(&t.clock.durations, t.at)
	default:
		return false
	}
	return true
}

// leftLocked returns how long it is until t is due; not below zero.
func (t *timer) leftLocked(m *moment) time.Duration {
	if t.daily {
		return max(t.when.Sub(m.time()), 0)
	}
	return max(t.due-m.passed(), 0)
}

// fire is called by the machine's timer of a real clock.
func (t *timer) fire() {
	c := t.clock
	c.mu.Lock()
	if t.next == nil {
		c.mu.Unlock()
		return // it was stopped, or taken over by the manual clock, while the timer fired
	}
	if left := t.leftLocked(c.moment.Load()); left > 0 {
		// It was scheduled again while the timer fired, or the time of the machine was
		// set back.
		t.machine.Reset(left)
		c.mu.Unlock()
		return
	}
	t.disarmLocked()
	c.running++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running--; c.running == 0 {
			c.idle.Broadcast()
		}
	}()
	t.call()
}

// queue is a heap of timers by what earlier says, then by order of scheduling.
type queue struct {
	timers  []*timer
	earlier func(a, b *timer) int
}

func earlierDuration(a, b *timer) int { return cmp.Compare(a.due, b.due) }

func earlierTime(a, b *timer) int { return a.when.Compare(b.when) }

func (q *queue) first() *timer {
	if len(q.timers) == 0 {
		return nil
	}
	return q.timers[0]
}

// Len implements [heap.Interface].
func (q *queue) Len() int { return len(q.timers) }

// Less implements [heap.Interface].
func (q *queue) Less(i, j int) bool {
	a, b := q.timers[i], q.timers[j]
	if order := q.earlier(a, b); order != 0 {
		return order < 0
	}
	return a.order < b.order
}

// Swap implements [heap.Interface].
func (q *queue) Swap(i, j int) {
	q.timers[i], q.timers[j] = q.timers[j], q.timers[i]
	q.timers[i].at, q.timers[j].at = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	t := x.(*timer)
	t.at = len(q.timers)
	q.timers = append(q.timers, t)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	last := len(q.timers) - 1
	t := q.timers[last]
	q.timers[last] = nil
	q.timers = q.timers[:last]
	t.at = -1
	return t
}
