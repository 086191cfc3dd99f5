package fhirpath

import (
	"fmt"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"
)

// maxDigits bounds the digits of operands before and after the decimal point. To bring
// 1E999999999 and 1 to one exponent takes a gigabyte.
const maxDigits = 1000

// checkDigits refuses numbers that have too many digits.
func checkDigits(items ...types.Value) error {
	for _, item := range items {
		number := types.Integer{}.ToDecimal().Value()
		switch v := item.(type) {
		case types.Decimal:
			number = v.Value()
		case types.Quantity:
			number = v.Value()
		case *types.ObjectValue:
			if q, ok := v.ToQuantity(); ok {
				number = q.Value()
			}
		}
		if number.NumDigits() > maxDigits || max(number.Exponent(), -number.Exponent()) > maxDigits {
			return fmt.Errorf("numbers of more than %d digits are not calculated with", maxDigits)
		}
	}
	return nil
}

// arithmetic returns the operation of + - & * / div and mod.
func arithmetic(n grammar.IExpressionContext) operation {
	op := operator(n)
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		switch {
		case op == "&":
			return concatenated(left, right)
		case left.Empty() || right.Empty():
			return types.EmptyCollection, nil
		case len(left) > 1 || len(right) > 1:
			return nil, eval.SingletonError(len(left) + len(right))
		}
		if err := checkDigits(left[0], right[0]); err != nil {
			return nil, err
		}
		result, err := calculated(op, left[0], right[0])
		if err != nil || result == nil {
			return types.EmptyCollection, err
		}
		return types.Collection{result}, nil
	}}
}

// calculated returns the result for one item on each side, or nil if there is none.
func calculated(op string, left, right types.Value) (types.Value, error) {
	switch op {
	case "+":
		return eval.Add(left, right)
	case "-":
		return eval.Subtract(left, right)
	case "*":
		return eval.Multiply(left, right)
	}
	if n, ok := right.(types.Numeric); ok && n.ToDecimal().Value().IsZero() {
		return nil, nil // dividing by zero gives nothing
	}
	if op == "/" {
		return eval.Divide(left, right)
	}
	_, first := left.(types.Integer)
	_, second := right.(types.Integer)
	if first && second {
		if op == "div" {
			return eval.IntegerDivide(left, right)
		}
		return eval.Modulo(left, right)
	}
	// The library has these for integers only.
	x, first := left.(types.Numeric)
	y, second := right.(types.Numeric)
	if !first || !second {
		return nil, eval.InvalidOperationError(op, left.Type(), right.Type())
	}
	quotient, rest := x.ToDecimal().Value().QuoRem(y.ToDecimal().Value(), 0)
	if op == "div" {
		return types.NewInteger(quotient.IntPart()), nil
	}
	return types.NewDecimal(rest.String())
}

// concatenated returns the result of &, for which the empty collection is the empty string.
// The library also accepts a number, and takes the first of several items.
func concatenated(left, right types.Collection) (types.Collection, error) {
	whole := ""
	for _, side := range []types.Collection{left, right} {
		switch {
		case side.Empty():
			continue
		case len(side) > 1:
			return nil, eval.SingletonError(len(side))
		}
		// To the library, a string that parses as a date is a date.
		_, temporal := momentOf(side[0])
		if _, ok := side[0].(types.String); !ok && !temporal {
			return nil, eval.TypeError("String", side[0].Type(), "&")
		}
		whole += side[0].String()
	}
	if len(whole) > maxText {
		return nil, fmt.Errorf("& made a string of more than %d characters", maxText)
	}
	return types.Collection{types.NewString(whole)}, nil
}

// polarity is the sign before an expression, which may be a quantity.
type polarity struct {
	*grammar.PolarityExpressionContext
}

// Accept implements antlr.ParseTree.
func (n polarity) Accept(v antlr.ParseTreeVisitor) any {
	e := v.(*eval.Evaluator)
	items, err := e.Evaluate(n.Expression())
	switch {
	case err != nil:
		return err
	case items.Empty():
		return items
	case len(items) > 1:
		return eval.SingletonError(len(items))
	case n.GetChild(0).(antlr.ParseTree).GetText() == "+":
		return items
	}
	if err := checkDigits(items[0]); err != nil {
		return err
	}
	if q, ok := items[0].(types.Quantity); ok {
		return types.Collection{types.NewQuantityFromDecimal(q.Value().Neg(), q.Unit())}
	}
	negative, err := eval.Negate(items[0])
	if err != nil {
		return err
	}
	return types.Collection{negative}
}
