package fhir

import (
	"bytes"
	"encoding/json"
)

// EncodeOutcome writes an OperationOutcome, which is the same in every release. An
// OperationOutcome needs at least one issue: without issues it says "all ok".
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
		outcome.Issue = append(outcome.Issue, issue{i.Severity, string(i.Code), i.Diagnostics, i.Expression})
	}
	if len(issues) == 0 {
		outcome.Issue = []issue{{Severity: "information", Code: string(CodeInformational), Diagnostics: "all ok"}}
	}
	return encode(outcome)
}

// encode writes one of this package's own structures as compact JSON without
// HTML escapes. It is for rare resources; notifications are appended by hand.
func encode(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// The structures hold only strings, numbers and booleans: none can fail.
		panic("fhir: encoding " + err.Error())
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
