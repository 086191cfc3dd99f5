package fhirtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// Bundle is the part of a notification that its rules are about.
type Bundle struct {
	Type  string
	Total *int
	Entry []Entry
}

// Entry is one entry of a notification.
type Entry struct {
	FullURL  string `json:"fullUrl"`
	Resource *struct {
		ResourceType, ID string
		Meta             struct{ VersionID string }
	}
	Request *struct {
		Method string
		URL    string
	}
	Response, Search json.RawMessage
}

// Status is the SubscriptionStatus of a notification.
type Status struct {
	ID, Status, Type, Topic      string
	EventsSinceSubscriptionStart string // a JSON number fails to decode: SST-3
	NotificationEvent            []statusEvent
	Subscription                 reference
}

type statusEvent struct {
	EventNumber       string
	Timestamp         string
	Focus             *reference
	AdditionalContext []reference
}

type reference struct{ Reference string }

// CheckNotification fails t unless frame is a valid notification bundle of the
// release: valid by schema and element tables ([Valid]), by the invariants of
// Bundle and SubscriptionStatus (bdl-2 to bdl-5, bdl-7, bdl-8, bdl-13, bdl-15,
// sst-1, sst-2), by the profile of R5 notifications or those of the backport guide
// (NB-R4B-*, NB-R4-*, SST-9), and by the rules of spec.md 2.1 (NB-4, NB-7, NB-8,
// NB-10, NB-13, SST-3, SST-6). It returns the status for further checks, in the
// same form for every release.
func CheckNotification(t testing.TB, r fhir.Release, frame []byte) *Status {
	t.Helper()
	Valid(t, r, frame)
	var b Bundle
	if err := json.Unmarshal(frame, &b); err != nil {
		t.Fatalf("not a notification: %v\n%s", err, frame)
	}
	var raw struct {
		Entry []struct{ Resource json.RawMessage }
	}
	_ = json.Unmarshal(frame, &raw) // the same bytes as above
	want, first := "history", "SubscriptionStatus"
	switch r {
	case fhir.R5:
		want = "subscription-notification"
	case fhir.R4:
		first = "Parameters"
	}
	if b.Type != want {
		t.Errorf("NB-R5-1, 2.3, 2.4: Bundle.type is %q, want %q", b.Type, want)
	}
	if b.Total != nil {
		t.Errorf("bdl-1: a notification has a total")
	}
	if len(b.Entry) == 0 || b.Entry[0].Resource == nil || b.Entry[0].Resource.ResourceType != first {
		t.Fatalf("bdl-13, NB-R4-1: the first entry is not a %s\n%s", first, frame)
	}
	var s Status
	var err error
	if r == fhir.R4 {
		err = s.readParameters(raw.Entry[0].Resource)
	} else {
		err = json.Unmarshal(raw.Entry[0].Resource, &s)
	}
	if err != nil {
		t.Fatalf("SST-3, SST-9: %v\n%s", err, frame)
	}
	if b.Entry[0].FullURL != "urn:uuid:"+s.ID {
		t.Errorf("NB-13: the status %s has fullUrl %s", s.ID, b.Entry[0].FullURL)
	}
	if r == fhir.R5 {
		checkNoResponses(t, &b)
	} else {
		checkResponses(t, &b, &s)
	}
	checkEntries(t, &b)
	checkStatus(t, r, &s)
	checkContent(t, r, &b, &s)
	if t.Failed() {
		t.Logf("the notification was %s", frame)
	}
	return &s
}

// checkNoResponses checks that there are no responses, as the R5 profile demands.
func checkNoResponses(t testing.TB, b *Bundle) {
	t.Helper()
	for i, e := range b.Entry {
		if e.Response != nil {
			t.Errorf("profile: entry %d has a response", i)
		}
	}
}

