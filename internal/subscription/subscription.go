package subscription

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// subscription is one subscription at work.
type subscription struct {
	registry *Registry
	id       string
	topic    string // key; guarded by the registry's lock

	mu       sync.Mutex // guards all below
	spec     Spec
	status   string
	errors   []fhir.SubscriptionError
	counter  int64        // number of the last event; never goes back (LC-13)
	log      []fhir.Event // the last events, oldest first
	pending  []fhir.Event // waiting to share a bundle
	batch    clock.Timer  // flushes pending; nil while nothing waits
	end      clock.Timer  // nil where there is no end
	bindings map[Socket]*binding
	order    []*binding // bindings in order of binding, for delivery
	sent     time.Time  // when the last frame was sent
	stopped  bool       // removed from the registry; timers that still fire do nothing
}

// binding is one socket bound to one subscription.
type binding struct {
	socket    Socket
	tokens    map[string]time.Time // expiry by token key
	heartbeat clock.Timer          // nil where there are no heartbeats
	expiry    clock.Timer
}

func (s *subscription) clock() clock.Clock { return s.registry.options.Clock }

func (s *subscription) observer() *Observer { return &s.registry.options.Observer }

// dormant tells the states in which events are neither counted nor logged.
func dormant(status string) bool {
	return status == fhir.StatusOff || status == fhir.StatusEnteredInError
}

// put takes a new or changed subscription over and answers the sockets whose
// bindings ended by it.
func (s *subscription) put(spec Spec) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.status
	rearm := s.spec.Subscription != nil && s.spec.Subscription.HeartbeatPeriod != spec.Subscription.HeartbeatPeriod
	// What happened before the change is told in the words of before.
	s.flushLocked()
	s.spec, s.status = spec, spec.Subscription.Status
	if s.status == fhir.StatusActive {
		s.errors = nil
	}
	if was != s.status {
		s.observer().Status(s.id, s.status)
	}
	s.armEndLocked()
	if !dormant(s.status) {
		if rearm {
			for _, b := range s.order {
				s.armHeartbeatLocked(b)
			}
		}
		return nil
	}
	return s.endBindingsLocked(SubscriptionOff, true)
}

// endBindingsLocked ends all bindings, after a last heartbeat if so asked.
func (s *subscription) endBindingsLocked(why Reason, heartbeat bool) []Socket {
	var ended []Socket
	if heartbeat && len(s.order) > 0 {
		s.sendLocked(s.order, s.frameLocked(fhir.Heartbeat, nil))
	}
	for _, b := range slices.Clone(s.order) {
		s.dropLocked(b, string(why))
		b.socket.Unbound(s.id, why)
		ended = append(ended, b.socket)
	}
	return ended
}

// stop ends everything; the subscription is no longer in the registry.
func (s *subscription) stop(why Reason) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
	s.stopped = true
	stopTimer(&s.end)
	s.log = nil
	return s.endBindingsLocked(why, false)
}

func stopTimer(t *clock.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

func (s *subscription) setError(e fhir.SubscriptionError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
	if s.status != fhir.StatusError {
		s.observer().Status(s.id, fhir.StatusError)
	}
	s.status, s.errors = fhir.StatusError, []fhir.SubscriptionError{e}
}

func (s *subscription) armEndLocked() {
	stopTimer(&s.end)
	end := s.spec.Subscription.End
	if end.IsZero() || dormant(s.status) {
		return
	}
	s.end = s.clock().AfterFunc(end.Sub(s.clock().Now()), func() { s.registry.options.OnEnd(s.id) })
}

// append numbers and logs an event where it concerns the subscription. state
// nil means it does, whatever the filters.
func (s *subscription) append(o *fhir.Occurrence, state *fhir.Resource) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, false
	}
	if state != nil && s.spec.Filter != nil {
		if passes, why := s.spec.Filter.Match(state); !passes {
			s.observer().NotSent(s.id, 0, 0, strings.Join(why, "; "))
			return 0, false
		}
	}
	if dormant(s.status) {
		s.observer().NotSent(s.id, 0, 0, "the subscription is "+s.status)
		return 0, false
	}
	s.counter++
	event := fhir.Event{Number: s.counter, Occurrence: o}
	if len(s.log) == s.registry.options.LogSize {
		s.log = slices.Delete(s.log, 0, 1)
	}
	s.log = append(s.log, event)
	s.observer().Appended(s.id, event.Number)
	s.deliverLocked(event)
	return event.Number, true
}

