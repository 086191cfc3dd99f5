package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// One trigger, three subscriptions of three releases: the same event, said in
// each release's words.
func TestReleases_OneTriggerIsToldInEachOnesWords(t *testing.T) {
	t.Parallel()
	s := start(t)
	sockets := map[fhir.Release]*socket{}
	for _, r := range fhir.Releases {
		in := s.on(r)
		in.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
		id := strings.ToLower(string(r))
		in.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "content", "full-resource"))
		sockets[r] = in.Bind(id)
	}
	fired := s.Must(200, "POST", "/mock/trigger", map[string]any{"topic": admissionURL})
	if got := len(asList(fired.Body["events"])); got != 3 {
		t.Fatalf("got %s, want an event of each", fired.Raw)
	}
	type said struct{ kind, status, topic, total, number, timestamp, focus, subject string }
	told := map[fhir.Release]said{}
	for _, r := range fhir.Releases {
		f := sockets[r].WantEvent("1")
		fhirtest.CheckNotification(t, r, f.Raw)
		status := f.Status()
		event := at(status, "notificationEvent", 0).(map[string]any)
		focus, _ := at(event, "focus", "reference").(string)
		resource := f.At("entry", 1, "resource").(map[string]any)
		if resource["resourceType"] != "Encounter" || !strings.HasPrefix(focus, s.URL+"/fhir/"+string(r)+"/Encounter/") {
			t.Errorf("%s: the focus is %s, its resource %v", r, focus, resource)
		}
		told[r] = said{
			f.Kind(), fmt.Sprint(status["status"]), fmt.Sprint(status["topic"]), f.Total(),
			fmt.Sprint(event["eventNumber"]), fmt.Sprint(event["timestamp"]), focus[strings.LastIndex(focus, "/fhir/")+len("/fhir/")+len(r):],
			fmt.Sprint(at(resource, "subject", "reference")),
		}
		if want := map[fhir.Release]string{fhir.R5: "subscription-notification", fhir.R4B: "history", fhir.R4: "history"}[r]; f.Body["type"] != want {
			t.Errorf("%s: the bundle is a %v, want %s", r, f.Body["type"], want)
		}
	}
	if told[fhir.R4] != told[fhir.R5] || told[fhir.R4B] != told[fhir.R5] {
		t.Errorf("the releases tell different events:\n%+v", told)
	}
}

func TestReleases_AreKeptApart(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	if a := s.on(fhir.R5).Do("GET", "Encounter/e", nil); a.Status != 404 {
		t.Errorf("an Encounter of R4 on R5: got %d, want 404", a.Status)
	}
	// Control routes and sockets name subscriptions by id alone.
	a := s.on(fhir.R4B).Do("PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	if code, text, _ := a.Issue(); a.Status != 409 && a.Status != 422 || code == "" || !strings.Contains(text, "abc") {
		t.Errorf("an id that another release has: got %d %s", a.Status, a.Raw)
	}
	if a := s.on(fhir.R5).Do("GET", "Subscription/abc/$status", nil); a.Status != 404 {
		t.Errorf("$status on another release: got %d, want 404", a.Status)
	}
}

func TestReleases_OnlyThoseOffered(t *testing.T) {
	t.Parallel()
	s := start(t, "--release", "r4").on(fhir.R4)
	s.Must(200, "GET", "metadata", nil)
	a := s.on(fhir.R5).Do("GET", "metadata", nil)
	if code, text, _ := a.Issue(); a.Status != 404 || code != "not-supported" || !strings.Contains(text, s.FHIR) {
		t.Errorf("R5: got %d %s, want 404 that names %s", a.Status, a.Raw, s.FHIR)
	}
}

