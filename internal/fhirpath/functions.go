package fhirpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/funcs"
	"github.com/gofhir/fhirpath/types"
)

// published returns a function that an expression may call.
func published(name string) (eval.FuncDef, bool) {
	switch name {
	case "memberOf", "conformsTo":
		return eval.FuncDef{}, false // the library has the names only
	}
	return funcs.Get(name)
}

// registry has the functions of an evaluation: those of the library, with bounds, and
// replacements for its faulty ones. It implements eval.FuncRegistry.
type registry struct{}

// Get implements eval.FuncRegistry.
func (registry) Get(name string) (eval.FuncDef, bool) {
	if name == contextFunction {
		return eval.FuncDef{Name: name, Fn: holdContext}, true
	}
	def, ok := published(name)
	if !ok {
		return def, false
	}
	switch name {
	case "resolve":
		def.Fn = resolve
	case "single":
		def.Fn = single
	case "repeat":
		def.Fn = repeat
	case "not":
		def.Fn = not
	case "distinct":
		def.Fn = func(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
			return distinct(input), nil
		}
	case "isDistinct":
		def.Fn = func(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
			return boolean(len(distinct(input)) == len(input)), nil
		}
	case "union", "intersect", "exclude", "subsetOf", "supersetOf":
		def.Fn = ofTwo(name)
	case "toString", "convertsToString":
		def.Fn = ofText(name, def.Fn)
	case "matches", "replaceMatches":
		def.Fn = ofPattern(name)
	case "substring":
		def.Fn = clampLength(def.Fn)
	case "abs":
		def.Fn = ofQuantity(def.Fn)
	case "trace": // the library's writes what it sees to standard error
		def.Fn = func(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) { return input, nil }
	}
	def.Fn = bound(name, def.Fn)
	return def, true
}

// clampLength replaces a negative length of a substring, at which the library fails, by 0.
func clampLength(fn eval.FuncImpl) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		if len(args) == 2 {
			if length, ok := args[1].(types.Collection); ok && len(length) == 1 && strings.HasPrefix(length[0].String(), "-") {
				args = []any{args[0], types.Collection{types.NewInteger(0)}}
			}
		}
		return fn(ctx, input, args)
	}
}

// bound bounds the result of a function. It checks the arguments of the replacing functions,
// which multiply, and of round(), which counts to its argument, before the call.
func bound(name string, fn eval.FuncImpl) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		if err := ctx.CheckCancellation(); err != nil {
			return nil, err
		}
		if slices.Contains(ofOne, name) {
			if err := alone(name, input, args); err != nil {
				return nil, err
			}
		}
		if (name == "replace" || name == "replaceMatches") && len(args) == 2 {
			if with, ok := args[1].(types.Collection); ok && (textLength(input)+1)*textLength(with) > maxText {
				return nil, fmt.Errorf("%s() would make a string of more than %d characters", name, maxText)
			}
		}
		if name == "toChars" && textLength(input) > maxItems { // the library makes them all before it counts them
			return nil, fmt.Errorf("toChars() would make more than %d strings", maxItems)
		}
		if slices.Contains(parsing, name) && textLength(input) > maxDigits {
			return nil, fmt.Errorf("%s(): a text of more than %d characters is not read as a number", name, maxDigits)
		}
		if slices.Contains(calculating, name) {
			if err := checkDigits(input...); err != nil {
				return nil, fmt.Errorf("%s(): %w", name, err)
			}
		}
		if name == "round" && len(args) == 1 {
			if digits, ok := args[0].(types.Collection); ok && len(digits) == 1 && len(digits[0].String()) > 2 {
				return nil, fmt.Errorf("round() keeps at most 99 digits, got %s", digits[0])
			}
		}
		if (name == "lowBoundary" || name == "highBoundary") && len(args) == 1 {
			// The library counts to the precision, and takes one below zero for none.
			if p, ok := args[0].(types.Collection); ok && len(p) == 1 && !isPrecision(p[0].String()) {
				return types.Collection{}, nil
			}
		}
		result, err := fn(ctx, input, args)
		if err != nil {
			return nil, err
		}
		if textLength(result) > maxText {
			return nil, fmt.Errorf("%s() made a string of more than %d characters", name, maxText)
		}
		return result, ctx.CheckCollectionSize(result)
	}
}

// isPrecision reports whether a number is a precision that lowBoundary and highBoundary
// know. For others, FHIRPath has them return nothing.
func isPrecision(number string) bool {
	const most = 31
	n, err := strconv.Atoi(number)
	return err == nil && 0 <= n && n <= most
}

// ofOne lists the functions for a single item whose arguments are single items. The library
// takes the first of several, which would hide a mistake. By FHIRPath they fail.
var ofOne = []string{
	"contains", "endsWith", "indexOf", "length", "lower", "matches", "replace", "replaceMatches", "split", "startsWith",
	"substring", "toChars", "trim", "upper",
	"abs", "ceiling", "exp", "floor", "ln", "log", "power", "round", "sqrt", "truncate",
	"toBoolean", "toDate", "toDateTime", "toDecimal", "toInteger", "toQuantity", "toTime",
	"convertsToBoolean", "convertsToDate", "convertsToDateTime", "convertsToDecimal", "convertsToInteger", "convertsToQuantity", "convertsToTime",
}

// alone refuses several items if a function is for one.
func alone(name string, input types.Collection, args []any) error {
	if len(input) > 1 {
		return fmt.Errorf("%s() is about a single item, got %d: %v", name, len(input), input)
	}
	for i, arg := range args {
		if items, ok := arg.(types.Collection); ok && len(items) > 1 {
			return fmt.Errorf("%s() wants a single item for argument %d, got %d: %v", name, i+1, len(items), items)
		}
	}
	return nil
}

