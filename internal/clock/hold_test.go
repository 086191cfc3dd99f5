package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/clock"
)

func TestHold_Settle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(start)
		first, second := c.Hold(), c.Hold()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if c.Settle(ended) {
			t.Error("settled while there are two holds")
		}
		settled := false
		go func() { settled = c.Settle(t.Context()) }()
		second.Release()
		synctest.Wait()
		if settled {
			t.Error("settled while there is one hold")
		}
		first.Release()
		first.Release()
		if synctest.Wait(); !settled || !c.Settle(ended) {
			t.Error("not settled, want that at once")
		}
	})
}

// A hold that is never released does not last.
func TestHold_Expires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(start)
		c.Hold()
		c.Hold().Release()
		began := time.Now()
		if !c.Settle(t.Context()) || time.Since(began) != 5*time.Second || c.Expired() != 1 {
			t.Errorf("settled after %s, %d expired", time.Since(began), c.Expired())
		}
	})
}

func TestHold_Turn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(start)
		var holds []*clock.Hold
		for range 4 {
			holds = append(holds, c.Hold())
		}
		var order []int
		for _, i := range []int{2, 3, 1} {
			go func() {
				holds[i].Turn()
				order = append(order, i) // no two have their turn at once
				holds[i].Release()
			}()
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Errorf("got %v before the turn of any", order)
		}
		holds[0].Release()
		synctest.Wait()
		if len(order) != 3 || order[0] != 1 || order[1] != 2 || order[2] != 3 {
			t.Errorf("got %v, want 1, 2, 3", order)
		}
		holds[3].Turn() // it is over
	})
}

// Nothing holds a real clock: nobody moves it.
func TestHold_OfARealClock(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	h := c.Hold()
	if h != nil {
		t.Error("got a hold")
	}
	h.Turn()
	h.Release()
}
