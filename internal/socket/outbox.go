package socket

import (
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// Buffer is how large melody's buffer must be: the frames that an outbox passes on,
// and the close frame.
const Buffer = passedAtMost + 1

// passedAtMost is how many frames of an outbox are in melody's buffer at most. It is
// small, because melody allocates the whole buffer for every socket, and large enough
// that its writer has the next frame at once.
const passedAtMost = 16

// frameOverhead is what a waiting frame costs besides its bytes.
const frameOverhead = 128

// outbox holds the frames that wait for a socket, the oldest first. It grows as it
// must. The first frames of it are in melody's buffer too, which drops frames
// silently when it is full; an outbox passes on only what fits.
//
// The outbox is a leaf below Socket.mu. Under its lock nothing is called but melody's
// queueing, which does not block.
type outbox struct {
	socket *Socket

	bytes atomic.Int64 // that wait; written under mu
	still atomic.Int32 // checks in a row that found no frame gone; written under mu

	mu     sync.Mutex // guards all below
	frames []subscription.Frame
	head   int           // where the oldest waiting frame is in frames
	passed int           // frames that melody has
	gone   uint64        // frames that were written, ever
	seen   uint64        // gone at the last check
	check  *time.Timer   // looks for progress; nil while melody has all frames
	last   []byte        // payload of the close frame that follows the frames; nil before the close
	ended  bool          // melody has the close frame, or the connection ended
	ready  chan struct{} // closed when few frames wait; nil if nobody waits for that
}

func (o *outbox) waitingLocked() int { return len(o.frames) - o.head }

// push adds a frame. It reports whether the outboxes now hold too much in all.
func (o *outbox) push(f subscription.Frame) (tooMuch bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.head > 0 && len(o.frames) == cap(o.frames) { // reuse the room of what is gone
		n := copy(o.frames, o.frames[o.head:])
		clear(o.frames[n:])
		o.frames, o.head = o.frames[:n], 0
	}
	o.frames = append(o.frames, f)
	o.socket.queued.Add(1)
	o.bytes.Add(weight(f))
	tooMuch = o.socket.options.Pool.add(f)
	o.passLocked()
	if o.check == nil && o.waitingLocked() > o.passed && !o.ended {
		o.still.Store(0)
		o.seen = o.gone
		o.check = time.AfterFunc(o.socket.options.SlowAfter/checks, o.lookForProgress)
		o.socket.options.Pool.join(o)
	}
	return tooMuch
}

func weight(f subscription.Frame) int64 { return int64(len(f.Bytes)) + frameOverhead }

// passLocked gives melody what fits into its buffer, and the close frame once no frame
// is left to pass.
func (o *outbox) passLocked() {
	for ; o.passed < passedAtMost && o.passed < o.waitingLocked() && !o.ended; o.passed++ {
		f := &o.frames[o.head+o.passed]
		if o.socket.session.WriteWithDeadline(f.Bytes, f.Timeout) != nil {
			o.ended = true // the connection has ended; Socket.Ended empties the outbox
		}
	}
	if o.last != nil && o.passed == o.waitingLocked() && !o.ended {
		// If the client does not read it, the write deadline of melody's writer ends the
		// connection.
		_ = o.socket.session.CloseWithMsg(o.last)
		o.ended = true
	}
}

// written notes that melody has written the oldest frame.
func (o *outbox) written() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.passed == 0 {
		return // emptied when the connection ended
	}
	o.passed--
	o.gone++
	o.takeLocked()
	o.passLocked()
	if o.ready != nil && o.isReadyLocked() {
		close(o.ready)
		o.ready = nil
	}
}

// takeLocked removes the oldest frame.
func (o *outbox) takeLocked() (f subscription.Frame) {
	f, o.frames[o.head] = o.frames[o.head], f
	o.head++
	o.forgetLocked(f)
	if o.waitingLocked() == 0 {
		o.frames, o.head = o.frames[:0], 0
		if cap(o.frames) > 4*passedAtMost {
			o.frames = nil // the burst is over
		}
	}
	return f
}

