// Package subscription is the heart of a room. For every subscription it holds
// the status, the numbered log of events, the sockets bound to it, the batch and
// the heartbeats.
//
// It decides what is sent to whom and when, and hands encoded frames to
// [Socket]s. It knows no HTTP, no WebSocket and no store. It does not decide
// whether a topic fires: callers report what occurred on which topic.
//
// What a subscription does in each status:
//
//	status            events                           heartbeats  bind
//	active            numbered, logged, delivered      yes         yes
//	requested, error  numbered, logged                 yes         yes
//	off,              none: neither numbered           no          refused
//	entered-in-error  nor logged
//
// An event of a subscription with no bound socket is numbered and logged, but
// not kept for delivery (WS-29); $events has it. A bind replays what its [Replay] says.
//
// Locks are taken in the order registry, subscription, socketIndex, socket; that of the
// event logs is a leaf. Only [subscription.beatTogether] holds those of several
// subscriptions, in the order of their ids. The
// lock of a subscription guards its counter, log, bindings and timers together. So
// events see the registering of a binding and the sending of its handshake as one
// step (WS-22), numbers are contiguous, and the order on a socket is that of the
// log. Only memory is touched under it: frames are queued, not written.
package subscription

import (
	"context"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/fhir"
)

// Registry holds the subscriptions of a room. It is safe for concurrent use.
type Registry struct {
	options Options

	mu      sync.RWMutex // guards all below
	byID    map[string]*subscription
	byTopic map[string]*topicIndex
	created uint64 // number of subscriptions ever created
	closed  bool

	sockets socketIndex // has a lock of its own
	logs    eventLogs   // likewise

	replay  atomic.Pointer[Replay] // of subscriptions without a policy of their own; nil: none
	replays sync.WaitGroup         // those that take longer than a bind
}

// New returns an empty registry.
func New(o Options) *Registry {
	if o.LogSize <= 0 {
		o.LogSize = defaultLogSize
	}
	if o.LogBytes <= 0 {
		o.LogBytes = defaultLogBytes
	}
	o.Observer = o.Observer.complete()
	r := &Registry{options: o, logs: eventLogs{least: o.LogSize, limit: o.LogBytes, all: map[*eventLog]struct{}{}}}
	r.clearLocked()
	return r
}

func (r *Registry) clearLocked() {
	r.byID = map[string]*subscription{}
	r.byTopic = map[string]*topicIndex{}
}

// Put creates or changes a subscription in one step as events see it. A change
// keeps counter, log and bindings (LC-12, LC-13), but a change to off or
// entered-in-error sends a last heartbeat and ends the bindings (WS-34). After
// [Registry.Close] it does nothing.
func (r *Registry) Put(spec Spec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	id, key := spec.Subscription.ID, spec.TopicKey
	s := r.byID[id]
	place := placeOf(spec.Filter)
	switch {
	case s == nil:
		s = newSubscription(r, id)
		r.created++
		s.order = r.created
		r.byID[id] = s
		r.topicLocked(s, key, place, spec.Filter)
	case s.topic != key || !s.place.equal(place):
		r.untopicLocked(s)
		r.topicLocked(s, key, place, spec.Filter)
	}
	s.put(spec)
}

// topicLocked puts s into the index by topic.
func (r *Registry) topicLocked(s *subscription, key string, at place, filter Filter) {
	if r.byTopic[key] == nil {
		r.byTopic[key] = &topicIndex{groups: map[string]*group{}}
	}
	s.topic, s.place = key, at
	r.byTopic[key].add(s, filter)
}

// untopicLocked removes s from the index by topic.
func (r *Registry) untopicLocked(s *subscription) {
	on := r.byTopic[s.topic]
	on.remove(s)
	if len(on.all) == 0 {
		delete(r.byTopic, s.topic)
	}
}

// Remove ends a subscription: its bindings, its log, its timers (LC-14). A
// subscription put later under the same id starts at event 1.
func (r *Registry) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byID[id]
	if s == nil {
		return
	}
	delete(r.byID, id)
	r.untopicLocked(s)
	s.stop(SubscriptionDeleted)
}

// Reset removes every subscription; their bindings end with [RoomReset].
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetLocked()
}

// Close removes every subscription for good. It leaves no timer and no replay running.
func (r *Registry) Close() {
	defer r.replays.Wait() // without the lock
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.resetLocked()
}

func (r *Registry) resetLocked() {
	all := r.byID
	r.clearLocked()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		all[id].stop(RoomReset)
	}
}

func (r *Registry) get(id string) *subscription {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// Len returns the number of subscriptions.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byID)
}

// LogBytes returns the bytes of the events in all logs.
func (r *Registry) LogBytes() int64 {
	r.logs.mu.Lock()
	defer r.logs.mu.Unlock()
	return r.logs.bytes
}

// HasTopic reports whether any subscription is on a topic.
func (r *Registry) HasTopic(key string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byTopic[key] != nil
}

// Delivery is the outcome of an occurrence for one subscription on its topic.
type Delivery struct {
	Subscription string
	Number       int64  // of the event; 0 if none was numbered
	Why          string // why none was numbered: the status, or how the filters compared
}

// maxExplained bounds the subscriptions that [Registry.Append] evaluates only to
// report why an event does not concern them.
const maxExplained = 20

