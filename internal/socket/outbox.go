package socket

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// Buffer is how large melody's buffer must be: the frames that an outbox passes on,
// and the close frame.
const Buffer = passedAtMost + 1

// How many frames of an outbox, and how many bytes beyond the first of them, are in
// melody's buffer at most. That is little, because melody allocates the whole buffer for
// every socket and nothing takes a frame back from there, and enough for its writer to have
// the next frame at once.
const (
	passedAtMost = 32
	passedBytes  = 256 << 10
)

// frameOverhead is about what a waiting frame costs besides its bytes.
const frameOverhead = 128

// outbox holds the frames that wait for a socket, the oldest first. It grows as it
// must. The first frames of it are in melody's buffer too, which drops frames
// silently when it is full; an outbox passes on only what fits.
//
// Its lock is a leaf below Socket.mu. Under it nothing is called but melody's queueing,
// which does not block. The writer of the connection takes the lock only when it has
// something to do: frames that are written stay in the outbox until somebody settles
// them.
type outbox struct {
	socket *Socket

	written atomic.Uint64 // frames that melody has written, ever
	wake    atomic.Uint64 // the value of written at which the writer looks after the outbox
	bytes   atomic.Int64  // of the frames not settled; changed under mu
	still   atomic.Int32  // checks in a row that found no frame gone; changed under mu

	mu      sync.Mutex // guards all below
	frames  []waiting
	head    int                     // where the oldest frame that is not settled is in frames
	settled uint64                  // frames taken out, ever
	passed  uint64                  // frames given to melody, ever
	passing int                     // bytes of those that are not settled
	seen    uint64                  // written at the last check
	check   *time.Timer             // looks for progress; nil while melody has all frames
	cut     bool                    // the connection ends after the frames, without a close frame
	last    []byte                  // payload of the close frame that follows the frames; nil before the close
	ended   bool                    // melody has the close frame, or the connection ended
	readies map[int64]chan struct{} // closed when at most so many bytes wait; those that somebody waits for
}

// waiting is what an outbox keeps of a frame.
type waiting struct {
	bytes        []byte
	shared       *atomic.Int32 // see [subscription.Frame]
	timeout      time.Duration
	subscription string // "": not a notification
	first, last  int64
}

func (w *waiting) weight() int64 { return int64(len(w.bytes)) + frameOverhead }

// push adds a frame. It reports whether the outboxes now hold too much in all.
func (o *outbox) push(f subscription.Frame) (tooMuch bool) {
	w := waiting{f.Bytes, f.Waiting, f.Timeout, f.Subscription, f.First, f.Last}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	if o.head > len(o.frames)/2 && len(o.frames) == cap(o.frames) { // reuse the room of what is gone
		n := copy(o.frames, o.frames[o.head:])
		clear(o.frames[n:])
		o.frames, o.head = o.frames[:n], 0
	}
	o.frames = append(o.frames, w)
	o.socket.queued.Add(1)
	o.bytes.Add(w.weight())
	tooMuch = o.socket.options.Pool.add(&w)
	o.passLocked()
	if o.check == nil && o.behindLocked() && !o.ended {
		o.still.Store(0)
		o.seen = o.written.Load()
		o.check = time.AfterFunc(o.socket.options.SlowAfter/checks, o.lookForProgress)
		o.socket.options.Pool.join(o)
	}
	return tooMuch
}

// pushedLocked returns how many frames were pushed, ever.
func (o *outbox) pushedLocked() uint64 { return o.settled + uint64(len(o.frames)-o.head) }

// behindLocked reports whether frames wait that melody does not have.
func (o *outbox) behindLocked() bool { return o.passed < o.pushedLocked() }

// settleLocked takes out the frames that are written.
func (o *outbox) settleLocked() {
	for written := min(o.written.Load(), o.passed); o.settled < written; o.settled++ {
		w := &o.frames[o.head]
		o.passing -= len(w.bytes)
		o.forgetLocked(w)
		*w = waiting{}
		o.head++
	}
	if o.head == len(o.frames) {
		o.frames, o.head = o.frames[:0], 0
	}
}