// forgetLocked takes a frame out of the account.
func (o *outbox) forgetLocked(f subscription.Frame) {
	o.socket.queued.Add(-1)
	o.bytes.Add(-weight(f))
	o.socket.options.Pool.remove(f)
}

// close makes the payload of a close frame follow what waits.
func (o *outbox) close(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = payload
	o.passLocked()
}

// drop removes what melody does not have, and returns it. What is left can be
// followed by a close frame at once.
func (o *outbox) drop() []subscription.Frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropLocked(o.passed)
}

// end empties the outbox of a connection that ended, and returns what was in it.
func (o *outbox) end() []subscription.Frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.passed = 0
	return o.dropLocked(0)
}

// dropLocked removes all frames but the first keep of those that wait.
func (o *outbox) dropLocked(keep int) []subscription.Frame {
	from := o.head + keep
	dropped := append([]subscription.Frame(nil), o.frames[from:]...)
	clear(o.frames[from:])
	o.frames = o.frames[:from]
	for _, f := range dropped {
		o.forgetLocked(f)
	}
	if o.check != nil {
		o.check.Stop()
		o.restLocked()
	}
	if o.ready != nil {
		close(o.ready)
		o.ready = nil
	}
	return dropped
}

// restLocked ends the checks.
func (o *outbox) restLocked() {
	o.check = nil
	o.still.Store(0)
	o.socket.options.Pool.leave(o)
}

// checks is how often an outbox is looked at in the time after which its socket is
// slow.
const checks = 4

// lookForProgress closes the socket if no frame has left for SlowAfter although some
// wait. It runs only while frames wait that melody has no room for, so the way of a
// frame to a client that keeps up has no timer.
//
// The time counts from when a frame became the oldest, not from when it was queued:
// the last frame of a large burst waits long, however fast the client reads.
func (o *outbox) lookForProgress() {
	o.mu.Lock()
	if o.check == nil {
		o.mu.Unlock()
		return // stopped while the timer fired
	}
	waiting := o.waitingLocked()
	if waiting <= o.passed {
		o.restLocked()
		o.mu.Unlock()
		return
	}
	if o.gone == o.seen {
		o.still.Add(1)
	} else {
		o.seen = o.gone
		o.still.Store(0)
	}
	slow := o.still.Load() >= checks
	o.check.Reset(o.socket.options.SlowAfter / checks)
	o.mu.Unlock()
	if slow {
		o.socket.tooSlow(Stalled.With(waiting, o.socket.options.SlowAfter))
	}
}

// Few frames wait if they are at most this many, and have at most this many bytes.
const (
	fewFrames = 512
	fewBytes  = 1 << 20
)

func (o *outbox) isReadyLocked() bool {
	return o.ended || o.waitingLocked() <= fewFrames && o.bytes.Load() <= fewBytes
}

// Ready implements [subscription.Socket].
func (s *Socket) Ready() <-chan struct{} {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ready == nil && !o.isReadyLocked() {
		o.ready = make(chan struct{})
	}
	return o.ready
}

// Send implements [subscription.Socket].
func (s *Socket) Send(f subscription.Frame, sent func(socket string, f subscription.Frame)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takesLocked(f) {
		return false
	}
	sent(s.id, f)
	s.pushLocked(f)
	return true
}

// takesLocked reports whether the socket takes another frame. If too many bytes wait,
// it closes the socket.
func (s *Socket) takesLocked(f subscription.Frame) bool {
	if s.closing || s.session.IsClosed() {
		return false
	}
	if waiting := s.out.bytes.Load(); waiting > 0 && waiting+weight(f) > s.options.QueueBytes {
		s.tooSlowLocked(QueueFull.With(s.options.QueueBytes))
		return false
	}
	return true
}