// calculating lists the functions that calculate with the numbers of their input.
var calculating = []string{
	"abs", "avg", "ceiling", "exp", "floor", "highBoundary", "ln", "log", "lowBoundary", "max", "min", "power", "round", "sqrt", "sum",
	"toBoolean", "toInteger", "toQuantity", "truncate", "convertsToBoolean", "convertsToInteger", "convertsToQuantity",
}

// parsing lists the functions that read a text as a number.
var parsing = []string{"toDecimal", "toInteger", "toQuantity", "convertsToDecimal", "convertsToInteger", "convertsToQuantity"}

// textLength returns the number of bytes in the strings of a collection.
func textLength(items types.Collection) int {
	n := 0
	for _, item := range items {
		if s, ok := item.(types.String); ok {
			n += len(s.Value())
		}
	}
	return n
}

// single returns the only item, or the empty collection if there is none.
func single(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	if len(input) > 1 {
		return nil, fmt.Errorf("single() is about one item, got %d", len(input))
	}
	return input, nil
}

// not returns the opposite of a condition.
func not(_ *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	one, err := condition(input)
	if err != nil {
		return nil, fmt.Errorf("not(): %w", err)
	}
	return eval.Not(one), nil
}

// ofTwo returns a function of its input and another collection.
func ofTwo(name string) eval.FuncImpl {
	return func(_ *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		other, ok := args[0].(types.Collection)
		if !ok {
			return nil, fmt.Errorf("%s() needs a collection", name)
		}
		switch name {
		case "intersect":
			return distinct(sharing(input, other, true)), nil
		case "exclude":
			return sharing(input, other, false), nil
		case "subsetOf":
			return boolean(within(input, other)), nil
		case "supersetOf":
			return boolean(within(other, input)), nil
		}
		return distinct(input.Combine(other)), nil
	}
}

// ofText returns toString() or convertsToString() of the library, extended to quantities and
// temporal values.
func ofText(name string, library eval.FuncImpl) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		switch {
		case len(input) == 0:
			return input, nil
		case len(input) > 1:
			return nil, eval.SingletonError(len(input))
		}
		q, isQuantity := input[0].(types.Quantity)
		_, isMoment := momentOf(input[0])
		switch {
		case name == "convertsToString" && (isQuantity || isMoment):
			return types.TrueCollection, nil
		case isQuantity:
			return types.Collection{types.NewString(quantityText(q))}, nil
		}
		return library(ctx, input, args)
	}
}

// ofQuantity extends a function of the library for numbers to quantities.
func ofQuantity(library eval.FuncImpl) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		if len(input) == 1 {
			if q, ok := input[0].(types.Quantity); ok {
				return types.Collection{types.NewQuantityFromDecimal(q.Value().Abs(), q.Unit())}, nil
			}
		}
		return library(ctx, input, args)
	}
}

// repeat evaluates its argument on the input, on the result, and so on. It returns all
// distinct items that it finds.
func repeat(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
	body, ok := args[0].(deferred)
	if !ok {
		return nil, errors.New("repeat() has no argument to repeat")
	}
	result, seen := types.Collection{}, set{}
	for queue := input; len(queue) > 0; queue = queue[1:] {
		if err := errors.Join(ctx.CheckCancellation(), ctx.CheckCollectionSize(result)); err != nil {
			return nil, err
		}
		found, err := eval.NewEvaluator(ctx.WithThis(queue[:1:1]), registry{}).Evaluate(body.IExpressionContext)
		if err != nil {
			return nil, err
		}
		for _, item := range found {
			if key := keyOf(item, exact); !seen[key] {
				seen[key] = true
				result = append(result, item)
				queue = append(queue, item)
			}
		}
	}
	return result, nil
}

// resolve returns the type and id that a reference contains, or the contained resource that
// it names. The expressions of search parameters only need the type, as in
// "subject.where(resolve() is Patient)", and the result of a search must not depend on
// whether the target is stored.
func resolve(ctx *eval.Context, input types.Collection, _ []any) (types.Collection, error) {
	result := types.Collection{}
	for _, item := range input {
		reference, typ := "", ""
		switch v := item.(type) {
		case types.String:
			reference = v.Value()
		case *types.ObjectValue:
			reference, typ = member(v, "reference"), member(v, "type")
		}
		if id, contained := strings.CutPrefix(reference, "#"); contained {
			result = append(result, containedIn(ctx.Root(), id)...)
			continue
		}
		stub := map[string]string{}
		reference, _, _ = strings.Cut(reference, "/_history/")
		if parts := strings.Split(reference, "/"); len(parts) > 1 {
			stub["resourceType"], stub["id"] = parts[len(parts)-2], parts[len(parts)-1]
		} else if typ != "" {
			stub["resourceType"] = typ[strings.LastIndexByte(typ, '/')+1:]
		} else {
			continue
		}
		data, err := json.Marshal(stub)
		if err != nil {
			return nil, err
		}
		result = append(result, types.NewObjectValue(data))
	}
	return result, nil
}

// containedIn returns the contained resource that has an id, or the container itself for
// the empty id.
func containedIn(root types.Collection, id string) types.Collection {
	for _, item := range root {
		o, ok := item.(*types.ObjectValue)
		if !ok {
			continue
		}
		if id == "" {
			return types.Collection{o}
		}
		for _, inner := range o.GetCollection("contained") {
			if inner, ok := inner.(*types.ObjectValue); ok && member(inner, "id") == id {
				return types.Collection{inner}
			}
		}
	}
	return nil
}

// member returns a string member of an object as written.
func member(o *types.ObjectValue, name string) string {
	if v, ok := o.Get(name); ok && v != nil {
		return v.String()
	}
	return ""
}
