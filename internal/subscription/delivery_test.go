package subscription_test

import (
	"bytes"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// Vector 7: two sockets, one event, one identical frame on each (WS-26).
func TestAppend_SendsTheSameBytesToEachSocket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a, b := newSocket("a"), newSocket("b")
	r.bind(t, "s", a)
	r.bind(t, "s", b)
	a.want(t, "handshake active 0")
	b.want(t, "handshake active 0")
	r.happen(1)
	fa, fb := a.take(), b.take()
	if len(fa) != 1 || len(fb) != 1 {
		t.Fatalf("got %d and %d frames, want one on each", len(fa), len(fb))
	}
	if !bytes.Equal(fa[0].Bytes, fb[0].Bytes) || &fa[0].Bytes[0] != &fb[0].Bytes[0] {
		t.Error("the sockets do not share one encoding")
	}
	if got := read(t, fa[0].Bytes).String(); got != "event-notification active 1 [1]" {
		t.Errorf("got %s", got)
	}
	r.wantObserved(t, "s is active", "s bound a", "a sent handshake 0-0", "s bound b", "b sent handshake 0-0",
		"s appended 1", "a sent event-notification 1-1", "b sent event-notification 1-1")
}

// Vector 8: one token for two subscriptions gives two handshakes (WS-21).
func TestBind_EachSubscriptionOfATokenGetsAHandshake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s1"))
	r.Put(spec("s2"))
	a := newSocket("a")
	r.bind(t, "s1", a)
	r.bind(t, "s2", a)
	frames := a.take()
	if len(frames) != 2 || frames[0].Subscription != "s1" || frames[1].Subscription != "s2" {
		t.Fatalf("got %+v, want a handshake of s1, then of s2", frames)
	}
	for _, f := range frames {
		if f.Type != fhir.Handshake || f.First != 0 || f.Last != 0 {
			t.Errorf("got %s %d-%d, want a handshake without events", f.Type, f.First, f.Last)
		}
	}
}

// Vector 9: maxCount 2 and a batch window, 5 events (NB-16, NB-4).
func TestBatch_NeverExceedsMaxCount(t *testing.T) {
	t.Parallel()
	r := newRig(t, batched(time.Second))
	r.Put(spec("s", maxCount(2)))
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake active 0")
	r.happen(5)
	a.want(t, "event-notification active 2 [1 2]", "event-notification active 4 [3 4]")
	r.clock.Advance(time.Second)
	a.want(t, "event-notification active 5 [5]")
	r.clock.Advance(time.Minute)
	a.want(t)
}

func TestBatch_WindowBeginsWithTheFirstEvent(t *testing.T) { // NB-16
	t.Parallel()
	r := newRig(t, batched(time.Second))
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	a.take()
	r.happen(1)
	r.clock.Advance(600 * time.Millisecond)
	r.happen(2)
	a.want(t)
	r.clock.Advance(399 * time.Millisecond)
	a.want(t)
	r.clock.Advance(time.Millisecond)
	a.want(t, "event-notification active 3 [1 2 3]")
}

// Pending events belong to the sockets that were bound when they occurred.
func TestBatch_IsFlushedBeforeTheBindingsChange(t *testing.T) {
	t.Parallel()
	later := 2 * time.Hour
	changes := []struct {
		name   string
		change func(r *rig, a *socket)
		after  []string // on the socket, behind the batch
	}{
		{"another socket binds", func(r *rig, _ *socket) { r.bind(t, "s", newSocket("b")) }, nil},
		{"unbind", func(r *rig, a *socket) { r.Unbind("s", a, "k") }, nil},
		{"revoke", func(r *rig, _ *socket) { r.Revoke("k") }, nil},
		{"expiry", func(r *rig, _ *socket) { r.clock.Advance(later / 2) }, nil},
		{"remove", func(r *rig, _ *socket) { r.Remove("s") }, nil},
		{"reset", func(r *rig, _ *socket) { r.Reset() }, nil},
		{"put", func(r *rig, _ *socket) { r.Put(spec("s", heartbeat(time.Hour))) }, nil},
		{"off", func(r *rig, _ *socket) { r.Put(spec("s", inStatus(fhir.StatusOff))) }, []string{"heartbeat off 2"}},
		{"error", func(r *rig, _ *socket) { r.SetError("s", "no-response", "gone") }, nil},
	}
	for _, tt := range changes {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, batched(later))
			r.Put(spec("s"))
			a := newSocket("a")
			r.bind(t, "s", a)
			a.take()
			r.happen(2)
			a.want(t)
			tt.change(r, a)
			a.want(t, append([]string{"event-notification active 2 [1 2]"}, tt.after...)...)
		})
	}
}

