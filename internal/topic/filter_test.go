package topic_test

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search/searchtest"
	"signalfhir/internal/topic"
)

const clinicalPatient = "http://hl7.org/fhir/SearchParameter/clinical-patient"

// offering compiles a topic about Encounters and Patients with these filters.
func offering(t testing.TB, canFilterBy string) *topic.Topic {
	t.Helper()
	return mustCompile(t, `"resourceTrigger":[{"resource":"Encounter"},{"resource":"Patient"}],"canFilterBy":[`+canFilterBy+`]`)
}

func by(typ, parameter, comparator, modifier, value string) fhir.Filter {
	return fhir.Filter{ResourceType: typ, Parameter: parameter, Comparator: comparator, Modifier: modifier, Value: value, Expression: "Subscription.filterBy[0]"}
}

func TestFilters_Match(t *testing.T) {
	t.Parallel()
	encounter := parse(t, "Encounter", `"id":"2","status":"in-progress","subject":{"reference":"Patient/123"},"actualPeriod":{"start":"2026-01-10","end":"2026-01-12"}`)
	patient := parse(t, "Patient", `"id":"123","active":true,"birthDate":"1950-06-01","name":[{"family":"A,B"}]`)
	const (
		onPatient  = `{"resource":"Encounter","filterParameter":"patient"}`
		onStatus   = `{"resource":"Encounter","filterParameter":"status","modifier":["not","missing"]}`
		onDate     = `{"resource":"Encounter","filterParameter":"date","comparator":["ge","lt"]}`
		onBirth    = `{"resource":"Patient","filterParameter":"birthdate","comparator":["le"]}`
		onID       = `{"filterParameter":"_id"}`
		everywhere = `{"resource":"Resource","filterParameter":"_id"}`
	)
	tests := []struct {
		name, offered string
		filters       []fhir.Filter
		onEncounter   bool
		onPatient     bool
	}{
		{"FLT-1: without filters everything passes", "", nil, true, true},
		{"FLT-1: all have to pass", onPatient + "," + onStatus,
			[]fhir.Filter{by("Encounter", "patient", "", "", "Patient/123"), by("Encounter", "status", "", "", "in-progress")}, true, true},
		{"FLT-1: one does not", onPatient + "," + onStatus,
			[]fhir.Filter{by("Encounter", "patient", "", "", "Patient/123"), by("Encounter", "status", "", "", "planned")}, false, true},
		{"FLT-2: without resourceType, for the type the topic offers", onPatient,
			[]fhir.Filter{by("", "patient", "", "", "Patient/9")}, false, true},
		{"FLT-2: without resourceType on every type", onID, []fhir.Filter{by("", "_id", "", "", "2")}, true, false},
		{"FLT-2: without resourceType on the types that have it", `{"filterParameter":"class"}`, []fhir.Filter{by("", "class", "", "", "AMB")}, false, true},
		{"FLT-2: the topic offers it on Resource", everywhere, []fhir.Filter{by("", "_id", "", "", "2")}, true, false},
		{"FLT-2: resourceType Resource", everywhere, []fhir.Filter{by("Resource", "_id", "", "", "123")}, false, true},
		{"FLT-2: with resourceType on that type only", onID, []fhir.Filter{by("Patient", "_id", "", "", "2")}, true, false},
		{"FLT-3: not applicable passes", onBirth, []fhir.Filter{by("Patient", "birthdate", "", "", "1950-06-01")}, true, true},
		{"FLT-5: by canonical", `{"resource":"Encounter","filterParameter":"` + clinicalPatient + `"}`,
			[]fhir.Filter{by("Encounter", clinicalPatient, "", "", "Patient/9")}, false, true},
		{"FLT-5: a label with its definition", `{"resource":"Encounter","filterParameter":"who","filterDefinition":"` + clinicalPatient + `"}`,
			[]fhir.Filter{by("Encounter", "who", "", "", "Patient/9")}, false, true},
		{"FLT-5: the definition goes before the name", `{"resource":"Encounter","filterParameter":"status","filterDefinition":"` + clinicalPatient + `"}`,
			[]fhir.Filter{by("Encounter", "status", "", "", "Patient/123")}, true, true},
		{"FLT-8: a comma is or", onStatus, []fhir.Filter{by("Encounter", "status", "", "", "planned,in-progress")}, true, true},
		{"FLT-8: an escaped comma is none", `{"resource":"Patient","filterParameter":"family"}`,
			[]fhir.Filter{by("Patient", "family", "", "", `a\,b`)}, true, true},
		{"FLT-8: a prefix in the value", onBirth, []fhir.Filter{by("Patient", "birthdate", "", "", "le1940")}, true, false},
		{"FLT-9: a comparator", onBirth, []fhir.Filter{by("Patient", "birthdate", "le", "", "1950")}, true, true},
		{"FLT-9: a comparator that does not hold", onBirth, []fhir.Filter{by("Patient", "birthdate", "le", "", "1949")}, true, false},
		{"FLT-9: on a Period", onDate, []fhir.Filter{by("Encounter", "date", "ge", "", "2026-01-11"), by("Encounter", "date", "lt", "", "2026-01-11")}, true, true},
		{"FLT-10: a modifier", onStatus, []fhir.Filter{by("Encounter", "status", "", "not", "in-progress")}, false, true},
		{"FLT-10: missing", onStatus, []fhir.Filter{by("Encounter", "status", "", "missing", "true")}, false, true},
		{"FLT-13: a bare id", onPatient, []fhir.Filter{by("Encounter", "patient", "", "", "123")}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			filters, issues := offering(t, tt.offered).CompileFilters(tt.filters)
			if len(issues) > 0 {
				t.Fatalf("refused: %+v", issues)
			}
			for res, want := range map[*fhir.Resource]bool{encounter: tt.onEncounter, patient: tt.onPatient} {
				if got, reasons := filters.Match(res); got != want {
					t.Errorf("%s: got %v, want %v: %q", res.Type, got, want, reasons)
				}
			}
		})
	}
}

