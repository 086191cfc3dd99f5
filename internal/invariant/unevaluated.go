package invariant

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// Skipped is an invariant that is not evaluated.
type Skipped struct{ Path, Key, Cause string }

// unfit are the expressions that compile and are not evaluated all the same, with
// the reason.
var unfit = map[string]string{
	"composition.exists() implies (composition.resolve().section.entry.reference.where(resolve() is Observation) in (result.reference|result.reference.resolve().hasMember.reference))": "is about the content of other resources, which a write does not read",
	"lowNumerator.hasValue().not() or highNumerator.hasValue().not() or (lowNumerator.lowBoundary() <= highNumerator.highBoundary())":                                                   "always holds: a Quantity is no primitive, so it has no value in the sense of hasValue()",
}

// Unevaluated lists the invariants of a release that [Check] does not evaluate, in
// the order of their paths.
func Unevaluated(release fhir.Release) []Skipped {
	t := tableOf(release)
	var all []Skipped
	for _, path := range slices.Sorted(maps.Keys(t.rules)) {
		for _, r := range t.rules[path] {
			if cause := r.skipped(); cause != "" {
				all = append(all, Skipped{path, r.key, cause})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Skipped) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Key, b.Key)) })
	return all
}

// skipped is why a rule is not evaluated, "" where it is.
func (r *rule) skipped() string {
	if r.answer != nil {
		return ""
	}
	if _, err := r.compile(); err != nil {
		_, why, _ := strings.Cut(err.Error(), "does not compile: ")
		return why
	}
	return unfit[r.expression]
}
