package topic_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

func fired(t *testing.T, compiled *topic.Topic, c *store.Change, want bool) {
	t.Helper()
	v := compiled.Match(c, evaluation(c))
	if v.Fired != want {
		t.Errorf("%s: got %v, want %v: %s", c.Interaction, v.Fired, want, v)
	}
	explained := compiled.Explain(c, evaluation(c))
	if explained.Fired != v.Fired || len(explained.Steps) == 0 || !v.Fired && len(v.Steps) == 0 {
		t.Errorf("%s: got %v because of %q, explained as %v because of %q", c.Interaction, v.Fired, v, explained.Fired, explained)
	}
}

// The table of 1.3.5: create asks resultForCreate and current, update previous
// and current, delete previous and resultForDelete (TOP-14).
func TestMatch_QueryCriteriaTruthTable(t *testing.T) {
	t.Parallel()
	const passing, failing = "in-progress", "planned" // what "status=in-progress" says to each
	for _, both := range []bool{true, false} {
		for _, p := range []bool{true, false} {
			for _, c := range []bool{true, false} {
				want := p || c
				if both {
					want = p && c
				}
				state := func(passes bool) *fhir.Resource {
					if passes {
						return encounter(t, passing)
					}
					return encounter(t, failing)
				}
				result := func(passes bool) string {
					if passes {
						return "test-passes"
					}
					return "test-fails"
				}
				compiled := mustCompile(t, onEncounter(fmt.Sprintf(
					`"queryCriteria":{"previous":"status=in-progress","resultForCreate":%q,"current":"status=in-progress","resultForDelete":%q,"requireBoth":%v}`,
					result(p), result(c), both)))
				t.Run(fmt.Sprintf("both=%v/P=%v/C=%v", both, p, c), func(t *testing.T) {
					fired(t, compiled, change(nil, state(c)), want)
					fired(t, compiled, change(state(p), state(c)), want)
					fired(t, compiled, change(state(p), nil), want)
				})
			}
		}
	}
}

// TOP-15, TOP-16: a missing test is left out, and without any test the trigger has no
// criteria.
func TestMatch_QueryCriteriaWithPartsLeftOut(t *testing.T) {
	t.Parallel()
	const in, out = "in-progress", "planned"
	tests := []struct {
		name, criteria    string
		previous, current string
		want              bool
	}{
		{"create without resultForCreate, C true", `"previous":"status=planned","current":"status=in-progress"`, "", in, true},
		{"create without resultForCreate, C false", `"previous":"status=planned","current":"status=in-progress"`, "", out, false},
		{"create without resultForCreate, both, C true", `"current":"status=in-progress","requireBoth":true`, "", in, true},
		{"create with resultForCreate only, passes", `"previous":"status=planned","resultForCreate":"test-passes"`, "", out, true},
		{"create with resultForCreate only, fails", `"previous":"status=planned","resultForCreate":"test-fails"`, "", in, false},
		{"create with no test at all", `"previous":"status=planned"`, "", out, true},

		{"delete without resultForDelete, P true", `"previous":"status=in-progress","current":"status=planned"`, in, "", true},
		{"delete without resultForDelete, P false", `"previous":"status=in-progress","current":"status=planned"`, out, "", false},
		{"delete with resultForDelete only, passes", `"current":"status=planned","resultForDelete":"test-passes"`, in, "", true},
		{"delete with resultForDelete only, fails", `"current":"status=planned","resultForDelete":"test-fails"`, in, "", false},
		{"delete with no test at all", `"current":"status=planned"`, out, "", true},

		{"update without previous, C true", `"current":"status=in-progress","requireBoth":true`, out, in, true},
		{"update without previous, C false", `"current":"status=in-progress"`, in, out, false},
		{"update without current, P true", `"previous":"status=in-progress","requireBoth":true`, in, out, true},
		{"update without current, P false", `"previous":"status=in-progress"`, out, in, false},
		{"update with results only", `"resultForCreate":"test-passes","resultForDelete":"test-fails"`, out, in, true},
		{"update, previous asks nothing", `"previous":"Encounter?","current":"status=in-progress"`, out, out, false},
		{"update, neither asks anything", `"previous":"?","current":"Encounter?"`, out, out, true},
		{"results without strings, create", `"resultForCreate":"test-fails"`, "", in, false},
		{"results without strings, delete", `"resultForDelete":"test-fails"`, in, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compiled := mustCompile(t, onEncounter(`"queryCriteria":{`+tt.criteria+`}`))
			fired(t, compiled, change(encounter(t, tt.previous), encounter(t, tt.current)), tt.want)
		})
	}
}

