package socket

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// line is where faults act on the frames of a socket, between their subscriptions and the
// outbox. Socket.mu guards it. A socket has none while its room has no faults.
//
// Frames leave it in the order in which they came, except that a frame with only loose holds
// lets others pass. Whatever waits, a frame costs a logarithm of it.
type line struct {
	places uint64             // frames that joined, ever
	turn   queue[*held]       // by place; the first one leaves next
	aside  map[*held]struct{} // with loose holds only
	due    queue[*hold]       // by time; some may be over
	swaps  map[string][]*hold // that end with the next frame of a subscription, by its id
	fresh  []*held            // that joined in this move

	bytes  int64       // of the frames that are counted as held
	timer  clock.Timer // ends timed; nil if nothing is due
	timed  *hold
	shifts map[string]map[*fault.Rule]int64 // of the numbers, by subscription

	troubles []*trouble
	still    *trouble // nothing leaves, or not even the connection is read; nil if that is not so
}

// hold is one reason why a frame waits. A frame leaves when all of its holds are over.
type hold struct {
	by   *fault.Rule
	of   *held
	due  time.Duration // of what has passed in the room; 0: once the next frame of its subscription has left
	firm bool          // what is behind waits, too
	over bool
}

// held is a frame in the line, with its copies.
type held struct {
	frame  subscription.Frame
	sent   func(socket string, f subscription.Frame) // records it
	about  fault.About
	copies int  // how often it is still to be sent
	passed bool // it was sent before
	extra  bool // a fault made it, so it is not the next frame of its subscription

	place       uint64
	holds       []*hold
	firm, loose int     // holds that are not over
	frees       []*hold // that end when it has left

	counted bool // in line.bytes, and in what waits for all sockets
}

// Before implements the order of a queue.
func (h *held) Before(other *held) bool { return h.place < other.place }

// Before implements the order of a queue.
func (h *hold) Before(other *hold) bool { return h.due < other.due }

// queue is a priority queue, for package heap.
type queue[T interface{ Before(T) bool }] []T

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Less(i, j int) bool { return q[i].Before(q[j]) }
func (q queue[T]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue[T]) Push(one any)      { *q = append(*q, one.(T)) }
func (q *queue[T]) Pop() any {
	var none T
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = none // do not keep its memory
	*q = (*q)[:last]
	return one
}

func (h *held) waiting() *waiting { return &waiting{bytes: h.frame.Bytes, shared: h.frame.Waiting} }

// faulty reports whether faults may act on a frame. This is all that a frame costs in a room
// without faults.
func (s *Socket) faulty() bool { return s.line != nil || !s.faults.Idle() }

// lineLocked returns the line of the socket.
func (s *Socket) lineLocked() *line {
	if s.line == nil {
		s.line = &line{aside: map[*held]struct{}{}, swaps: map[string][]*hold{}, shifts: map[string]map[*fault.Rule]int64{}}
	}
	return s.line
}

// sendFaultyLocked is Send in a room with faults. It returns true for a frame that waits, or
// that a fault drops. If the socket later cannot take a frame that waited, the journal says
// so, and the binding ends with the socket.
func (s *Socket) sendFaultyLocked(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	if s.closing || s.session.IsClosed() {
		return false
	}
	defer s.room.Hold().Release() // who reads that it is delayed may move the clock
	l := s.lineLocked()
	for _, h := range s.tamperLocked(l, &held{frame: f, sent: sent, about: s.aboutLocked(f), copies: 1}) {
		l.join(h)
	}
	s.moveLocked()
	return true
}

// join adds a frame. It is the next one for a frame that waits for that.
func (l *line) join(h *held) {
	l.places++
	h.place = l.places
	for _, next := range append([]string{h.frame.Subscription}, h.frame.Also...) {
		if !h.extra {
			h.frees = append(h.frees, l.swaps[next]...)
			delete(l.swaps, next)
		}
	}
	for _, one := range h.holds {
		if one.due > 0 {
			heap.Push(&l.due, one)
		} else {
			l.swaps[h.frame.Subscription] = append(l.swaps[h.frame.Subscription], one)
		}
		if one.firm {
			h.firm++
		} else {
			h.loose++
		}
	}
	heap.Push(&l.turn, h)
	l.fresh = append(l.fresh, h)
}

// end ends a hold, unless it is over.
func (l *line) end(one *hold) {
	if one.over {
		return
	}
	one.over = true
	h := one.of
	if one.firm {
		h.firm--
	} else {
		h.loose--
	}
	if _, is := l.aside[h]; is && h.loose == 0 {
		delete(l.aside, h)
		heap.Push(&l.turn, h)
	}
}

