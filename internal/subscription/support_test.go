package subscription_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

const (
	base  = "http://localhost:8080/fhir/R5"
	topic = "http://example.org/topics/admission"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// status is the part of a notification that the tests look at.
type status struct {
	Type, Status, Topic          string
	EventsSinceSubscriptionStart string
	NotificationEvent            []struct {
		EventNumber string
		Focus       *struct{ Reference string }
	}
	Error []struct {
		Coding []struct{ Code string }
		Text   string
	}
}

// failer is the common part of [testing.T] and [rapid.T].
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func read(t failer, bundle []byte) status {
	t.Helper()
	var b struct{ Entry []struct{ Resource status } }
	if err := json.Unmarshal(bundle, &b); err != nil || len(b.Entry) == 0 {
		t.Fatalf("not a notification (%v): %s", err, bundle)
	}
	return b.Entry[0].Resource
}

// total returns eventsSinceSubscriptionStart as a number.
func (s status) total(t failer) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s.EventsSinceSubscriptionStart, 10, 64)
	if err != nil {
		t.Fatalf("eventsSinceSubscriptionStart is %q", s.EventsSinceSubscriptionStart)
	}
	return n
}

// String returns the notification in short: "event-notification active 4 [3 4]".
func (s status) String() string {
	text := s.Type + " " + s.Status + " " + s.EventsSinceSubscriptionStart
	if len(s.NotificationEvent) > 0 {
		var numbers []string
		for _, e := range s.NotificationEvent {
			numbers = append(numbers, e.EventNumber)
		}
		text += fmt.Sprint(" ", numbers)
	}
	return text
}

// socket records the frames it gets.
type socket struct {
	id string

	mu     sync.Mutex // guards all below
	frames []subscription.Frame
	ended  []string // "subscription: reason"
	closed bool     // refuses frames
}

func newSocket(id string) *socket { return &socket{id: id} }

func (s *socket) ID() string { return s.id }

func (s *socket) Send(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	sent(s.id, f)
	s.frames = append(s.frames, f)
	return true
}

func (*socket) Ready(int64) <-chan struct{}      { return nil }
func (*socket) Lost(string, int64) (int64, bool) { return 0, true }
func (*socket) WhyClosing() string               { return "" }

func (s *socket) Unbound(id string, why subscription.Reason, _ int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, id+": "+string(why))
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// take returns the frames that came since the last call.
func (s *socket) take() []subscription.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := s.frames
	s.frames = nil
	return frames
}

// want fails unless exactly these notifications came since the last call, each
// in the short form of [status.String].
func (s *socket) want(t testing.TB, notifications ...string) {
	t.Helper()
	var got []string
	for _, f := range s.take() {
		got = append(got, read(t, f.Bytes).String())
	}
	if !slices.Equal(got, notifications) {
		t.Errorf("socket %s: got %q, want %q", s.id, got, notifications)
	}
}

func (s *socket) wantEnded(t testing.TB, ended ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.ended, ended) {
		t.Errorf("socket %s was notified of ended bindings %q, want %q", s.id, s.ended, ended)
	}
}

// rig is a registry with a manual clock and a record of the observer's calls.
type rig struct {
	*subscription.Registry
	clock *clock.Adjustable
	ends  []string

	mu       sync.Mutex // guards observed
	observed []string
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observed = append(r.observed, fmt.Sprintf(format, args...))
}

// wantObserved fails unless the observer was called with exactly this since the
// last call.
func (r *rig) wantObserved(t testing.TB, observed ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.observed, observed) {
		t.Errorf("the observer saw\n%q, want\n%q", r.observed, observed)
	}
	r.observed = nil
}

