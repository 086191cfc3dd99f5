package fhir

import (
	"bytes"
	"encoding/json"
)

// EncodeOutcome writes an OperationOutcome, which looks the same in every
// release. An OperationOutcome has at least one issue: without any it says that
// all is well.
func EncodeOutcome(issues []Issue) []byte {
	type issue struct {
		Severity    string   `json:"severity"`
		Code        string   `json:"code"`
		Diagnostics string   `json:"diagnostics,omitempty"`
		Expression  []string `json:"expression,omitempty"`
	}
	outcome := struct {
		ResourceType string  `json:"resourceType"`
		Issue        []issue `json:"issue"`
	}{ResourceType: "OperationOutcome"}
	for _, i := range issues {
		outcome.Issue = append(outcome.Issue, issue{i.Severity, i.Code, i.Diagnostics, i.Expression})
	}
	if len(issues) == 0 {
		outcome.Issue = []issue{{Severity: "information", Code: "informational", Diagnostics: "all ok"}}
	}
	return encode(outcome)
}

// encode writes one of this package's own structures as compact JSON without
// HTML escapes. It is for what is written seldom; notifications are appended.
func encode(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// The structures hold strings, numbers and booleans: none of them fails.
		panic("fhir: encoding " + err.Error())
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