// TOP-3, TOP-4: without criteria each listed interaction fires; without a list every
// interaction fires (vector 5).
func TestMatch_Interactions(t *testing.T) {
	t.Parallel()
	e := encounter(t, "planned")
	for list, want := range map[string][3]bool{
		``:                                  {true, true, true},
		`"supportedInteraction":["create"]`: {true, false, false},
		`"supportedInteraction":["update","delete"]`: {false, true, true},
	} {
		compiled := mustCompile(t, onEncounter(list))
		fired(t, compiled, change(nil, e), want[0])
		fired(t, compiled, change(e, e), want[1]) // TOP-6: identical content too
		fired(t, compiled, change(e, nil), want[2])
	}
}

// TOP-5: one trigger is enough, and the verdict says which one fired.
func TestMatch_AnyTrigger(t *testing.T) {
	t.Parallel()
	compiled := mustCompile(t, `"resourceTrigger":[{"resource":"Patient"},
		{"resource":"http://hl7.org/fhir/StructureDefinition/Encounter","supportedInteraction":["create"],"queryCriteria":{"current":"status=planned"}},
		{"resource":"Encounter","supportedInteraction":["delete"]}]`)
	e := encounter(t, "planned")
	for i, c := range []*store.Change{change(nil, parse(t, "Patient", `"id":"1"`)), change(nil, e), change(e, nil)} {
		if v := compiled.Explain(c, evaluation(c)); !v.Fired || v.Trigger != i || v.Steps[len(v.Steps)-1].Trigger != i {
			t.Errorf("got %+v, want trigger %d", v, i)
		}
	}
	fired(t, compiled, change(nil, encounter(t, "completed")), false)
	fired(t, compiled, change(nil, parse(t, "Observation", "")), false)
}

func TestMatch_AnyResource(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]map[string]bool{
		"Resource":       {"Encounter": true, "Binary": true, "Bundle": true},
		"DomainResource": {"Encounter": true, "Binary": false, "Bundle": false},
	} {
		compiled := mustCompile(t, `"resourceTrigger":[{"resource":"`+typ+`"}]`)
		for of, want := range want {
			fired(t, compiled, change(nil, parse(t, of, `"id":"1"`)), want)
		}
	}
}

// TOP-9 to TOP-12: FHIRPath criteria, each on create, update and delete.
func TestMatch_FHIRPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, expression       string
		create, update, delete bool // of: completed; planned to completed; completed
	}{
		{"previous is empty on create", `%previous.empty()`, true, false, false},
		{"current is empty on delete", `%current.empty()`, false, false, true},
		{"so is its id", `%previous.id.empty() or %current.id.empty()`, true, false, true},
		{"TOP-12: a comparison with nothing is empty", `%previous.status!='completed' and %current.status='completed'`, false, true, false},
		{"TOP-11 as it should be written", `(%previous.empty() or (%previous.status != 'completed')) and (%current.status = 'completed')`, true, true, false},
		{"TOP-11 as HL7 wrote it", `(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')`, true, true, false},
		{"a plain path starts at the resource", `status = 'completed'`, true, true, true},
		{"so does one with the type", `Encounter.status = 'completed'`, true, true, true},
		{"resolve() is", `%current.subject.resolve() is Patient`, true, true, false},
		{"where(resolve() is)", `%current.subject.where(resolve() is Patient).exists()`, true, true, false},
		{"where(resolve() is) another", `%current.subject.where(resolve() is Group).exists()`, false, false, false},
		{"TOP-10: no boolean", `%current.status`, false, false, false},
		{"TOP-10: a number", `1`, false, false, false},
		{"TOP-10: empty", `{}`, false, false, false},
		{"TOP-10: several", `(1 | 2)`, false, false, false},
		{"TOP-10: an error", `'a' + 1 > 2`, false, false, false},
		{"false", `false`, false, false, false},
		{"true", `true`, true, true, true},
		{"change of an element", `%previous.status != %current.status`, false, true, false},
	}
	planned, completed := encounter(t, "planned"), encounter(t, "completed")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compiled := mustCompile(t, onEncounter(fmt.Sprintf(`"fhirPathCriteria":%q`, tt.expression)))
			fired(t, compiled, change(nil, completed), tt.create)
			fired(t, compiled, change(planned, completed), tt.update)
			fired(t, compiled, change(completed, nil), tt.delete)
		})
	}
}