// Append gives the event of an occurrence to every subscription on a topic whose
// filters let state pass, the resource they look at (FLT-14). An event that does
// not pass is not numbered (FLT-16), nor is any event of a subscription that is
// off or entered-in-error.
//
// The cost grows with the subscriptions whose filters look for a value that the
// resource has, and the sockets bound to them. Other subscriptions on this topic
// or on others cost nothing. For the others on this topic Append returns why the
// event does not concern them or, if there are more than a few, only their number.
func (r *Registry) Append(topicKey string, o *fhir.Occurrence, state *fhir.Resource) (deliveries []Delivery, others int) {
	r.mu.RLock()
	var matching, explained []*subscription
	if on := r.byTopic[topicKey]; on != nil {
		matching = on.candidates(state)
		explained, others = on.others(matching, maxExplained)
	}
	r.mu.RUnlock()
	for _, s := range matching {
		if number, why := s.append(topicKey, o, state); number > 0 || why != "" {
			deliveries = append(deliveries, Delivery{s.id, number, why})
		}
	}
	for _, s := range explained {
		// It may have changed since the index was read, so evaluate it in full.
		if number, why := s.append(topicKey, o, state); number > 0 || why != "" {
			deliveries = append(deliveries, Delivery{s.id, number, why})
		}
	}
	return deliveries, others - len(explained)
}

// AppendTo gives one subscription an event, whatever its topic and filters, and
// returns the event's number. It refuses an unknown id with not-found, and a
// subscription that is off or entered-in-error with business-rule.
func (r *Registry) AppendTo(id string, o *fhir.Occurrence) (int64, error) {
	s := r.get(id)
	if s == nil {
		return 0, unknown(id)
	}
	return s.appendTo(o)
}

func unknown(id string) error {
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no Subscription/%s", id)
}

// SetError puts a subscription into status error. It still counts and logs
// events, but delivers nothing until it is put again (LC-7, LC-9). code is from
// the code system subscription-error or "". A subscription that is off or
// entered-in-error keeps its status.
func (r *Registry) SetError(id, code, text string) {
	if s := r.get(id); s != nil {
		s.setError(fhir.SubscriptionError{Code: code, Text: text})
	}
}

// Bind binds a socket to a subscription until expires, through the token with
// key tokenKey, and sends the handshake in the same step (WS-21, WS-22). A socket
// that is already bound stays bound until the later of both times and gets
// another handshake; it gets each event once (WS-25). Bind refuses an unknown id
// with not-found, and a subscription that is off or entered-in-error with
// business-rule. A socket that cannot take the handshake is closing: it is not
// bound, and Bind returns nil.
func (r *Registry) Bind(id string, to Socket, tokenKey string, expires time.Time) error {
	return r.BindIn(Speech{}, id, to, tokenKey, expires)
}

// Speech is how a socket wants its notifications.
type Speech struct {
	Format  fhir.FrameFormat
	Dialect string // of the bind message; the frames of the binding have it
}

// BindIn is [Registry.Bind] for a socket that says how it wants its notifications.
func (r *Registry) BindIn(speech Speech, id string, to Socket, tokenKey string, expires time.Time) error {
	s := r.get(id)
	if s == nil {
		return unknown(id)
	}
	_, err := s.bind(to, speech, tokenKey, expires, false)
	return err
}

// BindFirst is [Registry.BindIn] for a subscription that its first bind makes active. It
// reports whether it did. The handshake still has the status requested (WS-27), and no
// event comes between the two; what is replayed follows.
func (r *Registry) BindFirst(speech Speech, id string, to Socket, tokenKey string, expires time.Time) (activated bool, err error) {
	s := r.get(id)
	if s == nil {
		return false, unknown(id)
	}
	return s.bind(to, speech, tokenKey, expires, true)
}

// Unbind removes a token from a binding, and ends the binding if no other token
// keeps it (WS-17). It reports whether the binding ended.
func (r *Registry) Unbind(id string, from Socket, tokenKey string) bool {
	s := r.get(id)
	return s != nil && s.release(from, tokenKey)
}

// Gone ends all bindings of a socket that closed.
func (r *Registry) Gone(gone Socket) {
	for _, s := range r.sockets.of(gone) {
		s.gone(gone)
	}
}

// Bindings returns the ids of the subscriptions that a socket is bound to, in
// order.
func (r *Registry) Bindings(of Socket) []string {
	ids := []string{}
	for _, s := range r.sockets.of(of) {
		ids = append(ids, s.id)
	}
	return ids
}

// AwaitReaders waits until every socket that is bound to one of the subscriptions has room
// for many more frames, or takes no more. It reports false if ctx ended before. A socket that
// stays behind is closed by itself, so waiting has an end.
func (r *Registry) AwaitReaders(ctx context.Context, ids []string) bool {
	for _, id := range ids {
		s := r.get(id)
		if s == nil {
			continue
		}
		if !await(ctx, s.boundSockets()) {
			return false
		}
	}
	return ctx.Err() == nil
}

// AwaitSockets is [Registry.AwaitReaders] for every socket that is bound. It reports true if
// all have room, even if ctx has ended.
func (r *Registry) AwaitSockets(ctx context.Context) bool { return await(ctx, r.sockets.all()) }

func await(ctx context.Context, sockets []Socket) bool {
	for _, socket := range sockets {
		ready := socket.Ready(math.MaxInt64)
		if ready == nil {
			continue
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Revoke ends every binding that only this token keeps (WS-35).
func (r *Registry) Revoke(tokenKey string) { r.endToken(tokenKey, TokenRevoked) }

func (r *Registry) endToken(tokenKey string, why Reason) {
	r.mu.RLock()
	all := maps.Clone(r.byID)
	r.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		all[id].endToken(tokenKey, why)
	}
}
