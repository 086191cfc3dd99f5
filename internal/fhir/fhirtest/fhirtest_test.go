package fhirtest_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// verdict is a testing.TB that records failures. A skip is one, too.
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
func (v *verdict) Fatal(args ...any)                { v.Fatalf("%s", fmt.Sprint(args...)) }
func (v *verdict) Skipf(format string, args ...any) { v.Fatalf("skipped: "+format, args...) }

// failures returns the failures f gives its test.
func failures(t *testing.T, f func(testing.TB)) []string {
	v := &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(v)
	}()
	<-done
	return v.failures
}

func check(t *testing.T, frame string) []string {
	return failures(t, func(t testing.TB) { fhirtest.CheckNotification(t, fhir.R5, []byte(frame)) })
}

func valid(t *testing.T, r fhir.Release, resource string) []string {
	return failures(t, func(t testing.TB) { fhirtest.Valid(t, r, []byte(resource)) })
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
	if failures := check(t, frame); failures != nil {
		t.Fatalf("a good notification fails: %q", failures)
	}
	entry := `{"fullUrl":"http://h/Encounter/2","request":{"method":"POST","url":"Encounter"}}`
	tests := []struct{ name, old, new string }{
		{"elements", `"id":"b"`, `"id":"b","colour":"red"`},
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

func TestValid_AsksTheSchema(t *testing.T) {
	t.Parallel()
	fhirtest.Spec(t)
	for _, r := range fhir.Releases {
		if failures := valid(t, r, `{"resourceType":"Patient","id":"a"}`); failures != nil {
			t.Errorf("%s: a good resource fails: %q", r, failures)
		}
		want := "the schema of " + string(r) + " refuses it"
		if failures := valid(t, r, `{"resourceType":"Patient","colour":"red"}`); !strings.Contains(strings.Join(failures, "\n"), want) {
			t.Errorf("%s: got %q, want a failure with %q", r, failures, want)
		}
		// Resources inside of others, wherever they may be.
		for _, outer := range []string{
			`{"resourceType":"Basic","code":{"text":"x"},"contained":[%s]}`,
			`{"resourceType":"Parameters","parameter":[{"name":"a","part":[{"name":"b","resource":%s}]}]}`,
			`{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"200","outcome":%s}}]}`,
			`{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Bundle","type":"collection","entry":[{"resource":%s}]}}]}`,
		} {
			if failures := valid(t, r, fmt.Sprintf(outer, `{"resourceType":"Patient","id":"a"}`)); failures != nil {
				t.Errorf("%s: %s: a good resource fails: %q", r, outer, failures)
			}
			for _, inner := range []string{`{"resourceType":"Patient","colour":"red"}`, `{"resourceType":"HumanName"}`, `{"resourceType":"Meal"}`, `{"id":"a"}`, `{}`} {
				if failures := valid(t, r, fmt.Sprintf(outer, inner)); !strings.Contains(strings.Join(failures, "\n"), want) {
					t.Errorf("%s: %s with %s: got %q, want a failure with %q", r, outer, inner, failures, want)
				}
			}
		}
	}
}

// Without the folder only the check by schema is left out, and nothing is skipped.
func TestValid_WithoutTheFolder(t *testing.T) {
	t.Setenv("SIGNALFHIR_SPEC", filepath.Join(t.TempDir(), "none"))
	t.Setenv("SIGNALFHIR_SPEC_REQUIRED", "")
	if failures := check(t, frame); failures != nil {
		t.Errorf("a good notification fails: %q", failures)
	}
	for broken, want := range map[string]string{
		strings.Replace(frame, `"id":"b"`, `"colour":"red"`, 1):             "Bundle.colour",
		strings.Replace(frame, `"eventNumber":"6"`, `"eventNumber":"5"`, 1): "NB-4",
		frame[:10]: "not JSON",
	} {
		if failures := check(t, broken); !strings.Contains(strings.Join(failures, "\n"), want) {
			t.Errorf("got %q, want a failure with %q for %s", failures, want, broken)
		}
	}
	if failures := failures(t, func(t testing.TB) { fhirtest.Spec(t) }); len(failures) != 1 || !strings.HasPrefix(failures[0], "skipped: ") {
		t.Errorf("Spec: got %q, want a skip", failures)
	}
	if examples := fhirtest.Examples(t, fhir.R5); examples != nil {
		t.Errorf("Examples: got %q, want none", examples)
	}
	t.Setenv("SIGNALFHIR_SPEC_REQUIRED", "1")
	for name, f := range map[string]func(testing.TB){
		"CheckNotification": func(t testing.TB) { fhirtest.CheckNotification(t, fhir.R5, []byte(frame)) },
		"Spec":              func(t testing.TB) { fhirtest.Spec(t) },
		"Examples":          func(t testing.TB) { fhirtest.Examples(t, fhir.R5) },
	} {
		if failures := failures(t, f); len(failures) != 1 || !strings.HasPrefix(failures[0], "the specification's folder is missing") {
			t.Errorf("%s: got %q, want a failure: the folder is required", name, failures)
		}
	}
}
