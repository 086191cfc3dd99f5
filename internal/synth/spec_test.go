package synth

import (
	"testing"
	"time"
)

// A rate is refused, or it has an interval that a generator can keep.
func FuzzRate(f *testing.F) {
	for _, rate := range []string{"", "10/min", "2/s", "30/h", "500ms", "1e-300/s", "1e300/s", "NaN/s", "Inf/h", "-1/s", "0x1p-2/min", "1/d", "/", "1h0m0.000000001s", "9223372036854775807ns"} {
		f.Add(rate)
	}
	f.Fuzz(func(t *testing.T, rate string) {
		between, err := interval(rate)
		switch {
		case err != nil && (between != 0 || err.Error() == ""):
			t.Fatalf("%q: both %s and %v", rate, between, err)
		case err == nil && (between < time.Millisecond || between > time.Hour):
			t.Fatalf("%q: %s between two writes", rate, between)
		}
		spec := Spec{Name: "g", Scenario: Scenarios()[0], Rate: rate}
		if refused := spec.Check(); (refused == nil) != (err == nil) {
			t.Fatalf("%q: %v, but a spec with it: %v", rate, err, refused)
		}
	})
}
