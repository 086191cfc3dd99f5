package scenario_test

import (
	"testing"

	"signalfhir/internal/scenario"
)

// Every built-in scenario says what it is for.
func TestBuiltin_SaysWhatItTests(t *testing.T) {
	t.Parallel()
	all := scenario.Builtin()
	if len(all) < 13 {
		t.Errorf("got %d scenarios, want at least 13", len(all))
	}
	for _, d := range all {
		if d.Description == "" || d.Tests == "" || d.Good == "" {
			t.Errorf("%s does not say what it does, what it tests and what a good client does", d.Name)
		}
		for _, p := range d.Parameters {
			if p.Description == "" {
				t.Errorf("%s: nobody knows what %s is", d.Name, p.Name)
			}
		}
	}
}