// frames returns the frames in the line, in order.
func (l *line) frames() []*held {
	all := slices.AppendSeq(slices.Clone(l.turn), maps.Keys(l.aside))
	slices.SortFunc(all, func(a, b *held) int { return cmp.Compare(a.place, b.place) })
	return all
}

// moveLocked passes on what may leave the line, and sets the timer for what is due later.
// It is called whenever something changed.
func (s *Socket) moveLocked() {
	l := s.line
	if l == nil {
		return
	}
	now := s.faults.Elapsed()
	for len(l.due) > 0 && (l.due[0].over || l.due[0].due <= now) {
		l.end(heap.Pop(&l.due).(*hold))
	}
	for h := l.next(); h != nil; h = l.next() {
		s.passLocked(h) // may close the socket, or keep it still
	}
	tooMuch := s.keepLocked()
	s.setTimerLocked(now)
	switch {
	case s.waiting.Load() > 1 && l.bytes+s.out.bytes.Load() > s.options.QueueBytes:
		s.tooSlowLocked(QueueFull.With(s.options.QueueBytes))
	case tooMuch:
		s.tooSlowLocked(AllQueuesFull.With(s.options.Pool.limit))
	}
	if len(l.turn)+len(l.aside) == 0 && l.isIdle() && s.faults.Idle() {
		s.line = nil
	}
}

// setTimerLocked sets the timer for the hold that is due first.
func (s *Socket) setTimerLocked(now time.Duration) {
	l := s.line
	for len(l.due) > 0 && l.due[0].over {
		heap.Pop(&l.due)
	}
	if l.timer != nil && (len(l.due) == 0 || l.due[0] != l.timed) {
		l.stopTimer()
	}
	if l.timer == nil && len(l.due) > 0 {
		l.timed = l.due[0]
		l.timer = s.faults.Clock().AfterFunc(l.timed.due-now, s.moveLine, clock.What{Kind: clock.Fault, Of: l.timed.by.Name})
	}
}

func (l *line) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer, l.timed = nil, nil
	}
}

func (s *Socket) moveLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		s.line.stopTimer() // it has fired, or another one has taken its place
	}
	s.moveLocked()
}

// isIdle reports whether the line remembers nothing that is still of use.
func (l *line) isIdle() bool { return len(l.troubles) == 0 && l.still == nil }

// next returns the frame that may leave, or nil.
func (l *line) next() *held {
	for l.still == nil && len(l.turn) > 0 {
		h := l.turn[0]
		switch {
		case h.firm > 0:
			return nil
		case h.loose == 0:
			return h
		}
		heap.Pop(&l.turn)
		l.aside[h] = struct{}{}
	}
	return nil
}

// passLocked gives the first frame, or one copy of it, to the outbox.
func (s *Socket) passLocked(h *held) {
	if h.copies--; h.copies == 0 {
		heap.Pop(&s.line.turn)
		for _, one := range h.frees {
			s.line.end(one)
		}
	}
	if h.counted {
		s.uncountLocked(h, 1)
		h.frame.At = s.faults.Clock().Now()
	}
	if !s.takesLocked(h.frame) {
		if !h.passed {
			s.loseLocked(h.about)
			s.noteLost(h.about, "could not be sent: the socket is closing")
		}
		return
	}
	h.passed = true
	h.sent(s.id, h.frame)
	s.pushLocked(h.frame)
	s.framePassedLocked(h.about)
}

// keepLocked counts the frames that joined and did not leave, and writes to the journal what
// they wait for unless it was written when a fault held them. It reports whether all sockets
// together then hold too much.
func (s *Socket) keepLocked() (tooMuch bool) {
	l := s.line
	for _, h := range l.fresh {
		if h.copies == 0 {
			continue
		}
		tooMuch = s.countLocked(h) || tooMuch
		switch first := l.first(); {
		case l.still != nil:
			s.faults.Record(l.still.rule, h.about, sentence(h.about, "was held "+l.still.by()))
		case h.firm+h.loose == 0 && first != nil:
			s.faults.Record(first.cause(), h.about, sentence(h.about, "was held "+l.why(h, first)))
		}
	}
	l.fresh = nil
	return tooMuch
}

// first returns the frame that holds up the others, or nil.
func (l *line) first() *held {
	if len(l.turn) > 0 && l.turn[0].firm > 0 {
		return l.turn[0]
	}
	return nil
}

