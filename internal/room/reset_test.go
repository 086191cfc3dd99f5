package room_test

import (
	"fmt"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

// A write beside a reset finds the room as it was before, or with its seed: never without
// the topics of the seed.
func TestReset_IsOneStepForWrites(t *testing.T) {
	t.Parallel()
	topic := `{"resourceType":"SubscriptionTopic","id":"t","url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient"}]}`
	small, err := seed.Read([]byte(`{"resources":[` + topic + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, room.Options{Seed: small})
	resets := make(chan error, 1)
	go func() {
		defer close(resets)
		for range 1000 {
			if err := r.Reset(); err != nil {
				resets <- err
				return
			}
		}
	}()
	write := func(i int) {
		id := fmt.Sprint("mine-", i)
		o, err := fhir.Parse([]byte(`{"resourceType":"Subscription","id":"` + id + `","status":"requested","content":"id-only","topic":"http://example.org/t","channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"}}`))
		if err == nil {
			_, err = r.Base(fhir.R5).Update("Subscription", id, o, room.Request{})
		}
		if err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
	for i := 0; !t.Failed(); i++ {
		select {
		case err := <-resets:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			write(i)
		}
	}
}