// Vector 10: events without a bound socket are counted, not replayed (WS-23,
// WS-24, WS-29).
func TestBind_DoesNotReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	r.happen(3)
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake active 3")
	n, err := r.Events("s", 1, 3, "")
	if err != nil {
		t.Fatal(err)
	}
	bundle := fhir.R5.EncodeNotification(n)
	if got := read(t, bundle).String(); got != "query-event active 3 [1 2 3]" {
		t.Errorf("$events: got %s", got)
	}
	fhirtest.CheckNotification(t, fhir.R5, bundle)
	r.wantObserved(t, "s is active",
		"s appended 1", "s not sent 1-1: no socket is bound; $events has the event",
		"s appended 2", "s not sent 2-2: no socket is bound; $events has the event",
		"s appended 3", "s not sent 3-3: no socket is bound; $events has the event",
		"s bound a", "a sent handshake 0-0")
}

// Vector 11: heartbeatPeriod 1, idle for 3 s (NB-20, NB-22, NB-5).
func TestHeartbeat_OnceAPeriodWhileBound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(time.Second)))
	r.clock.Advance(time.Hour)
	if r.clock.Pending() != 0 {
		t.Error("NB-22: a heartbeat is scheduled with no socket bound")
	}
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake active 0")
	r.clock.Advance(3 * time.Second)
	a.want(t, "heartbeat active 0", "heartbeat active 0", "heartbeat active 0")
	r.Unbind("s", a, "k")
	r.clock.Advance(time.Hour)
	a.want(t)
}

func TestHeartbeat_IsPutOffByEvents(t *testing.T) { // NB-21
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(10*time.Second)))
	a, b := newSocket("a"), newSocket("b")
	r.bind(t, "s", a)
	r.clock.Advance(5 * time.Second)
	r.bind(t, "s", b)
	a.take()
	b.take()
	r.clock.Advance(4 * time.Second) // a: 9 s, b: 4 s since a frame
	r.happen(1)
	a.want(t, "event-notification active 1 [1]")
	b.want(t, "event-notification active 1 [1]")
	r.clock.Advance(9999 * time.Millisecond)
	a.want(t)
	b.want(t)
	r.clock.Advance(time.Millisecond)
	a.want(t, "heartbeat active 1")
	b.want(t, "heartbeat active 1")
}

func TestHeartbeat_IsPerBinding(t *testing.T) { // NB-21: per socket
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(10*time.Second)))
	a, b := newSocket("a"), newSocket("b")
	r.bind(t, "s", a)
	r.clock.Advance(5 * time.Second)
	r.bind(t, "s", b)
	a.take()
	b.take()
	r.clock.Advance(5 * time.Second)
	a.want(t, "heartbeat active 0")
	b.want(t)
	r.clock.Advance(5 * time.Second)
	a.want(t)
	b.want(t, "heartbeat active 0")
}

func TestPut_AppliesAChangedHeartbeatPeriodAtOnce(t *testing.T) { // LC-12
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(time.Minute)))
	a := newSocket("a")
	r.bind(t, "s", a)
	a.take()
	r.Put(spec("s", heartbeat(time.Second)))
	r.clock.Advance(2 * time.Second)
	a.want(t, "heartbeat active 0", "heartbeat active 0")
	r.Put(spec("s"))
	r.clock.Advance(time.Minute)
	a.want(t)
}