// Filters that read other resources than the focus (FLT-7, FLT-12), and filters by
// every type of parameter (FLT-8, FLT-9).
func TestFilters_OverStoredResources(t *testing.T) {
	t.Parallel()
	stored := searchtest.Source{
		parse(t, "Patient", `"id":"123","gender":"male","managingOrganization":{"reference":"Organization/1"}`),
		parse(t, "Organization", `"id":"1","name":"Acme"`),
		parse(t, "Group", `"id":"ward","member":[{"entity":{"reference":"Patient/123"}}]`),
		parse(t, "ValueSet", `"id":"inpatient","url":"http://example.org/inpatient","compose":{"include":[{"system":"http://c","concept":[{"code":"IMP"}]}]}`),
	}
	focus := parse(t, "Encounter", `"id":"2","subject":{"reference":"Patient/123"},"class":[{"coding":[{"system":"http://c","code":"IMP"}]}],"length":{"value":90,"unit":"min"}`)
	const offered = `{"resource":"Encounter","filterParameter":"patient.gender","modifier":["not"]},
		{"resource":"Encounter","filterParameter":"patient.organization.name"},
		{"resource":"Encounter","filterParameter":"patient","modifier":["in","not-in"]},
		{"resource":"Encounter","filterParameter":"class","modifier":["in","not-in"]},
		{"resource":"Encounter","filterParameter":"length","comparator":["gt","lt"]}`
	compiled := mustCompileOver(t, stored, `"resourceTrigger":[{"resource":"Encounter"}],"canFilterBy":[`+offered+`]`)
	tests := []struct {
		filter fhir.Filter
		want   bool
		says   string
	}{
		{by("Encounter", "patient.gender", "", "", "male"), true, "Patient/123 with male"},
		{by("Encounter", "patient.gender", "", "", "female"), false, "Patient/123 with male"},
		{by("Encounter", "patient.gender", "", "not", "female"), true, "patient.gender:not=female"},
		{by("Encounter", "patient.organization.name", "", "", "acme"), true, "Organization/1 with Acme"},
		{by("Encounter", "patient", "", "in", "Group/ward"), true, "patient:in=Group/ward compared with Patient/123"},
		{by("Encounter", "patient", "", "not-in", "Group/ward"), false, "Patient/123"},
		{by("Encounter", "class", "", "in", "http://example.org/inpatient"), true, "http://c|IMP"},
		{by("Encounter", "class", "", "not-in", "http://example.org/inpatient"), false, "http://c|IMP"},
		{by("Encounter", "length", "gt", "", "60||min"), true, "length=gt60||min compared with 90 min"},
		{by("Encounter", "length", "lt", "", "60||min"), false, "90 min"},
	}
	for _, tt := range tests {
		filters, issues := compiled.CompileFilters([]fhir.Filter{tt.filter})
		if len(issues) > 0 {
			t.Errorf("%+v: refused: %+v", tt.filter, issues)
			continue
		}
		got, reasons := filters.Match(focus)
		if got != tt.want || !strings.Contains(strings.Join(reasons, "; "), tt.says) {
			t.Errorf("%s:%s=%s%s: got %v %q, want %v that says %q", tt.filter.Parameter, tt.filter.Modifier, tt.filter.Comparator, tt.filter.Value, got, reasons, tt.want, tt.says)
		}
	}
}

