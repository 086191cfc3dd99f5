package fhir_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestCapabilityStatement_Golden(t *testing.T) { // CF-1, CF-2, CF-7
	t.Parallel()
	got := fhir.R5.CapabilityStatement(&fhir.Capability{
		Base: base, WebsocketURL: "ws://localhost:8080/ws", Software: "signalfhir", SoftwareVersion: "0.1.0", Date: at("10:00:00.5"),
		Resources: []fhir.CapabilityResource{
			{Type: "Encounter"},
			{Type: "Subscription", SearchParams: []fhir.CapabilitySearchParam{
				{Name: "status", Definition: "http://hl7.org/fhir/SearchParameter/Subscription-status", Type: "token"},
				{Name: "url", Definition: "http://hl7.org/fhir/SearchParameter/Subscription-url", Type: "uri"},
			}},
			{Type: "SubscriptionStatus"}, // SST-8: not served
		},
	})
	golden(t, "capability", got)
	fhirtest.Valid(t, fhir.R5, got)
}

func TestCapabilityStatement_OfABareServerIsValid(t *testing.T) {
	t.Parallel()
	fhirtest.Valid(t, fhir.R5, fhir.R5.CapabilityStatement(&fhir.Capability{Base: base, Software: "signalfhir"}))
}

func TestOperationDefinition_Golden(t *testing.T) {
	t.Parallel()
	ids := fhir.R5.OperationDefinitions()
	if len(ids) != 4 {
		t.Errorf("operations %q, want four", ids)
	}
	for _, id := range ids {
		t.Run(id, func(t *testing.T) {
			got, ok := fhir.R5.OperationDefinition(id)
			if !ok {
				t.Fatal("listed but not defined")
			}
			golden(t, "operation-"+id, got)
			fhirtest.Valid(t, fhir.R5, got)
		})
	}
	if _, ok := fhir.R5.OperationDefinition("Subscription-nothing"); ok {
		t.Error("defines an operation that does not exist")
	}
}

// The parts that client code is generated from must match HL7's definitions; the
// documentation is our own.
func TestOperationDefinition_AgreesWithHL7(t *testing.T) {
	t.Parallel()
	for _, id := range fhir.R5.OperationDefinitions() {
		if id == "Subscription-resend" {
			continue // of the backport guide's next edition, not of R5
		}
		t.Run(id, func(t *testing.T) {
			official, err := os.ReadFile(fhirtest.Spec(t, "examples", "R5", "operation-"+strings.ToLower(id)+".json"))
			if err != nil {
				t.Fatal(err)
			}
			ours, _ := fhir.R5.OperationDefinition(id)
			if diff := cmp.Diff(facts(t, official), facts(t, ours)); diff != "" {
				t.Errorf("(-HL7 +ours):\n%s", diff)
			}
		})
	}
}

// facts strips an OperationDefinition of prose and publication details.
func facts(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	for _, prose := range []string{"text", "extension", "title", "description", "experimental", "date", "publisher", "contact", "jurisdiction", "meta"} {
		delete(o, prose)
	}
	for _, p := range o["parameter"].([]any) {
		delete(p.(map[string]any), "documentation")
	}
	return o
}
