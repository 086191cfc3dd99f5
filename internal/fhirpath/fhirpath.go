// Package fhirpath evaluates FHIRPath on resources with the type model of a release. It
// bounds time and size.
//
// The grammar and the evaluator are those of github.com/gofhir/fhirpath. Only this package
// uses that library, and it corrects the following:
//
//   - A syntax error lists every token that is possible there. The error made here has the
//     place and the text that is there (compile.go).
//   - The library finds unknown functions and variables when it evaluates them. Here
//     they are refused at compile time.
//   - Its and, or, xor, implies, not() and iif() use the first item of an operand. FHIRPath
//     requires a single item, and takes a single item that is not a boolean as true
//     (operators.go, functions.go, TOP-11).
//   - It compares collections, objects and numbers by their text, and each item of a
//     collection with each other item (operators.go, values.go).
//   - It does not compare a date with a dateTime, or values of different precision; units
//     that it cannot convert; or quantities by their code (moment.go, quantity.go).
//   - It fails on a division by zero, on div and mod of decimals, and on a negated quantity.
//     It does not limit the number of digits (arithmetic.go).
//   - It evaluates the arguments of a function on the input of the function (arguments.go).
//   - It does not find the extensions of a primitive value (extensions.go).
//   - It does not decode \u0041, and it takes \\n for an end of line (literals.go).
//   - Its functions for one item take the first of several; by FHIRPath they fail
//     (functions.go).
//   - Its regular expressions have a data race, refuse "*?" as dangerous, and do not match
//     an end of line with a dot (regex.go).
//   - Its resolve() does not see the type of a logical reference, its single() fails on
//     the empty collection, and its repeat() does not repeat (functions.go).
//
// testdata lists the tests of HL7's suite that still fail, with their causes.
// e2e/differential compares with HL7's own engine.
//
// The package does not use a store: resolve() returns the type and id that a reference
// contains, and nothing else of the target.
package fhirpath

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// The bounds of one evaluation. Its context bounds the time.
const (
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

// String returns the source of the expression.
func (e *Expr) String() string { return e.source }

// UnitesConditions reports whether the expression has | between conditions, as the official
// example of R5 has. By the specification the result is a collection of booleans, which is
// not a condition (TOP-11); see [Options].
func (e *Expr) UnitesConditions() bool { return e.unites }

// Eval evaluates the expression on a resource, given as JSON. vars has resources that the
// expression may name as %name; nil means the empty collection. It returns an error
// soon after ctx ends.
func (e *Expr) Eval(ctx context.Context, release fhir.Release, resource []byte, vars map[string][]byte) (result types.Collection, err error) {
	defer recovered(&err)
	scope := eval.NewContext(resource)
	scope.SetContext(ctx)
	scope.SetLimit("maxDepth", maxDepth)
	scope.SetLimit("maxCollectionSize", maxItems)
	scope.SetModel(exactModel{release.Model()})
	for name, url := range constants {
		scope.SetVariable(name, types.Collection{types.NewString(url)})
	}
	for name, data := range vars {
		value := types.Collection{}
		if data != nil {
			if value, err = types.JSONToCollection(data); err != nil {
				return nil, fmt.Errorf("reading %%%s: %w", name, err)
			}
		}
		scope.SetVariable(name, value)
	}
	result, err = eval.NewEvaluator(scope, registry{}).Evaluate(e.tree)
	if err != nil {
		return nil, fmt.Errorf("evaluating %q: %w", e.source, err)
	}
	return result, nil
}

// constants has the variables that FHIRPath defines with a fixed value.
var constants = map[string]string{
	"ucum":  "http://unitsofmeasure.org",
	"sct":   "http://snomed.info/sct",
	"loinc": "http://loinc.org",
}

// recovered turns a panic in the library into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the FHIRPath engine failed: %v", r)
	}
}

// True reports whether a result is a single true, which makes a criterion fire (TOP-10).
func True(result types.Collection) bool {
	if len(result) != 1 {
		return false
	}
	b, ok := result[0].(types.Boolean)
	return ok && b.Bool()
}

// Values returns a result as values of a [fhir.Object] tree.
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
