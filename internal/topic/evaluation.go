package topic

import (
	"context"
	"errors"
	"fmt"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
	"signalfhir/internal/store"
)

// Evaluation evaluates the fhirPathCriteria of topics on one change, each once and all of
// them within one budget. Unlike queryCriteria, which may look up other resources, they
// depend on the change alone, so they can be evaluated before it happens. It is not safe
// for concurrent use.
type Evaluation struct {
	change  *store.Change
	budget  *budget.Budget
	results map[*trigger]result
}

// result is the result of the fhirPathCriteria of a trigger.
type result struct {
	passed bool
	text   string // in words
	late   error  // why it was not evaluated; nil if it was
}

// NewEvaluation returns an evaluation on a change.
func NewEvaluation(c *store.Change, b *budget.Budget) *Evaluation {
	return &Evaluation{change: c, budget: b, results: map[*trigger]result{}}
}

// Evaluates reports whether a topic has fhirPathCriteria that may decide about a change
// of a resource of a type.
func (t *Topic) Evaluates(typ string) bool {
	for i := range t.triggers {
		if g := &t.triggers[i]; g.path != nil && g.concerns(typ) {
			return true
		}
	}
	return false
}

// Prepare evaluates what [Topic.Match] needs.
func (e *Evaluation) Prepare(t *Topic) {
	for i := range t.triggers {
		if g := &t.triggers[i]; e.needs(t, g) && e.of(g).passed {
			return
		}
	}
}

// Has reports whether [Topic.Match] needs no further evaluation.
func (e *Evaluation) Has(t *Topic) bool {
	for i := range t.triggers {
		if g := &t.triggers[i]; e.needs(t, g) {
			known, ok := e.results[g]
			if !ok || known.passed {
				return ok
			}
		}
	}
	return true
}

func (e *Evaluation) needs(t *Topic, g *trigger) bool {
	return g.concerns(e.change.State().Type) && g.allows(e.change) && g.decidesByPath(e.change, t.preferQuery)
}

// of returns the result of a trigger, which has fhirPathCriteria.
func (e *Evaluation) of(g *trigger) result {
	known, ok := e.results[g]
	if !ok {
		known = e.evaluate(g)
		e.results[g] = known
	}
	return known
}

func (e *Evaluation) evaluate(g *trigger) result {
	c := e.change
	vars := map[string][]byte{"previous": nil, "current": nil} // TOP-9
	if c.Previous != nil {
		vars["previous"] = c.Previous.JSON
	}
	if c.Current != nil {
		vars["current"] = c.Current.JSON
	}
	eval := func(x *fhirpath.Expr) (values []any, passed bool, err error) {
		err = e.budget.Spend(x.String(), func(ctx context.Context) error {
			found, err := x.Eval(ctx, c.State().Release, c.State().JSON, vars)
			if passed = err == nil && fhirpath.True(found); !passed {
				values = fhirpath.Values(found)
			}
			return err
		})
		return values, passed, err
	}
	values, passed, err := eval(g.path)
	if passed {
		return result{passed: true, text: "fhirPathCriteria is true: " + g.path.String()}
	}
	if g.lenient != nil && (err != nil || len(values) != 1) {
		// HL7's own example joins conditions with | and means or.
		_, passed, late := eval(g.lenient)
		if passed {
			return result{passed: true, text: "fhirPathCriteria is true once its | is read as or; | unites collections, so better write or (TOP-11)"}
		}
		if errors.Is(late, budget.ErrUsedUp) {
			err = late
		}
	}
	if errors.Is(err, budget.ErrUsedUp) {
		return result{late: err, text: "fhirPathCriteria was not evaluated, so it does not fire: " + err.Error()}
	}
	if err != nil {
		return result{text: err.Error()}
	}
	return result{text: fmt.Sprintf("fhirPathCriteria gives %s, not a single true: %s", describe(values), g.path)}
}

// describe returns the result of an expression in words.
func describe(result []any) string {
	shown := make([]string, len(result))
	for i, v := range result {
		if o, isObject := v.(*fhir.Object); isObject {
			v = string(o.AppendJSON(nil))
		}
		shown[i] = fmt.Sprint(v)
	}
	switch len(result) {
	case 0:
		return "nothing"
	case 1:
		return fmt.Sprintf("%.100s", shown[0])
	}
	return fmt.Sprintf("%d values, %.100s", len(result), shown)
}