// forgetLocked takes a frame out of the account.
func (o *outbox) forgetLocked(w *waiting) {
	o.bytes.Add(-w.weight())
	o.socket.options.Pool.remove(w)
}

// passLocked gives melody what fits into its buffer, and the close frame once no frame
// is left to pass. It sets when the writer looks after the outbox next: when half of what
// was passed is written if more frames wait, and when all is written otherwise. The
// writer looks after it at the latest when it has written all that was passed, so no
// frame is left behind.
func (o *outbox) passLocked() {
	for o.behindLocked() && !o.ended {
		w := &o.frames[o.head+int(o.passed-o.settled)]
		if has := o.passed - o.settled; has == passedAtMost || has > 0 && o.passing+len(w.bytes) > passedBytes {
			break
		}
		o.passed++
		o.passing += len(w.bytes)
		o.wake.Store(o.passed)
		if o.socket.session.WriteWithDeadline(w.bytes, w.timeout) != nil {
			o.ended = true // the connection has ended; Socket.Ended empties the outbox
		}
	}
	if o.behindLocked() {
		o.wake.Store(o.passed - (o.passed-o.settled)/2)
	}
	if o.last != nil && !o.behindLocked() && !o.ended {
		// If the client does not read it, the write deadline of melody's writer ends the
		// connection.
		_ = o.socket.session.CloseWithMsg(o.last)
		o.ended = true
	}
}

// Written notes that the oldest queued frame was written to the connection.
func (s *Socket) Written() {
	s.queued.Add(-1)
	if o := &s.out; o.written.Add(1) >= o.wake.Load() {
		o.lookAfter()
	}
}

// lookAfter takes out what is written and passes on what waits.
func (o *outbox) lookAfter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	o.passLocked()
	o.cutLocked()
	for bytes, ready := range o.readies {
		if o.isReadyLocked(bytes) {
			close(ready)
			delete(o.readies, bytes)
		}
	}
}

// close makes the payload of a close frame follow what waits.
func (o *outbox) close(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	o.last = payload
	o.passLocked()
}

// cutAfter makes the connection end, without a close frame, after what waits is written.
func (o *outbox) cutAfter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	o.cut = true
	o.cutLocked()
}

func (o *outbox) cutLocked() {
	if c := o.socket.conn.Load(); o.cut && !o.ended && c != nil && o.settled == o.pushedLocked() {
		o.ended = true
		c.hangUp()
	}
}

// drop removes what melody does not have, and returns it. What is left can be
// followed by a close frame at once.
func (o *outbox) drop() []waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	return o.dropLocked()
}

// end empties the outbox of a connection that ended, and returns what was in it.
func (o *outbox) end() []waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	o.ended = true
	o.passed, o.passing = o.settled, 0
	return o.dropLocked()
}

// dropLocked removes all frames that were not passed on.
func (o *outbox) dropLocked() []waiting {
	from := o.head + int(o.passed-o.settled)
	dropped := append([]waiting(nil), o.frames[from:]...)
	clear(o.frames[from:])
	o.frames = o.frames[:from]
	for i := range dropped {
		o.forgetLocked(&dropped[i])
	}
	o.socket.queued.Add(-int64(len(dropped)))
	o.wake.Store(o.passed)
	if o.check != nil {
		o.check.Stop()
		o.restLocked()
	}
	for bytes, ready := range o.readies {
		close(ready)
		delete(o.readies, bytes)
	}
	return dropped
}

