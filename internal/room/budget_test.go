package room_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

// parsed returns an object of a type with an id, "" for none, and members.
func parsed(t testing.TB, typ, id, members string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte(`{"resourceType":"` + typ + `",` + members + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		o.Set("id", id)
	}
	return o
}

// topicOn writes a topic on Patients that decides by FHIRPath, or "" by nothing.
func topicOn(t testing.TB, b *room.Base, id, criteria string) {
	t.Helper()
	trigger := `{"resource":"Patient"}`
	if criteria != "" {
		trigger = fmt.Sprintf(`{"resource":"Patient","fhirPathCriteria":%q}`, criteria)
	}
	put(t, b, "SubscriptionTopic", id, `"url":"http://example.org/`+id+`","status":"active","resourceTrigger":[`+trigger+`]`)
}

// outcomes returns what topics did at the last change of a resource, in the order of the
// journal: "fired a", "not-fired b", "not-fired b budget".
func outcomes(r *room.Room, reference string) []string {
	var all []string
	for _, e := range r.Journal().Entries(journal.Filter{Kinds: []string{journal.Change, journal.Fired, journal.NotFired}}) {
		switch {
		case e.Resource != reference:
		case e.Kind == journal.Change:
			all = nil
		default:
			all = append(all, strings.TrimSpace(e.Kind+" "+strings.TrimPrefix(e.Topic, "http://example.org/")+" "+e.Type))
		}
	}
	return all
}

// writes returns one write of each kind of a Patient that exists, Patient/p. It creates
// Patient/new.
func writes(t testing.TB, b *room.Base) map[string][]room.Operation {
	fhirPath := b.FHIRPathPatch(parsed(t, "Parameters", "", `"parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},
		{"name":"path","valueString":"Patient.name.where(family = 'A').given[0]"},{"name":"value","valueString":"B"}]}]`))
	patient := func(id string) *fhir.Object { return parsed(t, "Patient", id, `"name":[{"family":"A","given":["C"]}]`) }
	return map[string][]room.Operation{
		"create":         {{Method: http.MethodPost, Type: "Patient", Object: patient("")}},
		"update":         {{Method: http.MethodPut, Type: "Patient", ID: "p", Object: patient("p")}},
		"delete":         {{Method: http.MethodDelete, Type: "Patient", ID: "p"}},
		"json patch":     {{Method: http.MethodPatch, Type: "Patient", ID: "p", Patch: room.JSONPatch([]byte(`[{"op":"add","path":"/active","value":true}]`))}},
		"fhirpath patch": {{Method: http.MethodPatch, Type: "Patient", ID: "p", Patch: fhirPath}},
		"transaction": {
			{Method: http.MethodPost, Type: "Patient", Object: patient(""), Place: "Bundle.entry[0]", FullURL: "urn:uuid:1"},
			{Method: http.MethodPut, Type: "Patient", ID: "p", Object: patient("p"), Place: "Bundle.entry[1]"},
		},
	}
}

const someone = `"name":[{"family":"A","given":["A"]}]`

// What the budget has no time for does not fire; the journal and the client learn it.
func TestBudget_UsedUp(t *testing.T) {
	t.Parallel()
	for name := range writes(t, open(t, room.Options{}).Base(fhir.R5)) {
		if name == "fhirpath patch" {
			continue // it is refused, see below
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}})
			b := r.Base(fhir.R5)
			put(t, b, "Patient", "p", someone)
			topicOn(t, b, "costly", "true")
			topicOn(t, b, "plain", "")
			written, err := b.Transaction(writes(t, b)[name], room.Request{Budget: budget.New("write", 0)})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range written {
				if got, want := outcomes(r, "Patient/"+w.ID), []string{"not-fired costly budget", "fired plain"}; !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", w.ID, got, want)
				}
				if !slices.ContainsFunc(w.Issues, func(i fhir.Issue) bool {
					return i.Severity == "warning" && i.Code == fhir.CodeTooCostly && strings.Contains(i.Diagnostics, "did not fire: http://example.org/costly") && strings.Contains(i.Diagnostics, "used up its 0s")
				}) {
					t.Errorf("%s: got the warnings %v, want that the topic did not fire", w.ID, w.Issues)
				}
			}
		})
	}
}

func TestBudget_RefusesAPatchWhoseConditionsItHasNoTimeFor(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}})
	b := r.Base(fhir.R5)
	put(t, b, "Patient", "p", someone)
	_, err := b.Transaction(writes(t, b)["fhirpath patch"], room.Request{Budget: budget.New("write", 0)})
	if fhir.StatusOf(err) != http.StatusUnprocessableEntity || fhir.CodeOf(err) != fhir.CodeTooCostly || !strings.Contains(err.Error(), "used up") {
		t.Errorf("got %v, want 422 too-costly", err)
	}
	if res, err := b.Read("Patient", "p"); err != nil || res.VersionID != "1" {
		t.Errorf("got %v, %v, want version 1", res, err)
	}
}

