package subscription_test

import (
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

func TestKeepExpired_BindingsOutliveTheirTokens(t *testing.T) { // WS-33: onTokenExpiry=keep
	t.Parallel()
	r := newRig(t, func(o *subscription.Options) { o.KeepExpired = true })
	r.Put(spec("s"))
	a := newSocket("a")
	_ = r.Bind("s", a, "k1", r.in(time.Minute))
	if left := r.clock.Pending(); left != 0 {
		t.Errorf("%d timers run, want none: nothing expires", left)
	}
	r.clock.Advance(time.Hour)
	r.happen(1)
	a.want(t, "handshake active 0", "event-notification active 1 [1]")
	_ = r.Bind("s", a, "k2", r.in(time.Minute))
	r.Unbind("s", a, "k2")
	r.happen(1)
	a.want(t, "handshake active 1", "event-notification active 2 [2]")
	a.wantEnded(t)
	r.Revoke("k1")
	a.wantEnded(t, "s: token revoked")
}

// A heartbeat that is due on several sockets is one frame (WS-26), and a busy
// subscription leaves one timer behind however many sockets there are.
func TestHeartbeat_IsSharedByTheSocketsItIsDueOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(10*time.Second)))
	sockets := []*socket{newSocket("a"), newSocket("b"), newSocket("c")}
	for _, s := range sockets {
		r.bind(t, "s", s)
		r.clock.Advance(time.Second)
	}
	r.happen(1) // all sockets are due at the same time from here on
	expiries := len(sockets)
	if got := r.clock.Pending() - expiries; got != 1 {
		t.Errorf("%d heartbeat timers run, want 1", got)
	}
	r.clock.Advance(10 * time.Second)
	var first *byte
	for _, s := range sockets {
		s.mu.Lock()
		last := s.frames[len(s.frames)-1]
		s.mu.Unlock()
		if first == nil {
			first = &last.Bytes[0]
		}
		if last.Type != fhir.Heartbeat || &last.Bytes[0] != first {
			t.Errorf("socket %s: got a separate %s, want the frame that the others got", s.id, last.Type)
		}
		s.want(t, "handshake active 0", "event-notification active 1 [1]", "heartbeat active 1")
	}
}

func TestNew_AnObserverMayBeIncomplete(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(start)
	r := subscription.New(subscription.Options{Clock: c, Random: random.Seeded(1)})
	defer r.Close()
	r.Put(spec("s", func(s *subscription.Spec) { s.Subscription.End = start.Add(time.Minute) }))
	r.Append("t", occurrence(), state)
	a, b := newSocket("a"), newSocket("b")
	_ = r.Bind("s", a, "k", start.Add(time.Hour))
	b.close()
	_ = r.Bind("s", b, "k", start.Add(time.Hour))
	c.Advance(2 * time.Hour) // no OnEnd either
	r.Put(spec("s", inStatus(fhir.StatusOff)))
	a.wantEnded(t, "s: token expired")
}

func TestClose_IsForGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.Close()
	a.wantEnded(t, "s: room was reset")
	r.Put(spec("s", heartbeat(time.Second)))
	if r.Len() != 0 {
		t.Error("a subscription was put into a closed registry")
	}
}

// A subscription that is off does not explain its filters, and it cannot get the status
// error.
func TestSetError_LeavesWhatIsOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", inStatus(fhir.StatusOff)))
	r.SetError("s", "", "the topic is gone")
	if s, _ := r.State("s"); s.Status != fhir.StatusOff || s.Errors != nil {
		t.Errorf("got %s with %v, want off", s.Status, s.Errors)
	}
	r.SetError("nobody", "", "")
}

// Without maxCount a burst still makes bundles of bounded size.
func TestBatch_IsNoLongerThanTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, batched(time.Second), func(o *subscription.Options) { o.LogSize = 3 })
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.happen(4)
	a.want(t, "handshake active 0", "event-notification active 3 [1 2 3]")
	if s, _ := r.State("s"); s.Pending != 1 {
		t.Errorf("%d events wait, want 1", s.Pending)
	}
	r.clock.Advance(time.Second)
	a.want(t, "event-notification active 4 [4]")
}

// A socket that closes while a batch waits misses it. That is reported, and the
// other sockets get the batch on time.
func TestGone_ReportsPendingEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, batched(time.Second))
	r.Put(spec("s"))
	a, b := newSocket("a"), newSocket("b")
	r.bind(t, "s", a)
	r.bind(t, "s", b)
	r.happen(2)
	r.note("---")
	a.close()
	r.Gone(a)
	b.close()
	r.Gone(b)
	r.mu.Lock()
	observed := r.observed[len(r.observed)-4:]
	r.mu.Unlock()
	want := []string{
		"s not sent 1-2: socket a was unbound before their bundle was due: the socket closed; $events has the events",
		"s unbound a: the socket closed",
		"s not sent 1-2: socket b was unbound before their bundle was due: the socket closed; $events has the events",
		"s unbound b: the socket closed",
	}
	for i := range want {
		if observed[i] != want[i] {
			t.Errorf("observed %q, want %q", observed[i], want[i])
		}
	}
	if left := r.clock.Pending(); left != 0 {
		t.Errorf("%d timers are left with no socket bound", left)
	}
}

