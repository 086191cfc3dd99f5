package topic_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search/searchtest"
	"signalfhir/internal/topic"
)

// An event that passes an indexed filter is always found through the index, even if
// another filter with the same key reads the values. Otherwise it would be lost.
func TestIndex_FindsWhateverPasses(t *testing.T) {
	t.Parallel()
	stored := searchtest.Source{parse(t, "Patient", `"id":"1","gender":"male"`)}
	compiled := mustCompileOver(t, stored, `"resourceTrigger":[{"resource":"Encounter"},{"resource":"Patient"},{"resource":"MedicationRequest"}],"canFilterBy":[
		{"filterParameter":"_id","modifier":["not"]},{"resource":"Resource","filterParameter":"_tag"},{"filterParameter":"patient"},{"filterParameter":"status","modifier":["not","missing"]},
		{"resource":"Encounter","filterParameter":"subject","modifier":["Patient"]},{"resource":"Patient","filterParameter":"link"},{"resource":"MedicationRequest","filterParameter":"medication"},
		{"filterParameter":"identifier"},{"resource":"Encounter","filterParameter":"patient.gender"},
		{"resource":"Encounter","filterParameter":"who","filterDefinition":"`+clinicalPatient+`"},
		{"resource":"MedicationRequest","filterParameter":"who","filterDefinition":"http://hl7.org/fhir/SearchParameter/MedicationRequest-medication"}]`)
	ids := rapid.SampledFrom([]string{"1", "2", "a", "A"})
	references := rapid.Custom(func(r *rapid.T) string {
		return rapid.SampledFrom([]string{"", "http://h/fhir/R5/", "http://other/"}).Draw(r, "base") + rapid.SampledFrom([]string{"Patient/", "Group/", "Medication/"}).Draw(r, "type") +
			ids.Draw(r, "id") + rapid.SampledFrom([]string{"", "/_history/1"}).Draw(r, "version")
	})
	values := rapid.OneOf(ids, references, rapid.SampledFrom([]string{"planned", "active", "http://s|a", "http://s|", "|1", "male"}))
	filter := rapid.Custom(func(r *rapid.T) fhir.Filter {
		value := strings.Join(rapid.SliceOfN(values, 1, 2).Draw(r, "values"), ",")
		parameter := rapid.SampledFrom([]string{"_id", "_tag", "patient", "status", "subject", "link", "medication", "identifier", "patient.gender", "who"}).Draw(r, "parameter")
		modifier := rapid.SampledFrom([]string{"", "", "", "not", "Patient"}).Draw(r, "modifier")
		return by(rapid.SampledFrom([]string{"", "", "Encounter", "Patient", "MedicationRequest"}).Draw(r, "on"), parameter, "", modifier, value)
	})
	found := 0
	rapid.Check(t, func(r *rapid.T) {
		var all []*topic.Filters
		for _, filters := range rapid.SliceOfN(rapid.SliceOfN(filter, 1, 3), 2, 12).Draw(r, "filters") {
			if one, issues := compiled.CompileFilters(filters); len(issues) == 0 {
				all = append(all, one)
			}
		}
		for range 3 {
			text := func(what string) string { return `"` + ids.Draw(r, what) + `"` }
			reference := func() string { return `{"reference":"` + references.Draw(r, "reference") + `"}` }
			states := []*fhir.Resource{
				parse(t, "Encounter", `"id":`+text("id")+`,"status":"planned","subject":`+reference()+`,"identifier":[{"system":"http://s","value":`+text("value")+`},{"value":`+text("value")+`}]`),
				parse(t, "Patient", `"id":`+text("id")+`,"meta":{"tag":[{"system":"http://s","code":`+text("tag")+`}]},"link":[{"other":`+reference()+`},{"other":`+reference()+`}]`),
				parse(t, "MedicationRequest", `"id":`+text("id")+`,"status":"active","subject":`+reference()+`,"medication":{"reference":`+reference()+`,"concept":{"coding":[{"code":`+text("code")+`}]}}`),
			}
			for _, state := range states {
				for _, f := range all {
					passes, why := f.Match(state)
					name, wanted := f.Index()
					if !passes || name == "" {
						continue
					}
					found++
					for _, other := range all { // any filter of the group may read the values
						if named, _ := other.Index(); named != name {
							continue
						}
						has, applies := other.Values(state)
						if applies && !slices.ContainsFunc(wanted, func(value string) bool { return slices.Contains(has, value) }) {
							r.Fatalf("%s passes, as %q; it has %q at %s, where %q is looked for", state.JSON, why, has, name, wanted)
						}
					}
				}
			}
		}
	})
	if found == 0 {
		t.Error("nothing passed: the test tests nothing")
	}
}
