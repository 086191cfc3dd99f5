package socket

import (
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// The outbox: frames on their way to the client. melody's buffer holds them, but
// melody drops frames silently when its buffer is full. So the outbox counts the
// frames that wait and closes the socket before that happens.

// Headroom is how much larger than QueueSize melody's buffer must be: there has
// to be room for the close frame.
const Headroom = 8

// Send implements [subscription.Socket].
func (s *Socket) Send(f subscription.Frame, sent func(socket string, f subscription.Frame)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takesLocked() {
		return false
	}
	sent(s.id, f)
	return s.queueLocked(f.Bytes, f.Timeout)
}

// takesLocked reports whether the socket takes another frame. If too many frames wait,
// it closes the socket.
func (s *Socket) takesLocked() bool {
	if s.closing || s.session.IsClosed() {
		return false
	}
	if s.queued.Load() >= int64(s.options.QueueSize) {
		full := QueueFull.With(s.options.QueueSize)
		s.room.Record(journal.Entry{Kind: journal.Overflow, Socket: s.id, Text: full.Reason})
		s.closeLocked(full)
		return false
	}
	return true
}

// queueLocked queues a text frame. It fails only if the connection ended since
// takesLocked.
func (s *Socket) queueLocked(data []byte, timeout time.Duration) bool {
	s.queued.Add(1)
	if s.session.WriteWithDeadline(data, timeout) != nil {
		s.queued.Add(-1)
		return false
	}
	s.options.Observer.FrameOut()
	return true
}

// sayLocked queues a frame that is not a notification. The journal shows it as
// kept.
func (s *Socket) sayLocked(kind string, data, kept []byte) {
	if s.takesLocked() {
		s.room.Record(journal.Entry{Kind: journal.Sent, Socket: s.id, Type: kind, Frame: kept})
		s.queueLocked(data, 0)
	}
}

// Written notes that a queued frame was written to the connection.
func (s *Socket) Written() { s.queued.Add(-1) }

// Queued returns how many frames wait to be written. It takes no lock.
func (s *Socket) Queued() int { return int(s.queued.Load()) }

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
		s.queueCloseLocked()
	}
}

// queueCloseLocked queues the close frame. If the client does not read it, the
// write deadline of melody's writer ends the connection.
func (s *Socket) queueCloseLocked() { _ = s.session.CloseWithMsg(s.end.Load().payload()) }

// Cut ends the connection without a close frame.
func (s *Socket) Cut() {
	s.cutting.Store(true)
	if c := s.conn.Load(); c != nil {
		_ = c.Conn.Close()
	}
}