func TestMatch_ExplainsTheUnion(t *testing.T) { // TOP-11
	t.Parallel()
	compiled := mustCompile(t, onEncounter(`"fhirPathCriteria":"(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')"`))
	c := change(encounter(t, "planned"), encounter(t, "completed"))
	v := compiled.Explain(c, evaluation(c))
	if text := v.String(); !strings.Contains(text, "TOP-11") || !strings.Contains(text, "or") {
		t.Errorf("the verdict does not explain the union: %s", text)
	}
	fired(t, compiled, change(encounter(t, "completed"), encounter(t, "completed")), false)
}

// TOP-8: FHIRPath decides even if there is a query too.
func TestMatch_FHIRPathBeforeQuery(t *testing.T) {
	t.Parallel()
	e := encounter(t, "planned")
	compiled := mustCompile(t, onEncounter(`"queryCriteria":{"current":"status=planned"},"fhirPathCriteria":"false"`))
	fired(t, compiled, change(nil, e), false)
	compiled = mustCompile(t, onEncounter(`"queryCriteria":{"current":"status=completed"},"fhirPathCriteria":"true"`))
	fired(t, compiled, change(nil, e), true)

	both := &fhir.Topic{Triggers: []fhir.Trigger{{Resource: "Encounter", Query: &fhir.QueryCriteria{Current: "status=completed"}, FHIRPath: "true"}}}
	compiled, _ = topic.Compile(r5, both, topic.PreferQuery())
	fired(t, compiled, change(nil, e), false)
	both.Triggers[0].Query = nil
	compiled, _ = topic.Compile(r5, both, topic.PreferQuery())
	fired(t, compiled, change(nil, e), true)
}

// TOP-13: a query with the type or without, encoded or not.
func TestMatch_QueryForms(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"subject=Patient/123&status:not=planned", "Encounter?subject=Patient/123&status:not=planned",
		"subject=Patient%2F123&status%3Anot=planned", "Encounter?subject=Patient%2F123&status%3Anot=planned",
	} {
		compiled := mustCompile(t, onEncounter(fmt.Sprintf(`"queryCriteria":{"current":%q}`, query)))
		fired(t, compiled, change(nil, encounter(t, "in-progress")), true)
		fired(t, compiled, change(nil, encounter(t, "planned")), false)
	}
}

// TOP-17, TOP-19: no write fires a topic without a resourceTrigger.
func TestMatch_EventTriggersDoNotFire(t *testing.T) {
	t.Parallel()
	compiled := mustCompile(t, `"eventTrigger":[{"event":{"coding":[{"code":"A01"}]},"resource":"Encounter"}]`)
	fired(t, compiled, change(nil, encounter(t, "planned")), false)
	if got := compiled.Resources(); len(got) != 1 || got[0] != "Encounter" {
		t.Errorf("Resources: got %v, want Encounter", got)
	}
}

