package topic_test

import (
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/topic"
)

func BenchmarkMatch(b *testing.B) {
	c := change(encounter(b, "planned"), encounter(b, "in-progress"))
	for name, criteria := range map[string]string{
		"none":     ``,
		"query":    `"queryCriteria":{"previous":"status:not=in-progress","resultForCreate":"test-passes","current":"status=in-progress","requireBoth":true}`,
		"fhirpath": `"fhirPathCriteria":"%previous.status != 'in-progress' and %current.status = 'in-progress'"`,
	} {
		b.Run(name, func(b *testing.B) {
			compiled := mustCompile(b, onEncounter(criteria))
			b.ReportAllocs()
			for b.Loop() {
				if v := compiled.Match(c, evaluation(c)); !v.Fired {
					b.Fatal(v.Steps)
				}
			}
		})
	}
}

// A write matches the topics of its type only, so the number of others does not
// matter.
func BenchmarkForType(b *testing.B) {
	c := topic.NewCatalogue()
	for _, typ := range fhir.R5.ResourceTypes() {
		c.Put(typ, mustCompile(b, `"resourceTrigger":[{"resource":"`+typ+`"}]`))
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(c.ForType("Encounter")) != 1 {
			b.Fatal("want one topic")
		}
	}
}