// restLocked ends the checks and frees the memory of a burst.
func (o *outbox) restLocked() {
	o.check = nil
	o.still.Store(0)
	o.socket.options.Pool.leave(o)
	if o.head > 0 || cap(o.frames) > 2*passedAtMost {
		o.frames, o.head = append([]waiting(nil), o.frames[o.head:]...), 0
	}
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
	o.settleLocked()
	if !o.behindLocked() {
		o.restLocked()
		o.mu.Unlock()
		return
	}
	if written := o.written.Load(); written == o.seen {
		o.still.Add(1)
	} else {
		o.seen = written
		o.still.Store(0)
	}
	slow := o.still.Load() >= checks
	wait := o.pushedLocked() - o.settled
	o.check.Reset(o.socket.options.SlowAfter / checks)
	o.mu.Unlock()
	if slow {
		o.socket.tooSlow(Stalled.With(wait, o.socket.options.SlowAfter))
	}
}

// isReadyLocked reports whether the outbox holds at most so many bytes, and at most a
// quarter of what it may.
func (o *outbox) isReadyLocked(bytes int64) bool {
	return o.ended || o.bytes.Load() <= min(o.socket.options.QueueBytes/4, bytes)
}

// Ready implements [subscription.Socket].
func (s *Socket) Ready(bytes int64) <-chan struct{} {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	ready := o.readies[bytes]
	if ready != nil || o.isReadyLocked(bytes) {
		return ready
	}
	if o.readies == nil {
		o.readies = map[int64]chan struct{}{}
	}
	ready = make(chan struct{})
	o.readies[bytes] = ready
	return ready
}

// Send implements [subscription.Socket].
func (s *Socket) Send(f subscription.Frame, sent func(socket string, f subscription.Frame)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Silent {
		return s.takesLocked(f)
	}
	if s.faulty() {
		return s.sendFaultyLocked(f, sent)
	}
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
	if s.out.isFull(int64(len(f.Bytes)) + frameOverhead) {
		s.tooSlowLocked(QueueFull.With(s.options.QueueBytes))
		return false
	}
	return true
}

// isFull reports whether a frame of this weight does not fit. An outbox in which nothing
// waits takes any.
func (o *outbox) isFull(weight int64) bool {
	most := o.socket.options.QueueBytes - weight
	if o.bytes.Load() <= max(most, 0) {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	return o.bytes.Load() > max(most, 0)
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
	slowest, full := p.slowest(), AllQueuesFull.With(p.limit)
	switch {
	case p.Used() <= p.limit: // another socket has paid since, and is not behind any more
	case slowest == nil: // all that waits is in the small buffers of melody
	case slowest.socket == s:
		s.tooSlowLocked(full)
	case p.relieving.CompareAndSwap(false, true): // its lock cannot be taken under that of s
		go func() {
			defer p.relieving.Store(false)
			if p.Used() > p.limit {
				slowest.socket.tooSlow(full)
			}
		}()
	}
}

// sayLocked queues a frame that is not a notification. The journal shows it as
// kept.
func (s *Socket) sayLocked(kind string, data, kept []byte) {
	f := subscription.Frame{Bytes: data, Type: fhir.NotificationType(kind)}
	if s.faulty() {
		s.sendFaultyLocked(f, func(_ string, f subscription.Frame) {
			if !bytes.Equal(f.Bytes, data) {
				kept = token.RedactLong(f.Bytes) // a fault changed it
			}
			s.room.Record(journal.Entry{Kind: journal.Sent, Socket: s.id, Type: kind, Frame: kept})
		})
		return
	}
	if s.takesLocked(f) {
		s.room.Record(journal.Entry{Kind: journal.Sent, Socket: s.id, Type: kind, Frame: kept})
		s.pushLocked(f)
	}
}

// Queued returns how many frames wait to be written. It takes no lock.
func (s *Socket) Queued() int { return int(s.queued.Load() + s.waiting.Load()) }

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
		s.closesNowLocked(e) // a close frame that waits for a fault does not hold up the server
		return
	}
	s.closing = true
	s.end.CompareAndSwap(nil, &e)
	s.dropHeldLocked(e.whole())
	if s.session != nil && s.closesNowLocked(e) {
		s.endsLocked()
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
	dropped := s.out.drop()
	if s.closing && len(dropped) == 0 {
		return // it has ended meanwhile, or is about to
	}
	s.room.Record(journal.Entry{Kind: journal.Overflow, Socket: s.id, Text: e.Reason})
	s.notSent(dropped, e.Reason)
	s.loseFramesLocked(dropped)
	if s.closing {
		s.endsLocked()
		s.out.close(s.end.Load().payload())
		return
	}
	s.closeLocked(e)
}

