package subscription

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"signalfhir/internal/fhir"
)

// State is the state of a subscription at one moment.
type State struct {
	ID        string
	Release   fhir.Release
	Status    string
	TopicKey  string
	Topic     string
	Base      string
	Content   fhir.Content
	Heartbeat time.Duration // period; 0: none
	Counter   int64         // number of the last event
	FirstKept int64         // number of the oldest event in the log; 0 if it is empty
	Pending   int           // events waiting to share a bundle
	Sockets   []string
	LastFrame time.Time // when the last frame was queued; zero if none was
	Errors    []fhir.SubscriptionError
	Replay    *Replay // its own policy; nil: that of the registry

	Activation Activation // of one that is requested
}

// State returns the state of one subscription.
func (r *Registry) State(id string) (State, bool) {
	s := r.get(id)
	if s == nil {
		return State{}, false
	}
	return s.state(), true
}

// Tokens returns the keys of the tokens that keep the bindings of a subscription.
func (r *Registry) Tokens(id string) []string {
	s := r.get(id)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := map[string]bool{}
	for _, b := range s.bindings {
		for key := range b.tokens {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// Status returns the content of a $status entry (OPS-1), whatever the status of
// the subscription (OPS-7). The counter does not change (OPS-9).
func (r *Registry) Status(id string) (*fhir.Notification, bool) {
	s := r.get(id)
	if s == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notificationLocked(fhir.QueryStatus, nil), true
}

// Events returns the retained events with numbers from since to until, both
// included; until below zero means no bound. The total is the subscription's
// (OPE-3). content "" means the subscription's content level; any other level is
// honoured (OPE-6). Events refuses an unknown id with not-found, and a since
// above until with value (OPE-7).
func (r *Registry) Events(id string, since, until int64, content fhir.Content) (*fhir.Notification, error) {
	if until >= 0 && since > until {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "eventsSinceNumber %d is above eventsUntilNumber %d; both bounds are inclusive", since, until)
	}
	s := r.get(id)
	if s == nil {
		return nil, unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.notificationLocked(fhir.QueryEvent, s.log.between(since, until))
	if content != "" {
		n.Content = content
	}
	return n, nil
}

// Resend sends the retained events that selects picks again, in bundles of at
// most maxCount, under their numbers and with the present total (OPR-1). It
// returns the number of events and of bound sockets. It refuses an unknown id
// with not-found, and a subscription that delivers nothing with business-rule.
func (r *Registry) Resend(id string, selects func(*fhir.Event) bool) (events, sockets int, refused error) {
	s := r.get(id)
	if s == nil {
		return 0, 0, unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != fhir.StatusActive {
		return 0, 0, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "Subscription/%s is %s, so nothing is delivered; $events has its events", id, s.status)
	}
	s.expireBindingsLocked()
	s.flushLocked()
	var again []fhir.Event
	for _, e := range s.log.between(0, -1) {
		if selects(&e) {
			again = append(again, e)
		}
	}
	for batch := range slices.Chunk(again, s.batchSizeLocked()) {
		w := s.outgoingLocked(fhir.EventNotification, batch)
		w.notification.EventsSinceStart = s.counter
		s.sendLocked(slices.Clone(s.bindings), w)
	}
	return len(again), len(s.bindings), nil
}

func (s *subscription) state() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{
		ID:        s.id,
		Release:   s.spec.Subscription.Release,
		Status:    s.status,
		TopicKey:  s.spec.TopicKey,
		Topic:     s.spec.Subscription.Topic,
		Base:      s.spec.Base,
		Content:   s.spec.Subscription.Content,
		Heartbeat: s.spec.Subscription.HeartbeatPeriod,
		Counter:   s.counter,
		FirstKept: s.log.first(),
		Pending:   len(s.pending),
		LastFrame: s.sent,
		Errors:    s.errors,
		Replay:    s.policy,

		Activation: s.spec.Activation,
	}
	for _, b := range s.bindings {
		state.Sockets = append(state.Sockets, b.socket.ID())
	}
	return state
}

// notificationLocked returns a notification with everything common to all
// notifications of this subscription.
func (s *subscription) notificationLocked(kind fhir.NotificationType, events []fhir.Event) *fhir.Notification {
	sub, random := s.spec.Subscription, s.options.Random
	n := &fhir.Notification{
		ID:               random.UUID(),
		StatusID:         random.UUID(),
		Type:             kind,
		Timestamp:        s.options.Clock.Now(),
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
