package subscription_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// WS-22: sockets bind while events occur. Whatever the timing, each stream begins
// with a handshake and then has every event after the handshake's total, in order
// and without a gap, to the last.
func TestBind_HandshakePrecedesEventsWhichFollowWithoutGap(t *testing.T) {
	t.Parallel()
	const appenders, binders, socketsEach, afterwards = 3, 3, 10, 20
	for _, window := range []time.Duration{0, time.Second} {
		t.Run("window "+window.String(), func(t *testing.T) {
			r := newRig(t, silent, batched(window))
			r.Put(spec("s", heartbeat(3*time.Second), maxCount(5)))
			all := make([]*socket, binders*socketsEach)
			for i := range all {
				all[i] = newSocket(fmt.Sprint(i))
			}
			begin, bound := make(chan struct{}), make(chan struct{})
			var appending, binding sync.WaitGroup
			for range appenders {
				appending.Go(func() {
					<-begin
					for done := false; !done; {
						select {
						case <-bound:
							r.happen(afterwards)
							done = true
						default:
							r.happen(1)
							runtime.Gosched()
						}
					}
				})
			}
			appending.Go(func() { // batches and heartbeats fall in between
				<-begin
				for range 50 {
					r.clock.Advance(time.Second)
					runtime.Gosched()
				}
			})
			for n := range binders {
				binding.Go(func() {
					<-begin
					for _, s := range all[n*socketsEach:][:socketsEach] {
						if err := r.Bind("s", s, "k", start.Add(time.Hour)); err != nil {
							t.Error(err)
						}
						runtime.Gosched()
					}
				})
			}
			close(begin)
			binding.Wait()
			close(bound)
			appending.Wait()
			r.clock.Advance(time.Second)
			last := counter(t, r, "s")
			totals := map[int64]bool{}
			for _, s := range all {
				totals[checkStream(t, s, s.take(), last)] = true
			}
			t.Logf("%d sockets bound at %d different totals of %d", len(all), len(totals), last)
		})
	}
}

// checkStream checks the frames of one binding that lasted to event last and
// returns the total of its handshake.
func checkStream(t testing.TB, s *socket, frames []subscription.Frame, last int64) int64 {
	t.Helper()
	if len(frames) == 0 || frames[0].Type != fhir.Handshake {
		t.Fatalf("socket %s does not begin with a handshake", s.id)
	}
	total := read(t, frames[0].Bytes).total(t)
	next := total + 1
	for _, f := range frames[1:] {
		got := read(t, f.Bytes)
		switch f.Type {
		case fhir.EventNotification:
			if f.First != next || f.Last < f.First || f.Last > f.First+4 || got.total(t) != f.Last || len(got.NotificationEvent) != int(f.Last-f.First+1) {
				t.Fatalf("socket %s: after event %d comes %s as %d to %d", s.id, next-1, got, f.First, f.Last)
			}
			next = f.Last + 1
		case fhir.Heartbeat:
		default:
			t.Fatalf("socket %s: got a %s", s.id, f.Type)
		}
	}
	if next != last+1 {
		t.Errorf("socket %s ends with event %d, want %d", s.id, next-1, last)
	}
	return total
}

// Sockets and subscriptions come and go while events occur and time passes:
// nothing deadlocks, races or is left behind.
func TestRegistry_EverythingAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent, batched(time.Second))
	begin := make(chan struct{})
	var work sync.WaitGroup
	do := func(times int, f func(i int)) {
		work.Go(func() {
			<-begin
			for i := range times {
				f(i)
			}
		})
	}
	ids := []string{"s0", "s1", "s2"}
	do(300, func(int) { r.happen(1) })
	do(300, func(i int) { r.Put(spec(ids[i%3], heartbeat(time.Duration(i%4)*time.Second))) })
	do(100, func(i int) { r.Put(spec(ids[i%3], inStatus(fhir.StatusOff))) })
	do(100, func(i int) { r.Put(spec(ids[i%3], onTopic("u"))) })
	do(100, func(i int) { r.Remove(ids[i%3]) })
	do(100, func(i int) { r.SetError(ids[i%3], "", "trouble") })
	do(100, func(int) { r.clock.Advance(700 * time.Millisecond) })
	do(300, func(i int) {
		if s, ok := r.State(ids[i%3]); ok && s.Base != base {
			t.Errorf("a subscription was seen before it had its spec: %+v", s)
		}
		_, _ = r.Events(ids[i%3], 0, -1, "")
	})
	for n := range 4 {
		do(150, func(i int) {
			s := newSocket(fmt.Sprint(n, "-", i))
			_ = r.Bind(ids[i%3], s, "k", r.in(time.Duration(i%5)*time.Second))
			_ = r.Bind(ids[(i+1)%3], s, "other", r.in(time.Minute))
			if i%2 == 0 {
				r.Unbind(ids[i%3], s, "k")
			}
			s.close()
			r.Gone(s)
		})
	}
	do(50, func(int) { r.Revoke("k") })
	do(10, func(int) { r.Reset() })
	close(begin)
	work.Wait()
	for _, id := range ids {
		if s, ok := r.State(id); ok && len(s.Sockets) != 0 {
			t.Errorf("%s still has sockets %v", id, s.Sockets)
		}
	}
}
