// Package subscription is the heart of a room: for every subscription its
// status, the numbered log of its events, the sockets bound to it, its batch
// and its heartbeats.
//
// It decides what is sent to whom and when, and hands encoded frames to
// [Socket]s. It knows no HTTP, no WebSocket, no store, and how a topic decides
// whether it fires is not its business: it is told what occurred on which topic.
//
// Locks are taken in the order registry, subscription, socket. The lock of a
// subscription guards its counter, log, bindings and timers together, so that
// registering a binding and sending its handshake is one step to every event
// (WS-22), numbers have no holes, and the order on a socket is that of the log.
// Under it only memory is touched: frames are queued, not written.
package subscription

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Options are the settings of a registry. Clock and Random are required.
type Options struct {
	Clock       clock.Clock
	Random      *random.Source
	BatchWindow time.Duration // how long events wait to share a bundle; 0: each goes at once (NB-16)
	LogSize     int           // events kept per subscription; 1000 where 0 (OPE-2)
	Observer    Observer
	OnEnd       func(id string) // called, without locks, when a subscription's end has come (LC-11)
}

// Observer is told what happens. Its functions are called with the lock of a
// subscription held: they must not block and must not call back. All must be set.
type Observer struct {
	Appended func(subscription string, number int64)
	Sent     func(socket string, f Frame)
	NotSent  func(subscription string, first, last int64, why string)
	Bound    func(subscription, socket string)
	Unbound  func(subscription, socket, why string)
	Status   func(subscription, status string)
}

// Filter decides whether an event concerns a subscription.
type Filter interface {
	// Match answers whether a resource passes and how each condition compared.
	Match(*fhir.Resource) (bool, []string)
}

// Spec is a subscription as the registry takes it.
type Spec struct {
	Subscription *fhir.Subscription
	Base         string // absolute URL of the FHIR base in its notifications, no trailing slash
	TopicKey     string // names the topic in Append
	Filter       Filter // nil: everything passes
}

// Registry holds the subscriptions of a room. It is safe for concurrent use.
type Registry struct {
	options Options

	mu      sync.RWMutex // guards the maps
	byID    map[string]*subscription
	byTopic map[string][]*subscription     // in order of creation
	sockets map[Socket]map[string]struct{} // ids bound to each socket
}

// New makes an empty registry.
func New(o Options) *Registry {
	if o.LogSize == 0 {
		o.LogSize = 1000
	}
	return &Registry{options: o, byID: map[string]*subscription{}, byTopic: map[string][]*subscription{}, sockets: map[Socket]map[string]struct{}{}}
}

// Put creates a subscription or changes one. A change keeps counter, log and
// bindings (LC-12, LC-13), but one to off or entered-in-error sends a last
// heartbeat and ends the bindings (WS-34).
func (r *Registry) Put(spec Spec) {
	r.mu.Lock()
	s := r.byID[spec.Subscription.ID]
	isNew := s == nil
	if isNew {
		s = &subscription{registry: r, id: spec.Subscription.ID, bindings: map[Socket]*binding{}}
		r.byID[s.id] = s
	} else if s.topic != spec.TopicKey {
		r.untopicLocked(s)
	}
	if isNew || s.topic != spec.TopicKey {
		s.topic = spec.TopicKey
		r.byTopic[s.topic] = append(r.byTopic[s.topic], s)
	}
	r.mu.Unlock()
	r.forget(s.id, s.put(spec))
}

// untopicLocked takes s out of the index by topic.
func (r *Registry) untopicLocked(s *subscription) {
	rest := slices.DeleteFunc(slices.Clone(r.byTopic[s.topic]), func(other *subscription) bool { return other == s })
	if len(rest) == 0 {
		delete(r.byTopic, s.topic)
		return
	}
	r.byTopic[s.topic] = rest
}

// Remove ends a subscription: its bindings, its log, its timers (LC-14).
func (r *Registry) Remove(id string) {
	r.mu.Lock()
	s := r.byID[id]
	if s != nil {
		delete(r.byID, id)
		r.untopicLocked(s)
	}
	r.mu.Unlock()
	if s != nil {
		r.forget(id, s.stop(SubscriptionDeleted))
	}
}

// Reset removes every subscription.
func (r *Registry) Reset() {
	r.mu.Lock()
	all := r.byID
	r.byID, r.byTopic, r.sockets = map[string]*subscription{}, map[string][]*subscription{}, map[Socket]map[string]struct{}{}
	r.mu.Unlock()
	for _, s := range all {
		s.stop(RoomReset)
	}
}

// Close ends everything that runs.
func (r *Registry) Close() { r.Reset() }

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
	return len(r.byTopic[key]) > 0
}

// Delivery is one event that was appended.
type Delivery struct {
	Subscription string
	Number       int64
}

