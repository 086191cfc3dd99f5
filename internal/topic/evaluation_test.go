package topic_test

import (
	"errors"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/topic"
)

// An evaluation evaluates what Match needs, each once: not the criteria of triggers that do
// not concern the change, and not those after one that fires.
func TestEvaluation_EvaluatesWhatMatchNeedsOnce(t *testing.T) {
	t.Parallel()
	path := func(resource, expression string, interactions ...string) fhir.Trigger {
		return fhir.Trigger{Resource: resource, FHIRPath: expression, Interactions: interactions}
	}
	both := path("Encounter", "true")
	both.Query = &fhir.QueryCriteria{Current: "status=planned"}
	for name, tt := range map[string]struct {
		triggers []fhir.Trigger
		options  []topic.Option
		want     int
		fires    bool
	}{
		"no criteria":                {[]fhir.Trigger{path("Encounter", "")}, nil, 0, true},
		"one":                        {[]fhir.Trigger{path("Encounter", "true")}, nil, 1, true},
		"another type":               {[]fhir.Trigger{path("Patient", "true"), path("Encounter", "false")}, nil, 1, false},
		"another interaction":        {[]fhir.Trigger{path("Encounter", "true", "delete"), path("Encounter", "false", "create")}, nil, 1, false},
		"after one that fires":       {[]fhir.Trigger{path("Encounter", "false"), path("Encounter", "true"), path("Encounter", "false")}, nil, 2, true},
		"queries that are preferred": {[]fhir.Trigger{both}, []topic.Option{topic.PreferQuery()}, 0, true},
		"queries that are not":       {[]fhir.Trigger{both}, nil, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compiled, issues := topic.Compile(r5, &fhir.Topic{Triggers: tt.triggers}, tt.options...)
			if compiled == nil {
				t.Fatal(issues)
			}
			c := change(nil, encounter(t, "planned"))
			asked := 0 // twice for each expression
			e := topic.NewEvaluation(c, budget.NewOf("test", time.Hour, func() time.Duration {
				asked++
				return 0
			}))
			if e.Has(compiled) != (tt.want == 0) {
				t.Errorf("before: has all: %v", e.Has(compiled))
			}
			e.Prepare(compiled)
			if !e.Has(compiled) {
				t.Error("it does not have what it has prepared")
			}
			if v := compiled.Match(c, e); v.Fired != tt.fires || asked != 2*tt.want {
				t.Errorf("fired %v after %d evaluations, want %v after %d", v.Fired, asked/2, tt.fires, tt.want)
			}
		})
	}
}

// Criteria whose | is read as or are evaluated twice. If there is no time for the second
// time, nobody knows what they say.
func TestEvaluation_HasNoTimeForTheSecondReading(t *testing.T) {
	t.Parallel()
	compiled := mustCompile(t, onEncounter(`"fhirPathCriteria":"%previous.empty() | (%current.status = 'completed')"`))
	c := change(encounter(t, "planned"), encounter(t, "completed"))
	fired(t, compiled, c, true)
	used := time.Duration(0)
	e := topic.NewEvaluation(c, budget.NewOf("write", time.Second, func() time.Duration {
		used += time.Second
		return used
	}))
	if v := compiled.Match(c, e); v.Fired || !errors.Is(v.Late, budget.ErrUsedUp) {
		t.Errorf("got %+v, want that there was no time", v)
	}
}