func TestBudget_WarnsOfInvariantsThatAreNotChecked(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}}).Base(fhir.R5)
	questionnaire := parsed(t, "Questionnaire", "q", `"status":"active","item":[{"linkId":"1","type":"group","item":[{"linkId":"1","type":"string"}]}]`)
	w, err := b.Update("Questionnaire", "q", questionnaire.Clone(), room.Request{Budget: budget.New("write", 0)})
	if err != nil || len(w.Issues) != 1 || w.Issues[0].Code != fhir.CodeTooCostly || !strings.Contains(w.Issues[0].Diagnostics, "not all invariants were checked") {
		t.Errorf("got %+v, %v, want a warning", w, err)
	}
	if _, err := b.Update("Questionnaire", "q", questionnaire, room.Request{}); fhir.CodeOf(err) != fhir.CodeInvariant {
		t.Errorf("with time left: got %v, want that an invariant is broken", err)
	}
}

// each returns a measure for a budget that calls before at the beginning of each
// expression, with its number. The expressions take no time.
func each(before func(n int)) func() time.Duration {
	calls := 0
	return func() time.Duration {
		if calls++; calls%2 == 1 {
			before(calls/2 + 1)
		}
		return 0
	}
}

// All topics share one budget. The text names the expression that used it up.
func TestBudget_IsSharedByAllTopics(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	b := r.Base(fhir.R5)
	for i, criteria := range []string{"true", "name.exists()", "name.family.exists()", "active.exists()"} {
		topicOn(t, b, fmt.Sprint(i), criteria)
	}
	used, took := time.Duration(0), []time.Duration{6 * time.Minute, 57 * time.Minute}
	calls := 0
	within := budget.NewOf("write", time.Hour, func() time.Duration {
		if calls++; calls%2 == 0 {
			used += took[calls/2-1]
		}
		return used
	})
	w, err := b.Update("Patient", "p", parsed(t, "Patient", "p", someone), room.Request{Budget: within})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outcomes(r, "Patient/p"), []string{"fired 0", "fired 1", "not-fired 2 budget", "not-fired 3 budget"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(w.Issues) != 1 || !strings.Contains(w.Issues[0].Diagnostics, `most of it took "name.exists()"`) {
		t.Errorf("got %v, want that the costly expression is named", w.Issues)
	}
}

// writeBeside writes another resource while an expression is evaluated, and fails the test
// if that has to wait for the expression.
func writeBeside(t *testing.T, b *room.Base) {
	t.Helper()
	other := make(chan error, 1)
	o := parsed(t, "Basic", "other", `"code":{"text":"other"}`)
	go func() {
		_, err := b.Update("Basic", "other", o, room.Request{})
		other <- err
	}()
	select {
	case err := <-other:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute): // reached only by a failure
		t.Error("a write waits until the expression is evaluated")
	}
}

// While an expression is evaluated for a write, another write takes place.
func TestBudget_NoWriteWaitsForAnExpression(t *testing.T) {
	t.Parallel()
	for name := range writes(t, open(t, room.Options{}).Base(fhir.R5)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}})
			b := r.Base(fhir.R5)
			put(t, b, "Patient", "p", someone)
			topicOn(t, b, "costly", "true")
			evaluated := 0
			within := budget.NewOf("write", time.Hour, each(func(n int) {
				evaluated = n
				writeBeside(t, b)
			}))
			written, err := b.Transaction(writes(t, b)[name], room.Request{Budget: within})
			if err != nil {
				t.Fatal(err)
			}
			if evaluated == 0 {
				t.Fatal("no expression was evaluated")
			}
			for _, w := range written {
				if got := outcomes(r, "Patient/"+w.ID); !slices.Equal(got, []string{"fired costly"}) {
					t.Errorf("%s: got %q, want that the topic fires", w.ID, got)
				}
			}
		})
	}
}

