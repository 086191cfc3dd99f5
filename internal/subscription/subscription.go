package subscription

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
)

// subscription is one subscription at work.
//
// A timer may fire while its purpose changes under the lock. So a timer function
// never acts just because it was called: it checks what is due now.
type subscription struct {
	registry *Registry
	options  *Options // of the registry
	id       string
	order    uint64 // position in the order of creation
	topic    string // key of its topic in the index; guarded by the registry's lock
	place    place  // its position in that index; likewise

	mu       sync.Mutex // guards all below
	spec     Spec
	status   string
	errors   []fhir.SubscriptionError // replaced, never modified
	counter  int64                    // number of the last event; only SetCounter sets it back (LC-13)
	log      *eventLog
	pending  []fhir.Event // waiting to share a bundle; empty without a binding
	spare    []fhir.Event // the previous array of pending, for reuse
	batch    clock.Timer  // flushes pending; nil while nothing is pending
	activate clock.Timer  // nil unless it is requested until a time
	end      clock.Timer  // nil if the subscription has no end
	beat     clock.Timer  // next heartbeat of any binding; nil without bindings or heartbeats
	bound    map[Socket]*binding
	bindings []*binding // the values of bound in order of binding, for delivery
	sent     time.Time  // when the last frame was queued

	policy    *Replay // nil: that of the registry
	replaying int     // bindings that get events from the log
	reached   int64   // number of the last event that a socket got whose binding has ended

	// The number of the last event that was queued for sockets whose bindings have ended. They
	// may still lose it.
	left    map[Socket]int64
	leftMax int // how many there may be before those that have ended are removed

	stopped bool // removed from the registry
}

func newSubscription(r *Registry, id string) *subscription {
	return &subscription{registry: r, options: &r.options, id: id, log: r.logs.newLog(), bound: map[Socket]*binding{}}
}

// dormant reports whether events are neither counted nor logged in a status.
func dormant(status string) bool {
	return status == fhir.StatusOff || status == fhir.StatusEnteredInError
}

// put applies a new or changed spec.
func (s *subscription) put(spec Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Events that occurred before the change are sent under the old spec.
	s.flushLocked()
	before := s.spec.Subscription
	s.spec = spec
	s.setStatusLocked(spec.Subscription.Status)
	if s.status == fhir.StatusActive {
		s.errors = nil
	} else {
		s.abandonReplaysLocked("the subscription is " + s.status)
	}
	s.armEndLocked()
	s.armActivationLocked()
	if dormant(s.status) {
		if len(s.bindings) > 0 {
			s.sendLocked(s.bindings, s.outgoingLocked(fhir.Heartbeat, nil)) // WS-34
		}
		s.endBindingsLocked(SubscriptionOff)
		return
	}
	if before != nil && before.HeartbeatPeriod != spec.Subscription.HeartbeatPeriod {
		s.restartHeartbeatsLocked()
	}
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
	s.abandonReplaysLocked("the subscription is " + s.status)
	s.errors = []fhir.SubscriptionError{e}
}

// stop ends everything after the subscription was removed from the registry.
func (s *subscription) stop(why Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
	s.stopped = true
	stopTimer(&s.end)
	stopTimer(&s.activate)
	s.log.close()
	s.endBindingsLocked(why)
}

// armEndLocked schedules OnEnd for the end of the subscription (LC-11).
func (s *subscription) armEndLocked() {
	stopTimer(&s.end)
	end := s.spec.Subscription.End
	if end.IsZero() || dormant(s.status) || s.options.OnEnd == nil {
		return
	}
	s.end = s.options.Clock.At(end, func() {
		if s.hasEnded() {
			s.options.OnEnd(s.id)
		}
	}, clock.What{Kind: clock.End, Of: s.id})
}

// hasEnded reports, once, that the end has come.
func (s *subscription) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		return false
	}
	if s.spec.Subscription.End.After(s.options.Clock.Now()) { // it was moved while the timer fired, or the clock was set back
		s.armEndLocked()
		return false
	}
	s.end = nil
	return true
}

// armActivationLocked schedules OnActivate for a subscription that is requested for a time.
func (s *subscription) armActivationLocked() {
	stopTimer(&s.activate)
	due := s.spec.Activation.Due
	if due == 0 || s.status != fhir.StatusRequested || s.options.OnActivate == nil {
		return
	}
	s.activate = s.options.Clock.AfterFunc(due-s.options.Clock.Elapsed(), func() {
		if s.isDue() {
			s.options.OnActivate(s.id)
		}
	}, clock.What{Kind: clock.Activation, Of: s.id})
}

// isDue reports, once, that the time of a requested subscription has come.
func (s *subscription) isDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.activate == nil || s.status != fhir.StatusRequested {
		return false
	}
	if left := s.spec.Activation.Due - s.options.Clock.Elapsed(); left > 0 {
		s.activate.Reset(left)
		return false
	}
	s.activate = nil
	return true
}

func stopTimer(t *clock.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

// append numbers and logs the event of an occurrence on a topic if it concerns
// the subscription. It returns the event's number, or 0 and the reason. The
// reason is "" if the subscription is not on the topic.
func (s *subscription) append(topicKey string, o *fhir.Occurrence, state *fhir.Resource) (number int64, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.spec.TopicKey != topicKey {
		return 0, "" // removed or moved to another topic since the registry looked
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

// appendTo numbers and logs an event, whatever the topic and filters.
func (s *subscription) appendTo(o *fhir.Occurrence) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, unknown(s.id)
	}
	if dormant(s.status) {
		return 0, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule,
			`Subscription/%s is %s, so it gets no events; set its status to "requested" first`, s.id, s.status)
	}
	return s.appendLocked(o), nil
}

