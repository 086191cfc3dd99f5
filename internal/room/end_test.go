package room_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// The zero time of Go is an instant that a client can write.
func TestSubscription_EndInThePastIsRefused(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Seed: builtin(t)})
	for _, release := range []fhir.Release{fhir.R5, fhir.R4B, fhir.R4} {
		b := r.Base(release)
		id := ""
		for _, s := range r.Subscriptions() {
			if s.Release == string(release) {
				id = s.ID
			}
		}
		stored, err := b.Read("Subscription", id)
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z", "0001-01-01T01:00:00+01:00", "2001-01-01T00:00:00Z"} {
			o := stored.Object.Clone()
			o.Set("end", end)
			_, err := b.Update("Subscription", id, o, room.Request{Base: "http://localhost/fhir/R5"})
			if err == nil || !strings.Contains(err.Error(), "has passed") {
				t.Errorf("%s, end %s: got %v, want it refused as past", release, end, err)
			}
		}
	}
}
