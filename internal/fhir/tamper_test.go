package fhir

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tampered returns a notification of two events in each form that it has on the wire.
func tampered(t *testing.T, kind NotificationType) map[string][]byte {
	t.Helper()
	at := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	n := &Notification{ID: "b", StatusID: "s", Base: "http://h/fhir", Subscription: "abc", Topic: "http://t", Status: "active", Type: kind, Content: IDOnly, Timestamp: at, EventsSinceStart: 7}
	if kind == EventNotification {
		for _, number := range []int64{6, 7} {
			n.Events = append(n.Events, Event{Number: number, Occurrence: NewOccurrence(at, &Entry{Type: "Encounter", ID: "e", Method: "PUT"}, nil)})
		}
	}
	return map[string][]byte{
		"R5": R5.EncodeNotification(n), "R4B": R4B.EncodeNotification(n), "R4": R4.EncodeNotification(n), "medplum": R4.EncodeFor(MedplumFormat, n),
	}
}

// Only the numbers change.
func TestRenumber(t *testing.T) {
	t.Parallel()
	for form, frame := range tampered(t, EventNotification) {
		got, err := Renumber(frame, func(n int64) int64 { return n + 10 })
		want := strings.NewReplacer(`"6"`, `"16"`, `"7"`, `"17"`).Replace(string(frame))
		if err != nil || string(got) != want || want == string(frame) {
			t.Errorf("%s: got %s, %v; want %s", form, got, err, want)
		}
		same, err := Renumber(frame, func(n int64) int64 { return n })
		if err != nil || !bytes.Equal(same, frame) {
			t.Errorf("%s: got %s, %v; want the same bytes", form, same, err)
		}
	}
}

func TestAsHeartbeat(t *testing.T) {
	t.Parallel()
	beats := tampered(t, Heartbeat)
	for form, frame := range tampered(t, Handshake) {
		got, err := AsHeartbeat(frame, "b2", "s2")
		want := strings.NewReplacer(`"id":"b"`, `"id":"b2"`, `"id":"s"`, `"id":"s2"`, "urn:uuid:s", "urn:uuid:s2").Replace(string(beats[form]))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", form, got, err, want)
		}
	}
}

func TestWithoutStatus(t *testing.T) {
	t.Parallel()
	for form, frame := range tampered(t, Handshake) {
		if got, err := WithoutStatus(frame); err != nil || strings.Contains(string(got), "entry") || !strings.Contains(string(got), `"Bundle"`) {
			t.Errorf("%s: got %s, %v; want a bundle without entries", form, got, err)
		}
	}
	frame := tampered(t, EventNotification)["R5"]
	if got, err := WithoutStatus(frame); err != nil || strings.Contains(string(got), "SubscriptionStatus") || !strings.Contains(string(got), `"entry":[{"fullUrl":"http://h/fhir/Encounter/e"`) {
		t.Errorf("got %s, %v; want the other entries", got, err)
	}
}

// What is no notification is not changed.
func TestTamper_Refuses(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{"ping abc", "pong", "{}", `{"resourceType":"Bundle"}`, `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}]}`, `{"resourceType":"Bundle","entry":[]}`} {
		for i, f := range []func() ([]byte, error){
			func() ([]byte, error) { return Renumber([]byte(frame), func(n int64) int64 { return n }) },
			func() ([]byte, error) { return AsHeartbeat([]byte(frame), "a", "b") },
			func() ([]byte, error) { return WithoutStatus([]byte(frame)) },
			func() ([]byte, error) { return WithBundleType([]byte(frame), "x") },
		} {
			if got, err := f(); err == nil || got != nil {
				t.Errorf("%s, %s: got %s, want an error", frame, fmt.Sprint(i), got)
			}
		}
	}
}
