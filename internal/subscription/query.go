package subscription

import (
	"net/http"
	"slices"
	"time"

	"signalfhir/internal/fhir"
)

// State is what a subscription is like at one moment.
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
	FirstKept int64         // number of the oldest event in the log; 0 where it is empty
	Pending   int           // events that wait to share a bundle
	Sockets   []string
	LastFrame time.Time // when the last frame was queued; zero where none was
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

// Status answers the content of a $status entry (OPS-1). The counter stays as
// it is (OPS-9), and every status is answered for (OPS-7).
func (r *Registry) Status(id string) (*fhir.Notification, bool) {
	s := r.get(id)
	if s == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notificationLocked(fhir.QueryStatus, nil), true
}

// Events answers the retained events with numbers from since to until, both
// included; until below zero means no bound. The total is that of the
// subscription (OPE-3). content "" means the level of the subscription, any
// other is honoured (OPE-6). It refuses with not-found, and with value where
// since is above until (OPE-7).
func (r *Registry) Events(id string, since, until int64, content fhir.Content) (*fhir.Notification, *fhir.Error) {
	if until >= 0 && since > until {
		return nil, fhir.Refuse(http.StatusBadRequest, "value", "eventsSinceNumber %d is above eventsUntilNumber %d; both bounds are inclusive", since, until)
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
// answers how many there were and how many sockets are bound. It refuses with
// not-found, and with business-rule where nothing is delivered anyway.
func (r *Registry) Resend(id string, selects func(*fhir.Event) bool) (events, sockets int, refused *fhir.Error) {
	s := r.get(id)
	if s == nil {
		return 0, 0, unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != fhir.StatusActive {
		return 0, 0, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "Subscription/%s is %s, so nothing is delivered; $events has its events", id, s.status)
	}
	s.flushLocked()
	var again []fhir.Event
	for _, e := range s.log.between(0, -1) {
		if selects(&e) {
			again = append(again, e)
		}
	}
	for batch := range slices.Chunk(again, s.batchSizeLocked()) {
		w := s.wordLocked(fhir.EventNotification, batch)
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
	}
	for _, b := range s.bindings {
		state.Sockets = append(state.Sockets, b.socket.ID())
	}
	return state
}

// notificationLocked is what every notification of this subscription says.
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
