// Package subscription is the heart of a room: for every subscription its
// status, the numbered log of its events, the sockets bound to it, its batch
// and its heartbeats.
//
// It decides what is sent to whom and when, and hands encoded frames to
// [Socket]s. It knows no HTTP, no WebSocket, no store, and how a topic decides
// whether it fires is not its business: it is told what occurred on which topic.
//
// What a subscription does in each status:
//
//	status            events                           heartbeats  bind
//	active            numbered, logged, delivered      yes         yes
//	error, requested  numbered, logged, not delivered  yes         yes
//	off,              none: it is compiled, but        no          refused
//	entered-in-error  nothing is numbered or logged
//
// An event whose subscription has no socket bound is numbered and logged; it is
// not kept for delivery (WS-29), $events has it.
//
// Locks are taken in the order registry, subscription, socket. The lock of a
// subscription guards its counter, log, bindings and timers together, so that
// registering a binding and sending its handshake is one step to every event
// (WS-22), numbers have no holes, and the order on a socket is that of the log.
// Under it only memory is touched: frames are queued, not written.
package subscription

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"signalfhir/internal/fhir"
)

// Registry holds the subscriptions of a room. It is safe for concurrent use.
type Registry struct {
	options Options

	mu      sync.RWMutex // guards all below
	byID    map[string]*subscription
	byTopic map[string]*topicIndex
	created uint64 // subscriptions ever
	// sockets counts, by socket and id, the bindings there are and the binds
	// under way, so that Gone finds them without a walk.
	sockets map[Socket]map[string]int
	closed  bool
}

// New makes an empty registry.
func New(o Options) *Registry {
	if o.LogSize <= 0 {
		o.LogSize = defaultLogSize
	}
	o.Observer = o.Observer.complete()
	r := &Registry{options: o}
	r.clearLocked()
	return r
}

func (r *Registry) clearLocked() {
	r.byID = map[string]*subscription{}
	r.byTopic = map[string]*topicIndex{}
	r.sockets = map[Socket]map[string]int{}
}

// Put creates a subscription or changes one, in one step to every event. A
// change keeps counter, log and bindings (LC-12, LC-13), but one to off or
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
	for _, socket := range s.put(spec) {
		r.forgetLocked(id, socket)
	}
}

// topicLocked puts s into the index by topic.
func (r *Registry) topicLocked(s *subscription, key string, at place, filter Filter) {
	if r.byTopic[key] == nil {
		r.byTopic[key] = &topicIndex{groups: map[string]*group{}}
	}
	s.topic, s.place = key, at
	r.byTopic[key].add(s, filter)
}

// untopicLocked takes s out of the index by topic.
func (r *Registry) untopicLocked(s *subscription) {
	on := r.byTopic[s.topic]
	on.remove(s)
	if len(on.all) == 0 {
		delete(r.byTopic, s.topic)
	}
}

// Remove ends a subscription: its bindings, its log, its timers (LC-14). One
// that is put again under the same id starts at event 1.
func (r *Registry) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byID[id]
	if s == nil {
		return
	}
	delete(r.byID, id)
	r.untopicLocked(s)
	for _, socket := range s.stop(SubscriptionDeleted) {
		r.forgetLocked(id, socket)
	}
}

// Reset removes every subscription; their bindings end with [RoomReset].
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetLocked()
}

// Close removes every subscription for good: no timer is left.
func (r *Registry) Close() {
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

// Len is the number of subscriptions.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byID)
}

// HasTopic tells whether any subscription is on a topic.
func (r *Registry) HasTopic(key string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byTopic[key] != nil
}

// Delivery is what became of an occurrence in one subscription on its topic.
type Delivery struct {
	Subscription string
	Number       int64  // of the event; 0 where none was numbered
	Why          string // none was: the subscription is off, or how its filters compared
}

// maxTold bounds the subscriptions [Registry.Append] asks only to tell why an
// event does not concern them.
const maxTold = 20

