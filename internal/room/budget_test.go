package room_test

import (
	"context"
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

// A resource can come and go while expressions are evaluated. Then the next version is
// another one, although it is a create as before.
func TestBudget_VerdictIsAboutTheVersionThatIsCommitted(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	b := r.Base(fhir.R5)
	topicOn(t, b, "t", "%current.meta.versionId = '3'")
	within := budget.NewOf("write", time.Hour, each(func(n int) {
		if n == 1 {
			put(t, b, "Patient", "p", someone)
			if _, err := b.Write(room.Operation{Method: http.MethodDelete, Type: "Patient", ID: "p"}, room.Request{}); err != nil {
				t.Error(err)
			}
		}
	}))
	if w, err := b.Update("Patient", "p", parsed(t, "Patient", "p", someone), room.Request{Budget: within}); err != nil || w.VersionID != "3" || !w.Created {
		t.Fatalf("got %+v, %v, want version 3 by a create", w, err)
	}
	if got := outcomes(r, "Patient/p"); !slices.Equal(got, []string{"fired t"}) {
		t.Errorf("got %q, want that the topic fires", got)
	}
}

// The id of a create is chosen before the lock. If another write takes it, the create gets
// another one, and the verdict is about that.
func TestBudget_VerdictIsAboutTheIDThatIsCommitted(t *testing.T) {
	t.Parallel()
	create := func(taken string) (id string, got []string) {
		o, _ := deterministic(nil)
		o.Releases, o.SkipInvariants = []fhir.Release{fhir.R5}, true
		r := open(t, o)
		b := r.Base(fhir.R5)
		topicOn(t, b, "t", "%current.id = '"+taken+"'")
		within := budget.NewOf("write", time.Hour, each(func(n int) {
			if n == 1 && taken != "" {
				put(t, b, "Patient", taken, someone)
			}
		}))
		w, err := b.Write(room.Operation{Method: http.MethodPost, Type: "Patient", Object: parsed(t, "Patient", "", someone)}, room.Request{Budget: within})
		if err != nil {
			t.Fatal(err)
		}
		return w.ID, outcomes(r, "Patient/"+w.ID)
	}
	first, _ := create("")
	if id, got := create(first); id == first || !slices.Equal(got, []string{"not-fired t"}) {
		t.Errorf("got Patient/%s with %q, want another id than %s, which the topic is not about", id, got, first)
	}
}

// A bundle has more time than a write, but not while it holds the write lock.
func TestBudget_OfABundleIsThatOfAWriteUnderTheLock(t *testing.T) {
	t.Parallel()
	const entries = 3
	for _, tt := range []struct {
		name, criteria string
		method         string
		before         int // how often each entry is evaluated before the lock
	}{
		{"criteria", "true", http.MethodPut, 3},
		{"conditions of patches", "", http.MethodPatch, 4}, // first for the references that a patch adds
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
			b := r.Base(fhir.R5)
			topicOn(t, b, "t", tt.criteria)
			var operations []room.Operation
			for i := range entries {
				id := fmt.Sprint("p", i)
				put(t, b, "Patient", id, someone)
				o := writes(t, b)["fhirpath patch"][0]
				if tt.method == http.MethodPut {
					o = room.Operation{Method: http.MethodPut, Type: "Patient", Object: parsed(t, "Patient", id, someone)}
				}
				o.ID, o.Place = id, fmt.Sprintf("Bundle.entry[%d]", i)
				operations = append(operations, o)
			}
			// Each resource changes while its entry is rehearsed. Under the lock, each
			// expression takes 700 ms.
			used, begins, underLock := time.Duration(0), 0, 0
			within := budget.NewOf("bundle", time.Hour, func() time.Duration {
				if begins++; begins%2 == 0 {
					if underLock > 0 {
						used += 700 * time.Millisecond
					}
					return used
				}
				if n := begins / 2; n < tt.before*entries {
					put(t, b, "Patient", fmt.Sprint("p", n%entries), fmt.Sprintf(`"name":[{"family":"A","given":["%d"]}]`, n))
				} else {
					underLock++
				}
				return used
			})
			_, err := b.Transaction(operations, room.Request{Budget: within})
			if underLock == 0 {
				t.Error("nothing was evaluated under the lock")
			}
			if tt.method == http.MethodPatch {
				if fhir.CodeOf(err) != fhir.CodeTooCostly || !strings.Contains(err.Error(), "Bundle.entry[2]") {
					t.Errorf("got %v, want that there is no time for the third entry", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{"fired t", "fired t", "not-fired t budget"} {
				if got := outcomes(r, fmt.Sprint("Patient/p", i)); !slices.Equal(got, []string{want}) {
					t.Errorf("entry %d: got %q, want %q", i, got, want)
				}
			}
		})
	}
}

// A topic that a transaction writes itself is evaluated under the lock.
func TestBudget_OfATopicOfTheTransactionItself(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	b := r.Base(fhir.R5)
	operations := []room.Operation{{Method: http.MethodPut, Type: "SubscriptionTopic", ID: "t", Place: "Bundle.entry[0]",
		Object: parsed(t, "SubscriptionTopic", "t", `"url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient","fhirPathCriteria":"true"}]`)}}
	for i := range 3 {
		id := fmt.Sprint("p", i)
		operations = append(operations, room.Operation{Method: http.MethodPut, Type: "Patient", ID: id, Place: fmt.Sprintf("Bundle.entry[%d]", i+1), Object: parsed(t, "Patient", id, someone)})
	}
	used, calls := time.Duration(0), 0
	within := budget.NewOf("bundle", time.Hour, func() time.Duration {
		if calls++; calls%2 == 0 {
			used += 700 * time.Millisecond
		}
		return used
	})
	if _, err := b.Transaction(operations, room.Request{Budget: within}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"fired t", "fired t", "not-fired t budget"} {
		if got := outcomes(r, fmt.Sprint("Patient/p", i)); !slices.Equal(got, []string{want}) {
			t.Errorf("entry %d: got %q, want %q", i, got, want)
		}
	}
}

// A warning names a few topics and counts the others.
func TestBudget_NamesAFewTopics(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true}).Base(fhir.R5)
	for _, id := range strings.Split("abcdefg", "") {
		topicOn(t, b, id, "true")
	}
	w, err := b.Update("Patient", "p", parsed(t, "Patient", "p", someone), room.Request{Budget: budget.New("write", 0)})
	if err != nil || len(w.Issues) != 1 || !strings.Contains(w.Issues[0].Diagnostics, "http://example.org/d, http://example.org/e and 2 more: ") {
		t.Errorf("got %+v, %v, want a warning of five topics and two more", w, err)
	}
}

