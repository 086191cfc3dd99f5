package fhir_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

func TestWithoutFilters(t *testing.T) {
	t.Parallel()
	const extension = `{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria","valueString":`
	for _, tt := range []struct {
		release       fhir.Release
		before, after string
		dropped       string
	}{
		{fhir.R5, `{"filterBy":[{"filterParameter":"patient","value":"x"},{"filterParameter":"status","value":"y"}],"id":"a"}`, `{"filterBy":[{"filterParameter":"status","value":"y"}],"id":"a"}`, "patient"},
		{fhir.R5, `{"filterBy":[{"filterParameter":"patient","value":"x"},{"filterParameter":"patient","value":"y"}],"id":"a"}`, `{"id":"a"}`, "patient"},
		{fhir.R5, `{"filterBy":[{"filterParameter":"status","value":"x"}]}`, `{"filterBy":[{"filterParameter":"status","value":"x"}]}`, ""},
		{fhir.R5, `{"id":"a"}`, `{"id":"a"}`, ""},
		{fhir.R4, `{"_criteria":{"extension":[` + extension + `"Encounter?patient=Patient/1&status=x&date=y"}]}}`, `{"_criteria":{"extension":[` + extension + `"Encounter?status=x"}]}}`, "patient date"},
		{fhir.R4, `{"_criteria":{"extension":[` + extension + `"Encounter.patient:in=Group/1"},` + extension + `"status=x"}]}}`, `{"_criteria":{"extension":[` + extension + `"status=x"}]}}`, "patient"},
		{fhir.R4B, `{"_criteria":{"extension":[` + extension + `"/patient=Patient/1"}]},"id":"a"}`, `{"id":"a"}`, "patient"},
		{fhir.R4B, `{"_criteria":{"extension":[{"url":"http://x.org/other","valueString":"patient=1"},` + extension + `"patient=1"}]}}`, `{"_criteria":{"extension":[{"url":"http://x.org/other","valueString":"patient=1"}]}}`, "patient"},
		{fhir.R4B, `{"_criteria":{"extension":[` + extension + `"patient=1"}],"id":"c"}}`, `{"_criteria":{"id":"c"}}`, "patient"},
	} {
		o, err := fhir.Parse([]byte(tt.before))
		if err != nil {
			t.Fatal(err)
		}
		left, dropped := tt.release.WithoutFilters(o, []string{"patient", "date"})
		if got := string(left.AppendJSON(nil)); got != tt.after || strings.Join(dropped, " ") != tt.dropped {
			t.Errorf("%s %s: got %s and dropped %v, want %s and %s", tt.release, tt.before, got, dropped, tt.after, tt.dropped)
		}
		if got := string(o.AppendJSON(nil)); got != tt.before {
			t.Errorf("%s: the resource itself became %s", tt.before, got)
		}
	}
}
