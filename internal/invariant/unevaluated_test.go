package invariant

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// The list of invariants that refuse nothing, with the causes, changes only on purpose.
func TestUnevaluated_Golden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, r := range fhir.Releases {
		all, native, skipped := 0, 0, Unevaluated(r)
		for _, rules := range tableOf(r).rules {
			for _, rule := range rules {
				all++
				if rule.native != nil {
					native++
				}
			}
		}
		fmt.Fprintf(&b, "%s: %d invariants, %d evaluated natively, %d by FHIRPath, %d not evaluated\n", r, all, native, all-native-len(skipped), len(skipped))
		for _, s := range skipped {
			if s.Cause == "" {
				t.Errorf("%s %s of %s: no cause", r, s.Key, s.Path)
			}
			fmt.Fprintf(&b, "\t%s %s: %s\n", s.Path, s.Key, s.Cause)
		}
		for _, path := range slices.Sorted(maps.Keys(tableOf(r).rules)) {
			for _, rule := range tableOf(r).rules[path] {
				if what := lenient[rule.expression]; what != "" {
					fmt.Fprintf(&b, "\t%s %s: evaluated, and holds if %s\n", path, rule.key, what)
				}
			}
		}
		b.WriteByte('\n')
	}
	file := filepath.Join("testdata", "unevaluated.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("(-golden +got; rewrite it with -update):\n%s", diff)
	}
}

// An exception must be about an expression that is still in a table.
func TestExceptions_AreAboutExistingRules(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	for _, r := range fhir.Releases {
		for _, rules := range tableOf(r).rules {
			for _, rule := range rules {
				there[rule.expression] = true
			}
		}
	}
	for expression := range native {
		if !there[expression] {
			t.Errorf("a native evaluation without a rule: %s", expression)
		}
	}
	for _, exceptions := range []map[string]string{unfit, lenient} {
		for expression := range exceptions {
			if !there[expression] {
				t.Errorf("an exception without a rule: %s", expression)
			}
			if native[expression] != nil {
				t.Errorf("both native and excepted: %s", expression)
			}
		}
	}
}