// A topic about any type: a filter applies to each that has its parameter (FLT-2).
func TestFilters_OnATopicAboutAnyType(t *testing.T) {
	t.Parallel()
	compiled := mustCompile(t, `"resourceTrigger":[{"resource":"Resource"}],"canFilterBy":[{"filterParameter":"_id"},{"filterParameter":"birthdate"},{"filterParameter":"colour"}]`)
	filters, issues := compiled.CompileFilters([]fhir.Filter{by("", "_id", "", "", "2")})
	if len(issues) > 0 {
		t.Fatalf("refused: %+v", issues)
	}
	for id, want := range map[string]bool{"2": true, "3": false} {
		if got, why := filters.Match(parse(t, "Observation", `"id":"`+id+`"`)); got != want {
			t.Errorf("Observation/%s: got %v, want %v: %q", id, got, want, why)
		}
	}
	filters, issues = compiled.CompileFilters([]fhir.Filter{by("", "birthdate", "", "", "1950")})
	if len(issues) > 0 {
		t.Fatalf("refused: %+v", issues)
	}
	if got, _ := filters.Match(parse(t, "Observation", "")); !got {
		t.Error("FLT-3: an Observation, which has no birthdate, does not pass")
	}
	if got, _ := filters.Match(parse(t, "Patient", `"birthDate":"1951"`)); got {
		t.Error("a Patient born later passes")
	}
	if _, issues = compiled.CompileFilters([]fhir.Filter{by("", "colour", "", "", "red")}); len(issues) != 1 {
		t.Errorf("FLT-6: a parameter no type has: got %+v", issues)
	}
}

func TestCompileFilters_Refuses(t *testing.T) {
	t.Parallel()
	const offered = `{"resource":"Encounter","filterParameter":"patient"},
		{"resource":"Encounter","filterParameter":"status","modifier":["not"]},
		{"resource":"Encounter","filterParameter":"date","comparator":["ge"]},
		{"resource":"Encounter","filterParameter":"subject","modifier":["type","in"]},
		{"resource":"Encounter","filterParameter":"patient.gender"},
		{"resource":"Encounter","filterParameter":"mood"},
		{"resource":"Encounter","filterParameter":"mood2","filterDefinition":"http://example.org/unknown"},
		{"resource":"Encounter","filterParameter":"length","comparator":["gt"]}`
	tests := []struct {
		name         string
		filter       fhir.Filter
		code, member string
		rule         bool
	}{
		{"FLT-4: not offered", by("Encounter", "class", "", "", "AMB"), "not-supported", "filterParameter", true},
		{"FLT-4: offered on another type", by("Patient", "patient", "", "", "1"), "not-supported", "filterParameter", true},
		{"FLT-4: by another spelling of the same", by("Encounter", clinicalPatient, "", "", "1"), "not-supported", "filterParameter", true},
		{"FLT-6: a label without definition", by("Encounter", "mood", "", "", "x"), "not-supported", "filterParameter", true},
		{"FLT-6: a label with an unknown one", by("Encounter", "mood2", "", "", "x"), "not-supported", "filterParameter", true},
		{"FLT-7: a chain that leads nowhere", by("Encounter", "patient.colour", "", "", "red"), "not-supported", "filterParameter", true},
		{"FLT-7: a chain through a parameter that is not a reference", by("Encounter", "status.name", "", "", "x"), "not-supported", "filterParameter", true},
		{"FLT-9: comparator and prefix", by("Encounter", "date", "ge", "", "lt2026"), "value", "value", false},
		{"FLT-10: type", by("Encounter", "subject", "", "type", "Patient/1"), "not-supported", "modifier", true},
		{"FLT-11: comparator not listed", by("Encounter", "date", "lt", "", "2026"), "not-supported", "comparator", true},
		{"FLT-11: no comparator listed", by("Encounter", "patient", "ge", "", "1"), "not-supported", "comparator", true},
		{"FLT-11: a prefix not listed", by("Encounter", "date", "", "", "lt2026"), "not-supported", "value", true},
		{"FLT-11: modifier not listed", by("Encounter", "status", "", "missing", "true"), "not-supported", "modifier", true},
		{"FLT-11: no modifier listed", by("Encounter", "patient", "", "identifier", "1"), "not-supported", "modifier", true},
		{"FLT-12: in a group that is not stored", by("Encounter", "subject", "", "in", "Group/1"), "not-supported", "modifier", true},
		{"FLT-8: no quantity", by("Encounter", "length", "gt", "", "long"), "value", "value", true},
		{"FLT-8: no date", by("Encounter", "date", "ge", "", "soon"), "value", "value", true},
		{"FLT-8: no value", by("Encounter", "patient", "", "", ""), "value", "value", true},
	}
	compiled := offering(t, offered)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, issues := compiled.CompileFilters([]fhir.Filter{tt.filter})
			if len(issues) != 1 {
				t.Fatalf("got %+v, want one issue", issues)
			}
			got := issues[0]
			if got.Severity != "error" || string(got.Code) != tt.code || got.Rule != tt.rule || got.Expression[0] != "Subscription.filterBy[0]."+tt.member || got.Diagnostics == "" {
				t.Errorf("got %+v, want %s at %s, rule %v", got, tt.code, tt.member, tt.rule)
			}
		})
	}
}

