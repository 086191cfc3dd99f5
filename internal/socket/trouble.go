package socket

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
)

// trouble is a fault on a socket. Socket.mu guards it.
type trouble struct {
	rule   *fault.Rule
	frames int64       // sent, of those that it counts
	done   bool        // it acted on this socket, or decided not to
	timer  clock.Timer // when it acts, or when the socket is well again
}

func (t *trouble) stop() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// Admit refuses the upgrade of the socket if a fault wants that. It adds headers for the
// refusal.
func (s *Socket) Admit(header http.Header) error {
	about := fault.About{Socket: s.id, Path: s.route}
	for _, r := range s.faults.On(fault.OnSocket) {
		if r.Action != fault.Refuse || !r.Applies(about) {
			continue
		}
		refusal := r.Refusal()
		s.faults.Record(r, about, "the upgrade of the socket was refused with "+strconv.Itoa(refusal.Status)+" by fault "+r.Name)
		if seconds, says := r.RetryIn(); says {
			header.Set("Retry-After", strconv.FormatInt(seconds, 10))
		}
		return refusal
	}
	return nil
}

// meetFaults makes the socket follow the present faults: those that are gone end, and
// release what they held. opening is true when the socket opens, for those that act then. It
// reports whether the socket is closing.
func (s *Socket) meetFaults(opening bool) (closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := s.faults.On(fault.OnSocket)
	if s.line == nil && len(rules) == 0 || s.session == nil {
		return s.closing
	}
	l := s.lineLocked()
	for _, t := range l.troubles {
		if t.rule.Gone() {
			t.stop()
		}
	}
	if l.still != nil && l.still.rule.Gone() {
		s.wakeLocked()
	}
	l.troubles = slices.DeleteFunc(l.troubles, func(t *trouble) bool { return t.rule.Gone() })
	l.releaseLocked()
	if !s.closing {
		for _, r := range rules {
			if r.Action != fault.Refuse && !r.Gone() && !slices.ContainsFunc(l.troubles, func(t *trouble) bool { return t.rule == r }) {
				s.awaitLocked(l, r, opening)
			}
		}
	}
	s.moveLocked()
	return s.closing
}

// awaitLocked prepares a fault for the moment when it acts.
func (s *Socket) awaitLocked(l *line, r *fault.Rule, opening bool) {
	t := &trouble{rule: r}
	l.troubles = append(l.troubles, t)
	after, timed := r.OpenFor()
	switch {
	case timed:
		if left := s.began + after - s.faults.Elapsed(); left > 0 {
			t.timer = s.faults.Clock().AfterFunc(left, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.actLocked(t, s.itself())
			}, clock.What{Kind: clock.Fault, Of: r.Name})
			return
		}
		s.actLocked(t, s.itself())
	case r.AfterFrames() > 0: // framePassedLocked counts
	case opening:
		s.actLocked(t, s.itself())
	default:
		t.done = true // the socket opened before
	}
}

func (s *Socket) itself() fault.About { return fault.About{Socket: s.id, Path: s.route} }

// framePassedLocked counts a frame for the faults that act after some.
func (s *Socket) framePassedLocked(frame fault.About) {
	for _, t := range slices.Clone(s.line.troubles) {
		if n := t.rule.AfterFrames(); n > 0 && !t.done && t.rule.Counts(frame) {
			if t.frames++; t.frames >= n {
				s.actLocked(t, frame)
			}
		}
	}
}

// actLocked does to the socket what a fault wants.
func (s *Socket) actLocked(t *trouble, about fault.About) {
	r, l := t.rule, s.line
	if t.done || s.closing || l == nil || !r.Applies(about) {
		t.done = true
		return
	}
	t.done = true
	note := func(text string) { s.faults.Record(r, s.itself(), text+" by fault "+r.Name) }
	switch r.Action {
	case fault.Close:
		note("the socket was closed with " + strconv.Itoa(r.CloseCode()))
		s.closeLocked(Ending{Code: r.CloseCode(), Reason: r.CloseReason(), By: byServer, why: "the socket was closed with " + strconv.Itoa(r.CloseCode()) + " by fault " + r.Name})
	case fault.Cut:
		note("the connection was cut")
		s.hangUpLocked("the connection was cut by fault " + r.Name)
	case fault.HalfOpen, fault.Stall:
		if l.still != nil {
			r.Undo()
			return
		}
		does := "the socket was no longer written"
		if r.Action == fault.HalfOpen {
			does = "the socket was neither read nor written any more"
		}
		note(does)
		l.still = t
		if c := s.conn.Load(); c != nil {
			c.gate.Store(&gate{opened: make(chan struct{}), closed: r.Action == fault.HalfOpen})
		}
		if lasts := r.Lasts(); lasts > 0 {
			t.timer = s.faults.Clock().AfterFunc(lasts, func() { s.wake(t) }, clock.What{Kind: clock.Fault, Of: r.Name})
		}
	}
}

// wake ends that a fault keeps the socket still, if it still does.
func (s *Socket) wake(t *trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil && s.line.still == t {
		s.wakeLocked()
		s.moveLocked()
	}
}

// wakeLocked lets the connection be read and written again. Its callers move the line.
func (s *Socket) wakeLocked() {
	l := s.line
	l.still.stop()
	l.still = nil
	if c := s.conn.Load(); c != nil {
		c.open()
	}
	if s.unsent.Load() {
		s.unsent.Store(false)
		s.endsLocked()
		s.out.close(s.end.Load().payload())
	}
}

// closesNowLocked reports whether the close frame may follow now. A socket that a fault
// keeps still has to wait, unless the server stops or the room closes.
func (s *Socket) closesNowLocked(e Ending) bool {
	if s.line == nil || s.line.still == nil {
		return true
	}
	if e.Code != websocket.CloseGoingAway {
		s.unsent.Store(true)
		return false
	}
	s.wakeLocked()
	return true
}

// hangUpLocked ends the connection without a close frame, after what waits in the outbox.
func (s *Socket) hangUpLocked(why string) {
	if s.closing {
		return
	}
	s.closing = true
	s.end.CompareAndSwap(nil, &Ending{Code: websocket.CloseAbnormalClosure, Reason: why, By: byServer})
	s.dropHeldLocked(why)
	if s.line.still != nil {
		s.wakeLocked() // the reader has to see the end
	}
	s.endsLocked()
	s.out.cutAfter()
}

// gate keeps a connection still.
type gate struct {
	opened chan struct{} // closed when the connection works again
	closed bool          // for reading, too
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if g := c.gate.Load(); g != nil && g.closed {
		<-g.opened
	}
	return n, err
}

// open lets the connection be read and written again.
func (c *conn) open() {
	if g := c.gate.Swap(nil); g != nil {
		close(g.opened)
	}
}

// isPing reports whether a write is a ping or a pong: the outbox holds back everything else
// itself. gorilla writes each control frame by itself. It would have to be a strange text
// that looks like one from a place on where it is written in parts.
func isPing(p []byte) bool {
	return len(p) >= 2 && (p[0] == 0x89 || p[0] == 0x8a) && int(p[1]) == len(p)-2
}

// swallows reports whether pings and pongs are not written. A client that gets no pings does
// not answer them, so the connection may be silent for longer.
func (c *conn) swallows() bool {
	if c.gate.Load() == nil {
		return false
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.socket.options.PongWait))
	return true
}

// hangUp ends the connection without a close frame: the client sees its end after what was
// written. The reader sees it when the client hangs up too, or soon after.
func (c *conn) hangUp() {
	c.endWrites()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		_ = c.Conn.Close()
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
}