// deliverLocked sends an event, or lets it wait for others to share its bundle.
func (s *subscription) deliverLocked(event fhir.Event) {
	switch {
	case s.status != fhir.StatusActive:
		s.observer().NotSent(s.id, event.Number, event.Number, "the subscription is in status "+s.status+"; $events has the event")
		return
	case len(s.order) == 0:
		s.observer().NotSent(s.id, event.Number, event.Number, "no socket is bound; $events has the event") // WS-29
		return
	}
	s.pending = append(s.pending, event)
	window, most := s.registry.options.BatchWindow, s.spec.Subscription.MaxCount
	if window <= 0 || most > 0 && len(s.pending) >= most {
		s.flushLocked()
		return
	}
	if s.batch == nil {
		s.batch = s.clock().AfterFunc(window, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flushLocked()
		})
	}
}

// flushLocked sends what waits.
func (s *subscription) flushLocked() {
	stopTimer(&s.batch)
	if len(s.pending) == 0 {
		return
	}
	events := s.pending
	s.pending = nil
	if len(s.order) == 0 {
		s.observer().NotSent(s.id, events[0].Number, events[len(events)-1].Number, "the last socket was unbound; $events has the events")
		return
	}
	s.sendLocked(s.order, s.frameLocked(fhir.EventNotification, events))
}

// notificationLocked is what every notification of this subscription says.
func (s *subscription) notificationLocked(kind fhir.NotificationType, events []fhir.Event) *fhir.Notification {
	sub, r := s.spec.Subscription, s.registry.options.Random
	n := &fhir.Notification{
		ID:               r.UUID(),
		StatusID:         r.UUID(),
		Type:             kind,
		Timestamp:        s.clock().Now(),
		Base:             s.spec.Base,
		Subscription:     s.id,
		Status:           s.status,
		Topic:            sub.Topic,
		EventsSinceStart: s.counter,
		Content:          sub.Content,
		Events:           events,
		Errors:           s.errors,
	}
	if kind == fhir.EventNotification {
		n.EventsSinceStart = events[len(events)-1].Number // NB-4
	}
	return n
}

// frameLocked encodes one notification, once for all sockets.
func (s *subscription) frameLocked(kind fhir.NotificationType, events []fhir.Event) Frame {
	sub := s.spec.Subscription
	f := Frame{
		Bytes:        sub.Release.EncodeNotification(s.notificationLocked(kind, events)),
		Subscription: s.id,
		Type:         kind,
		Timeout:      sub.Timeout,
	}
	if len(events) > 0 {
		f.First, f.Last = events[0].Number, events[len(events)-1].Number
	}
	return f
}

// sendLocked queues a frame on bindings and drops those whose socket cannot
// take it.
func (s *subscription) sendLocked(to []*binding, f Frame) {
	var lost []*binding
	for _, b := range to {
		if !b.socket.Send(f) {
			lost = append(lost, b)
			s.observer().NotSent(s.id, f.First, f.Last, "socket "+b.socket.ID()+" is closing or reads too slowly; $events has what it misses")
			continue
		}
		s.observer().Sent(b.socket.ID(), f)
		if b.heartbeat != nil {
			b.heartbeat.Reset(s.spec.Subscription.HeartbeatPeriod) // NB-21
		}
	}
	s.sent = s.clock().Now()
	for _, b := range lost {
		s.dropLocked(b, "the socket could not take a frame")
	}
}

// bind registers a binding and sends its handshake in one step (WS-22). It
// tells whether the socket is bound afterwards.
func (s *subscription) bind(to Socket, tokenKey string, expires time.Time) (bool, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, unknown(s.id)
	}
	if dormant(s.status) {
		return false, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", `Subscription/%s is %s; set its status to "requested" before binding`, s.id, s.status)
	}
	// The handshake says how many events there were. Those that wait belong to
	// the sockets that were bound when they occurred.
	s.flushLocked()
	b := s.bindings[to]
	if b == nil {
		b = &binding{socket: to, tokens: map[string]time.Time{}}
		s.bindings[to] = b
		s.order = append(s.order, b)
		s.observer().Bound(s.id, to.ID())
	}
	b.tokens[tokenKey] = expires
	s.armExpiryLocked(b)
	s.armHeartbeatLocked(b)
	s.sendLocked([]*binding{b}, s.frameLocked(fhir.Handshake, nil))
	return s.bindings[to] != nil, nil
}