// notSent writes to the journal which events waited for the socket in vain.
func (s *Socket) notSent(frames []waiting, why string) {
	var lost []*journal.Entry // one for each subscription, in the order of their first frame
	of := map[string]*journal.Entry{}
	for _, w := range frames {
		if w.first == 0 {
			continue // without an event
		}
		e := of[w.subscription]
		if e == nil {
			e = &journal.Entry{Kind: journal.NotSent, Subscription: w.subscription, Socket: s.id, First: w.first, Text: "socket " + s.id + " ended before they were written: " + why + "; $events has them"}
			of[w.subscription] = e
			lost = append(lost, e)
		}
		e.First, e.Last = min(e.First, w.first), max(e.Last, w.last)
	}
	for _, e := range lost {
		s.room.Record(*e)
	}
}

// loseLocked notes that the events of a frame are not written.
func (s *Socket) loseLocked(a fault.About) {
	if a.First == 0 {
		return
	}
	if s.lost == nil {
		s.lost = map[string][]span{}
	}
	all := s.lost[a.Subscription]
	if n := len(all); n > 0 && all[n-1].last+1 == a.First {
		all[n-1].last = a.Last
		return
	}
	s.lost[a.Subscription] = append(all, span{a.First, a.Last})
}

// loseFramesLocked notes that frames are not written.
func (s *Socket) loseFramesLocked(frames []waiting) {
	for _, w := range frames {
		s.loseLocked(fault.About{Subscription: w.subscription, First: w.first, Last: w.last})
	}
}

// span is the numbers of events in a row.
type span struct{ first, last int64 }

// Lost implements [subscription.Socket].
func (s *Socket) Lost(subscription string, last int64) (first int64, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := slices.Clone(s.lost[subscription]) // in the order in which they were lost
	if !s.ended && s.session != nil && (s.cutting.Load() || s.session.IsClosed()) {
		lost = append(lost, s.unsentLocked(subscription)...) // the connection has ended, and the socket is about to
	}
	slices.SortFunc(lost, func(a, b span) int { return cmp.Compare(b.last, a.last) })
	for _, one := range lost {
		if one.first <= last && last <= one.last {
			first = one.first
			last = first - 1
		}
	}
	return first, s.ended
}

// unsentLocked returns the numbers of the events of a subscription that wait in the socket.
func (s *Socket) unsentLocked(subscription string) (all []span) {
	for _, w := range s.out.waiting() {
		if w.subscription == subscription && w.first > 0 {
			all = append(all, span{w.first, w.last})
		}
	}
	if s.line != nil {
		for _, h := range s.line.frames() {
			if h.about.Subscription == subscription && h.about.First > 0 {
				all = append(all, span{h.about.First, h.about.Last})
			}
		}
	}
	return all
}

// waiting returns the frames that are not written.
func (o *outbox) waiting() []waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settleLocked()
	return slices.Clone(o.frames[o.head:])
}

// WhyClosing implements [subscription.Socket].
func (s *Socket) WhyClosing() string {
	if end := s.end.Load(); end != nil {
		return end.whole()
	}
	return ""
}

// Cut ends the connection without a close frame.
func (s *Socket) Cut() {
	s.cutting.Store(true)
	if c := s.conn.Load(); c != nil {
		_ = c.Conn.Close()
		c.open()
	}
}
