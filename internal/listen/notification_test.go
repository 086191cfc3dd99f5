package listen

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The frames of the tests, as a server of R5 sends them.
const (
	handshakeFrame = `{"resourceType":"Bundle","id":"1","type":"subscription-notification","timestamp":"2026-11-23T09:00:00Z","entry":[
		{"fullUrl":"urn:uuid:1","resource":{"resourceType":"SubscriptionStatus","id":"1","status":"requested","type":"handshake",
		"eventsSinceSubscriptionStart":"0","subscription":{"reference":"http://test/fhir/R5/Subscription/abc"},"topic":"http://example.org/topic"}}]}`
	heartbeatFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"heartbeat","eventsSinceSubscriptionStart":"12"}}]}`
	emptyFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"event-notification","eventsSinceSubscriptionStart":"1",
		"notificationEvent":[{"eventNumber":"1","timestamp":"2026-11-23T09:00:01Z"}]}}]}`
	idOnlyFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"event-notification","eventsSinceSubscriptionStart":"2",
		"notificationEvent":[{"eventNumber":"2","timestamp":"2026-11-23T09:00:02Z","focus":{"reference":"http://test/fhir/R5/Encounter/e1"},
		"additionalContext":[{"reference":"http://test/fhir/R5/Patient/p1"},{"reference":"http://test/fhir/R5/Location/l1"}]}]}},
		{"fullUrl":"http://test/fhir/R5/Encounter/e1","request":{"method":"POST","url":"Encounter"},"response":{"status":"201"}},
		{"fullUrl":"http://test/fhir/R5/Patient/p1","request":{"method":"PUT","url":"Patient/p1"},"response":{"status":"200"}}]}`
	batchFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"event-notification","eventsSinceSubscriptionStart":"4",
		"notificationEvent":[{"eventNumber":"3","focus":{"reference":"http://test/fhir/R5/Encounter/e1"}},{"eventNumber":"4","focus":{"reference":"http://test/fhir/R5/Encounter/e2"}}]}},
		{"fullUrl":"http://test/fhir/R5/Encounter/e1","request":{"method":"PUT","url":"Encounter/e1"},"resource":{"resourceType":"Encounter","id":"e1","status":"completed","type":[{"text":"a list here"}]}},
		{"fullUrl":"http://test/fhir/R5/Encounter/e2","request":{"method":"DELETE","url":"Encounter/e2"},"response":{"status":"204"}}]}`
	errorFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"error","type":"event-notification","eventsSinceSubscriptionStart":"5",
		"notificationEvent":[{"eventNumber":"5"}],"error":[{"text":"the first"},{"text":"the second"}]}}]}`
	offFrame = `{"resourceType":"Bundle","type":"subscription-notification","entry":[
		{"resource":{"resourceType":"SubscriptionStatus","status":"off","type":"query-status","eventsSinceSubscriptionStart":"5"}}]}`
)

func TestParseNotification_ReadsWhatServersSend(t *testing.T) {
	t.Parallel()
	const (
		before = `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus"`
		after  = `}}]}`
	)
	rows := []struct {
		name, frame string
		want        notification
	}{
		{"handshake", handshakeFrame, notification{kind: "handshake", status: "requested", time: "2026-11-23T09:00:00Z"}},
		{"heartbeat", heartbeatFrame, notification{kind: "heartbeat", status: "active", total: 12}},
		{"event at level empty", emptyFrame, notification{kind: "event-notification", status: "active", total: 1, events: []event{
			{number: 1, time: "2026-11-23T09:00:01Z"}}}},
		{"event at level id-only", idOnlyFrame, notification{kind: "event-notification", status: "active", total: 2, events: []event{
			{number: 2, time: "2026-11-23T09:00:02Z", focus: "Encounter/e1", method: "POST", context: 2}}}},
		{"two events at level full-resource, one of a delete", batchFrame, notification{kind: "event-notification", status: "active", total: 4, events: []event{
			{number: 3, focus: "Encounter/e1", method: "PUT"}, {number: 4, focus: "Encounter/e2", method: "DELETE"}}}},
		{"errors", errorFrame, notification{kind: "event-notification", status: "error", total: 5, events: []event{{number: 5}}, errors: []string{"the first", "the second"}}},
		{"turned off", offFrame, notification{kind: "query-status", status: "off", total: 5}},

		{"numbers of integer64 as numbers", before + `,"eventsSinceSubscriptionStart":9007199254740993,"notificationEvent":[{"eventNumber":9007199254740993}]` + after,
			notification{total: 9007199254740993, events: []event{{number: 9007199254740993}}}},
		{"the largest integer64", before + `,"eventsSinceSubscriptionStart":"9223372036854775807"` + after, notification{total: 9223372036854775807}},
		{"no total and no number", before + `,"notificationEvent":[{}]` + after, notification{events: []event{{}}}},
		{"a type that is not a code", before + `,"type":{"text":"x"},"status":1` + after, notification{}},
		{"a relative focus", before + `,"notificationEvent":[{"focus":{"reference":"Encounter/e1"}}]` + after, notification{events: []event{{focus: "Encounter/e1"}}}},
		{"a focus with its version", before + `,"notificationEvent":[{"focus":{"reference":"http://test/Encounter/e1/_history/3"}}]` + after, notification{events: []event{{focus: "Encounter/e1"}}}},
		{"a focus that is a uuid", before + `,"notificationEvent":[{"focus":{"reference":"urn:uuid:1"}}]` + after, notification{events: []event{{focus: "urn:uuid:1"}}}},
		{"a focus that is not in the bundle", before + `,"notificationEvent":[{"focus":{"reference":"http://test/Encounter/e1"}}]}},{"fullUrl":"http://test/Encounter/e2","request":{"method":"POST"}}]}`,
			notification{events: []event{{focus: "Encounter/e1"}}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseNotification([]byte(row.frame))
			if !ok {
				t.Fatalf("not read: %s", row.frame)
			}
			row.want.untold = !strings.Contains(row.frame, "eventsSinceSubscriptionStart") && !strings.Contains(row.frame, "events-since-subscription-start")
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(notification{}, event{})); diff != "" {
				t.Errorf("parsed wrongly (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNotification_IgnoresOtherMessages(t *testing.T) {
	t.Parallel()
	status := func(member string) string {
		return `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus",` + member + `}}]}`
	}
	rows := map[string]string{
		"nothing":                          "",
		"a pong":                           "pong",
		"a legacy ping":                    "ping abc",
		"JSON that is not an object":       `[1]`,
		"null":                             `null`,
		"JSON that breaks off":             heartbeatFrame[:len(heartbeatFrame)-1],
		"something behind the bundle":      heartbeatFrame + "x",
		"an OperationOutcome":              `{"resourceType":"OperationOutcome","issue":[{"code":"unknown"}]}`,
		"a Bundle of nothing":              `{"resourceType":"Bundle","type":"subscription-notification"}`,
		"a Bundle of no entries":           `{"resourceType":"Bundle","type":"subscription-notification","entry":[]}`,
		"a Bundle of something else":       `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Encounter"}}]}`,
		"a status that is not first":       `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Encounter"}},{"resource":{"resourceType":"SubscriptionStatus"}}]}`,
		"a status without a Bundle":        `{"resourceType":"SubscriptionStatus","type":"heartbeat"}`,
		"a total that is a word":           status(`"eventsSinceSubscriptionStart":"many"`),
		"a total that is empty":            status(`"eventsSinceSubscriptionStart":""`),
		"a total that is null":             status(`"eventsSinceSubscriptionStart":null`),
		"a total that is a list":           status(`"eventsSinceSubscriptionStart":["1"]`),
		"a total with a fraction":          status(`"eventsSinceSubscriptionStart":1.5`),
		"a total with an exponent":         status(`"eventsSinceSubscriptionStart":1e3`),
		"a total with white space":         status(`"eventsSinceSubscriptionStart":" 1"`),
		"a total over integer64":           status(`"eventsSinceSubscriptionStart":"9223372036854775808"`),
		"a number that is a word":          status(`"notificationEvent":[{"eventNumber":"first"}]`),
		"events that are no list":          status(`"notificationEvent":{"eventNumber":"1"}`),
		"a reference that is not a string": status(`"notificationEvent":[{"focus":{"reference":1}}]`),
		"errors that are no list":          status(`"error":{"text":"x"}`),
	}
	for name, frame := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseNotification([]byte(frame))
			if ok {
				t.Errorf("read as %+v: %s", got, frame)
			}
			if diff := cmp.Diff(notification{}, got, cmp.AllowUnexported(notification{}, event{})); diff != "" {
				t.Errorf("something was read (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseNotification feeds the parser arbitrary input: it never panics, and what
// it reads it also reads from the short form of the same notification.
func FuzzParseNotification(f *testing.F) {
	for _, seed := range []string{handshakeFrame, heartbeatFrame, emptyFrame, idOnlyFrame, batchFrame, errorFrame, offFrame,
		"", "pong", "null", `{"resourceType":"Bundle","entry":[null]}`, strings.Replace(emptyFrame, `"1"`, `-1`, 1),
		`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"heartbeat"}}]}`,
		`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus","notificationEvent":[null,{"additionalContext":[1,null]}]}}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, ok := parseNotification(data)
		if !ok {
			if n.kind != "" || n.events != nil || n.errors != nil {
				t.Fatalf("%q is refused, but %+v was read", data, n)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is not JSON, but %+v was read", data, n)
		}
		known := map[string]bool{}
		for _, e := range n.events {
			if strings.Count(e.focus, "/") > 1 {
				t.Fatalf("%q: read event %+v", data, e)
			}
			if known[e.focus] {
				return // the events may be on two servers, which the short form cannot distinguish
			}
			known[e.focus] = true
		}
		again, ok := parseNotification(short(t, n))
		if !ok {
			t.Fatalf("%q is not read from the short form of %+v", data, n)
		}
		if diff := cmp.Diff(n, again, cmp.AllowUnexported(notification{}, event{})); diff != "" {
			t.Fatalf("%q is read differently from its short form (-first +again):\n%s", data, diff)
		}
	})
}

// short writes a notification with only the members that are read.
func short(t *testing.T, n notification) []byte {
	t.Helper()
	events, entries := []any{}, []any{}
	for _, e := range n.events {
		events = append(events, map[string]any{"eventNumber": e.number, "timestamp": e.time,
			"focus": map[string]any{"reference": e.focus}, "additionalContext": make([]any, e.context)})
		entries = append(entries, map[string]any{"fullUrl": e.focus, "request": map[string]any{"method": e.method}})
	}
	var errors []any
	for _, text := range n.errors {
		errors = append(errors, map[string]any{"text": text})
	}
	status := map[string]any{"resourceType": "SubscriptionStatus", "type": n.kind, "status": n.status, "notificationEvent": events, "error": errors}
	if !n.untold {
		status["eventsSinceSubscriptionStart"] = n.total
	}
	data, err := json.Marshal(map[string]any{"resourceType": "Bundle", "timestamp": n.time, "entry": append([]any{map[string]any{"resource": status}}, entries...)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// In R4 a Parameters takes the place of the SubscriptionStatus.
func TestParseNotification_OfR4(t *testing.T) {
	t.Parallel()
	got, ok := parseNotification([]byte(`{"resourceType":"Bundle","type":"history","entry":[
		{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Parameters","parameter":[
			{"name":"subscription","valueReference":{"reference":"http://x/fhir/R4/Subscription/a"}},
			{"name":"status","valueCode":"active"},{"name":"type","valueCode":"event-notification"},
			{"name":"events-since-subscription-start","valueString":"7"},
			{"name":"notification-event","part":[
				{"name":"event-number","valueString":"7"},{"name":"timestamp","valueInstant":"2026-01-01T10:00:00Z"},
				{"name":"focus","valueReference":{"reference":"http://x/fhir/R4/Encounter/1"}},
				{"name":"additional-context","valueReference":{"reference":"http://x/fhir/R4/Patient/1"}}]},
			{"name":"error","valueCodeableConcept":{"text":"slow"}}]}},
		{"fullUrl":"http://x/fhir/R4/Encounter/1","request":{"method":"PUT","url":"Encounter/1"}}]}`))
	want := notification{kind: "event-notification", status: "active", total: 7, errors: []string{"slow"},
		events: []event{{number: 7, time: "2026-01-01T10:00:00Z", focus: "Encounter/1", method: "PUT", context: 1}}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	if _, ok := parseNotification([]byte(`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Parameters","parameter":[{"name":"token","valueString":"1"}]}}]}`)); ok {
		t.Error("any Parameters is a notification")
	}
}
