package fhir

import (
	"bytes"
	"errors"
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

// after returns a frame after a change.
func after(frame []byte, change func(*Tampered) error) ([]byte, error) {
	f := Tamper(frame)
	err := change(f)
	return f.Bytes(), err
}

// Only the numbers change.
func TestRenumber(t *testing.T) {
	t.Parallel()
	for form, frame := range tampered(t, EventNotification) {
		got, err := after(frame, func(f *Tampered) error { return f.Renumber(func(n int64) int64 { return n + 10 }) })
		want := strings.NewReplacer(`"6"`, `"16"`, `"7"`, `"17"`).Replace(string(frame))
		if err != nil || string(got) != want || want == string(frame) {
			t.Errorf("%s: got %s, %v; want %s", form, got, err, want)
		}
		same, err := after(frame, func(f *Tampered) error { return f.Renumber(func(n int64) int64 { return n }) })
		if err != nil || !bytes.Equal(same, frame) {
			t.Errorf("%s: got %s, %v; want the same bytes", form, same, err)
		}
	}
}

func TestAsHeartbeat(t *testing.T) {
	t.Parallel()
	beats := tampered(t, Heartbeat)
	for form, frame := range tampered(t, Handshake) {
		got, err := after(frame, func(f *Tampered) error { return f.AsHeartbeat("b2", "s2") })
		want := strings.NewReplacer(`"id":"b"`, `"id":"b2"`, `"id":"s"`, `"id":"s2"`, "urn:uuid:s", "urn:uuid:s2").Replace(string(beats[form]))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", form, got, err, want)
		}
	}
}

func TestDropStatus(t *testing.T) {
	t.Parallel()
	for form, frame := range tampered(t, Handshake) {
		if got, err := after(frame, (*Tampered).DropStatus); err != nil || strings.Contains(string(got), "entry") || !strings.Contains(string(got), `"Bundle"`) {
			t.Errorf("%s: got %s, %v; want a bundle without entries", form, got, err)
		}
	}
	frame := tampered(t, EventNotification)["R5"]
	if got, err := after(frame, (*Tampered).DropStatus); err != nil || strings.Contains(string(got), "SubscriptionStatus") || !strings.Contains(string(got), `"entry":[{"fullUrl":"http://h/fhir/Encounter/e"`) {
		t.Errorf("got %s, %v; want the other entries", got, err)
	}
}

// What is no notification is not changed.
func TestTamper_Refuses(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{"ping abc", "pong", "{}", `{"resourceType":"Bundle"}`, `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}]}`, `{"resourceType":"Bundle","entry":[]}`} {
		for i, change := range []func(*Tampered) error{
			func(f *Tampered) error { return f.Renumber(func(n int64) int64 { return n }) },
			func(f *Tampered) error { return f.AsHeartbeat("a", "b") },
			(*Tampered).DropStatus,
			func(f *Tampered) error { return f.SetBundleType("x") },
		} {
			if got, err := after([]byte(frame), change); err == nil || string(got) != frame {
				t.Errorf("%s, %s: got %s, %v; want an error and the same frame", frame, fmt.Sprint(i), got, err)
			}
		}
	}
}

// Changes act on what those before left.
func TestTamper_SeveralChanges(t *testing.T) {
	t.Parallel()
	for form, frame := range tampered(t, EventNotification) {
		add := func(n int64) int64 { return n + 10 }
		f := Tamper(frame)
		if err := errors.Join(f.Renumber(add), f.SetBundleType("collection"), f.Renumber(add), f.DropStatus()); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if err := f.Renumber(add); err == nil || bytes.Contains(f.Bytes(), []byte("eventNumber")) || !bytes.Contains(f.Bytes(), []byte(`"type":"collection"`)) {
			t.Errorf("%s: got %s, %v; want a collection without a status to change", form, f.Bytes(), err)
		}
		if f.Replace(frame); f.Renumber(add) != nil || !bytes.Contains(f.Bytes(), []byte(`"16"`)) {
			t.Errorf("%s: got %s, want a frame that is read again", form, f.Bytes())
		}
	}
}

// The draft names stay as they are if they are asked for twice.
func TestWithDraftNames_Twice(t *testing.T) {
	t.Parallel()
	once := WithDraftNames(R5.EncodeBindingToken(&BindingToken{Token: "t", Subscriptions: []string{"a", "b"}, WebsocketURL: "ws://h/ws"}))
	if twice := WithDraftNames(once); !bytes.Contains(once, []byte(`"a,b"`)) || !bytes.Equal(once, twice) {
		t.Errorf("got %s, then %s", once, twice)
	}
}
