package room_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

// A requested subscription becomes active when its time has come on the room's clock, not
// before, and only if it is still requested.
func TestSettings_ActivationAfterATime(t *testing.T) {
	t.Parallel()
	const topic = `{"resourceType":"SubscriptionTopic","id":"t","url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient"}]}`
	small, err := seed.Read([]byte(`{"resources":[` + topic + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	var settings room.Settings
	if err := json.Unmarshal([]byte(`{"activation":{"after":"10s"}}`), &settings); err != nil {
		t.Fatal(err)
	}
	c := clock.NewManual(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC))
	idle := c.Pending()
	r := open(t, room.Options{Seed: small, Clock: c, Settings: settings})
	b := r.Base(fhir.R5)
	put := func(id, status string) {
		t.Helper()
		o, err := fhir.Parse([]byte(`{"resourceType":"Subscription","id":"` + id + `","status":"` + status + `","content":"id-only","topic":"http://example.org/t","channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"}}`))
		if err == nil {
			_, err = b.Update("Subscription", id, o, room.Request{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(statuses string) {
		t.Helper()
		var got []string
		for _, s := range r.Subscriptions() {
			stored, err := b.Read("Subscription", s.ID)
			if err != nil || stored.Object.Text("status") != s.Status {
				t.Errorf("%s is %s, stored is %v %v", s.ID, s.Status, stored, err)
			}
			got = append(got, s.ID+" "+s.Status)
		}
		if list := strings.Join(got, ", "); list != statuses {
			t.Errorf("got %s, want %s", list, statuses)
		}
	}
	put("a", "requested")
	put("b", "requested")
	put("c", "requested")
	put("d", "requested")
	c.Advance(9 * time.Second)
	put("a", "requested") // asking again does not make it longer
	put("b", "off")
	if _, err := r.ChangeSubscription("d", room.SubscriptionChange{Status: fhir.StatusError}); err != nil {
		t.Fatal(err)
	}
	want("a requested, b off, c requested, d error")
	c.Advance(time.Second)
	want("a active, b off, c active, d error")
	put("d", "requested")
	put("e", "requested")
	c.Advance(9 * time.Second)
	want("a active, b off, c active, d requested, e requested")
	if _, err := b.Write(room.Operation{Method: "DELETE", Type: "Subscription", ID: "e"}, room.Request{}); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Second)
	want("a active, b off, c active, d active")
	put("f", "requested")
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	put("f", "requested")
	c.Advance(5 * time.Second)
	put("g", "requested")
	c.Advance(5 * time.Second)
	want("f active, g requested")
	// Written again for another reason, it is still waiting.
	o, err := fhir.Parse([]byte(topic))
	if err == nil {
		_, err = b.Update("SubscriptionTopic", "t", o, room.Request{})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(5 * time.Second)
	want("f active, g active")
	put("h", "requested")
	r.Close()
	if left := c.Pending(); left != idle {
		t.Errorf("%d timers are left of a room that is closed", left)
	}
}
