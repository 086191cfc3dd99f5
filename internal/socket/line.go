package socket

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// line is where faults act on the frames of a socket, between their subscriptions and the
// outbox. Socket.mu guards it. A socket has none while its room has no faults.
//
// Frames leave it in the order in which they came. Only a loose frame lets others pass.
type line struct {
	held   []*held
	fresh  []*held     // that have joined and are not counted yet; they may have left
	loose  int         // how many of those in held are loose
	bytes  int64       // of the frames that are counted as held
	timer  clock.Timer // looks for what is due; nil if nothing will be
	shifts []shift     // of the numbers

	troubles []*trouble
	still    *trouble // nothing leaves, or not even the connection is read; nil if that is not so
	closes   bool     // the close frame waits until the connection is no longer still
}

// shift is a fault that changes the numbers of a subscription from some frame on.
type shift struct {
	rule         *fault.Rule
	subscription string
	by           int64
}

// held is a frame in the line.
type held struct {
	frame subscription.Frame
	sent  func(socket string, f subscription.Frame) // records it
	about fault.About
	by    *fault.Rule   // that holds it; nil: it waits behind others
	due   time.Duration // of what has passed in the room; 0: as soon as it is its turn
	loose bool          // later frames may pass
	swap  bool          // it waits for the next frame of its subscription, which passes

	counted bool // in line.bytes, and in what waits for all sockets
	left    bool // the line
}

func (h *held) waiting() *waiting { return &waiting{bytes: h.frame.Bytes, shared: h.frame.Waiting} }

// faulty reports whether faults may act on a frame. This is all that a frame costs in a room
// without faults.
func (s *Socket) faulty() bool { return s.line != nil || !s.faults.Idle() }