// armHeartbeatLocked starts the heartbeats of a binding, or ends them.
func (s *subscription) armHeartbeatLocked(b *binding) {
	stopTimer(&b.heartbeat)
	period := s.spec.Subscription.HeartbeatPeriod
	if period <= 0 {
		return
	}
	b.heartbeat = s.clock().AfterFunc(period, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.bindings[b.socket] == b && b.heartbeat != nil {
			s.sendLocked([]*binding{b}, s.frameLocked(fhir.Heartbeat, nil)) // re-arms it
		}
	})
}

// armExpiryLocked makes a binding end with its last token (WS-33).
func (s *subscription) armExpiryLocked(b *binding) {
	stopTimer(&b.expiry)
	var last time.Time
	for _, expires := range b.tokens {
		if expires.After(last) {
			last = expires
		}
	}
	b.expiry = s.clock().AfterFunc(last.Sub(s.clock().Now()), func() {
		if s.expire(b) {
			s.registry.forget(s.id, []Socket{b.socket})
		}
	})
}

// expire ends a binding none of whose tokens is valid any more.
func (s *subscription) expire(b *binding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bindings[b.socket] != b {
		return false
	}
	now := s.clock().Now()
	maps.DeleteFunc(b.tokens, func(_ string, expires time.Time) bool { return !now.Before(expires) })
	if len(b.tokens) > 0 {
		return false // renewed while the timer fired; it is armed anew
	}
	s.flushLocked() // what occurred before the end is still owed
	s.dropLocked(b, string(TokenExpired))
	b.socket.Unbound(s.id, TokenExpired)
	return true
}

// unbind ends what a token holds on a socket, or with tokenKey "" everything.
// It tells whether the binding ended.
func (s *subscription) unbind(from Socket, tokenKey, why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bindings[from]
	if b == nil {
		return false
	}
	if tokenKey != "" {
		delete(b.tokens, tokenKey)
		if len(b.tokens) > 0 {
			s.armExpiryLocked(b)
			return false
		}
	}
	s.flushLocked()
	s.dropLocked(b, why)
	return true
}

// revoke ends the bindings that rest on a token alone.
func (s *subscription) revoke(tokenKey string) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ended []Socket
	for _, b := range slices.Clone(s.order) {
		if _, held := b.tokens[tokenKey]; !held {
			continue
		}
		delete(b.tokens, tokenKey)
		if len(b.tokens) > 0 {
			s.armExpiryLocked(b)
			continue
		}
		s.dropLocked(b, string(TokenRevoked))
		b.socket.Unbound(s.id, TokenRevoked)
		ended = append(ended, b.socket)
	}
	return ended
}

// dropLocked removes a binding and stops its timers.
func (s *subscription) dropLocked(b *binding, why string) {
	if s.bindings[b.socket] != b {
		return
	}
	delete(s.bindings, b.socket)
	s.order = slices.DeleteFunc(slices.Clone(s.order), func(other *binding) bool { return other == b })
	stopTimer(&b.heartbeat)
	stopTimer(&b.expiry)
	s.observer().Unbound(s.id, b.socket.ID(), why)
}

func (s *subscription) isBound(socket Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bindings[socket] != nil
}

func (s *subscription) state() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{
		ID:        s.id,
		Status:    s.status,
		TopicKey:  s.spec.TopicKey,
		Topic:     s.spec.Subscription.Topic,
		Base:      s.spec.Base,
		Content:   s.spec.Subscription.Content,
		Counter:   s.counter,
		LastFrame: s.sent,
		Errors:    s.errors,
	}
	if len(s.log) > 0 {
		state.FirstKept = s.log[0].Number
	}
	for _, b := range s.order {
		state.Sockets = append(state.Sockets, b.socket.ID())
	}
	return state
}

func (s *subscription) query(kind fhir.NotificationType) *fhir.Notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notificationLocked(kind, nil)
}

func (s *subscription) events(since, until int64, content fhir.Content) *fhir.Notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []fhir.Event
	for _, e := range s.log {
		if e.Number >= since && (until < 0 || e.Number <= until) {
			found = append(found, e)
		}
	}
	n := s.notificationLocked(fhir.QueryEvent, found)
	if content != "" {
		n.Content = content
	}
	return n
}
