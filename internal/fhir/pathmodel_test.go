package fhir_test

import (
	"slices"
	"testing"

	"github.com/gofhir/fhirpath"

	"signalfhir/internal/fhir"
)

var _ fhirpath.Model = fhir.PathModel{}

func TestPathModel_TypeOf(t *testing.T) {
	t.Parallel()
	m := fhir.R5.Model()
	for path, want := range map[string]string{
		"Patient.name":                  "HumanName",
		"Patient.birthDate":             "date",
		"Patient.name.family":           "string",
		"HumanName.given":               "string",
		"Encounter.participant":         "Encounter.participant", // it defines its own members
		"Encounter.participant.period":  "Period",
		"Observation.component.value":   "", // a choice
		"Questionnaire.item.item":       "Questionnaire.item",
		"Questionnaire.item.item.item":  "Questionnaire.item",
		"Bundle.entry.link":             "Bundle.link",
		"Bundle.entry.link.url":         "uri",
		"Bundle.entry.resource":         "", // a resource names its own type
		"Patient.contained":             "",
		"Patient.nothing":               "",
		"Nothing":                       "",
		"Nothing.name":                  "",
		"":                              "",
		"Extension.url":                 "uri",
		"Timing.repeat.count":           "positiveInt",
		"ElementDefinition.slicing.id":  "string",
		"SubscriptionStatus.topic":      "canonical",
		"Subscription.filterBy.value":   "string",
		"Encounter.diagnosis.condition": "CodeableReference",
	} {
		if got := m.TypeOf(path); got != want {
			t.Errorf("TypeOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestPathModel_HierarchyOfTypes(t *testing.T) {
	t.Parallel()
	m := fhir.R5.Model()
	for _, test := range []struct {
		child, parent string
		want          bool
	}{
		{"Patient", "Patient", true},
		{"Patient", "DomainResource", true},
		{"Patient", "Resource", true},
		{"Patient", "Base", true},
		{"Bundle", "DomainResource", false},
		{"Bundle", "Resource", true},
		{"Resource", "Patient", false},
		{"Age", "Quantity", true},
		{"Quantity", "Age", false},
		{"Quantity", "Element", true},
		{"Quantity", "Resource", false},
		{"positiveInt", "integer", true},
		{"code", "string", true},
		{"Encounter.participant", "BackboneElement", true},
		{"Encounter.participant", "Element", true},
		{"Encounter.participant", "Encounter", false},
		{"Encounter.participant", "Encounter.participant", true},
		{"Nothing", "Resource", false},
		{"Nothing", "", false},
		{"", "Resource", false},
	} {
		if got := m.IsSubtype(test.child, test.parent); got != test.want {
			t.Errorf("IsSubtype(%q, %q) = %t", test.child, test.parent, got)
		}
	}
	for child, want := range map[string]string{"Patient": "DomainResource", "Age": "Quantity", "Base": "", "Nothing": "", "Encounter.participant": "BackboneElement"} {
		if got := m.ParentType(child); got != want {
			t.Errorf("ParentType(%q) = %q, want %q", child, got, want)
		}
	}
	for name, want := range map[string]bool{"Patient": true, "DomainResource": true, "HumanName": false, "string": false, "": false} {
		if got := m.IsResource(name); got != want {
			t.Errorf("IsResource(%q) = %t", name, got)
		}
	}
}

func TestPathModel_ChoicesTargetsAndBorrowedContent(t *testing.T) {
	t.Parallel()
	m := fhir.R5.Model()
	if got := m.ChoiceTypes("Patient.deceased"); !slices.Equal(got, []string{"boolean", "dateTime"}) {
		t.Errorf("choices of Patient.deceased: %q", got)
	}
	if got := m.ChoiceTypes("Observation.component.value"); !slices.Contains(got, "Quantity") {
		t.Errorf("choices of Observation.component.value: %q", got)
	}
	if got := m.ChoiceTypes("Patient.name"); got != nil {
		t.Errorf("choices of Patient.name: %q", got)
	}
	if got := m.ReferenceTargets("Patient.managingOrganization"); !slices.Equal(got, []string{"Organization"}) {
		t.Errorf("targets of Patient.managingOrganization: %q", got)
	}
	if got := m.ReferenceTargets("Patient.name"); got != nil {
		t.Errorf("targets of Patient.name: %q", got)
	}
	for path, want := range map[string]string{"Questionnaire.item.item": "Questionnaire.item", "Patient.name": "Patient.name", "Nothing.at.all": "Nothing.at.all"} {
		if got := m.ResolvePath(path); got != want {
			t.Errorf("ResolvePath(%q) = %q, want %q", path, got, want)
		}
	}
}

// With the model the engine need not guess.
func TestPathModel_InTheEngine(t *testing.T) {
	t.Parallel()
	resources := map[string]string{
		"Questionnaire": `{"resourceType":"Questionnaire","status":"active","item":[{"linkId":"2020-01-01","text":"2020","type":"group","item":[{"linkId":"b","type":"group",` +
			`"item":[{"linkId":"c","type":"date","initial":[{"valueDate":"2020-01-01"}],"enableWhen":[{"question":"b","operator":"=","answerInteger":4}]}]}]}]}`,
		"Encounter": `{"resourceType":"Encounter","status":"planned","contained":[{"resourceType":"Patient","birthDate":"2000-01-01"}],` +
			`"participant":[{"period":{"start":"2026-01-01T10:00:00Z"},"actor":{"reference":"Practitioner/1"}}],"diagnosis":[{"condition":[{"concept":{"text":"a"}}]}]}`,
		"Observation": `{"resourceType":"Observation","status":"final","code":{"text":"x"},"effectiveDateTime":"2026-01-01","component":[{"code":{"text":"y"},"valueQuantity":{"value":7,"unit":"g"}}]}`,
		"Bundle":      `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","birthDate":"2000-01-01"}}]}`,
	}
	for _, expression := range []string{
		"Questionnaire.item.linkId = '2020-01-01'",
		"Questionnaire.item.text is string",
		"Questionnaire.item is BackboneElement",
		"Questionnaire.item.item.item.initial.value is date",
		"Questionnaire.item.item.item.enableWhen.answer = 4",
		"Encounter is DomainResource",
		"Encounter.participant.period.start is dateTime",
		"Encounter.participant.ofType(BackboneElement).actor is Reference",
		"Encounter.diagnosis.condition is CodeableReference",
		"Encounter.diagnosis.condition.concept is CodeableConcept",
		"Encounter.contained.ofType(Patient).birthDate = @2000-01-01",
		"Encounter.contained.birthDate is date",
		"Observation.effective is dateTime",
		"Observation.component.value is Quantity",
		"Observation.component.value.ofType(Quantity).unit = 'g'",
		"Bundle.entry.resource is Patient",
		"Bundle.entry.resource.ofType(Patient).birthDate = @2000-01-01",
	} {
		t.Run(expression, func(t *testing.T) {
			compiled, err := fhirpath.Compile(expression)
			if err != nil {
				t.Fatal(err)
			}
			name := expression[:slices.IndexFunc([]byte(expression), func(c byte) bool { return c == '.' || c == ' ' })]
			got, err := compiled.EvaluateWithOptions([]byte(resources[name]), fhirpath.WithModel(fhir.R5.Model()))
			if err != nil || len(got) != 1 || got[0].String() != "true" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
