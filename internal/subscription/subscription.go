package subscription

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// subscription is one subscription at work.
//
// Its timers may fire while what they are for is being changed under the lock.
// So a timer never acts because it fired: it looks at what is due by now.
type subscription struct {
	registry *Registry
	options  *Options // of the registry
	id       string
	order    uint64 // of creation
	topic    string // key it is indexed by; guarded by the registry's lock
	place    place  // where it is in that index; likewise

	mu       sync.Mutex // guards all below
	spec     Spec
	status   string
	errors   []fhir.SubscriptionError // replaced, never modified
	counter  int64                    // number of the last event; never goes back (LC-13)
	log      eventLog
	pending  []fhir.Event // waiting to share a bundle; none without a binding
	spare    []fhir.Event // the memory pending had before, to be used again
	batch    clock.Timer  // flushes pending; nil while nothing waits
	end      clock.Timer  // nil where there is no end
	beat     clock.Timer  // next heartbeat of any binding; nil without bindings or heartbeats
	bound    map[Socket]*binding
	bindings []*binding // the same in order of binding, for delivery
	sent     time.Time  // when the last frame was queued
	stopped  bool       // removed from the registry
}

func newSubscription(r *Registry, id string) *subscription {
	return &subscription{registry: r, options: &r.options, id: id, bound: map[Socket]*binding{}}
}

// dormant tells the states in which events are neither counted nor logged.
func dormant(status string) bool {
	return status == fhir.StatusOff || status == fhir.StatusEnteredInError
}

// put takes a new or changed subscription over and answers the sockets whose
// bindings ended by it.
func (s *subscription) put(spec Spec) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What happened before the change is told in the words of before.
	s.flushLocked()
	before := s.spec.Subscription
	s.spec = spec
	s.setStatusLocked(spec.Subscription.Status)
	if s.status == fhir.StatusActive {
		s.errors = nil
	}
	s.armEndLocked()
	if dormant(s.status) {
		if len(s.bindings) > 0 {
			s.sendLocked(s.bindings, s.wordLocked(fhir.Heartbeat, nil)) // WS-34
		}
		return s.endBindingsLocked(SubscriptionOff)
	}
	if before != nil && before.HeartbeatPeriod != spec.Subscription.HeartbeatPeriod {
		s.restartHeartbeatsLocked()
	}
	return nil
}

func (s *subscription) setStatusLocked(status string) {
	if s.status != status {
		s.status = status
		s.options.Observer.Status(s.id, status)
	}
}

func (s *subscription) setError(e fhir.SubscriptionError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || dormant(s.status) {
		return
	}
	s.flushLocked()
	s.setStatusLocked(fhir.StatusError)
	s.errors = []fhir.SubscriptionError{e}
}

// stop ends everything; the subscription is no longer in the registry. It
// answers the sockets whose bindings ended.
func (s *subscription) stop(why Reason) []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
	s.stopped = true
	stopTimer(&s.end)
	s.log = eventLog{}
	return s.endBindingsLocked(why)
}

// armEndLocked has the end of the subscription told when it comes (LC-11).
func (s *subscription) armEndLocked() {
	stopTimer(&s.end)
	end := s.spec.Subscription.End
	if end.IsZero() || dormant(s.status) || s.options.OnEnd == nil {
		return
	}
	s.end = s.options.Clock.AfterFunc(end.Sub(s.options.Clock.Now()), func() {
		if s.hasEnded() {
			s.options.OnEnd(s.id)
		}
	})
}

// hasEnded tells, once, that the end has come.
func (s *subscription) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		return false
	}
	if left := s.spec.Subscription.End.Sub(s.options.Clock.Now()); left > 0 {
		s.end.Reset(left)
		return false
	}
	s.end = nil
	return true
}

func stopTimer(t *clock.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

// append numbers and logs the event of an occurrence on a topic where it
// concerns the subscription. It answers its number, or 0 and why not; "" where
// the occurrence is no business of the subscription at all.
func (s *subscription) append(topicKey string, o *fhir.Occurrence, state *fhir.Resource) (number int64, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.spec.TopicKey != topicKey {
		return 0, "" // it was removed, or moved to another topic, since the registry looked
	}
	if dormant(s.status) {
		return 0, "the subscription is " + s.status
	}
	if s.spec.Filter != nil {
		if passes, why := s.spec.Filter.Match(state); !passes {
			return 0, strings.Join(why, "; ")
		}
	}
	return s.appendLocked(o), ""
}

// appendTo numbers and logs an event whatever topic and filters say.
func (s *subscription) appendTo(o *fhir.Occurrence) (int64, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, unknown(s.id)
	}
	if dormant(s.status) {
		return 0, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule",
			`Subscription/%s is %s and makes no events; set its status to "requested" first`, s.id, s.status)
	}
	return s.appendLocked(o), nil
}

