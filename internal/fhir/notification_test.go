package fhir_test

import (
	"strings"
	"sync"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// notification returns one of a given type and level, with its events numbered up
// to the total.
func notification(kind fhir.NotificationType, content fhir.Content, total int64, occurrences ...*fhir.Occurrence) *fhir.Notification {
	n := &fhir.Notification{
		ID:               "54f808cf-d159-4c9b-accb-c33eb20f0ecc",
		StatusID:         "231e7f38-2dd1-45ac-9161-d7bd87c403bd",
		Type:             kind,
		Timestamp:        at("10:05:00"),
		Base:             base,
		Subscription:     "abc",
		Status:           fhir.StatusActive,
		Topic:            "http://example.org/FHIR/R5/SubscriptionTopic/admission",
		EventsSinceStart: total,
		Content:          content,
	}
	for i, o := range occurrences {
		n.Events = append(n.Events, fhir.Event{Number: total - int64(len(occurrences)-1-i), Occurrence: o})
	}
	return n
}

func TestEncodeNotification_Golden(t *testing.T) {
	t.Parallel()
	context := func() []fhir.Entry { return []fhir.Entry{*entry("GET", patient(t))} }
	created := fhir.NewOccurrence(at("10:04:59.9"), entry("POST", encounter(t, "1", "planned")), context())
	updated := fhir.NewOccurrence(at("10:04:59.95"), entry("PUT", encounter(t, "2", "in-progress")), context())
	again := fhir.NewOccurrence(at("10:04:59.951999"), entry("PUT", encounter(t, "3", "completed")), context())
	deleted := fhir.NewOccurrence(at("10:04:59.99"), &fhir.Entry{Type: "Encounter", ID: "2", Method: "DELETE"}, nil)
	unknown := fhir.NewOccurrence(at("10:04:59.9"), &fhir.Entry{Type: "Encounter", ID: "9"}, nil)
	circular := fhir.NewOccurrence(at("10:04:59.9"), entry("PUT", patient(t)), context())

	tests := map[string]*fhir.Notification{
		"event-one":          notification(fhir.EventNotification, "", 2, updated),
		"event-created":      notification(fhir.EventNotification, "", 1, created),
		"event-deleted":      notification(fhir.EventNotification, "", 4, deleted),
		"event-batch":        notification(fhir.EventNotification, "", 4, created, updated, again, deleted),
		"event-unknown":      notification(fhir.EventNotification, "", 1, unknown),
		"event-circular":     notification(fhir.EventNotification, "", 1, circular),
		"handshake":          notification(fhir.Handshake, "", 0),
		"handshake-replay":   notification(fhir.Handshake, "", 310, updated, again),
		"heartbeat":          notification(fhir.Heartbeat, "", 310),
		"query-status":       notification(fhir.QueryStatus, "", 310),
		"query-event":        notification(fhir.QueryEvent, "", 310, created, updated),
		"query-event-none":   notification(fhir.QueryEvent, "", 310),
		"event-error":        notification(fhir.EventNotification, "", 2, updated),
		"heartbeat-hostile":  notification(fhir.Heartbeat, "", 310),
		"heartbeat-no-topic": notification(fhir.Heartbeat, "", 310),
	}
	tests["event-error"].Status = fhir.StatusError
	tests["event-error"].Errors = []fhir.SubscriptionError{
		{Code: "no-response", Text: "websocket write timed out"}, {}, {Text: "only said"}, {Code: "error-response"},
	}
	tests["heartbeat-hostile"].Topic = `http://example.org/"<&>` + "\u2028\t"
	tests["heartbeat-hostile"].Base = `http://"host\/fhir/R5`
	tests["heartbeat-no-topic"].Topic = ""

	for _, r := range fhir.Releases {
		for name, n := range tests {
			for _, content := range []fhir.Content{fhir.Empty, fhir.IDOnly, fhir.FullResource} {
				t.Run(string(r)+"/"+name+"/"+string(content), func(t *testing.T) {
					leveled := *n
					leveled.Content = content
					leveled.Base = strings.Replace(n.Base, "R5", string(r), 1)
					leveled.Events = inForm(t, r, n.Events)
					frame := r.EncodeNotification(&leveled)
					folder := ""
					if r != fhir.R5 {
						folder = string(r) + "/"
					}
					golden(t, folder+"notification-"+name+"-"+string(content), frame)
					if name != "heartbeat-hostile" { // no reference it could have is one
						fhirtest.CheckNotification(t, r, frame)
					}
				})
			}
		}
	}
}

// inForm returns the events with their encounters in the form of a release.
func inForm(t *testing.T, r fhir.Release, events []fhir.Event) []fhir.Event {
	t.Helper()
	if r == fhir.R5 {
		return events
	}
	adapted := make([]fhir.Event, len(events))
	for i, e := range events {
		focus := *e.Focus
		if focus.Resource != nil {
			o := r.Adapt(focus.Resource.Object)
			if focus.Type == "Encounter" {
				o.Set("class", fhir.NewObject("code", "IMP")) // required before R5
			}
			focus.Resource = fhir.NewResource(r, o)
		}
		adapted[i] = fhir.Event{Number: e.Number, Occurrence: fhir.NewOccurrence(e.Timestamp, &focus, e.Context)}
	}
	return adapted
}

// Deliveries of one occurrence share its encoded entries: a second notification
// costs one allocation, the frame.
func TestEncodeNotification_EncodesAnOccurrenceOnce(t *testing.T) {
	shared := fhir.NewOccurrence(at("10:00:00"), entry("PUT", encounter(t, "2", "in-progress")), []fhir.Entry{*entry("GET", patient(t))})
	n := notification(fhir.EventNotification, fhir.FullResource, 1, shared)
	fhir.R5.EncodeNotification(n)
	if allocs := testing.AllocsPerRun(100, func() { fhir.R5.EncodeNotification(n) }); allocs > 1 {
		t.Errorf("%v allocations for a notification of an occurrence that was encoded before, want 1", allocs)
	}
}

// The frame is sized before it is written; a wrong size costs a copy.
func TestEncodeNotification_SizesTheFrame(t *testing.T) {
	t.Parallel()
	for _, content := range []fhir.Content{fhir.Empty, fhir.IDOnly, fhir.FullResource} {
		n := notification(fhir.EventNotification, content, 1, fhir.NewOccurrence(at("10:00:00"), entry("PUT", encounter(t, "2", "in-progress")), nil))
		if frame := fhir.R5.EncodeNotification(n); cap(frame) > len(frame)+1024 {
			t.Errorf("%s: a frame of %d bytes takes %d", content, len(frame), cap(frame))
		}
	}
}

func TestEncodeNotification_ConcurrentSubscriptionsSeeTheSameEntries(t *testing.T) {
	t.Parallel()
	shared := fhir.NewOccurrence(at("10:00:00"), entry("PUT", encounter(t, "2", "in-progress")), []fhir.Entry{*entry("GET", patient(t))})
	want := string(fhir.R5.EncodeNotification(notification(fhir.EventNotification, fhir.FullResource, 7,
		fhir.NewOccurrence(shared.Timestamp, shared.Focus, shared.Context))))
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			n := notification(fhir.EventNotification, fhir.FullResource, 7, shared)
			if i%2 == 1 { // another base in between must not interfere
				n.Base = "https://fhir.example.org/fhir/R5"
			}
			got := strings.ReplaceAll(string(fhir.R5.EncodeNotification(n)), "https://fhir.example.org/fhir/R5", base)
			if got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
	wg.Wait()
}