// Vector 12: an expired token binds nothing. The registry does not check tokens:
// the token store does, on the same clock.
func TestBind_TokensEndOnTheSameClock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	tokens := token.New(r.clock, random.Seeded(2), token.NewIndex(10), token.Limits{Tokens: 10}, nil)
	issued, err := tokens.Issue([]string{"s"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	a := newSocket("a")
	if err := r.Bind("s", a, issued.Secret, issued.Expires); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(time.Minute - 1)
	if _, err := tokens.Lookup(issued.Secret); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	r.happen(1)
	a.want(t, "handshake active 0", "event-notification active 1 [1]")
	r.clock.Advance(1)
	if _, err := tokens.Lookup(issued.Secret); err == nil || fhir.CodeOf(err) != "expired" {
		t.Errorf("at its end: got %v, want expired", err)
	}
	r.happen(1)
	a.want(t)
	a.wantEnded(t, "s: token expired")
}

// A binding that has expired when it is made ends with the next move of the clock.
func TestBind_WithAnExpiryInThePast(t *testing.T) { // WS-33
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	if err := r.Bind("s", a, "k", r.in(-time.Second)); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(0)
	a.wantEnded(t, "s: token expired")
}

func TestFrame_CarriesItsWriteTimeout(t *testing.T) { // NB-25
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", func(s *subscription.Spec) { s.Subscription.Timeout = 7 * time.Second }))
	a := newSocket("a")
	r.bind(t, "s", a)
	if f := a.take(); f[0].Timeout != 7*time.Second {
		t.Errorf("got %s, want 7s", f[0].Timeout)
	}
}

// A socket that cannot keep up loses its binding; the others keep theirs.
func TestAppend_DropsASocketThatRefusesFrames(t *testing.T) { // WS-14
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(time.Second)))
	a, b := newSocket("a"), newSocket("b")
	r.bind(t, "s", a)
	r.bind(t, "s", b)
	a.close()
	r.wantObserved(t, "s is active", "s bound a", "a sent handshake 0-0", "s bound b", "b sent handshake 0-0")
	r.happen(1)
	r.wantObserved(t, "s appended 1",
		"s not sent 1-1: socket a is closing or reads too slowly; $events has what it misses",
		"b sent event-notification 1-1",
		"s unbound a: the socket could not take a frame")
	b.want(t, "handshake active 0", "event-notification active 1 [1]")
	if s, _ := r.State("s"); len(s.Sockets) != 1 || s.Sockets[0] != "b" {
		t.Errorf("bound: got %v, want b", s.Sockets)
	}
	if err := r.Bind("s", a, "k", r.in(time.Hour)); err != nil {
		t.Errorf("binding a closing socket: %v; its own loop reports the close", err)
	}
	if s, _ := r.State("s"); len(s.Sockets) != 1 {
		t.Errorf("a socket that did not take the handshake is bound: %v", s.Sockets)
	}
}

func TestNotifications_AreValid(t *testing.T) { // NB-1 to NB-13, LC-8, NB-27
	t.Parallel()
	r := newRig(t, batched(time.Second))
	r.Put(spec("s", heartbeat(10*time.Second), func(s *subscription.Spec) { s.Subscription.Content = fhir.FullResource }))
	a := newSocket("a")
	r.bind(t, "s", a)
	encounter, err := fhir.Parse([]byte(`{"resourceType":"Encounter","id":"2","meta":{"versionId":"1"},"status":"in-progress"}`))
	if err != nil {
		t.Fatal(err)
	}
	res := fhir.NewResource(fhir.R5, encounter)
	for range 2 {
		r.Append("t", fhir.NewOccurrence(r.clock.Now(), &fhir.Entry{Type: "Encounter", ID: "2", Method: "PUT", Resource: res}, nil), res)
	}
	r.clock.Advance(20 * time.Second)
	r.SetError("s", "no-response", "websocket write timed out")
	r.clock.Advance(10 * time.Second)
	n, _ := r.Status("s")
	frames := a.take()
	if len(frames) != 4 {
		t.Errorf("got %d frames, want handshake, events and two heartbeats", len(frames))
	}
	frames = append(frames, subscription.Frame{Bytes: fhir.R5.EncodeNotification(n)})
	for _, f := range frames {
		fhirtest.CheckNotification(t, fhir.R5, f.Bytes)
	}
}
