package fhir_test

import (
	"net/http"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestEncodeOutcome_Golden(t *testing.T) {
	t.Parallel()
	tests := map[string][]fhir.Issue{
		"none": nil,
		"two": {
			{Severity: "error", Code: "value", Diagnostics: `got "<a & b>"`, Expression: []string{"Subscription.topic"}, Rule: true},
			{Severity: "information", Code: "informational"},
		},
	}
	for name, issues := range tests {
		t.Run(name, func(t *testing.T) {
			got := fhir.EncodeOutcome(issues)
			golden(t, "outcome-"+name, got)
			fhirtest.Valid(t, fhir.R5, got)
		})
	}
}

func TestRefuseAll_DistinguishesFormFromRule(t *testing.T) {
	t.Parallel()
	issue := func(severity, code string, rule bool) fhir.Issue {
		return fhir.Issue{Severity: severity, Code: fhir.IssueCode(code), Rule: rule}
	}
	tests := []struct {
		name   string
		issues []fhir.Issue
		want   int // 0: not refused
	}{
		{"nothing", nil, 0},
		{"only warnings", []fhir.Issue{issue("warning", "structure", false)}, 0},
		{"a value of the wrong form", []fhir.Issue{issue("error", "value", false)}, http.StatusBadRequest},
		{"a value that breaks a rule", []fhir.Issue{issue("error", "value", true)}, http.StatusUnprocessableEntity},
		{"a broken invariant", []fhir.Issue{issue("error", "invariant", false)}, http.StatusUnprocessableEntity},
		{"form weighs more than rule", []fhir.Issue{issue("error", "value", true), issue("error", "required", false)}, http.StatusBadRequest},
		{"a warning about form weighs nothing", []fhir.Issue{issue("error", "value", true), issue("warning", "required", false)}, http.StatusUnprocessableEntity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := 0
			if err := fhir.RefuseAll(tt.issues); err != nil {
				got = fhir.AsError(err).Status
			}
			if got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}