// If the resource or the topics change while expressions are evaluated, the verdict is
// nevertheless about the change that is committed.
func TestBudget_VerdictIsAboutWhatIsCommitted(t *testing.T) {
	t.Parallel()
	const female, male = `"gender":"female"`, `"gender":"male"`
	for _, tt := range []struct {
		name      string
		meanwhile func(t *testing.T, b *room.Base, n int) // before the nth evaluation
		times     int                                     // that something happens meanwhile
		want      []string
	}{
		{"nothing", nil, 0, []string{"not-fired t"}},
		{"another version", func(t *testing.T, b *room.Base, n int) { put(t, b, "Patient", "p", female) }, 1, []string{"fired t"}},
		{"a version each time", func(t *testing.T, b *room.Base, n int) {
			put(t, b, "Patient", "p", []string{male, male, female}[n-1])
		}, 3, []string{"fired t"}},
		{"another topic", func(t *testing.T, b *room.Base, n int) { topicOn(t, b, "t", "%previous.gender = 'male'") }, 1, []string{"fired t"}},
		{"one more topic", func(t *testing.T, b *room.Base, n int) { topicOn(t, b, "u", "true") }, 1, []string{"not-fired t", "fired u"}},
		{"no topic", func(t *testing.T, b *room.Base, n int) {
			if _, err := b.Write(room.Operation{Method: http.MethodDelete, Type: "SubscriptionTopic", ID: "t"}, room.Request{}); err != nil {
				t.Error(err)
			}
		}, 1, nil},
	} {
		for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
			t.Run(tt.name+", "+method, func(t *testing.T) {
				t.Parallel()
				r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
				b := r.Base(fhir.R5)
				put(t, b, "Patient", "p", male)
				topicOn(t, b, "t", "%previous.gender = 'female'")
				done := 0
				within := budget.NewOf("write", time.Hour, each(func(n int) {
					if n <= tt.times {
						done++
						tt.meanwhile(t, b, n)
					}
					if n <= 3 { // a fourth time, it is evaluated under the lock
						writeBeside(t, b)
					}
				}))
				o := room.Operation{Method: method, Type: "Patient", ID: "p"}
				switch method {
				case http.MethodPut:
					o.Object = parsed(t, "Patient", "p", `"active":true`)
				case http.MethodPatch:
					o.Patch = room.JSONPatch([]byte(`[{"op":"add","path":"/active","value":true}]`))
				}
				if _, err := b.Write(o, room.Request{Budget: within}); err != nil {
					t.Fatal(err)
				}
				if got := outcomes(r, "Patient/p"); done != tt.times || !slices.Equal(got, tt.want) {
					t.Errorf("got %q after %d changes, want %q after %d", got, done, tt.want, tt.times)
				}
			})
		}
	}
}

// A reference in a transaction may select another resource than it did before the lock.
func TestBudget_VerdictIsAboutTheReferenceThatIsCommitted(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	b := r.Base(fhir.R5)
	put(t, b, "Organization", "a", `"name":"x"`)
	put(t, b, "Organization", "b", `"name":"y"`)
	topicOn(t, b, "t", "%current.managingOrganization.reference = 'Organization/b'")
	within := budget.NewOf("write", time.Hour, each(func(n int) {
		if n == 1 {
			put(t, b, "Organization", "a", `"name":"y"`)
			put(t, b, "Organization", "b", `"name":"x"`)
		}
	}))
	o := room.Operation{Method: http.MethodPut, Type: "Patient", ID: "p", Place: "Bundle.entry[0]", Object: parsed(t, "Patient", "p", `"managingOrganization":{"reference":"Organization?name=x"}`)}
	if _, err := b.Transaction([]room.Operation{o}, room.Request{Budget: within}); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(r, "Patient/p"); !slices.Equal(got, []string{"fired t"}) {
		t.Errorf("got %q, want that the topic fires", got)
	}
}

// The order of events is the order of versions, also if criteria are evaluated before.
func TestBudget_EventsAreInTheOrderOfVersions(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}})
	b := r.Base(fhir.R5)
	topicOn(t, b, "t", "%current.active")
	put(t, b, "Subscription", "s", `"status":"requested","topic":"http://example.org/t","channelType":{"code":"websocket"},"content":"full-resource"`)
	var all sync.WaitGroup
	const writers, each = 4, 25
	for range writers {
		all.Go(func() {
			for range each {
				if _, err := b.Update("Patient", "p", parsed(t, "Patient", "p", `"active":true`), room.Request{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	events := 0
	version := ""
	for _, e := range r.Journal().Entries(journal.Filter{Kinds: []string{journal.Change, journal.Appended}}) {
		switch {
		case e.Resource != "Patient/p":
		case e.Kind == journal.Change:
			version = e.Version
		default:
			if events++; fmt.Sprint(e.First) != version || e.First != int64(events) {
				t.Errorf("event %d is appended after version %s, want event %d", e.First, version, events)
			}
		}
	}
	if events != writers*each {
		t.Errorf("got %d events, want %d", events, writers*each)
	}
}