func (s *subscription) appendLocked(o *fhir.Occurrence) int64 {
	s.expireBindingsLocked()
	s.counter++
	event := fhir.Event{Number: s.counter, Occurrence: o}
	s.log.add(event)
	s.options.Observer.Appended(s.id, event)
	s.deliverLocked(event)
	return event.Number
}

// deliverLocked sends an event, or holds it back to share a bundle with others.
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
		}, clock.What{Kind: clock.Batch, Of: s.id})
	}
}

// batchSizeLocked returns the maximum number of events in a bundle: maxCount
// (NB-16), but never more than the log holds, so that a burst cannot make an
// endless bundle.
func (s *subscription) batchSizeLocked() int {
	if most := s.spec.Subscription.MaxCount; most > 0 {
		return min(most, s.options.LogSize)
	}
	return s.options.LogSize
}

// flushLocked sends the pending events.
func (s *subscription) flushLocked() {
	stopTimer(&s.batch)
	if len(s.pending) == 0 {
		return
	}
	events := s.pending
	s.pending = s.spare[:0] // an observer called below must see nothing pending
	s.sendLocked(s.currentLocked(), s.outgoingLocked(fhir.EventNotification, events))
	clear(events) // only the log decides how long an occurrence is kept
	s.spare = events
}

// outgoing is one notification on its way to sockets, encoded once per frame
// format.
type outgoing struct {
	notification *fhir.Notification
	text         []byte // in the place of the notification, in every frame format
	release      fhir.Release
	manners      *manners.Manners           // nil: none
	shared       bool                       // by several bindings
	replayed     bool                       // it has events from before the bind
	frame        Frame                      // in the standard format, once it has bytes
	formats      map[fhir.FrameFormat]Frame // in other formats; without bytes if a format cannot express it
}

// in returns the frame in a frame format.
func (w *outgoing) in(format fhir.FrameFormat) Frame {
	if w.text != nil {
		if w.frame.Bytes == nil {
			w.frame = w.with(w.text, format)
		}
		return w.frame
	}
	if w.manners != nil {
		format = w.manners.Format(format, w.release)
	}
	if format == fhir.StandardFormat {
		if w.frame.Bytes == nil {
			w.frame = w.with(w.release.EncodeNotification(w.notification), format)
		}
		return w.frame
	}
	f, encoded := w.formats[format]
	if !encoded {
		f = w.with(w.release.EncodeFor(format, w.notification), format)
		if w.formats == nil {
			w.formats = map[fhir.FrameFormat]Frame{}
		}
		w.formats[format] = f
	}
	return f
}

// with returns the frame with these bytes, which are in a frame format.
func (w *outgoing) with(bytes []byte, format fhir.FrameFormat) Frame {
	f := w.frame
	f.Bytes = bytes
	if w.manners != nil && bytes != nil {
		f.Bytes, f.Note = w.manners.Change(bytes, format)
	}
	if w.shared {
		f.Waiting = new(atomic.Int32)
	}
	return f
}

// outgoingLocked makes one notification. Its events are encoded when the first
// socket needs them, so they must not change until it is sent.
func (s *subscription) outgoingLocked(kind fhir.NotificationType, events []fhir.Event) *outgoing {
	sub := s.spec.Subscription
	w := &outgoing{
		notification: s.notificationLocked(kind, events),
		release:      sub.Release,
		manners:      s.options.Manners.Get(),
		frame:        Frame{Subscription: s.id, Type: kind, Release: sub.Release, Timeout: sub.Timeout},
	}
	if len(events) > 0 {
		w.frame.First, w.frame.Last = events[0].Number, events[len(events)-1].Number
	}
	return w
}

// sendLocked queues a notification on bindings and drops those whose socket
// cannot take it.
func (s *subscription) sendLocked(to []*binding, w *outgoing) {
	now, elapsed := s.options.Clock.Read()
	w.frame.At = now
	w.shared = len(to) > 1
	sent := s.options.Observer.Sent
	if w.replayed {
		sent = s.options.Observer.Replayed
	}
	var lost []*binding
	for _, b := range to {
		f := w.in(b.Format)
		if f.Bytes == nil {
			continue
		}
		f.Dialect = b.Dialect
		if !b.socket.Send(f, sent) {
			lost = append(lost, b)
			s.options.Observer.NotSent(s.id, f.First, f.Last, whyRefused(b.socket)+"; $events has what it misses")
			continue
		}
		b.due = elapsed + s.spec.Subscription.HeartbeatPeriod // NB-21
		b.sent = max(b.sent, f.Last)
		if !f.Silent {
			s.sent = now
		}
	}
	for _, b := range lost {
		s.dropLocked(b, frameRefused)
	}
}

// whyRefused says why a socket took no frame.
func whyRefused(by Socket) string {
	if why := by.WhyClosing(); why != "" {
		return "socket " + by.ID() + " closes: " + why
	}
	return "socket " + by.ID() + " is closing or reads too slowly"
}
