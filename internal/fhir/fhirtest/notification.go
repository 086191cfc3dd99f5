package fhirtest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// Bundle is as much of a notification as its rules are about.
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
	NotificationEvent            []struct {
		EventNumber       string
		Timestamp         string
		Focus             *reference
		AdditionalContext []reference
	}
	Subscription reference
}

type reference struct{ Reference string }

// CheckNotification fails t unless frame is a notification bundle a client of
// the release may rely on: valid by schema and element tables ([Valid]), by the
// invariants of Bundle and SubscriptionStatus (bdl-2, bdl-5, bdl-7, bdl-8,
// bdl-13, bdl-15, sst-1, sst-2), by the profile of R5 notifications and by the
// rules of spec.md 2.1 (NB-4, NB-7, NB-8, NB-10, NB-13, SST-3, SST-6). It
// answers the status for what else a test wants to know.
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
	if b.Type != "subscription-notification" {
		t.Errorf("NB-R5-1: Bundle.type is %q", b.Type)
	}
	if b.Total != nil {
		t.Errorf("bdl-1: a notification has a total")
	}
	if len(b.Entry) == 0 || b.Entry[0].Resource == nil || b.Entry[0].Resource.ResourceType != "SubscriptionStatus" {
		t.Fatalf("bdl-13: the first entry is not a SubscriptionStatus\n%s", frame)
	}
	var s Status
	if err := json.Unmarshal(raw.Entry[0].Resource, &s); err != nil {
		t.Fatalf("SST-3: %v\n%s", err, frame)
	}
	if b.Entry[0].FullURL != "urn:uuid:"+s.ID {
		t.Errorf("NB-13: the status %s has fullUrl %s", s.ID, b.Entry[0].FullURL)
	}
	checkEntries(t, &b)
	checkStatus(t, &s)
	checkContent(t, &b, &s)
	if t.Failed() {
		t.Logf("the notification was %s", frame)
	}
	return &s
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
		if e.Response != nil || e.Search != nil {
			t.Errorf("profile, bdl-2: entry %d has a response or search", i)
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

func checkStatus(t testing.TB, s *Status) {
	t.Helper()
	if s.Status == "" {
		t.Errorf("sst-2: the status has no status")
	}
	if (s.Type == "event-notification" || s.Type == "query-event") && len(s.NotificationEvent) == 0 {
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

// checkContent checks that the notification is of one payload level throughout.
func checkContent(t testing.TB, b *Bundle, s *Status) {
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
			if !listed(ref.Reference) {
				t.Errorf("NB-9, NB-10: event %s refers to %s, which has no entry", e.EventNumber, ref.Reference)
			}
		}
	}
}
