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

var update = flag.Bool("update", false, "write the golden file anew")

// Which invariants refuse nothing, and why, changes only where someone sees it.
func TestUnevaluated_Golden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, r := range fhir.Releases {
		all, native, skipped := 0, 0, Unevaluated(r)
		for _, rules := range tableOf(r).rules {
			for _, rule := range rules {
				all++
				if rule.answer != nil {
					native++
				}
			}
		}
		fmt.Fprintf(&b, "%s: %d invariants, %d answered natively, %d by FHIRPath, %d not evaluated\n", r, all, native, all-native-len(skipped), len(skipped))
		for _, s := range skipped {
			if s.Cause == "" {
				t.Errorf("%s %s of %s: no cause", r, s.Key, s.Path)
			}
			fmt.Fprintf(&b, "\t%s %s: %s\n", s.Path, s.Key, s.Cause)
		}
		for _, path := range slices.Sorted(maps.Keys(tableOf(r).rules)) {
			for _, rule := range tableOf(r).rules[path] {
				if what := lenient[rule.expression]; what != "" {
					fmt.Fprintf(&b, "\t%s %s: evaluated, and holds where %s\n", path, rule.key, what)
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
		t.Errorf("(-golden +got; write it anew with -update):\n%s", diff)
	}
}

// An expression that is not in a table any more would be excused for nothing.
func TestExceptions_AreAboutRulesThereAre(t *testing.T) {
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
			t.Errorf("a native answer to no rule: %s", expression)
		}
	}
	for _, exceptions := range []map[string]string{unfit, lenient} {
		for expression := range exceptions {
			if !there[expression] {
				t.Errorf("an exception of no rule: %s", expression)
			}
			if native[expression] != nil {
				t.Errorf("answered natively and excused as well: %s", expression)
			}
		}
	}
}
