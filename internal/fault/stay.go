package fault

import (
	"context"
	"sync"

	"signalfhir/internal/clock"
)

// stay is a request that faults may delay. From when a delay ends until the request is over,
// or delayed again, it holds the clock: a write that is delayed by 5 s happens 5 s later,
// however far a move of the clock goes.
type stay struct {
	mu    sync.Mutex  // guards all below; a leaf but for the holds of the clock
	rule  *Rule       // that delays it now; nil if none does
	hold  *clock.Hold // since the last delay; nil if there was none
	ended bool
}

type stayKey struct{}

// WithStay returns a context for a request that faults may delay. over is to be called when
// all that the request does has been done.
func WithStay(ctx context.Context) (with context.Context, over func()) {
	s := &stay{}
	return context.WithValue(ctx, stayKey{}, s), s.over
}

func (s *stay) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.hold.Release()
}

// begin notes that a rule delays the request. It returns the hold since the last delay,
// which is to be released when the delay has a timer.
func (s *stay) begin(r *Rule) (before *clock.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.hold
	s.rule, s.hold = r, nil
	return before
}

// end makes the request hold the clock, unless something else has ended its delay by r.
func (s *stay) end(c clock.Clock, r *Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rule == r && !s.ended {
		s.rule, s.hold = nil, c.Hold()
	}
}

// turn waits until what was let go on earlier is over.
func (s *stay) turn() {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	hold.Turn()
}