// newRig makes a registry that is closed with the test, and checks that closing
// leaves nothing scheduled.
func newRig(t testing.TB, set ...func(*subscription.Options)) *rig {
	r := &rig{clock: clock.NewManual(start)}
	o := subscription.Options{
		Clock:  r.clock,
		Random: random.Seeded(1),
		OnEnd:  func(id string) { r.ends = append(r.ends, id) },
		Observer: subscription.Observer{
			Appended: func(id string, e fhir.Event) { r.note("%s appended %d", id, e.Number) },
			Sent:     func(socket string, f subscription.Frame) { r.note("%s sent %s %d-%d", socket, f.Type, f.First, f.Last) },
			Replayed: func(socket string, f subscription.Frame) {
				r.note("%s sent again %s %d-%d", socket, f.Type, f.First, f.Last)
			},
			NotSent: func(id string, first, last int64, why string) { r.note("%s not sent %d-%d: %s", id, first, last, why) },
			Bound:   func(id, socket, _ string) { r.note("%s bound %s", id, socket) },
			Unbound: func(id, socket, _, why string) { r.note("%s unbound %s: %s", id, socket, why) },
			Status:  func(id, status string) { r.note("%s is %s", id, status) },
		},
	}
	for _, f := range set {
		f(&o)
	}
	r.Registry = subscription.New(o)
	t.Cleanup(func() {
		r.Close()
		if left := r.clock.Pending(); left != 0 {
			t.Errorf("%d timers are left after Close", left)
		}
		if left := r.Len(); left != 0 {
			t.Errorf("%d subscriptions are left after Close", left)
		}
	})
	return r
}

func batched(window time.Duration) func(*subscription.Options) {
	return func(o *subscription.Options) { o.BatchWindow = window }
}

// silent discards the record, for tests that make many events.
func silent(o *subscription.Options) {
	o.Observer = subscription.Observer{
		Appended: func(string, fhir.Event) {},
		Sent:     func(string, subscription.Frame) {},
		NotSent:  func(string, int64, int64, string) {},
		Bound:    func(string, string, string) {},
		Unbound:  func(string, string, string, string) {},
		Status:   func(string, string) {},
	}
}

// spec returns an active subscription with content id-only on the topic "t".
func spec(id string, change ...func(*subscription.Spec)) subscription.Spec {
	s := subscription.Spec{
		Subscription: &fhir.Subscription{Release: fhir.R5, ID: id, Status: fhir.StatusActive, Topic: topic, Content: fhir.IDOnly},
		Base:         base,
		TopicKey:     "t",
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func inStatus(code string) func(*subscription.Spec) {
	return func(s *subscription.Spec) { s.Subscription.Status = code }
}

func heartbeat(period time.Duration) func(*subscription.Spec) {
	return func(s *subscription.Spec) { s.Subscription.HeartbeatPeriod = period }
}

func maxCount(n int) func(*subscription.Spec) {
	return func(s *subscription.Spec) { s.Subscription.MaxCount = n }
}

func onTopic(key string) func(*subscription.Spec) {
	return func(s *subscription.Spec) { s.TopicKey = key }
}

func occurrence() *fhir.Occurrence {
	return fhir.NewOccurrence(start, &fhir.Entry{Type: "Encounter", ID: "2", Method: "POST"}, nil)
}

// state is the resource that filters look at.
var state = fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Encounter", "id", "2"))

// happen appends events on the topic "t".
func (r *rig) happen(times int) {
	for range times {
		r.Append("t", occurrence(), state)
	}
}

func (r *rig) in(d time.Duration) time.Time { return r.clock.Now().Add(d) }

// bind binds for an hour through the token "k" and fails the test if it is refused.
func (r *rig) bind(t testing.TB, id string, s subscription.Socket) {
	t.Helper()
	if err := r.Bind(id, s, "k", r.in(time.Hour)); err != nil {
		t.Fatalf("Bind %s: %v", id, err)
	}
}

func counter(t testing.TB, r *rig, id string) int64 {
	t.Helper()
	s, ok := r.State(id)
	if !ok {
		t.Fatalf("there is no subscription %s", id)
	}
	return s.Counter
}