func (s *subscription) appendLocked(o *fhir.Occurrence) int64 {
	s.counter++
	event := fhir.Event{Number: s.counter, Occurrence: o}
	s.log.add(event, s.options.LogSize)
	s.options.Observer.Appended(s.id, event)
	s.deliverLocked(event)
	return event.Number
}

// deliverLocked sends an event, or lets it wait for others to share its bundle.
func (s *subscription) deliverLocked(event fhir.Event) {
	switch {
	case s.status != fhir.StatusActive: // LC-7
		s.options.Observer.NotSent(s.id, event.Number, event.Number, "the subscription is in status "+s.status+"; $events has the event")
		return
	case len(s.bindings) == 0: // WS-29
		s.options.Observer.NotSent(s.id, event.Number, event.Number, "no socket is bound; $events has the event")
		return
	}
	s.pending = append(s.pending, event)
	if s.options.BatchWindow <= 0 || len(s.pending) >= s.batchSizeLocked() {
		s.flushLocked()
		return
	}
	if s.batch == nil {
		s.batch = s.options.Clock.AfterFunc(s.options.BatchWindow, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flushLocked()
		})
	}
}

// batchSizeLocked is the most events that share a bundle: maxCount (NB-16), and
// never more than the log holds, so that a burst makes no endless bundle.
func (s *subscription) batchSizeLocked() int {
	if most := s.spec.Subscription.MaxCount; most > 0 {
		return min(most, s.options.LogSize)
	}
	return s.options.LogSize
}

// flushLocked sends what waits.
func (s *subscription) flushLocked() {
	stopTimer(&s.batch)
	if len(s.pending) == 0 {
		return
	}
	events := s.pending
	s.pending = s.spare[:0] // nothing waits any more, also for who is told meanwhile
	s.sendLocked(s.bindings, s.wordLocked(fhir.EventNotification, events))
	clear(events) // the log decides how long an occurrence is kept
	s.spare = events
}

// wording is one notification, encoded once for all sockets that want it in the
// same voice.
type wording struct {
	notification *fhir.Notification
	release      fhir.Release
	frame        Frame                 // in the standard voice, once it has bytes
	voices       map[fhir.Voice][]byte // what was encoded in others; nil where one has no word for it
}

// in answers the frame in a voice.
func (w *wording) in(v fhir.Voice) Frame {
	if v == fhir.Standard {
		if w.frame.Bytes == nil {
			w.frame.Bytes = w.release.EncodeNotification(w.notification)
		}
		return w.frame
	}
	bytes, encoded := w.voices[v]
	if !encoded {
		bytes = w.release.EncodeFor(v, w.notification)
		if w.voices == nil {
			w.voices = map[fhir.Voice][]byte{}
		}
		w.voices[v] = bytes
	}
	f := w.frame
	f.Bytes = bytes
	return f
}

// wordLocked makes one notification. The events are encoded when the first
// socket wants them, so they must not change until it is sent.
func (s *subscription) wordLocked(kind fhir.NotificationType, events []fhir.Event) *wording {
	sub := s.spec.Subscription
	w := &wording{
		notification: s.notificationLocked(kind, events),
		release:      sub.Release,
		frame:        Frame{Subscription: s.id, Type: kind, Timeout: sub.Timeout},
	}
	if len(events) > 0 {
		w.frame.First, w.frame.Last = events[0].Number, events[len(events)-1].Number
	}
	return w
}

// sendLocked queues a notification on bindings and drops those whose socket
// cannot take it.
func (s *subscription) sendLocked(to []*binding, w *wording) {
	now := s.options.Clock.Now()
	w.frame.At = now
	var lost []*binding
	for _, b := range to {
		f := w.in(b.voice)
		if f.Bytes == nil {
			continue
		}
		if !b.socket.Send(f) {
			lost = append(lost, b)
			s.options.Observer.NotSent(s.id, f.First, f.Last, "socket "+b.socket.ID()+" is closing or reads too slowly; $events has what it misses")
			continue
		}
		b.due = now.Add(s.spec.Subscription.HeartbeatPeriod) // NB-21
		s.sent = now
		s.options.Observer.Sent(b.socket.ID(), f)
	}
	for _, b := range lost {
		s.dropLocked(b, "the socket could not take a frame")
	}
}