// If another write changes what a patch makes, that is checked, not what it made before.
func TestBudget_ChecksWhatIsCommitted(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}}).Base(fhir.R5)
	put(t, b, "Patient", "p", `"contact":[{"name":{"text":"A"},"telecom":[{"system":"phone","value":"1"}]}]`)
	checks := 0
	within := budget.NewOf("write", time.Hour, each(func(n int) {
		if checks = n; n == 1 {
			put(t, b, "Patient", "p", `"contact":[{"name":{"text":"A"}}]`)
		}
	}))
	o := room.Operation{Method: http.MethodPatch, Type: "Patient", ID: "p", Patch: room.JSONPatch([]byte(`[{"op":"add","path":"/contact/0/gender","value":"female"},{"op":"remove","path":"/contact/0/name"}]`))}
	if _, err := b.Write(o, room.Request{Budget: within}); fhir.CodeOf(err) != fhir.CodeInvariant || checks != 2 {
		t.Errorf("got %v after %d checks, want that pat-1 is broken, after two", err, checks)
	}
}

// If a reference of a transaction selects another resource meanwhile, the entry is checked
// again, before the lock.
func TestBudget_ChecksAReferenceAgainBeforeTheLock(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}}).Base(fhir.R5)
	put(t, b, "Organization", "a", `"name":"x"`)
	put(t, b, "Organization", "b", `"name":"y"`)
	checks := 0
	within := budget.NewOf("bundle", time.Hour, each(func(n int) {
		if checks = n; n == 1 {
			put(t, b, "Organization", "a", `"name":"y"`)
			put(t, b, "Organization", "b", `"name":"x"`)
		}
		writeBeside(t, b)
	}))
	o := room.Operation{Method: http.MethodPut, Type: "Patient", ID: "p", Place: "Bundle.entry[0]", Object: parsed(t, "Patient", "p", `"managingOrganization":{"reference":"Organization?name=x"}`)}
	other := room.Operation{Method: http.MethodPut, Type: "Patient", ID: "q", Place: "Bundle.entry[1]", Object: parsed(t, "Patient", "q", someone)}
	if _, err := b.Transaction([]room.Operation{o, other}, room.Request{Budget: within}); err != nil || checks != 3 {
		t.Errorf("got %v after %d checks, want two, and another one of the first entry", err, checks)
	}
	if res, err := b.Read("Patient", "p"); err != nil || res.Object.Object("managingOrganization").Text("reference") != "Organization/b" {
		t.Errorf("got %v, %v, want the organization that is x now", res, err)
	}
}