// Append gives every subscription on a topic the event of an occurrence that
// its filters let pass: state is the resource they look at (FLT-14). The log
// of a subscription that is off or entered-in-error stays as it is.
func (r *Registry) Append(topicKey string, o *fhir.Occurrence, state *fhir.Resource) []Delivery {
	r.mu.RLock()
	// Put, Remove and Reset replace the slice or append to it, so what is read
	// here does not change.
	on := r.byTopic[topicKey]
	r.mu.RUnlock()
	var appended []Delivery
	for _, s := range on {
		if number, ok := s.append(o, state); ok {
			appended = append(appended, Delivery{s.id, number})
		}
	}
	return appended
}

// AppendTo gives one subscription an event, whatever its topic and filters.
func (r *Registry) AppendTo(id string, o *fhir.Occurrence) (int64, *fhir.Error) {
	s := r.get(id)
	if s == nil {
		return 0, unknown(id)
	}
	number, ok := s.append(o, nil)
	if !ok {
		return 0, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "Subscription/%s is %s and makes no events", id, s.state().Status)
	}
	return number, nil
}

func unknown(id string) *fhir.Error {
	return fhir.Refuse(http.StatusNotFound, "not-found", "there is no Subscription/%s", id)
}

// SetError puts a subscription into status error. It goes on counting and
// logging, but delivers nothing until it is put again (LC-7, LC-9).
func (r *Registry) SetError(id, code, text string) {
	if s := r.get(id); s != nil {
		s.setError(fhir.SubscriptionError{Code: code, Text: text})
	}
}

// Bind binds a socket to a subscription through a token, named by tokenKey,
// until expires, and sends the handshake. A socket that is bound already is
// bound the longer of both times and handshaken again (WS-25).
func (r *Registry) Bind(id string, to Socket, tokenKey string, expires time.Time) *fhir.Error {
	s := r.get(id)
	if s == nil {
		return unknown(id)
	}
	// Noted before, so that a socket that goes meanwhile takes this binding along.
	r.mu.Lock()
	ids := r.sockets[to]
	if ids == nil {
		ids = map[string]struct{}{}
		r.sockets[to] = ids
	}
	ids[id] = struct{}{}
	r.mu.Unlock()
	bound, err := s.bind(to, tokenKey, expires)
	if !bound {
		r.forget(id, []Socket{to})
	}
	return err
}

// Unbind ends what a token holds on a socket, and the binding with it when no
// other token holds it (WS-17).
func (r *Registry) Unbind(id string, from Socket, tokenKey string) {
	if s := r.get(id); s != nil && s.unbind(from, tokenKey, "the client unbound") {
		r.forget(id, []Socket{from})
	}
}

// Gone ends all bindings of a socket that closed.
func (r *Registry) Gone(gone Socket) {
	r.mu.Lock()
	ids := r.sockets[gone]
	delete(r.sockets, gone)
	r.mu.Unlock()
	for id := range ids {
		if s := r.get(id); s != nil {
			s.unbind(gone, "", "the socket closed")
		}
	}
}

// Revoke ends every binding that rests on a token alone (WS-35).
func (r *Registry) Revoke(tokenKey string) {
	r.mu.RLock()
	all := make([]*subscription, 0, len(r.byID))
	for _, s := range r.byID {
		all = append(all, s)
	}
	r.mu.RUnlock()
	for _, s := range all {
		r.forget(s.id, s.revoke(tokenKey))
	}
}

// forget takes sockets that are no longer bound out of the index.
func (r *Registry) forget(id string, sockets []Socket) {
	if len(sockets) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byID[id]
	for _, socket := range sockets {
		if s != nil && s.isBound(socket) {
			continue // bound again meanwhile
		}
		delete(r.sockets[socket], id)
		if len(r.sockets[socket]) == 0 {
			delete(r.sockets, socket)
		}
	}
}

// State is what a subscription is like at one moment.
type State struct {
	ID        string
	Status    string
	TopicKey  string
	Topic     string
	Base      string
	Content   fhir.Content
	Counter   int64
	FirstKept int64 // number of the oldest event in the log; 0 where it is empty
	Sockets   []string
	LastFrame time.Time // zero where none was sent
	Errors    []fhir.SubscriptionError
}

// State answers the state of one subscription.
func (r *Registry) State(id string) (State, bool) {
	s := r.get(id)
	if s == nil {
		return State{}, false
	}
	return s.state(), true
}

// Status answers the content of a $status entry.
func (r *Registry) Status(id string) (*fhir.Notification, bool) {
	s := r.get(id)
	if s == nil {
		return nil, false
	}
	return s.query(fhir.QueryStatus), true
}

// Events answers the retained events with numbers from since to until, both
// included; until below zero means no bound. content "" means the level of the
// subscription (OPE-3 to OPE-7).
func (r *Registry) Events(id string, since, until int64, content fhir.Content) (*fhir.Notification, *fhir.Error) {
	if until >= 0 && since > until {
		return nil, fhir.Refuse(http.StatusBadRequest, "value", "eventsSinceNumber %d is above eventsUntilNumber %d; both bounds are inclusive", since, until)
	}
	s := r.get(id)
	if s == nil {
		return nil, unknown(id)
	}
	return s.events(since, until, content), nil
}
