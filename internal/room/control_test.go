package room_test

import (
	"strings"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

// A subscription whose end has passed cannot become active, as for a client.
func TestChangeSubscription_KeepsTheEnd(t *testing.T) {
	t.Parallel()
	small, err := seed.Read([]byte(`{"resources":[{"resourceType":"SubscriptionTopic","id":"t","url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient"}]},
		{"resourceType":"Subscription","id":"s","status":"requested","content":"id-only","topic":"http://example.org/t","end":"2026-01-01T08:00:05Z","channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	c := clock.NewManual(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC))
	r := open(t, room.Options{Seed: small, Clock: c})
	off, active := room.SubscriptionChange{Status: fhir.StatusOff}, room.SubscriptionChange{Status: fhir.StatusActive}
	for _, change := range []room.SubscriptionChange{off, active} {
		if state, err := r.ChangeSubscription("s", change); err != nil || state.Status != change.Status {
			t.Fatalf("got %+v, %v, want it %s", state, err, change.Status)
		}
	}
	c.Advance(5 * time.Second)
	if state := r.Subscriptions()[0]; state.Status != fhir.StatusOff {
		t.Fatalf("got %s at its end", state.Status)
	}
	if _, err := r.ChangeSubscription("s", active); fhir.StatusOf(err) != 422 || !strings.Contains(err.Error(), "has passed") {
		t.Errorf("got %v, want it refused", err)
	}
}