// checkResponses checks that every entry has request and response, as in a history
// bundle (bdl-3, bdl-4). Those of the status are a call of $status.
func checkResponses(t testing.TB, b *Bundle, s *Status) {
	t.Helper()
	for i, e := range b.Entry {
		var response struct{ Status string }
		if e.Request == nil || e.Response == nil || json.Unmarshal(e.Response, &response) != nil || response.Status == "" {
			t.Errorf("bdl-3, bdl-4: entry %d lacks request or response", i)
			continue
		}
		if i > 0 {
			continue
		}
		if e.Request.Method != "GET" || !strings.HasSuffix(e.Request.URL, "/Subscription/"+s.Subscription.Reference[strings.LastIndexByte(s.Subscription.Reference, '/')+1:]+"/$status") || response.Status != "200" {
			t.Errorf("NB-R4B-1, NB-R4B-2: the status has request %s %s and response %s", e.Request.Method, e.Request.URL, response.Status)
		}
	}
}

// readParameters reads the status of R4 (1.4.2). A parameter with an unknown name
// or another type of value is an error: the profile does not allow it.
func (s *Status) readParameters(data []byte) error {
	var p struct {
		ID        string
		Parameter []parameter
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	s.ID = p.ID
	for _, one := range p.Parameter {
		switch one.Name {
		case "subscription":
			s.Subscription = one.ValueReference
		case "topic":
			s.Topic = one.ValueCanonical
		case "status":
			s.Status = one.ValueCode
		case "type":
			s.Type = one.ValueCode
		case "events-since-subscription-start":
			s.EventsSinceSubscriptionStart = one.ValueString
		case "error":
		case "notification-event":
			s.NotificationEvent = append(s.NotificationEvent, statusEvent{})
			e := &s.NotificationEvent[len(s.NotificationEvent)-1]
			for _, part := range one.Part {
				switch part.Name {
				case "event-number":
					e.EventNumber = part.ValueString
				case "timestamp":
					e.Timestamp = part.ValueInstant
				case "focus":
					e.Focus = &part.ValueReference
				case "additional-context":
					e.AdditionalContext = append(e.AdditionalContext, part.ValueReference)
				default:
					return fmt.Errorf("part %q is not in the profile", part.Name)
				}
			}
		default:
			return fmt.Errorf("parameter %q is not in the profile", one.Name)
		}
	}
	return nil
}

type parameter struct {
	Name           string
	ValueReference reference
	ValueCanonical string
	ValueCode      string
	ValueString    string
	ValueInstant   string
	Part           []parameter
}

func checkEntries(t testing.TB, b *Bundle) {
	t.Helper()
	seen := map[string]bool{}
	for i, e := range b.Entry {
		version := ""
		if e.Resource != nil {
			version = e.Resource.Meta.VersionID
		}
		switch key := e.FullURL + "|" + version; {
		case e.FullURL == "":
			t.Errorf("bdl-15: entry %d has no fullUrl", i)
		case strings.Contains(e.FullURL, "/_history/"):
			t.Errorf("bdl-8: entry %d has fullUrl %s", i, e.FullURL)
		case seen[key]:
			t.Errorf("bdl-7: entry %d repeats %s version %q", i, e.FullURL, version)
		default:
			seen[key] = true
		}
		if e.Search != nil {
			t.Errorf("bdl-2: entry %d has a search", i)
		}
		if e.Resource == nil && e.Request == nil {
			t.Errorf("bdl-5: entry %d has neither resource nor request", i)
		}
		if i == 0 {
			continue
		}
		if e.Resource != nil && !strings.HasSuffix(e.FullURL, "/"+e.Resource.ResourceType+"/"+e.Resource.ID) {
			t.Errorf("NB-13: entry %d holds %s/%s under fullUrl %s", i, e.Resource.ResourceType, e.Resource.ID, e.FullURL)
		}
		if e.Request == nil {
			continue
		}
		place := e.FullURL
		if cut := strings.LastIndexByte(place, '/'); e.Request.Method == "POST" && cut > 0 { // to the type
			place = place[:cut]
		}
		if !strings.HasSuffix(place, "/"+e.Request.URL) {
			t.Errorf("2.2: entry %d has request %s %s under fullUrl %s", i, e.Request.Method, e.Request.URL, e.FullURL)
		}
		if e.Request.Method == "DELETE" && e.Resource != nil {
			t.Errorf("NB-29: entry %d is a DELETE with a resource", i)
		}
	}
}

func checkStatus(t testing.TB, r fhir.Release, s *Status) {
	t.Helper()
	if s.Status == "" {
		t.Errorf("sst-2: the status has no status")
	}
	if (s.Type == "event-notification" || s.Type == "query-event" && r == fhir.R5) && len(s.NotificationEvent) == 0 {
		t.Errorf("sst-1: a %s without notificationEvent", s.Type)
	}
	total, err := strconv.ParseInt(s.EventsSinceSubscriptionStart, 10, 64)
	if err != nil || total < 0 {
		t.Errorf("NB-4: eventsSinceSubscriptionStart is %q", s.EventsSinceSubscriptionStart)
	}
	var last int64
	for i, e := range s.NotificationEvent {
		number, err := strconv.ParseInt(e.EventNumber, 10, 64)
		if err != nil || number < 1 || i > 0 && number != last+1 {
			t.Errorf("NB-4: eventNumber %q follows %d", e.EventNumber, last)
		}
		last = number
		if !strings.HasSuffix(e.Timestamp, "Z") {
			t.Errorf("NB-6: event %s has timestamp %q, which is not in UTC", e.EventNumber, e.Timestamp)
		}
	}
	if s.Type == "event-notification" && total != last || total < last {
		t.Errorf("NB-4: eventsSinceSubscriptionStart is %d, the last eventNumber %d", total, last)
	}
	if !strings.Contains(s.Subscription.Reference, "://") || !strings.Contains(s.Subscription.Reference, "/Subscription/") {
		t.Errorf("SST-6: subscription is %q", s.Subscription.Reference)
	}
}

// checkContent checks that the whole notification has one payload level.
func checkContent(t testing.TB, r fhir.Release, b *Bundle, s *Status) {
	t.Helper()
	if len(s.NotificationEvent) == 0 {
		if len(b.Entry) != 1 {
			t.Errorf("NB-8: %d entries without an event", len(b.Entry)-1)
		}
		return
	}
	if s.NotificationEvent[0].Focus == nil { // empty
		for _, e := range s.NotificationEvent {
			if e.Focus != nil || e.AdditionalContext != nil {
				t.Errorf("NB-7: event %s of an empty notification has a focus or context", e.EventNumber)
			}
		}
		if len(b.Entry) != 1 {
			t.Errorf("NB-8: an empty notification has %d entries besides the status", len(b.Entry)-1)
		}
		if s.Type == "event-notification" && s.Topic != "" {
			t.Errorf("NB-7: an empty notification names topic %s", s.Topic)
		}
		return
	}
	listed := func(url string) bool {
		return slices.ContainsFunc(b.Entry[1:], func(e Entry) bool { return e.FullURL == url })
	}
	for _, e := range s.NotificationEvent {
		if e.Focus == nil {
			t.Errorf("NB-7: event %s has no focus", e.EventNumber)
			continue
		}
		for _, ref := range append([]reference{*e.Focus}, e.AdditionalContext...) {
			if !strings.Contains(ref.Reference, "://") {
				t.Errorf("SST-6: event %s refers to %q", e.EventNumber, ref.Reference)
			}
			// Before R5 an id-only notification has no entries (NB-9).
			if !listed(ref.Reference) && (r == fhir.R5 || len(b.Entry) > 1) {
				t.Errorf("NB-9, NB-10: event %s refers to %s, which has no entry", e.EventNumber, ref.Reference)
			}
		}
	}
}
