// Package fhirpath evaluates FHIRPath through github.com/gofhir/fhirpath, bounded
// in time and size, with the type model of a release. It is the one place that
// knows the library: what has to be worked around is worked around here.
package fhirpath

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gofhir/fhirpath"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// The bounds of one evaluation.
const (
	maxTime  = 100 * time.Millisecond
	maxDepth = 100
	maxItems = 10_000
)

// Expr is a compiled expression. It is safe for concurrent use.
type Expr struct {
	source   string
	compiled *fhirpath.Expression
}

// Compile reads an expression. The error names the place in it, as line:column.
func Compile(source string) (e *Expr, err error) {
	defer recovered(&err)
	compiled, err := fhirpath.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("the expression %q does not compile: %w", source, err)
	}
	return &Expr{source, compiled}, nil
}

// recovered makes an error of a panic in the library.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the FHIRPath engine failed: %v", r)
	}
}

// String is the expression as it was written.
func (e *Expr) String() string { return e.source }

// Eval evaluates the expression on a resource, given as JSON. vars are resources
// the expression may name as %name; nil stands for the empty collection.
func (e *Expr) Eval(release fhir.Release, resource []byte, vars map[string][]byte) (result types.Collection, err error) {
	defer recovered(&err)
	options := []fhirpath.EvalOption{
		fhirpath.WithTimeout(maxTime),
		fhirpath.WithMaxDepth(maxDepth),
		fhirpath.WithMaxCollectionSize(maxItems),
		fhirpath.WithModel(release.Model()),
		fhirpath.WithResolver(stubs{}),
	}
	for name, data := range vars {
		value := types.Collection{}
		if data != nil {
			if value, err = types.JSONToCollection(data); err != nil {
				return nil, fmt.Errorf("reading %%%s: %w", name, err)
			}
		}
		options = append(options, fhirpath.WithVariable(name, value))
	}
	result, err = e.compiled.EvaluateWithOptions(resource, options...)
	if err != nil {
		return nil, fmt.Errorf("evaluating %q: %w", e.source, err)
	}
	return result, nil
}

// stubs resolves references to as much of a resource as the reference tells: its
// type and id. The expressions of search parameters only ask for the type, as in
// "subject.where(resolve() is Patient)", and whether the target is stored must
// not change what a search finds.
type stubs struct{}

// Resolve implements the resolver of the library.
func (stubs) Resolve(_ context.Context, reference string) ([]byte, error) {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	if len(parts) < 2 {
		return nil, errors.New("the reference names no type")
	}
	return json.Marshal(map[string]string{"resourceType": parts[len(parts)-2], "id": parts[len(parts)-1]})
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
		default:
			values = append(values, v.String())
		}
	}
	return values
}
