package room_test

import (
	"context"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// watched is a clock that says when it is asked for the time.
type watched struct {
	*clock.Adjustable
	asked func()
}

func (w *watched) Now() time.Time {
	w.asked()
	return w.Adjustable.Now()
}

func TestTrigger_EndsWithItsRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{clock.NewManual(time.Now()), func() {}}
	r := open(t, room.Options{Clock: w, Seed: builtin(t)})
	w.asked = cancel // during the first event
	done, err := r.Trigger(ctx, room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 3})
	w.asked = func() {}
	if fhir.CodeOf(err) != fhir.CodeTimeout || len(done.Events) != 1 {
		t.Errorf("got %v and %v, want one event and a refusal", done.Events, err)
	}
}
