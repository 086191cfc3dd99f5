package room_test

import (
	"fmt"
	"strconv"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

const admission = "http://example.org/topic/admission"

// A write fires a topic that has many subscriptions, but only one filters for its
// patient. The number of the others must not matter.
func BenchmarkWrite_OneOfManyMatches(b *testing.B) {
	for _, many := range []int{100, 10_000, 100_000} {
		b.Run(strconv.Itoa(many), func(b *testing.B) {
			r, err := room.New(room.Options{Releases: []fhir.Release{fhir.R5}})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			on := r.Base(fhir.R5)
			put(b, on, "SubscriptionTopic", "t", `"url":"`+admission+`","status":"active","resourceTrigger":[{"resource":"Encounter"}],"canFilterBy":[{"resource":"Encounter","filterParameter":"patient"}]`)
			for i := range many {
				put(b, on, "Subscription", strconv.Itoa(i), fmt.Sprintf(`"status":"requested","topic":%q,"channelType":{"code":"websocket"},"content":"id-only",
					"filterBy":[{"filterParameter":"patient","value":"Patient/%d"}]`, admission, i))
			}
			b.ReportAllocs()
			for b.Loop() {
				put(b, on, "Encounter", "e", `"status":"in-progress","subject":{"reference":"Patient/7"}`)
			}
			b.StopTimer()
			if n, _, err := on.Events("7", 0, -1, "", 1<<20); err != nil || n.EventsSinceStart < int64(b.N) {
				b.Fatalf("subscription 7 got %v events (%v), want %d", n, err, b.N)
			}
		})
	}
}

func put(t testing.TB, on *room.Base, typ, id, members string) {
	t.Helper()
	o, err := fhir.Parse([]byte(fmt.Sprintf(`{"resourceType":%q,"id":%q,%s}`, typ, id, members)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := on.Update(typ, id, o, room.Request{}); err != nil {
		t.Fatal(err)
	}
}
