package clock

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a hold lasts at most, in real time.
const patience = 5 * time.Second

// Hold is something that a call has begun and another goroutine ends, such as a connection
// that closes. A nil hold is over.
type Hold struct {
	of    *holds
	over  chan struct{} // closed when it is over
	limit *time.Timer
}

// holds are those of a clock that are not over.
type holds struct {
	count   atomic.Int64  // how many they are; changed under mu
	expired atomic.Uint64 // that lasted too long, ever

	mu   sync.Mutex // guards all below; a leaf
	list []*Hold    // in the order in which they began
}

// Hold implements [Clock]. It returns nil if the clock is real.
func (c *Adjustable) Hold() *Hold {
	if !c.IsManual() {
		return nil
	}
	h := &Hold{of: &c.holds, over: make(chan struct{})}
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.of.list = append(h.of.list, h)
	h.of.count.Add(1)
	h.limit = time.AfterFunc(patience, func() {
		if h.end() {
			h.of.expired.Add(1)
		}
	})
	return h
}

// Release says that it is over. A hold that lasts for 5 s of real time is released by
// itself.
func (h *Hold) Release() {
	if h != nil {
		h.end()
	}
}

func (h *Hold) end() (was bool) {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	at := slices.Index(h.of.list, h)
	if at < 0 {
		return false
	}
	h.of.list = slices.Delete(h.of.list, at, at+1)
	h.of.count.Add(-1)
	h.limit.Stop()
	close(h.over)
	return true
}

// Turn waits until the holds that began earlier are over, or h is. So what several
// goroutines end is noted in the order in which it began.
func (h *Hold) Turn() {
	if h == nil {
		return
	}
	for before := h.of.before(h); before != nil; before = h.of.before(h) {
		select {
		case <-before.over:
		case <-h.over:
			return
		}
	}
}

// before returns the hold that began before h, of those that are not over; nil if there is
// none or h is over.
func (hs *holds) before(h *Hold) *Hold {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if at := slices.Index(hs.list, h); at > 0 {
		return hs.list[at-1]
	}
	return nil
}

// first returns the hold that began first, of those that are not over; nil if there is none.
func (hs *holds) first() *Hold {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.list) == 0 {
		return nil
	}
	return hs.list[0]
}

// Settle waits until nothing holds the clock. It reports false if ctx ended before.
func (c *Adjustable) Settle(ctx context.Context) bool {
	for c.holds.count.Load() > 0 {
		first := c.holds.first()
		if first == nil {
			break
		}
		select {
		case <-first.over:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Held reports whether something holds the clock.
func (c *Adjustable) Held() bool { return c.holds.count.Load() > 0 }

// AwaitHeld waits until what holds the clock now is over, or ctx ends. Unlike
// [Adjustable.Settle], it does not wait for what begins meanwhile.
func (c *Adjustable) AwaitHeld(ctx context.Context) {
	if !c.Held() {
		return
	}
	c.holds.mu.Lock()
	list := slices.Clone(c.holds.list)
	c.holds.mu.Unlock()
	for _, h := range list {
		select {
		case <-h.over:
		case <-ctx.Done():
			return
		}
	}
}

// Expired returns how many holds lasted too long, ever.
func (c *Adjustable) Expired() uint64 { return c.holds.expired.Load() }
