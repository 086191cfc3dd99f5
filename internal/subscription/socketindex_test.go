package subscription_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/subscription"
)

func TestBindings_AreThoseThatAreLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := newSocket("a"), newSocket("b")
	wants := func(of *socket, ids ...string) {
		t.Helper()
		if got := r.Bindings(of); got == nil || !slices.Equal(got, ids) {
			t.Errorf("socket %s: got the bindings %q, want %q", of.id, got, ids)
		}
	}
	wants(a)
	for _, id := range []string{"z", "y", "x", "w"} {
		r.Put(spec(id))
		r.bind(t, id, a)
	}
	r.bind(t, "x", a) // again
	r.bind(t, "x", b)
	wants(a, "w", "x", "y", "z")
	r.Unbind("y", a, "k")
	wants(a, "w", "x", "z")
	r.Remove("z")
	wants(a, "w", "x")
	r.Put(spec("w", inStatus("off")))
	wants(a, "x")
	wants(b, "x")
	b.close()
	r.happen(1)
	wants(b)
	r.Gone(a)
	wants(a)
	r.bind(t, "x", newSocket("c"))
	r.clock.Advance(time.Hour)
	wants(a)
}

// lefts is a socket that keeps how many bindings it had left.
type lefts struct {
	socket
	left []int
}

func (*lefts) Ready(int64) <-chan struct{}      { return nil }
func (*lefts) Lost(string, int64) (int64, bool) { return 0, true }
func (*lefts) WhyClosing() string               { return "" }

func (l *lefts) Unbound(_ string, _ subscription.Reason, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = append(l.left, left)
}

// Bindings that end at the same time are reported in an order in which the last
// report is that none is left: the socket closes then.
func TestUnbound_ReportsWhatIsLeftInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent)
	const subscriptions = 8
	for n := range subscriptions {
		r.Put(spec(fmt.Sprint(n)))
	}
	for range 100 {
		s := &lefts{}
		for n := range subscriptions {
			if err := r.Bind(fmt.Sprint(n), s, fmt.Sprint("k", n), r.in(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		var revoking sync.WaitGroup
		for n := range subscriptions {
			revoking.Go(func() { r.Revoke(fmt.Sprint("k", n)) })
		}
		revoking.Wait()
		if want := []int{7, 6, 5, 4, 3, 2, 1, 0}; !slices.Equal(s.left, want) {
			t.Fatalf("got %v, want %v", s.left, want)
		}
	}
}
