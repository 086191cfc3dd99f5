package subscription

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// binding is one socket bound to one subscription. The lock of the subscription
// guards it.
type binding struct {
	socket Socket
	Speech
	tokens map[string]time.Time // expiry of each token that keeps the binding, by token key
	used   string               // key of the token it was bound or renewed with last
	until  time.Time            // when its last token expires; zero if it outlives its tokens
	expiry clock.Timer          // ends the binding then; nil if it outlives its tokens
	due    time.Duration        // how much time has elapsed when its next heartbeat is due, if heartbeats are on
	sent   int64                // number of the last event that was queued
	replay *replay              // nil: it gets events as they occur
}

// boundSockets returns the sockets that are bound, in order of binding.
func (s *subscription) boundSockets() []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	sockets := make([]Socket, len(s.bindings))
	for i, b := range s.bindings {
		sockets[i] = b.socket
	}
	return sockets
}

// bind registers a binding and sends its handshake in one step (WS-22). If activates is
// true, it makes a subscription active that waits for its first bind.
func (s *subscription) bind(to Socket, speech Speech, tokenKey string, expires time.Time, activates bool) (activated bool, err error) {
	// Who sees the handshake may move the clock, and what is replayed belongs to this time.
	defer s.options.Clock.Hold().Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, unknown(s.id)
	}
	if dormant(s.status) {
		return false, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule,
			`Subscription/%s is %s; set its status to "requested" before binding`, s.id, s.status)
	}
	// The handshake carries the number of events so far. Pending events belong to
	// the sockets that were bound when they occurred.
	s.flushLocked()
	b := s.bound[to]
	if b == nil {
		b = &binding{socket: to, tokens: map[string]time.Time{}}
		s.bound[to] = b
		s.bindings = append(s.bindings, b)
		s.registry.sockets.add(to, s)
		s.options.Observer.Bound(s.id, to.ID(), tokenKey)
	} else {
		s.options.Observer.Renewed(s.id, to.ID(), tokenKey)
	}
	b.Speech, b.used = speech, tokenKey
	s.holdLocked(b, tokenKey, expires)
	// A client that sees the handshake may move the clock, so start the heartbeats
	// first. The first one is due a period after the handshake (NB-22); sendLocked
	// records that.
	s.armHeartbeatLocked()
	handshake := s.outgoingLocked(fhir.Handshake, nil)
	handshake.frame.Silent = handshake.manners != nil && handshake.manners.NoHandshake
	if s.sendLocked([]*binding{b}, handshake); s.bound[to] != b {
		return false, nil // it is closing
	}
	if activated = activates && s.status == fhir.StatusRequested && s.spec.Activation.AtBind; activated {
		s.setStatusLocked(fhir.StatusActive)
	}
	s.beginReplayLocked(b)
	return activated, nil
}

// holdLocked makes a token keep a binding until the token expires.
func (s *subscription) holdLocked(b *binding, tokenKey string, expires time.Time) {
	if !s.options.KeepExpired {
		b.forgetExpired(s.options.Clock.Now()) // a socket may be renewed for days
	}
	b.tokens[tokenKey] = expires
	s.armExpiryLocked(b)
}

func (b *binding) forgetExpired(now time.Time) {
	maps.DeleteFunc(b.tokens, func(_ string, expires time.Time) bool { return !now.Before(expires) })
}

// armExpiryLocked makes a binding end with its last token (WS-33).
func (s *subscription) armExpiryLocked(b *binding) {
	if s.options.KeepExpired {
		return
	}
	stopTimer(&b.expiry)
	var last time.Time
	for _, expires := range b.tokens {
		if expires.After(last) {
			last = expires
		}
	}
	b.until = last
	b.expiry = s.options.Clock.At(last, func() { s.expire(b) }, clock.What{Kind: clock.Binding, Of: s.id})
}

// expire ends a binding if none of its tokens is valid any more.
func (s *subscription) expire(b *binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(b)
}

// expireBindingsLocked ends the bindings whose tokens have all expired. Timers do that,
// but on a busy machine a timer can be late, and nothing may be delivered after the
// expiry (WS-33).
func (s *subscription) expireBindingsLocked() {
	if s.options.KeepExpired || len(s.bindings) == 0 {
		return
	}
	now := s.options.Clock.Now()
	expired := func(b *binding) bool { return !now.Before(b.until) }
	if !slices.ContainsFunc(s.bindings, expired) {
		return
	}
	for _, b := range slices.Clone(s.bindings) {
		if expired(b) {
			s.expireLocked(b)
		}
	}
}

func (s *subscription) expireLocked(b *binding) {
	if s.bound[b.socket] != b {
		return
	}
	b.forgetExpired(s.options.Clock.Now())
	if len(b.tokens) > 0 { // renewed while the timer fired, or the clock was set back
		s.armExpiryLocked(b)
		return
	}
	s.flushLocked() // events that occurred before the end are still due
	s.dropLocked(b, TokenExpired)
}