// What a rehearsal finds wrong is said once by the run under the lock.
func TestBudget_ARefusalNamesItsEntryOnce(t *testing.T) {
	t.Parallel()
	b := open(t, room.Options{Releases: []fhir.Release{fhir.R5}}).Base(fhir.R5)
	operations := writes(t, b)["transaction"]
	operations[1].Object = parsed(t, "Patient", "p", `"contact":[{"gender":"female"}]`)
	_, err := b.Transaction(operations, room.Request{})
	if fhir.CodeOf(err) != fhir.CodeInvariant || strings.Count(err.Error(), "Bundle.entry[1]") != strings.Count(err.Error(), "Bundle.entry[1].resource")+1 {
		t.Errorf("got %v, want that pat-1 is broken in Bundle.entry[1], once", err)
	}
}

// What is not checked in a transaction is said for its entry, and in the journal.
func TestBudget_WarnsOfInvariantsInATransaction(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}})
	b := r.Base(fhir.R5)
	operations := writes(t, b)["transaction"]
	operations[1] = room.Operation{Method: http.MethodPut, Type: "Questionnaire", ID: "q", Place: "Bundle.entry[1]",
		Object: parsed(t, "Questionnaire", "q", `"status":"active","item":[{"linkId":"1","type":"group","item":[{"linkId":"1","type":"string"}]}]`)}
	written, err := b.Transaction(operations, room.Request{Budget: budget.New("bundle", 0)})
	if err != nil {
		t.Fatal(err)
	}
	const want = "not all invariants were checked: the bundle has used up its 0s"
	if w := written[1]; len(w.Issues) != 1 || !strings.HasPrefix(w.Issues[0].Diagnostics, want) {
		t.Errorf("got %+v, want a warning", w.Issues)
	}
	if entries := r.Journal().Entries(journal.Filter{Kinds: []string{journal.Lenient}}); !slices.ContainsFunc(entries, func(e journal.Entry) bool {
		return e.Resource == "Questionnaire/q" && strings.Contains(e.Text, want)
	}) {
		t.Errorf("got %v, want an entry that says it", entries)
	}
}

// Nobody waits for what a client asked for that has left: a write is not done, and a search
// does not go on.
func TestRequest_EndsWithItsClient(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	b := r.Base(fhir.R5)
	put(t, b, "Patient", "p", someone)
	topicOn(t, b, "t", "true")
	for name, operations := range writes(t, b) {
		ctx, leave := context.WithCancel(t.Context())
		within := budget.NewOf("write", time.Hour, each(func(int) { leave() })) // while the criteria are evaluated
		before := len(r.Journal().Entries(journal.Filter{}))
		_, err := b.Transaction(operations, room.Request{Budget: within, Context: ctx})
		if err == nil || !strings.Contains(err.Error(), "the client left before the write was done, so nothing was written") {
			t.Errorf("%s: got %v", name, err)
		}
		if after := len(r.Journal().Entries(journal.Filter{})); after != before {
			t.Errorf("%s: %d new entries, want that nothing happened", name, after-before)
		}
		leave()
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := b.Search(ctx, "Patient", nil, false, 1000); err == nil || !strings.Contains(err.Error(), "the client left") {
		t.Errorf("a search: got %v", err)
	}
}

// Nothing stops a write that has begun: its topics fire, although its client left meanwhile.
func TestRequest_EndsNoWriteThatHasBegun(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Releases: []fhir.Release{fhir.R5}, SkipInvariants: true})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	within := budget.NewOf("bundle", time.Hour, each(func(int) { leave() }))
	if _, err := r.Base(fhir.R5).Transaction([]room.Operation{ // its own topic is evaluated under the lock
		{Method: http.MethodPut, Type: "SubscriptionTopic", ID: "t", Place: "Bundle.entry[0]",
			Object: parsed(t, "SubscriptionTopic", "t", `"url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Patient","fhirPathCriteria":"name.exists()"}]`)},
		{Method: http.MethodPut, Type: "Patient", ID: "p", Place: "Bundle.entry[1]", Object: parsed(t, "Patient", "p", someone)},
	}, room.Request{Budget: within, Context: ctx}); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(r, "Patient/p"); ctx.Err() == nil || !slices.Equal(got, []string{"fired t"}) {
		t.Errorf("got %q, want that the topic fires; the client has left: %v", got, ctx.Err() != nil)
	}
}
