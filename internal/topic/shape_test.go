package topic_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/search/searchtest"
	"signalfhir/internal/topic"
)

// NB-12: what a notificationShape adds to an event.
func TestContext(t *testing.T) {
	t.Parallel()
	stored := searchtest.Source{
		parse(t, "Patient", `"id":"123","generalPractitioner":[{"reference":"Practitioner/9"}],"link":[{"other":{"reference":"Patient/124"}}]`),
		parse(t, "Patient", `"id":"124"`),
		parse(t, "Practitioner", `"id":"1"`),
		parse(t, "Practitioner", `"id":"9"`),
		parse(t, "Device", `"id":"1"`),
		parse(t, "Observation", `"id":"o1","encounter":{"reference":"Encounter/2"}`),
		parse(t, "Observation", `"id":"o2","encounter":{"reference":"http://h/fhir/R5/Encounter/2/_history/1"}`),
		parse(t, "Observation", `"id":"o3","encounter":{"reference":"Encounter/3"}`),
		parse(t, "Encounter", `"id":"3","partOf":{"reference":"Encounter/2"}`),
	}
	focus := parse(t, "Encounter", `"id":"2","subject":{"reference":"Patient/123"},"partOf":{"reference":"Encounter/2"},
		"participant":[{"actor":{"reference":"Practitioner/1"}},{"actor":{"reference":"Practitioner/8"}},{"actor":{"reference":"Device/1"}},{"actor":{"reference":"#x"}}]`)
	stored = append(stored, focus)
	tests := []struct{ name, shapes, want string }{
		{"no shape", ``, ``},
		{"include", `{"resource":"Encounter","include":["Encounter:patient"]}`, `Patient/123`},
		{"by the URL of the type", `{"resource":"http://hl7.org/fhir/StructureDefinition/Encounter","include":["Encounter:patient"]}`, `Patient/123`},
		{"written as a search", `{"resource":"Encounter","include":["_include=Encounter:patient"]}`, `Patient/123`},
		{"several targets, those there are", `{"resource":"Encounter","include":["Encounter:participant"]}`, `Practitioner/1 Device/1`},
		{"one type of target", `{"resource":"Encounter","include":["Encounter:participant:Device"]}`, `Device/1`},
		{"iterate is left out", `{"resource":"Encounter","include":["Encounter:patient&iterate=Patient.link"]}`, `Patient/123`},
		{"an include of another type", `{"resource":"Encounter","include":["Patient:general-practitioner"]}`, ``},
		{"an unknown parameter", `{"resource":"Encounter","include":["Encounter:colour","Encounter","","Encounter:patient"]}`, `Patient/123`},
		{"no reference", `{"resource":"Encounter","include":["Encounter:status"]}`, ``},
		{"once each, in order", `{"resource":"Encounter","include":["Encounter:participant","Encounter:patient","Encounter:subject","Encounter:practitioner"]}`, `Practitioner/1 Device/1 Patient/123`},
		{"never the focus", `{"resource":"Encounter","include":["Encounter:part-of"]}`, ``},
		{"revInclude", `{"resource":"Encounter","revInclude":["Observation:encounter"]}`, `Observation/o1 Observation/o2`},
		{"revInclude of the same type", `{"resource":"Encounter","revInclude":["_revinclude=Encounter:part-of"]}`, `Encounter/3`},
		{"both", `{"resource":"Encounter","include":["Encounter:patient"],"revInclude":["Observation:encounter"]}`, `Patient/123 Observation/o1 Observation/o2`},
		{"a shape of another type", `{"resource":"Patient","include":["Encounter:patient"]}`, ``},
		{"a shape of any type", `{"resource":"Resource","include":["Encounter:patient"]}`, `Patient/123`},
		{"several shapes", `{"resource":"Encounter","include":["Encounter:patient"]},{"resource":"Encounter","include":["Encounter:practitioner"]}`, `Patient/123 Practitioner/1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compiled := mustCompileOver(t, stored, onEncounter("")+`,"notificationShape":[`+tt.shapes+`]`)
			context := compiled.Context(focus)
			var got []string
			for _, res := range context {
				got = append(got, res.Reference())
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

// NB-12: a write of the topic warns of includes that notifications will not follow.
func TestCompile_WarnsOfUnsupportedShapes(t *testing.T) {
	t.Parallel()
	_, issues := topic.Compile(search.Scope{Release: fhir.R5}, read(t, onEncounter("")+`,"notificationShape":[
		{"resource":"Encounter","include":["Encounter:patient","Encounter:colour","Encounter:patient&iterate=Patient.link"]},
		{"resource":"Encounter","revInclude":["Observation:encounter","Observation:status"]}]`))
	var got []string
	for _, issue := range issues {
		got = append(got, issue.Severity+" "+issue.Expression[0]+": "+issue.Diagnostics)
	}
	want := []string{
		`warning SubscriptionTopic.notificationShape[0].include[1]: not included in notifications (NB-12): "Encounter:colour": Encounter has no search parameter colour; expected Type:parameter or Type:parameter:Target, as in Encounter:patient`,
		`warning SubscriptionTopic.notificationShape[0].include[2]: not included in notifications (NB-12): "Encounter:patient&iterate=Patient.link": the part after & is ignored`,
		`warning SubscriptionTopic.notificationShape[1].revInclude[1]: not included in notifications (NB-12): "Observation:status": status is a token, not a reference; expected Type:parameter or Type:parameter:Target, as in Encounter:patient`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