// cause returns the first fault that holds a frame up.
func (h *held) cause() *fault.Rule {
	return h.holds[slices.IndexFunc(h.holds, func(one *hold) bool { return !one.over })].by
}

// by names the faults that hold a frame, "by fault a", or "" if none does.
func (h *held) by(names ...string) string {
	for _, one := range h.holds {
		if !one.over {
			names = append(names, one.by.Name)
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "by fault " + names[0]
	}
	return "by faults " + strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func (t *trouble) by() string { return "by fault " + t.rule.Name }

// why says what holds a frame: "behind event 2 by fault slow", or "" if nothing does. first
// is the frame before it that holds it up, or nil.
func (l *line) why(h, first *held) string {
	switch own := h.by(); {
	case l.still != nil:
		return h.by(l.still.rule.Name)
	case own == "" && first != nil && first != h:
		return "behind " + subject(first.about) + " " + first.by()
	default:
		return own
	}
}

// countLocked counts what a frame takes while it is held. It reports whether all sockets
// together then hold too much.
func (s *Socket) countLocked(h *held) (tooMuch bool) {
	h.counted = true
	s.faults.NoteHeld()
	w := h.waiting()
	s.line.bytes += w.weight() * int64(h.copies)
	s.waiting.Add(int64(h.copies))
	for range h.copies {
		tooMuch = s.options.Pool.add(w)
	}
	return tooMuch
}

func (s *Socket) uncountLocked(h *held, copies int) {
	w := h.waiting()
	s.line.bytes -= w.weight() * int64(copies)
	s.waiting.Add(-int64(copies))
	for range copies {
		s.options.Pool.remove(w)
	}
}

// dropHeldLocked gives up the frames in the line, whose socket ends or whose room is reset.
func (s *Socket) dropHeldLocked(why string) {
	l := s.line
	if l == nil {
		return
	}
	l.stopTimer()
	why = cmp.Or(why, "the socket closed")
	dropped := l.frames()
	l.turn, l.due, l.fresh = nil, nil, nil
	clear(l.aside)
	clear(l.swaps)
	var first *held
	for _, h := range dropped {
		if h.counted {
			s.uncountLocked(h, h.copies)
		}
		was := "was dropped: "
		if held := l.why(h, first); held != "" {
			was = "was held " + held + " and then dropped: "
		}
		if first == nil && h.firm > 0 {
			first = h
		}
		switch {
		case h.passed:
			s.room.Record(journal.Entry{Kind: journal.Fault, Subscription: h.about.Subscription, Socket: s.id, First: h.about.First, Last: h.about.Last, Text: fmt.Sprintf("%d copies of %s were not sent: %s", h.copies, subject(h.about), why)})
		case h.about.First > 0:
			if s.closing {
				s.loseLocked(h.about)
			}
			s.noteLost(h.about, was+why)
		default:
			s.room.Record(journal.Entry{Kind: journal.Fault, Subscription: h.about.Subscription, Socket: s.id, Text: subject(h.about) + " " + was + why})
		}
	}
	for _, t := range l.troubles {
		if s.closing && t != l.still { // that one may have a close frame to let out
			t.stop()
		}
	}
}

// endLineLocked ends what faults do to a socket that has ended.
func (s *Socket) endLineLocked(why string) {
	s.dropHeldLocked(why)
	if s.line != nil && s.line.still != nil {
		s.line.still.stop()
	}
	s.line = nil
}

// FaultsChanged implements [fault.Socket].
func (s *Socket) FaultsChanged() {
	s.meetFaults(false)
	s.in.carryOut(s)
}

// DropHeld implements [fault.Socket].
func (s *Socket) DropHeld(why string) {
	s.in.drop(s, why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropHeldLocked(why)
}

// releaseLocked ends the holds of faults that are gone.
func (l *line) releaseLocked() {
	gone := func(one *hold) bool { return one.by.Gone() }
	for _, h := range l.frames() {
		for _, one := range h.holds {
			if gone(one) {
				l.end(one)
			}
		}
	}
	l.due = slices.DeleteFunc(l.due, gone)
	heap.Init(&l.due)
	for subscription, waiting := range l.swaps {
		if waiting = slices.DeleteFunc(waiting, gone); len(waiting) == 0 {
			delete(l.swaps, subscription)
		} else {
			l.swaps[subscription] = waiting
		}
	}
	for _, shifts := range l.shifts {
		maps.DeleteFunc(shifts, func(r *fault.Rule, _ int64) bool { return r.Gone() })
	}
	maps.DeleteFunc(l.shifts, func(_ string, shifts map[*fault.Rule]int64) bool { return len(shifts) == 0 })
}