// Bindings that end and begin at the same moment do not confuse the index by
// socket: a socket that closes is unbound, whatever came before.
func TestGone_FindsABindingMadeWhileAnotherEnded(t *testing.T) {
	t.Parallel()
	for range 200 {
		r := newRig(t, silent)
		r.Put(spec("s"))
		a := newSocket("a")
		done := make(chan struct{})
		r.bind(t, "s", a)
		go func() {
			defer close(done)
			r.Unbind("s", a, "k")
		}()
		_ = r.Bind("s", a, "k2", r.in(time.Hour))
		<-done
		if s, _ := r.State("s"); len(s.Sockets) != 1 {
			t.Fatalf("bound: %v, want a", s.Sockets)
		}
		a.close()
		r.Gone(a)
		if s, _ := r.State("s"); len(s.Sockets) != 0 {
			t.Fatalf("bound after it closed: %v", s.Sockets)
		}
		r.Close()
	}
}

// On the real clock, timers fire concurrently with everything else: no frame
// comes early or twice, and nothing runs after Close.
func TestHeartbeat_OnTheRealClock(t *testing.T) { // NB-21, WS-33, LC-11
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan string, 1)
		r := subscription.New(subscription.Options{
			Clock: clock.Real(), Random: random.Seeded(1), BatchWindow: time.Second,
			OnEnd: func(id string) { ended <- id },
		})
		begin := time.Now()
		r.Put(spec("s", heartbeat(10*time.Second), func(s *subscription.Spec) { s.Subscription.End = begin.Add(time.Hour) }))
		a := newSocket("a")
		if err := r.Bind("s", a, "k", begin.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9500 * time.Millisecond) // an event is due half a second after the heartbeat
		r.Append("t", occurrence(), state)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		a.want(t, "handshake active 0", "heartbeat active 1", "event-notification active 1 [1]",
			"heartbeat active 1", "heartbeat active 1", "heartbeat active 1")
		time.Sleep(time.Hour)
		synctest.Wait()
		a.want(t, "heartbeat active 1")
		a.wantEnded(t, "s: token expired")
		select {
		case id := <-ended:
			if id != "s" {
				t.Errorf("%s ended, want s", id)
			}
		default:
			t.Error("LC-11: OnEnd was not called")
		}
		r.Close()
	})
}

// A subscription that moves to another topic judges a concurrent event by its
// spec when the event arrives, never by half of the old and half of the new one.
func TestPut_IsOneStepToAConcurrentEvent(t *testing.T) { // LC-12
	t.Parallel()
	r := newRig(t)
	r.Put(spec("first", func(s *subscription.Spec) {
		s.Filter = filterFunc(func(*fhir.Resource) (bool, []string) {
			moved := make(chan struct{})
			go func() {
				defer close(moved)
				r.Put(spec("second", onTopic("u")))
			}()
			<-moved
			return true, nil
		})
	}))
	r.Put(spec("second"))
	r.happen(1)
	if got := counter(t, r, "second"); got != 0 {
		t.Errorf("second, which is on topic u, has %d events of topic t", got)
	}
}

// lateClock is a clock whose timers never fire: a busy machine, taken to the extreme.
type lateClock struct{ *clock.Adjustable }

func (c lateClock) At(when time.Time, _ func(), what ...clock.What) clock.Timer {
	return c.Adjustable.At(when, func() {}, what...)
}

// Nothing is delivered after the expiry, even if the timer of the binding is late (WS-33).
func TestExpiry_IsCheckedByDeliveryItself(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(start)
	r := subscription.New(subscription.Options{Clock: lateClock{c}, Random: random.Seeded(1)})
	defer r.Close()
	r.Put(spec("s"))
	short, long := newSocket("short"), newSocket("long")
	for socket, until := range map[*socket]time.Duration{short: time.Minute, long: time.Hour} {
		if err := r.Bind("s", socket, "k", start.Add(until)); err != nil {
			t.Fatal(err)
		}
		socket.take()
	}
	c.Advance(time.Minute - 1)
	r.Append("t", occurrence(), state)
	short.want(t, "event-notification active 1 [1]")
	c.Advance(1)
	r.Append("t", occurrence(), state)
	short.want(t)
	short.wantEnded(t, "s: token expired")
	long.want(t, "event-notification active 1 [1]", "event-notification active 2 [2]")
	c.Advance(time.Hour)
	if _, sockets, err := r.Resend("s", func(*fhir.Event) bool { return true }); err != nil || sockets != 0 {
		t.Errorf("resent to %d sockets (%v), want none", sockets, err)
	}
	long.want(t)
}
