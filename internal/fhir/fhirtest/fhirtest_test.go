package fhirtest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// verdict is a testing.TB that records failures.
type verdict struct {
	testing.TB
	failures []string
}

func (v *verdict) Helper()             {}
func (v *verdict) Failed() bool        { return len(v.failures) > 0 }
func (v *verdict) Logf(string, ...any) {}
func (v *verdict) Errorf(format string, args ...any) {
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}
func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

func check(t *testing.T, frame string) []string {
	v := &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fhirtest.CheckNotification(v, fhir.R5, []byte(frame))
	}()
	<-done
	return v.failures
}

const frame = `{"resourceType":"Bundle","id":"b","type":"subscription-notification","timestamp":"2026-01-01T10:05:00.000Z","entry":[` +
	`{"fullUrl":"urn:uuid:s1","resource":{"resourceType":"SubscriptionStatus","id":"s1","status":"active","type":"event-notification",` +
	`"eventsSinceSubscriptionStart":"7","notificationEvent":[{"eventNumber":"6","timestamp":"2026-01-01T10:04:59.900Z","focus":{"reference":"http://h/Encounter/2"}},` +
	`{"eventNumber":"7","timestamp":"2026-01-01T10:04:59.900Z","focus":{"reference":"http://h/Encounter/2"},"additionalContext":[{"reference":"http://h/Patient/A"}]}],` +
	`"subscription":{"reference":"http://h/Subscription/abc"},"topic":"http://t"}},` +
	`{"fullUrl":"http://h/Encounter/2","request":{"method":"POST","url":"Encounter"}},` +
	`{"fullUrl":"http://h/Patient/A","resource":{"resourceType":"Patient","id":"A"},"request":{"method":"GET","url":"Patient/A"}}]}`

// A checker that cannot fail proves nothing: each change below breaks one rule.
func TestCheckNotification_SeesEachBrokenRule(t *testing.T) {
	t.Parallel()
	fhirtest.Spec(t)
	if failures := check(t, frame); failures != nil {
		t.Fatalf("a good notification fails: %q", failures)
	}
	entry := `{"fullUrl":"http://h/Encounter/2","request":{"method":"POST","url":"Encounter"}}`
	tests := []struct{ name, old, new string }{
		{"schema", `"id":"b"`, `"id":"b","colour":"red"`},
		{"NB-R5-1", `subscription-notification`, `history`},
		{"bdl-1", `"timestamp":"2026-01-01T10:05:00.000Z"`, `"total":1`},
		{"bdl-13", `"resourceType":"SubscriptionStatus"`, `"resourceType":"Basic"`},
		{"bdl-15", `"fullUrl":"http://h/Encounter/2",`, ``},
		{"bdl-7", entry, entry + "," + entry},
		{"bdl-8", `"fullUrl":"http://h/Encounter/2"`, `"fullUrl":"http://h/Encounter/2/_history/1"`},
		{"bdl-5", `,"request":{"method":"POST","url":"Encounter"}`, ``},
		{"profile", `"url":"Patient/A"}`, `"url":"Patient/A"},"response":{"status":"200"}`},
		{"bdl-2", `"url":"Patient/A"}`, `"url":"Patient/A"},"search":{"mode":"match"}`},
		{"NB-13 of the status", `"urn:uuid:s1"`, `"urn:uuid:s2"`},
		{"NB-13 of a resource", `"id":"A"`, `"id":"B"`},
		{"2.2", `"url":"Patient/A"`, `"url":"Patient/B"`},
		{"NB-29", `"method":"GET"`, `"method":"DELETE"`},
		{"SST-3", `"eventNumber":"6"`, `"eventNumber":6`},
		{"NB-4 order", `"eventNumber":"6"`, `"eventNumber":"5"`},
		{"NB-4 total", `"eventsSinceSubscriptionStart":"7"`, `"eventsSinceSubscriptionStart":"8"`},
		{"sst-1", frame[strings.Index(frame, `"notificationEvent"`):strings.Index(frame, `"subscription":`)], ``},
		{"sst-2", `"status":"active",`, ``},
		{"SST-6", `{"reference":"http://h/Subscription/abc"}`, `{"reference":"Subscription/abc"}`},
		{"NB-6", `10:04:59.900Z`, `10:04:59.900+00:00`},
		{"NB-7", `,"focus":{"reference":"http://h/Encounter/2"}},`, `},`},
		{"NB-10", `{"reference":"http://h/Patient/A"}`, `{"reference":"http://h/Patient/C"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := strings.Replace(frame, tt.old, tt.new, 1)
			if broken == frame {
				t.Fatal("the change has no effect")
			}
			if check(t, broken) == nil {
				t.Errorf("accepts %s", broken)
			}
		})
	}
}
