// Package invariant checks the invariants of severity error that HL7's definitions put
// on the elements of a resource.
//
// They are FHIRPath expressions, and the engine of internal/fhirpath evaluates most of
// them. Some are evaluated in Go (native.go): those on every element and on the most
// common types, because each write pays for them, and those the engine gets wrong. Those
// that cannot be evaluated refuse nothing; [Unevaluated] lists them.
//
// It does not repeat what [fhir.Release.Validate] checks: that an extension has a value
// or extensions (ext-1), that no object is empty, and that contained resources contain
// no others (dom-2).
package invariant

import (
	"context"
	"fmt"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

// maxIssues bounds the issues of one check.
const maxIssues = 200

// Check evaluates the invariants of a resource that Validate accepts: those of every
// element in it, of contained resources, and of the resources in a Bundle or Parameters.
// It returns an issue for each broken one, with its key, its expression and its place.
//
// An invariant that gives nothing, neither true nor false, is broken: HL7's own
// validator and the authors of the invariants read them this way. The few that give
// nothing for valid content are in lenient.
//
// Those that the budget has no time for refuse nothing. A warning says so.
func Check(release fhir.Release, o *fhir.Object, b *budget.Budget) []fhir.Issue {
	var issues []fhir.Issue
	err := b.Err()
	if err != nil {
		ended, end := context.WithCancel(context.Background())
		end()
		var late error
		if issues, late = check(ended, release, o); late == nil { // what is evaluated in Go costs little
			err = nil
		}
	} else {
		err = b.Spend("the invariants of "+o.Text("resourceType"), func(ctx context.Context) (late error) {
			issues, late = check(ctx, release, o)
			return late
		})
	}
	if err != nil {
		issues = append(issues, fhir.Issue{Severity: "warning", Code: fhir.CodeTooCostly, Diagnostics: "not all invariants were checked: " + err.Error()})
	}
	return issues
}

// check returns the issues that it finds before ctx ends. It returns an error if it does
// not get to the end by then.
func check(ctx context.Context, release fhir.Release, o *fhir.Object) ([]fhir.Issue, error) {
	w := walkOf(release, o)
	e := &evaluation{release: release, text: w.text, deadline: ctx}
	var issues []fhir.Issue
	more := 0
	for _, f := range w.foci {
		for _, r := range f.rules {
			switch {
			case e.verdict(r, f) != broken:
			case len(issues) == maxIssues:
				more++
			default:
				issues = append(issues, fhir.Issue{
					Severity: "error", Code: fhir.CodeInvariant, Rule: true,
					Diagnostics: r.key + " does not hold: " + r.expression,
					Expression:  []string{place(o, f.at)},
				})
			}
		}
	}
	if more > 0 {
		issues = append(issues, fhir.Issue{Severity: "error", Code: fhir.CodeTooCostly, Diagnostics: fmt.Sprintf("and %d more invariants that do not hold", more), Rule: true})
	}
	return issues, e.late
}

// evaluation evaluates the rules on the elements of one resource.
type evaluation struct {
	release  fhir.Release
	text     []byte
	deadline context.Context
	late     error // of a rule for which there was no time
}

func (e *evaluation) verdict(r *rule, f *focus) verdict {
	if r.native != nil {
		return r.native(f)
	}
	v, err := e.evaluate(r, f)
	if err != nil {
		if e.late == nil {
			e.late = e.deadline.Err()
		}
		return unknown // a failing expression is not a fault of the resource
	}
	return v
}

// evaluate evaluates a rule with the FHIRPath engine, unless the rule is unfit for it.
func (e *evaluation) evaluate(r *rule, f *focus) (verdict, error) {
	if unfit[r.expression] != "" {
		return unknown, nil
	}
	v, err := e.eval(r, f)
	switch {
	case v == silent && lenient[r.expression] != "":
		return holds, err
	case v == silent:
		return broken, err
	}
	return v, err
}

func (e *evaluation) eval(r *rule, f *focus) (verdict, error) {
	expr, err := r.compile()
	if err != nil {
		return unknown, nil // listed by Unevaluated
	}
	on, ok := e.element(f)
	if !ok {
		return unknown, nil
	}
	root := f.scope.root
	if root.engine == nil {
		root.engine = fhirpath.NewScope(e.deadline, e.release, e.text[root.start:root.end])
	}
	var within fhirpath.Element
	if f.scope != root {
		within = fhirpath.Object(e.text[f.scope.start:f.scope.end], f.scope.object.Text("resourceType"))
	}
	result, err := root.engine.Eval(expr, on, within)
	switch {
	case err != nil || len(result) > 1:
		return unknown, err
	case len(result) == 0:
		return silent, nil
	}
	return is(fhirpath.True(result)), nil
}

// element returns a focus as an element for the engine.
func (e *evaluation) element(f *focus) (fhirpath.Element, bool) {
	if f.object != nil {
		return fhirpath.Object(e.text[f.start:f.end], f.typ), true
	}
	value := f.at.object.Get(f.at.name)
	if list, isList := value.([]any); isList {
		value = list[f.at.index]
	}
	values := fhirpath.Object(fhir.NewObject("value", value).AppendJSON(nil), "").Member("value", f.typ)
	if len(values) != 1 {
		return fhirpath.Element{}, false
	}
	return values[0], true
}
