package search_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/search/searchtest"
)

// stored returns resources made of their JSON.
func stored(t testing.TB, texts ...string) search.Scope {
	t.Helper()
	var all searchtest.Source
	for _, text := range texts {
		o, err := fhir.Parse([]byte(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, fhir.NewResource(fhir.R5, o))
	}
	return search.Scope{Release: fhir.R5, Source: all}
}

// The cost of a query does not multiply with each reference it follows: neither when
// it is parsed, if each of a hundred types may refer to each, nor when many resources
// refer to one and that one to them.
func TestChains_HaveABoundedCost(t *testing.T) {
	t.Parallel()
	took, _ := budget.Within(time.Hour, func(context.Context) error {
		chainsAreBounded(t)
		return nil
	})
	if took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func chainsAreBounded(t *testing.T) {
	for _, query := range []string{"subject.subject.subject.subject.subject.name=x", "subject.subject.subject.subject.subject.colour=x"} {
		if _, refused := r5.Query("Composition", query); (refused != nil) != strings.Contains(query, "colour") {
			t.Errorf("%s: got %v", query, refused)
		}
	}
	if p := search.Named(fhir.R5, "Composition", "subject.subject.subject.subject.subject.name"); len(p) == 0 || len(p) > 200 {
		t.Errorf("the name means %d parameters", len(p))
	}
	texts := []string{`{"resourceType":"Patient","id":"hub"}`}
	for i := range 300 {
		texts = append(texts, fmt.Sprintf(`{"resourceType":"Observation","id":"%d","subject":{"reference":"Patient/hub"},"code":{"coding":[{"code":"x"}]}}`, i))
	}
	scope := stored(t, texts...)
	hub := scope.Source.Lookup("Patient/hub")
	for query, bounded := range map[string]bool{
		"_has:Observation:patient:patient._has:Observation:patient:patient._has:Observation:patient:code=y": true,
		"_has:Observation:patient:patient._has:Observation:patient:patient._has:Observation:patient:code=x": false,
		"_has:Observation:patient:code=y": false,
	} {
		q, refused := scope.Query("Patient", query)
		if refused != nil {
			t.Fatal(refused)
		}
		_, err := q.Match(hub)
		if (err != nil) != bounded {
			t.Errorf("%s: got %v", query, err)
		}
		if _, why := q.Explain(hub); bounded && !strings.Contains(why[0], "more than") {
			t.Errorf("%s: it says %q", query, why)
		}
	}
}

// Referrers are found as they are now, whatever was cached before.
func TestReversed_SeesChanges(t *testing.T) {
	t.Parallel()
	scope := stored(t, `{"resourceType":"Patient","id":"1"}`, `{"resourceType":"Patient","id":"2"}`,
		`{"resourceType":"Observation","id":"1","status":"final","subject":{"reference":"Patient/1"}}`)
	all := scope.Source.(searchtest.Source)
	q, refused := scope.Query("Patient", "_has:Observation:patient:status=final")
	if refused != nil {
		t.Fatal(refused)
	}
	for _, want := range []string{"1", "2", "1"} {
		all[2] = fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Observation", "id", "1", "status", "final", "subject", fhir.NewObject("reference", "Patient/"+want)))
		for _, patient := range all[:2] {
			if got, err := q.Match(patient); got != (patient.ID == want) || err != nil {
				t.Errorf("Patient/%s: got %v, %v where the Observation is of %s", patient.ID, got, err, want)
			}
		}
	}
}

// Canonicals are references, too, also in reverse.
func TestReversed_FollowsCanonicals(t *testing.T) {
	t.Parallel()
	for canonical, want := range map[string]bool{"http://x/q": true, "http://x/q|2": true, "http://x/q|3": false, "http://x/other": false} {
		scope := stored(t, `{"resourceType":"Questionnaire","id":"q1","url":"http://x/q","version":"2"}`,
			`{"resourceType":"QuestionnaireResponse","id":"r","status":"completed","questionnaire":"`+canonical+`"}`)
		form := scope.Source.Lookup("Questionnaire/q1")
		q, refused := scope.Query("Questionnaire", "_has:QuestionnaireResponse:questionnaire:status=completed")
		if refused != nil {
			t.Fatal(refused)
		}
		if got, err := q.Match(form); got != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", canonical, got, err, want)
		}
		include, refused := scope.ParseInclude("QuestionnaireResponse:questionnaire")
		if refused != nil {
			t.Fatal(refused)
		}
		if got := scope.Including(include, form); (len(got) == 1) != want {
			t.Errorf("%s: included by %d", canonical, len(got))
		}
	}
}

// A "+" is the sign of a time zone even if a chain leads to a date, and a space if no
// part of a composite is a date.
func TestQuery_PlusInChainsAndComposites(t *testing.T) {
	t.Parallel()
	scope := stored(t, `{"resourceType":"Patient","id":"p"}`, `{"resourceType":"Encounter","id":"e","actualPeriod":{"start":"2026-01-01T10:00:00+02:00","end":"2026-01-01T10:00:00+02:00"}}`,
		`{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p"},"encounter":{"reference":"Encounter/e"},"effectiveInstant":"2026-01-01T10:00:00+02:00","code":{"coding":[{"code":"x"}]},"valueString":"van Gogh"}`)
	for query, of := range map[string]string{
		"_has:Observation:patient:date=2026-01-01T10:00:00+02:00":           "Patient/p",
		"_has:Observation:patient:encounter.date=2026-01-01T10:00:00+02:00": "Patient/p",
		"encounter:Encounter.date=2026-01-01T10:00:00+02:00":                "Observation/o",
		"code-value-string=x$van+Gogh":                                      "Observation/o",
	} {
		res := scope.Source.Lookup(of)
		q, refused := scope.Query(res.Type, query)
		if refused != nil {
			t.Errorf("%s: %v", query, refused)
			continue
		}
		if ok, err := q.Match(res); !ok || err != nil {
			t.Errorf("%s: got %v, %v", query, ok, err)
		}
	}
}
