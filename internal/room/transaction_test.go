package room_test

import (
	"fmt"
	"net/http"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// The limit of subscriptions applies to the whole transaction: by PUT or POST, less
// those that it deletes.
func TestTransaction_ChecksTheLimitOfSubscriptions(t *testing.T) {
	t.Parallel()
	r, refused := room.New(room.Options{MaxSubscriptions: 2, Releases: []fhir.Release{fhir.R5}})
	if refused != nil {
		t.Fatal(refused)
	}
	defer r.Close()
	b := r.Base(fhir.R5)
	parsed := func(text string) *fhir.Object {
		o, err := fhir.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	const url = "http://example.org/t"
	if _, err := b.Update("SubscriptionTopic", "t", parsed(`{"resourceType":"SubscriptionTopic","id":"t","url":"`+url+`","status":"active","resourceTrigger":[{"resource":"Patient"}]}`), room.Request{}); err != nil {
		t.Fatal(err)
	}
	write := func(i int, method, id string) room.Operation {
		o := room.Operation{Method: method, Type: "Subscription", ID: id, Place: fmt.Sprintf("Bundle.entry[%d]", i)}
		if method != http.MethodDelete {
			o.Object = parsed(`{"resourceType":"Subscription","id":"` + id + `","status":"requested","topic":"` + url + `","channelType":{"code":"websocket"},"content":"empty"}`)
		}
		if method == http.MethodPost {
			o.ID = ""
		}
		return o
	}
	for _, test := range []struct {
		name       string
		operations []room.Operation
		status     int
	}{
		{"three by PUT", []room.Operation{write(0, "PUT", "a"), write(1, "PUT", "b"), write(2, "PUT", "c")}, 429},
		{"three by both", []room.Operation{write(0, "PUT", "a"), write(1, "POST", "b"), write(2, "POST", "c")}, 429},
		{"two", []room.Operation{write(0, "PUT", "a"), write(1, "PUT", "b")}, 0},
		{"the same again", []room.Operation{write(0, "PUT", "a"), write(1, "PUT", "b")}, 0},
		{"one more", []room.Operation{write(0, "PUT", "a"), write(1, "PUT", "c")}, 429},
		{"one more by itself", []room.Operation{write(0, "PUT", "c")}, 429},
		{"one for another", []room.Operation{write(0, "PUT", "c"), write(1, "DELETE", "a")}, 0},
	} {
		_, err := b.Transaction(test.operations, room.Request{})
		status := 0
		if err != nil {
			status = fhir.AsError(err).Status
		}
		if status != test.status {
			t.Errorf("%s: got %d %v, want %d", test.name, status, err, test.status)
		}
	}
}