// release removes a token from a binding. It reports whether that ended the
// binding.
func (s *subscription) release(from Socket, tokenKey string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bound[from]
	return b != nil && s.releaseLocked(b, tokenKey, clientUnbound)
}

func (s *subscription) releaseLocked(b *binding, tokenKey string, why Reason) bool {
	if _, held := b.tokens[tokenKey]; !held {
		return false
	}
	delete(b.tokens, tokenKey)
	if !s.options.KeepExpired {
		b.forgetExpired(s.options.Clock.Now()) // expired tokens keep nothing, even if their timer has not fired
	}
	if len(b.tokens) > 0 {
		s.armExpiryLocked(b)
		return false
	}
	s.flushLocked() // events that occurred before the end are still due
	return s.dropLocked(b, why)
}

// endToken ends the bindings that only this token keeps.
func (s *subscription) endToken(tokenKey string, why Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Clone(s.bindings) {
		s.releaseLocked(b, tokenKey, why)
	}
}

// gone ends the binding of a socket that closed.
func (s *subscription) gone(socket Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bound[socket]; b != nil {
		s.dropLocked(b, socketClosed)
	}
}

// endBindingsLocked ends all bindings.
func (s *subscription) endBindingsLocked(why Reason) {
	for _, b := range slices.Clone(s.bindings) {
		s.dropLocked(b, why)
	}
}

// dropLocked ends a binding and reports whether it was there. Callers flush
// before they end a binding, so events are pending here only if the socket takes
// no more frames; those are reported as not sent.
func (s *subscription) dropLocked(b *binding, why Reason) bool {
	if s.bound[b.socket] != b {
		return false
	}
	s.abandonReplayLocked(b, string(why))
	s.leaveLocked(b)
	delete(s.bound, b.socket)
	at := slices.Index(s.bindings, b)
	s.bindings = slices.Delete(s.bindings, at, at+1)
	stopTimer(&b.expiry)
	if waiting := len(s.pending); waiting > 0 {
		s.options.Observer.NotSent(s.id, s.pending[0].Number, s.pending[waiting-1].Number,
			"socket "+b.socket.ID()+" was unbound before their bundle was due: "+string(why)+"; $events has the events")
	}
	if len(s.bindings) == 0 {
		stopTimer(&s.batch)
		stopTimer(&s.beat)
		clear(s.pending)
		s.pending = s.pending[:0]
	}
	s.options.Observer.Unbound(s.id, b.socket.ID(), b.used, string(why))
	s.registry.sockets.remove(b.socket, s, why)
	return true
}

// armHeartbeatLocked starts the heartbeats if they should run and do not yet
// (NB-20, NB-22).
//
// One timer serves all bindings, and sending an event does not touch it. When it
// fires, it finds the bindings whose period has run out and is reset for the
// next one. So heartbeats cost a busy subscription one timer per period, however
// many sockets are bound.
func (s *subscription) armHeartbeatLocked() {
	period := s.spec.Subscription.HeartbeatPeriod
	if s.beat == nil && period > 0 && len(s.bindings) > 0 {
		s.beat = s.options.Clock.AfterFunc(period, s.sendHeartbeats, clock.What{Kind: clock.Heartbeat, Of: s.id})
	}
}

// restartHeartbeatsLocked applies a changed period, starting now.
func (s *subscription) restartHeartbeatsLocked() {
	stopTimer(&s.beat)
	due := s.options.Clock.Elapsed() + s.spec.Subscription.HeartbeatPeriod
	for _, b := range s.bindings {
		b.due = due
	}
	s.armHeartbeatLocked()
}

// sendHeartbeats sends one shared heartbeat on all bindings that got no frame
// for a period.
func (s *subscription) sendHeartbeats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beat == nil {
		return // stopped while the timer fired
	}
	if s.expireBindingsLocked(); s.beat == nil {
		return // no binding is left
	}
	elapsed := s.options.Clock.Elapsed()
	var silent []*binding
	for _, b := range s.bindings {
		switch {
		case elapsed < b.due:
		case b.replay != nil: // it would hear of events that it is still to get
			b.due = elapsed + s.spec.Subscription.HeartbeatPeriod
		default:
			silent = append(silent, b)
		}
	}
	switch m := s.options.Manners.Get(); {
	case len(silent) == 0:
	case m == nil || m.Heartbeat == "" && !m.SharedHeartbeat:
		s.sendLocked(silent, s.outgoingLocked(fhir.Heartbeat, nil))
	default:
		s.mu.Unlock() // it locks several subscriptions
		s.beatTogether(silent, m)
		s.mu.Lock()
	}
	if s.beat == nil {
		return // no binding is left
	}
	next := s.bindings[0].due
	for _, b := range s.bindings {
		next = min(next, b.due)
	}
	s.beat.Reset(next - elapsed)
}
