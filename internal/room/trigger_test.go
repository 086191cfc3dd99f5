package room_test

import (
	"context"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/token"
)

func TestTrigger_EndsWithItsRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	recorded, issued := func() {}, token.NewIndex(1)
	issued.HideAlso(func(text []byte) []byte {
		recorded()
		return text
	})
	r := open(t, room.Options{ClockStart: time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC), Issued: issued, Seed: builtin(t)})
	recorded = cancel // during the first event
	done, err := r.Trigger(ctx, room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 3})
	recorded = func() {}
	if fhir.CodeOf(err) != fhir.CodeTimeout || len(done.Events) != 1 {
		t.Errorf("got %v and %v, want one event and a refusal", done.Events, err)
	}
}