// pushLocked queues a frame. If all outboxes together then hold too much, the one that
// has been still for longest pays.
func (s *Socket) pushLocked(f subscription.Frame) {
	tooMuch := s.out.push(f)
	s.options.Observer.FrameOut()
	if !tooMuch {
		return
	}
	p := s.options.Pool
	full := AllQueuesFull.With(p.limit)
	switch slowest := p.slowest(); {
	case slowest == nil: // what waits is in melody's buffers
	case slowest.socket == s:
		s.tooSlowLocked(full)
	case p.relieving.CompareAndSwap(false, true): // its lock cannot be taken under that of s
		go func() {
			defer p.relieving.Store(false)
			slowest.socket.tooSlow(full)
		}()
	}
}

// sayLocked queues a frame that is not a notification. The journal shows it as
// kept.
func (s *Socket) sayLocked(kind string, data, kept []byte) {
	f := subscription.Frame{Bytes: data}
	if s.takesLocked(f) {
		s.room.Record(journal.Entry{Kind: journal.Sent, Socket: s.id, Type: kind, Frame: kept})
		s.pushLocked(f)
	}
}

// Written notes that the oldest queued frame was written to the connection.
func (s *Socket) Written() { s.out.written() }

// Unbound implements [subscription.Socket].
func (s *Socket) Unbound(id string, why subscription.Reason, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var code fhir.IssueCode
	switch why {
	case subscription.TokenExpired:
		code = fhir.CodeExpired
	case subscription.TokenRevoked:
		code = fhir.CodeForbidden
	case subscription.SubscriptionDeleted, subscription.RoomReset:
		code = fhir.CodeDeleted
	default:
		return // the client asked, or the last heartbeat said it (WS-34)
	}
	outcome := fhir.EncodeOutcome(fhir.Refuse(0, code, "the binding to Subscription/%s ended: %s", id, why).Issues)
	s.sayLocked("outcome", outcome, outcome)
	if code != fhir.CodeDeleted && left == 0 {
		s.closeLocked(NoBindingLeft.With(why))
	}
}

// Close closes the socket: the close frame follows what is queued, and nothing is
// queued any more. A socket that is being upgraded gets its close frame once it
// is open. Only the first call has an effect.
func (s *Socket) Close(e Ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(e)
}

func (s *Socket) closeLocked(e Ending) {
	if s.closing {
		return
	}
	s.closing = true
	s.end.CompareAndSwap(nil, &e)
	if s.session != nil {
		s.out.close(s.end.Load().payload())
	}
}

// tooSlow closes a socket that does not keep up. What waits in its outbox is not sent:
// the journal says so, and $events has it. A socket that is closing already gets its
// close frame now.
func (s *Socket) tooSlow(e Ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tooSlowLocked(e)
}

func (s *Socket) tooSlowLocked(e Ending) {
	s.room.Record(journal.Entry{Kind: journal.Overflow, Socket: s.id, Text: e.Reason})
	s.notSent(s.out.drop(), e.Reason)
	if s.closing {
		s.out.close(s.end.Load().payload())
		return
	}
	s.closeLocked(e)
}

// notSent writes to the journal which events waited for the socket in vain.
func (s *Socket) notSent(frames []subscription.Frame, why string) {
	var lost []*journal.Entry // one for each subscription, in the order of their first frame
	of := map[string]*journal.Entry{}
	for _, f := range frames {
		if f.First == 0 {
			continue // not a notification of an event
		}
		e := of[f.Subscription]
		if e == nil {
			e = &journal.Entry{Kind: journal.NotSent, Subscription: f.Subscription, Socket: s.id, First: f.First, Text: "socket " + s.id + " ended before they were written: " + why + "; $events has them"}
			of[f.Subscription] = e
			lost = append(lost, e)
		}
		e.First, e.Last = min(e.First, f.First), max(e.Last, f.Last)
	}
	for _, e := range lost {
		s.room.Record(*e)
	}
}

// Cut ends the connection without a close frame.
func (s *Socket) Cut() {
	s.cutting.Store(true)
	if c := s.conn.Load(); c != nil {
		_ = c.Conn.Close()
	}
}
