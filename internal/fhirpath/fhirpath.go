// Package fhirpath evaluates FHIRPath on resources, bounded in time and size,
// with the type model of a release.
//
// Grammar and evaluation are those of github.com/gofhir/fhirpath. This package is
// the one place that knows that library, and what has to be worked around is
// worked around here:
//
//   - It reports a mistake with every token that could have stood there; the text
//     made here names the place and what stands there (compile.go).
//   - It finds out about unknown functions and variables when it meets them in an
//     evaluation; here they are refused when compiling.
//   - Its and, or, xor and implies look at the first item of an operand only, as
//     not() and iif() do. FHIRPath wants a single one, and takes a single one that is
//     no boolean for true (operators.go, functions.go, TOP-11).
//   - It compares a collection, an object, a number and a set of them by how they are
//     written, each with each (operators.go, values.go).
//   - It compares no date with a dateTime or one of another precision, no two units it
//     cannot bring together, and no quantity by its code (moment.go, quantity.go).
//   - It divides by no zero, no decimal with div and mod, and negates no quantity; it
//     takes any number of digits (arithmetic.go).
//   - It evaluates the argument of a function on the input of that (arguments.go).
//   - It does not look for the extensions of a primitive value (extensions.go).
//   - It does not read \u0041 and reads \\n as an end of line (literals.go).
//   - Its functions about one item take the first of several; FHIRPath has them fail
//     (functions.go).
//   - Its regular expressions race with each other, refuse "*?" as dangerous, and have
//     no dot for an end of line (regex.go).
//   - Its resolve() cannot see the type of a logical reference, its single() fails
//     on nothing, and its repeat() does not repeat (functions.go).
//
// What is left is listed in testdata, as the tests of HL7's suite that fail and their
// causes. e2e/differential compares with HL7's own engine.
//
// It knows no store: resolve() answers the type and id a reference tells, and no
// more of the target.
package fhirpath

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// The bounds of one evaluation.
const (
	maxTime  = time.Second
	maxDepth = 100
	maxItems = 10_000
	maxText  = 1 << 20 // characters of a string a function makes
)

// Expr is a compiled expression. It is safe for concurrent use.
type Expr struct {
	source string
	tree   *grammar.EntireExpressionContext
	unites bool
}

// String is the expression as it was written.
func (e *Expr) String() string { return e.source }

// UnitesConditions tells that the expression puts | between conditions, as the
// official example of R5 does. Read to the letter that makes a collection of
// booleans, which is no condition (TOP-11); see [Options].
func (e *Expr) UnitesConditions() bool { return e.unites }

// Eval evaluates the expression on a resource, given as JSON. vars are resources
// the expression may name as %name; nil stands for the empty collection. It gives
// up after a second.
func (e *Expr) Eval(release fhir.Release, resource []byte, vars map[string][]byte) (result types.Collection, err error) {
	defer recovered(&err)
	deadline, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()

	ctx := eval.NewContext(resource)
	ctx.SetContext(deadline)
	ctx.SetLimit("maxDepth", maxDepth)
	ctx.SetLimit("maxCollectionSize", maxItems)
	ctx.SetModel(exactModel{release.Model()})
	for name, url := range constants {
		ctx.SetVariable(name, types.Collection{types.NewString(url)})
	}
	for name, data := range vars {
		value := types.Collection{}
		if data != nil {
			if value, err = types.JSONToCollection(data); err != nil {
				return nil, fmt.Errorf("reading %%%s: %w", name, err)
			}
		}
		ctx.SetVariable(name, value)
	}
	result, err = eval.NewEvaluator(ctx, registry{}).Evaluate(e.tree)
	if err != nil {
		return nil, fmt.Errorf("evaluating %q: %w", e.source, err)
	}
	return result, nil
}

// constants are the variables FHIRPath defines with a fixed value.
var constants = map[string]string{
	"ucum":  "http://unitsofmeasure.org",
	"sct":   "http://snomed.info/sct",
	"loinc": "http://loinc.org",
}

// recovered makes an error of a panic in the library.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the FHIRPath engine failed: %v", r)
	}
}

// True tells whether a result is a single true, which is what makes a criterion
// fire (TOP-10).
func True(result types.Collection) bool {
	if len(result) != 1 {
		return false
	}
	b, ok := result[0].(types.Boolean)
	return ok && b.Bool()
}

// Values makes values of a [fhir.Object] tree of a result.
func Values(result types.Collection) []any {
	values := make([]any, 0, len(result))
	for _, item := range result {
		switch v := item.(type) {
		case *types.ObjectValue:
			if o, err := fhir.Parse(v.Data()); err == nil {
				values = append(values, o)
			}
		case types.Boolean:
			values = append(values, v.Bool())
		case types.Numeric:
			values = append(values, json.Number(v.String()))
		case types.Quantity:
			values = append(values, quantityText(v))
		default:
			values = append(values, v.String())
		}
	}
	return values
}