// FLT-4: AnyFilter allows filters that are not offered, but not unknown ones.
func TestAnyFilter(t *testing.T) {
	t.Parallel()
	compiled, _ := topic.Compile(r5, read(t, `"resourceTrigger":[{"resource":"Encounter"}],"canFilterBy":[{"resource":"Encounter","filterParameter":"patient"}]`), topic.AnyFilter())
	for _, f := range []fhir.Filter{
		by("Encounter", "status", "", "not", "planned"), by("", "status", "", "", "planned"), by("Encounter", "date", "ge", "", "2026"),
		by("Encounter", "date", "", "", "lt2026"), by("Encounter", "patient", "", "identifier", "1"), by("Encounter", "patient.gender", "", "", "male"),
	} {
		if _, issues := compiled.CompileFilters([]fhir.Filter{f}); len(issues) > 0 {
			t.Errorf("%s: %+v", f.Parameter, issues)
		}
	}
	for _, f := range []fhir.Filter{by("Encounter", "colour", "", "", "red"), by("Encounter", "status", "", "exact", "x"), by("Encounter", "status", "ge", "", "x")} {
		if _, issues := compiled.CompileFilters([]fhir.Filter{f}); len(issues) != 1 {
			t.Errorf("%s: got %+v, want it refused", f.Parameter, issues)
		}
	}
}

// Every filter is checked, and each issue says what would be right.
func TestCompileFilters_ReportsEachProblem(t *testing.T) {
	t.Parallel()
	compiled := offering(t, `{"resource":"Encounter","filterParameter":"patient","modifier":["missing"]}`)
	f1, f2 := by("Encounter", "status", "", "", "x"), by("Encounter", "patient", "ge", "not", "1")
	f2.Expression = "Subscription.filterBy[1]"
	_, issues := compiled.CompileFilters([]fhir.Filter{f1, f2})
	var places []string
	for _, issue := range issues {
		places = append(places, issue.Expression[0])
	}
	if got := strings.Join(places, " "); got != "Subscription.filterBy[0].filterParameter Subscription.filterBy[1].comparator Subscription.filterBy[1].modifier" {
		t.Errorf("places: %s", got)
	}
	for i, says := range []string{"patient on Encounter", "leave ge out", "it offers missing"} {
		if i < len(issues) && !strings.Contains(issues[i].Diagnostics, says) {
			t.Errorf("issue %d is %q, which does not say %q", i, issues[i].Diagnostics, says)
		}
	}
}

// Vectors 5 and 6, FLT-14: on a delete the filter reads the last state.
func TestFilters_OfADelete(t *testing.T) {
	t.Parallel()
	compiled := offering(t, `{"resource":"Encounter","filterParameter":"patient"}`)
	c := change(encounter(t, "planned"), nil)
	for patient, want := range map[string]bool{"Patient/123": true, "Patient/9": false} {
		filters, issues := compiled.CompileFilters([]fhir.Filter{by("", "patient", "", "", patient)})
		if len(issues) > 0 {
			t.Fatal(issues)
		}
		got, reasons := filters.Match(c.State())
		if got != want || !strings.Contains(fmt.Sprint(reasons), "Patient/123") {
			t.Errorf("%s: got %v because of %q", patient, got, reasons)
		}
	}
}
