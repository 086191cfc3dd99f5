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

// unfit lists expressions that compile but are not evaluated, with the cause: their
// result would be accidental.
var unfit = map[string]string{
	// dgr-1
	"composition.exists() implies (composition.resolve().section.entry.reference.where(resolve() is Observation) in (result.reference|result.reference.resolve().hasMember.reference))": "it depends on other resources, which a write does not read",
	// ratrng-2
	"lowNumerator.hasValue().not() or highNumerator.hasValue().not() or (lowNumerator.lowBoundary() <= highNumerator.highBoundary())": "it always holds: hasValue() applies to primitives, and a Quantity is not one",
	// eld-19
	`path.matches('^[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*$')`: "the engine refuses its regular expression as dangerous",
	// eld-19
	`path.matches('[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*')`: "the engine refuses its regular expression as dangerous",
	// eld-28
	"mustHaveValue.value implies valueAlternatives.empty()": "it uses the member value of a primitive, which the engine does not support",
	// ing-1
	"(Ingredient.allergenicIndicator.where(value='true').count() + Ingredient.substance.code.reference.count()) < 2": "it uses the member value of a primitive, which the engine does not support",
	// nsd-3
	"uniqueId.where(authoritative = 'true').select(type.toString() & period.start.toString() & period.end.toString()).isDistinct()": "it compares a boolean with the text 'true', so it always holds",
	// bdl-16
	"issues.exists() implies (issues.issue.severity = 'information' or issues.issue.severity = 'warning')": "two allowed issues break it: a list is never equal to one code",
	// bdl-14
	"type = 'history' implies entry.request.method != 'PATCH'": "a history with no entries breaks it, and two entries never do: a list is never equal to one code",
}

// lenient lists expressions that give nothing, or an error, for valid content, with the
// situation. For them, nothing counts as true.
var lenient = map[string]string{
	// ctm-1 of R5
	"onBehalfOf.exists() implies (member.resolve() is Practitioner)": "the reference does not have the type of its target",
	// tim-9 of R4
	"offset.empty() or (when.exists() and ((when in ('C' | 'CM' | 'CD' | 'CV')).not()))": "there are several values of when, and in takes one",
}

// Unevaluated returns the invariants of a release that [Check] does not evaluate, in
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

// skipped returns why a rule is not evaluated, or "" if it is.
func (r *rule) skipped() string {
	if r.native != nil {
		return ""
	}
	if _, err := r.compile(); err != nil {
		_, why, _ := strings.Cut(err.Error(), "does not compile: ")
		return why
	}
	return unfit[r.expression]
}