// lineLocked returns the line of the socket.
func (s *Socket) lineLocked() *line {
	if s.line == nil {
		s.line = &line{}
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
	l := s.lineLocked()
	for _, h := range s.tamperLocked(l, &held{frame: f, sent: sent, about: s.aboutLocked(f)}) {
		l.join(h)
	}
	s.moveLocked()
	return true
}

// aboutLocked returns what a fault may want to know of a frame.
func (s *Socket) aboutLocked(f subscription.Frame) fault.About {
	return fault.About{Subscription: f.Subscription, Socket: s.id, Dialect: s.dialect, Release: string(f.Release), Path: s.route, Type: string(f.Type), First: f.First, Last: f.Last}
}

// subject returns what a text calls a frame.
func subject(a fault.About) string {
	switch {
	case a.First > 0 && a.First == a.Last:
		return fmt.Sprintf("event %d", a.First)
	case a.First > 0:
		return fmt.Sprintf("events %d to %d", a.First, a.Last)
	}
	return "the " + a.Type
}

// sentence returns a text about a frame: what happened to it, "was dropped".
func sentence(a fault.About, what string) string {
	if rest, is := strings.CutPrefix(what, "was "); is && a.Last > a.First {
		what = "were " + rest
	}
	return subject(a) + " " + what
}

// tamperLocked applies the faults to a frame, in order. It returns what is to be sent
// instead: nothing, the frame, or several.
func (s *Socket) tamperLocked(l *line, h *held) []*held {
	a := h.about
	if by := l.shift(a.Subscription); by != 0 {
		if changed, err := fault.Renumber(h.frame.Bytes, func(n int64) int64 { return n + by }); err == nil {
			h.change(changed)
		}
	}
	before, copies := []*held(nil), 0
	for _, r := range s.faults.On(fault.OnFrame) {
		if !r.Applies(a) {
			continue
		}
		done := func(format string, args ...any) {
			s.faults.Record(r, a, sentence(a, fmt.Sprintf(format, args...)+" by fault "+r.Name))
		}
		cannot := func(err error) {
			r.Undo()
			s.faults.Record(r, a, fmt.Sprintf("fault %s (%s) could not be applied to %s: %v", r.Name, r.Action, subject(a), err))
		}
		switch r.Action {
		case fault.Drop, fault.NoHandshake, fault.NoHeartbeat:
			done("was dropped")
			s.noteLost(a, "was dropped by fault "+r.Name)
			return nil
		case fault.Delay:
			wait := r.Wait()
			h.by, h.due, h.loose = r, max(h.due, s.faults.Elapsed()+wait), h.loose || r.Overtake
			done("was delayed for %s", wait)
		case fault.Duplicate:
			copies += r.Copies()
			done("was sent %d times", 1+r.Copies())
		case fault.Swap:
			switch {
			case a.Subscription == "":
				cannot(errors.New("it is of no subscription"))
			case l.swapping(a.Subscription) >= 0:
				r.Undo() // it is the one that passes
			default:
				h.by, h.swap, h.loose = r, true, true
				done("was held until the next frame of its subscription was sent")
			}
		case fault.SkipNumber, fault.RepeatNumber:
			by := r.Shift()
			changed, err := fault.Renumber(h.frame.Bytes, func(n int64) int64 { return n + by })
			if err != nil {
				cannot(err)
				continue
			}
			h.change(changed)
			l.addShift(shift{r, a.Subscription, by})
			done("got a number changed by %+d, as what follows does,", by)
		case fault.HeartbeatFirst:
			beat, err := r.Heartbeat(h.frame.Bytes)
			if err != nil {
				cannot(err)
				continue
			}
			first := *h
			first.frame.Type, first.about.Type, first.due = fhir.Heartbeat, string(fhir.Heartbeat), 0
			first.change(beat)
			before = append(before, &first)
			done("came after a heartbeat")
		default:
			changed, did, err := r.Change(h.frame.Bytes)
			if err != nil {
				cannot(err)
				continue
			}
			h.change(changed)
			done("%s", did)
		}
	}
	all := append(before, h)
	for range copies {
		another := *h
		another.swap = false
		all = append(all, &another)
	}
	return all
}

// change gives the frame other bytes. Those that it had are shared.
func (h *held) change(to []byte) { h.frame.Bytes, h.frame.Waiting = to, nil }

// noteLost writes to the journal that events did not reach the socket.
func (s *Socket) noteLost(a fault.About, what string) {
	has := "; $events has it"
	if a.Last > a.First {
		has = "; $events has them"
	}
	if a.First > 0 {
		s.room.Record(journal.Entry{Kind: journal.NotSent, Subscription: a.Subscription, Socket: s.id, First: a.First, Last: a.Last, Text: sentence(a, what) + has})
	}
}

// shift returns by how much the numbers of a subscription are shifted.
func (l *line) shift(subscription string) (by int64) {
	for _, one := range l.shifts {
		if one.subscription == subscription {
			by += one.by
		}
	}
	return by
}

func (l *line) addShift(another shift) {
	for i, one := range l.shifts {
		if one.rule == another.rule && one.subscription == another.subscription {
			l.shifts[i].by += another.by
			return
		}
	}
	l.shifts = append(l.shifts, another)
}

// swapping returns the index of the frame that waits for the next one of its subscription,
// or -1.
func (l *line) swapping(subscription string) int {
	if l.loose == 0 {
		return -1
	}
	return slices.IndexFunc(l.held, func(h *held) bool { return h.swap && h.frame.Subscription == subscription })
}

// join adds a frame. It is the next one for a frame that waits for that, which then follows.
func (l *line) join(h *held) {
	l.held, l.fresh = append(l.held, h), append(l.fresh, h)
	if h.loose {
		l.loose++
	}
	if at := l.swapping(h.frame.Subscription); at >= 0 && !h.swap {
		first := l.held[at]
		first.swap, first.loose = false, false
		l.loose--
		l.held = append(slices.Delete(l.held, at, at+1), first)
	}
}

// moveLocked passes on what may leave the line, and sets the timer for what is due later.
// It is called whenever something changed.
func (s *Socket) moveLocked() {
	l := s.line
	if l == nil {
		return
	}
	now := s.faults.Elapsed()
	for at := l.next(now); at >= 0; at = l.next(now) {
		h := l.take(at)
		if h.counted {
			s.uncountLocked(h)
			h.frame.At = s.faults.Clock().Now()
		}
		s.passLocked(h) // may close the socket, or keep it still
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	tooMuch := false
	for _, h := range l.fresh {
		if !h.left {
			tooMuch = s.countLocked(h) || tooMuch
		}
	}
	l.fresh = nil
	next := l.dueNext(now)
	if next != nil {
		l.timer = s.faults.Clock().AfterFunc(next.due-now, s.moveLine, clock.What{Kind: clock.Fault, Of: next.by.Name})
	}
	switch {
	case len(l.held) > 1 && l.bytes+s.out.bytes.Load() > s.options.QueueBytes:
		s.tooSlowLocked(QueueFull.With(s.options.QueueBytes))
	case tooMuch:
		s.tooSlowLocked(AllQueuesFull.With(s.options.Pool.limit))
	}
	if len(l.held) == 0 && l.isIdle() && s.faults.Idle() {
		s.line = nil
	}
}

func (s *Socket) moveLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveLocked()
}

// isIdle reports whether the line remembers nothing that is still of use.
func (l *line) isIdle() bool { return len(l.troubles) == 0 && l.still == nil && !l.closes }

// take takes a frame out.
func (l *line) take(at int) *held {
	h := l.held[at]
	if h.left = true; h.loose {
		l.loose--
	}
	if at == 0 {
		l.held = l.held[1:]
	} else {
		l.held = slices.Delete(l.held, at, at+1)
	}
	return h
}

// candidates returns the frames of which one may be the next to leave: the first if there is no
// loose one, so that many held frames cost no more than a few.
func (l *line) candidates() []*held {
	if l.loose == 0 {
		return l.held[:min(1, len(l.held))]
	}
	return l.held
}

// dueNext returns the frame whose time comes first, of those that wait for it; nil if there
// is none.
func (l *line) dueNext(now time.Duration) (next *held) {
	for _, h := range l.candidates() {
		if h.due > now && (next == nil || h.due < next.due) {
			next = h
		}
	}
	return next
}

// next returns the index of the first frame that may leave, or -1.
func (l *line) next(now time.Duration) int {
	if l.still != nil {
		return -1
	}
	blocked := false
	for i, h := range l.candidates() {
		waits := h.swap || h.due > now
		switch {
		case !waits && (h.loose || !blocked):
			return i
		case !h.loose:
			blocked = true
		}
	}
	return -1
}

// passLocked gives a frame to the outbox.
func (s *Socket) passLocked(h *held) {
	if !s.takesLocked(h.frame) {
		s.noteLost(h.about, "could not be sent: the socket is closing")
		return
	}
	h.sent(s.id, h.frame)
	s.pushLocked(h.frame)
	s.framePassedLocked(h.about)
}

// countLocked counts what a frame takes while it is held. It reports whether all sockets
// together then hold too much.
func (s *Socket) countLocked(h *held) bool {
	h.counted = true
	s.faults.NoteHeld()
	w := h.waiting()
	s.line.bytes += w.weight()
	s.waiting.Add(1)
	return s.options.Pool.add(w)
}

func (s *Socket) uncountLocked(h *held) {
	w := h.waiting()
	s.line.bytes -= w.weight()
	s.waiting.Add(-1)
	s.options.Pool.remove(w)
}

// dropHeldLocked gives up the frames in the line, whose socket ends or whose room is reset.
func (s *Socket) dropHeldLocked(why string) {
	l := s.line
	if l == nil {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	why = cmp.Or(why, "the socket closed")
	dropped := l.held
	l.held, l.fresh, l.loose = nil, nil, 0
	for _, h := range dropped {
		if h.counted {
			s.uncountLocked(h)
		}
		by := "a fault"
		if h.by != nil {
			by = "fault " + h.by.Name
		}
		if h.about.First > 0 {
			s.loseLocked(h.about.Subscription, h.about.First)
			s.noteLost(h.about, "was held by "+by+" and then dropped: "+why)
		} else {
			s.room.Record(journal.Entry{Kind: journal.Fault, Subscription: h.about.Subscription, Socket: s.id, Text: subject(h.about) + " was held by " + by + " and then dropped: " + why})
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

// releaseLocked frees the frames that a fault held that is gone.
func (l *line) releaseLocked() {
	for _, h := range l.held {
		if h.by != nil && h.by.Gone() {
			if h.loose {
				l.loose--
			}
			h.due, h.swap, h.loose, h.by = 0, false, false, nil
		}
	}
	l.shifts = slices.DeleteFunc(l.shifts, func(one shift) bool { return one.rule.Gone() })
}
