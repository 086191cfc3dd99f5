package invariant

import (
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// The cost of the check, next to that of the structural validation that each write pays anyway.
func BenchmarkWrite(b *testing.B) {
	fhirtest.Spec(b)
	for _, name := range []string{"encounter-example", "encounter-example-f203-20130311", "observation-example-bmi-using-related", "patient-example-c", "notification-full-resource", "medicationrequest0302"} {
		for _, x := range examples(b) {
			if x.file != name || x.release != fhir.R5 {
				continue
			}
			b.Run(name+"/Validate", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					x.release.Validate(x.object)
				}
			})
			b.Run(name+"/Check", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Check(x.release, x.object, unlimited())
				}
			})
		}
	}
}