func TestReleases_TheBuiltInSeedIsAliveOnEach(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	for _, r := range fhir.Releases {
		in := s.on(r)
		id := map[fhir.Release]string{fhir.R5: "admission-full", fhir.R4B: "r4b-admission-full", fhir.R4: "r4-admission-full"}[r]
		ws := in.Bind(id)
		if a := in.Must(200, "GET", "Subscription/"+id, nil); a.Body["status"] != "active" {
			t.Errorf("%s: %s is %v", r, id, a.Body["status"])
		}
		in.Must(201, "PUT", "Encounter/new", encounter("new", "in-progress", "subject", reference("Patient/example")))
		fhirtest.CheckNotification(t, r, ws.WantEvent("1").Raw)
		a := in.Must(200, "GET", "metadata", nil)
		fhirtest.Valid(t, r, a.Raw)
		if r != fhir.R5 && !strings.Contains(string(a.Raw), `"valueCanonical":"`+admissionURL+`"`) {
			t.Errorf("CF-9: %s does not list its topics", r)
		}
	}
	// The ward writes to all of them, each resource in its form.
	s.Must(200, "POST", "/mock/generators/ward/step", map[string]any{"count": 200})
	for _, r := range fhir.Releases {
		a := s.on(r).Must(200, "GET", "Encounter?_count=50", nil)
		fhirtest.Valid(t, r, a.Raw)
		if !strings.Contains(string(a.Raw), `"id":"ward-`) {
			t.Errorf("%s: no encounter of the ward", r)
		}
	}
	var state struct {
		Generators []struct {
			Name, LastError string
			Refused         int
		}
	}
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/generators", nil).Raw, &state); err != nil {
		t.Fatal(err)
	}
	if g := state.Generators[0]; g.Refused > 0 {
		t.Errorf("%s: %d writes were refused: %s", g.Name, g.Refused, g.LastError)
	}
}

func TestReleases_OperationResultsAreValid(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
		for _, method := range []string{"GET", "POST"} { // OP-2
			fhirtest.Valid(t, r, s.Must(200, method, "Subscription/abc/$get-ws-binding-token", nil).Raw)
			fhirtest.Valid(t, r, s.Must(200, method, "Subscription/$status", nil).Raw)
			fhirtest.CheckNotification(t, r, s.Must(200, method, "Subscription/abc/$events", nil).Raw)
		}
		body := map[string]any{"resourceType": "Parameters", "parameter": []any{
			map[string]any{"name": "eventsSinceNumber", "valueString": "1"}, map[string]any{"name": "content", "valueCode": "empty"}}}
		fhirtest.CheckNotification(t, r, s.Must(200, "POST", "Subscription/abc/$events", body).Raw)
		none := s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=7", nil)
		fhirtest.Valid(t, r, none.Raw)
		if want := map[fhir.Release]string{fhir.R5: "query-status"}[r]; want != "" && none.Notification().Kind() != want {
			t.Errorf("OPE-5: got %s", none.Raw)
		}
		for _, id := range r.OperationDefinitions() {
			fhirtest.Valid(t, r, s.Must(200, "GET", "OperationDefinition/"+id, nil).Raw)
		}
		fhirtest.Valid(t, r, s.Must(200, "GET", "Subscription", nil).Raw)
		fhirtest.Valid(t, r, s.Must(200, "GET", "Subscription/abc/_history", nil).Raw)
	})
}

// OPR-1: the events again, under their numbers, with the present total.
func TestResend_SendsEventsAgain(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		for n := range 4 {
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
			ws.WantEvent(fmt.Sprint(n + 1))
		}
		a := s.Must(200, "POST", "Subscription/abc/$resend?eventsSinceNumber=2&eventsUntilNumber=3", nil)
		if _, text, _ := a.Issue(); text != "sent 2 event(s) again to 1 socket(s)" {
			t.Errorf("got %q", text)
		}
		f := ws.WantEvent("2,3")
		if f.Total() != "4" {
			t.Errorf("total: got %s, want 4", f.Total())
		}
		s.Must(200, "POST", "Subscription/abc/$resend?eventsSinceInstant=2999-01-01T00:00:00Z", nil)
		ws.Nothing()
		if a := s.Do("POST", "Subscription/abc/$resend?eventsSinceInstant=yesterday", nil); a.Status != 400 {
			t.Errorf("an instant that is none: got %d, want 400", a.Status)
		}
	})
}
