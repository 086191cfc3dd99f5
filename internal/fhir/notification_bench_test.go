package fhir_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"signalfhir/internal/fhir"
)

// BenchmarkEncodeNotification writes the full-resource notifications of one new
// event for some subscriptions, as this package does and as a server would that
// uses encoding/json for each: with resources as trees, and with resources as raw
// JSON.
func BenchmarkEncodeNotification(b *testing.B) {
	focus, context := encounter(b, "2", "in-progress"), patient(b)
	ways := []struct {
		name   string
		encode func(subscriptions int) int
	}{
		{"shared", func(subscriptions int) (bytes int) {
			o := fhir.NewOccurrence(at("10:00:00"), entry("PUT", focus), []fhir.Entry{*entry("GET", context)})
			n := notification(fhir.EventNotification, fhir.FullResource, 7, o)
			for range subscriptions {
				bytes += len(fhir.R5.EncodeNotification(n))
			}
			return bytes
		}},
		{"json-tree", marshalEach(b, tree(b, focus), tree(b, context))},
		{"json-raw", marshalEach(b, json.RawMessage(focus.JSON), json.RawMessage(context.JSON))},
	}
	for _, subscriptions := range []int{1, 1000} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%d/%s", subscriptions, way.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.SetBytes(int64(way.encode(subscriptions)))
				}
			})
		}
	}
}

func tree(b *testing.B, res *fhir.Resource) (t map[string]any) {
	if err := json.Unmarshal(res.JSON, &t); err != nil {
		b.Fatal(err)
	}
	return t
}

// marshalEach is the baseline: one json.Marshal of the whole bundle for each subscription.
func marshalEach(b *testing.B, focus, context any) func(int) int {
	type (
		ref     struct{ Reference string }
		request struct{ Method, URL string }
		event   struct {
			EventNumber       string
			Timestamp         time.Time
			Focus             ref
			AdditionalContext []ref
		}
		status struct {
			ResourceType, ID, Status, Type, EventsSinceSubscriptionStart string
			NotificationEvent                                            []event
			Subscription                                                 ref
			Topic                                                        string
		}
		item struct {
			FullURL  string
			Resource any      `json:",omitempty"`
			Request  *request `json:",omitempty"`
		}
		bundle struct {
			ResourceType, ID, Type string
			Timestamp              time.Time
			Entry                  []item
		}
	)
	n := notification(fhir.EventNotification, fhir.FullResource, 7)
	return func(subscriptions int) (bytes int) {
		for range subscriptions {
			data, err := json.Marshal(bundle{"Bundle", n.ID, "subscription-notification", n.Timestamp, []item{
				{FullURL: "urn:uuid:" + n.StatusID, Resource: status{
					"SubscriptionStatus", n.StatusID, n.Status, string(n.Type), strconv.FormatInt(n.EventsSinceStart, 10),
					[]event{{"7", n.Timestamp, ref{base + "/Encounter/2"}, []ref{{base + "/Patient/ABC"}}}},
					ref{base + "/Subscription/" + n.Subscription}, n.Topic,
				}},
				{base + "/Encounter/2", focus, &request{"PUT", "Encounter/2"}},
				{base + "/Patient/ABC", context, &request{"GET", "Patient/ABC"}},
			}})
			if err != nil {
				b.Fatal(err)
			}
			bytes += len(data)
		}
		return bytes
	}
}