// Append gives every subscription on a topic the event of an occurrence that
// its filters let pass; state is the resource they look at (FLT-14). What does
// not pass is not numbered (FLT-16), nor is anything where the subscription is
// off or entered-in-error. The cost grows with the subscriptions that look for
// what the resource has and the sockets bound to them, not with the others on
// this topic or those on others. Of the others it answers why the event does not
// concern them, or, where they are more than a few, their number.
func (r *Registry) Append(topicKey string, o *fhir.Occurrence, state *fhir.Resource) (deliveries []Delivery, others int) {
	r.mu.RLock()
	var asked, told []*subscription
	if on := r.byTopic[topicKey]; on != nil {
		asked = on.candidates(state)
		told, others = on.others(asked, maxTold)
	}
	r.mu.RUnlock()
	for _, s := range asked {
		if number, why := s.append(topicKey, o, state); number > 0 || why != "" {
			deliveries = append(deliveries, Delivery{s.id, number, why})
		}
	}
	for _, s := range told {
		// It may have changed since the index was asked, so it is asked itself.
		if number, why := s.append(topicKey, o, state); number > 0 || why != "" {
			deliveries = append(deliveries, Delivery{s.id, number, why})
		}
	}
	return deliveries, others - len(told)
}

// AppendTo gives one subscription an event, whatever its topic and filters, and
// answers its number. It refuses with not-found, and with business-rule where
// the subscription is off or entered-in-error.
func (r *Registry) AppendTo(id string, o *fhir.Occurrence) (int64, *fhir.Error) {
	s := r.get(id)
	if s == nil {
		return 0, unknown(id)
	}
	return s.appendTo(o)
}

func unknown(id string) *fhir.Error {
	return fhir.Refuse(http.StatusNotFound, "not-found", "there is no Subscription/%s", id)
}

// SetError puts a subscription into status error. It goes on counting and
// logging, but delivers nothing until it is put again (LC-7, LC-9). code is one
// of the code system subscription-error or "". A subscription that is off or
// entered-in-error stays so.
func (r *Registry) SetError(id, code, text string) {
	if s := r.get(id); s != nil {
		s.setError(fhir.SubscriptionError{Code: code, Text: text})
	}
}

// Bind binds a socket to a subscription through a token, named by tokenKey,
// until expires, and sends the handshake in the same step (WS-21, WS-22). A
// socket that is bound already stays so until the later of both times, and is
// handshaken again; it gets each event once (WS-25). Bind refuses with
// not-found, and with business-rule where the subscription is off or
// entered-in-error. A socket that cannot take the handshake is not bound, which
// is no refusal: it is closing.
func (r *Registry) Bind(id string, to Socket, tokenKey string, expires time.Time) *fhir.Error {
	return r.BindIn(fhir.Standard, id, to, tokenKey, expires)
}

// BindIn is [Registry.Bind] for a socket that wants its notifications in a voice.
func (r *Registry) BindIn(voice fhir.Voice, id string, to Socket, tokenKey string, expires time.Time) *fhir.Error {
	s := r.get(id)
	if s == nil {
		return unknown(id)
	}
	// Counted before, so that a socket that goes meanwhile takes this binding along.
	r.mu.Lock()
	if r.sockets[to] == nil {
		r.sockets[to] = map[string]int{}
	}
	r.sockets[to][id]++
	r.mu.Unlock()
	created, err := s.bind(to, voice, tokenKey, expires)
	if !created {
		r.forget(id, to)
	}
	return err
}

// Unbind ends what a token holds on a socket, and the binding with it when no
// other token holds it (WS-17). It tells whether the binding ended by that.
func (r *Registry) Unbind(id string, from Socket, tokenKey string) bool {
	s := r.get(id)
	if s == nil || !s.release(from, tokenKey) {
		return false
	}
	r.forget(id, from)
	return true
}

// Gone ends all bindings of a socket that closed.
func (r *Registry) Gone(gone Socket) {
	r.mu.Lock()
	ids := r.sockets[gone]
	delete(r.sockets, gone)
	r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if s := r.get(id); s != nil {
			s.gone(gone)
		}
	}
}

// Revoke ends every binding that rests on a token alone (WS-35).
func (r *Registry) Revoke(tokenKey string) {
	r.mu.RLock()
	all := maps.Clone(r.byID)
	r.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		for _, socket := range all[id].revoke(tokenKey) {
			r.forget(id, socket)
		}
	}
}

// forget takes a binding that ended out of the index of sockets.
func (r *Registry) forget(id string, socket Socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(id, socket)
}

func (r *Registry) forgetLocked(id string, socket Socket) {
	ids := r.sockets[socket]
	if ids == nil {
		return // it is gone, and so is its part of the index
	}
	if ids[id]--; ids[id] <= 0 {
		delete(ids, id)
	}
	if len(ids) == 0 {
		delete(r.sockets, socket)
	}
}