func TestCompile_IssuesHaveTheirPlace(t *testing.T) {
	t.Parallel()
	tests := []struct{ members, code, place string }{
		{onEncounter(`"fhirPathCriteria":"%current.status ="`), "value", "resourceTrigger[0].fhirPathCriteria"},
		{onEncounter(`"queryCriteria":{"previous":"colour=red"}`), "not-supported", "resourceTrigger[0].queryCriteria.previous"},
		{onEncounter(`"queryCriteria":{"current":"Patient?active=true"}`), "value", "resourceTrigger[0].queryCriteria.current"},
		{`"resourceTrigger":[{"resource":"Patient"},{"resource":"Encounter","queryCriteria":{"current":"date=soon"}}]`, "value", "resourceTrigger[1].queryCriteria.current"},
	}
	for _, tt := range tests {
		_, issues := compile(t, tt.members)
		if len(issues) != 1 || issues[0].Severity != "error" || string(issues[0].Code) != tt.code || issues[0].Expression[0] != "SubscriptionTopic."+tt.place {
			t.Errorf("%s: got %+v, want %s at %s", tt.members, issues, tt.code, tt.place)
		}
	}
}

// Topics that have a query and FHIRPath, as those of HL7 do: TOP-8, TOP-11, TOP-12.
func TestMatch_QueryAndFHIRPath(t *testing.T) {
	t.Parallel()
	firesOnAdmission(t, mustCompile(t, onEncounter(`"supportedInteraction":["create","update"],
		"queryCriteria":{"previous":"status:not=in-progress","resultForCreate":"test-passes","current":"status=in-progress","resultForDelete":"test-fails","requireBoth":true},
		"fhirPathCriteria":"%previous.status!='in-progress' and %current.status='in-progress'"`)))
	firesOnCompletion(t, mustCompile(t, onEncounter(`"supportedInteraction":["update"],
		"queryCriteria":{"previous":"status:not=completed","resultForCreate":"test-passes","current":"status=completed","resultForDelete":"test-fails","requireBoth":true},
		"fhirPathCriteria":"(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')"`)))
}

func firesOnAdmission(t *testing.T, admission *topic.Topic) {
	t.Helper()
	planned, running := encounter(t, "planned"), encounter(t, "in-progress")
	fired(t, admission, change(planned, running), true)
	fired(t, admission, change(running, running), false)
	fired(t, admission, change(nil, running), false) // TOP-12: its FHIRPath says so
	fired(t, admission, change(running, nil), false)
}

func firesOnCompletion(t *testing.T, completion *topic.Topic) {
	t.Helper()
	running, completed := encounter(t, "in-progress"), encounter(t, "completed")
	fired(t, completion, change(running, completed), true) // TOP-11
	fired(t, completion, change(completed, completed), false)
	fired(t, completion, change(nil, completed), false) // update only
}

// The topics of HL7 compile, and fire as their descriptions say.
func TestCompile_OfficialTopics(t *testing.T) {
	t.Parallel()
	load := func(name string) *topic.Topic {
		data, err := os.ReadFile(fhirtest.Spec(t, "examples", "R5", name))
		if err != nil {
			t.Fatal(err)
		}
		o, refused := fhir.Parse(data)
		if refused != nil {
			t.Fatal(refused)
		}
		read, issues := fhir.R5.ReadTopic(o)
		compiled, more := topic.Compile(r5, read)
		for _, issue := range append(issues, more...) {
			// They include by parameters that Encounter does not have, which is a warning.
			if issue.Severity == "error" || !strings.Contains(issue.Diagnostics, "NB-12") {
				t.Errorf("%s: %s %s", name, issue.Severity, issue.Diagnostics)
			}
		}
		return compiled
	}
	firesOnAdmission(t, load("subscriptiontopic-example-admission.json"))
	firesOnCompletion(t, load("subscriptiontopic-example.json"))
}

// Vectors 1 to 4: the admission topic of 1.3.6, with its query alone.
func TestMatch_Admission(t *testing.T) {
	t.Parallel()
	admission := mustCompile(t, onEncounter(`"supportedInteraction":["create","update"],"queryCriteria":{"previous":"status:not=in-progress",
		"resultForCreate":"test-passes","current":"status=in-progress","resultForDelete":"test-fails","requireBoth":true}`))
	running, completed := encounter(t, "in-progress"), encounter(t, "completed")
	fired(t, admission, change(nil, running), true)
	fired(t, admission, change(running, running), false)
	fired(t, admission, change(running, completed), false)
	fired(t, admission, change(completed, running), true)
	fired(t, admission, change(running, nil), false)
	fired(t, admission, change(nil, completed), false)
}
