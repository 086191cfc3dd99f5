package fhirpath

import (
	"fmt"
	"slices"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"
)

// operation is an operator between two collections. It replaces that of the library.
type operation struct {
	grammar.IExpressionContext
	apply func(left, right types.Collection) (types.Collection, error)
}

// Accept implements antlr.ParseTree.
func (n operation) Accept(v antlr.ParseTreeVisitor) any {
	left, right, err := operands(v, n)
	if err != nil {
		return err
	}
	if large(left) || large(right) { // may take long, and be inside a where() or one of many
		if ctx, err := contextOf(v); err != nil {
			return err
		} else if err := ctx.CheckCancellation(); err != nil {
			return err
		}
	}
	result, err := n.apply(left, right)
	if err != nil {
		return err
	}
	return result
}

// large reports whether an operator may take long with an operand.
func large(items types.Collection) bool {
	if len(items) > 50 {
		return true
	}
	for _, item := range items {
		switch v := item.(type) {
		case *types.ObjectValue:
			return true
		case types.String:
			if len(v.Value()) > 1000 {
				return true
			}
		}
	}
	return false
}

// operator returns the text between the operands of an expression.
func operator(n antlr.Tree) string { return n.GetChild(1).(antlr.ParseTree).GetText() }

// operands evaluates both sides of an expression.
func operands(v antlr.ParseTreeVisitor, n antlr.Tree) (left, right types.Collection, err error) {
	e, ok := v.(*eval.Evaluator)
	if !ok {
		return nil, nil, fmt.Errorf("unexpected visitor %T", v)
	}
	if left, err = e.Evaluate(n.GetChild(0).(antlr.ParseTree)); err != nil {
		return nil, nil, err
	}
	right, err = e.Evaluate(n.GetChild(2).(antlr.ParseTree))
	return left, right, err
}

// logical returns the operation that joins two conditions.
func logical(n grammar.IExpressionContext, join func(left, right types.Collection) types.Collection) operation {
	return operation{n, func(left, right types.Collection) (_ types.Collection, err error) {
		if left, err = condition(left); err != nil {
			return nil, fmt.Errorf("left of %q: %w", operator(n), err)
		}
		if right, err = condition(right); err != nil {
			return nil, fmt.Errorf("right of %q: %w", operator(n), err)
		}
		return join(left, right), nil
	}}
}

// condition converts a collection to a condition: the empty collection and a single boolean
// stay as they are, another single item is true, and several items are an error (FHIRPath,
// singleton evaluation of collections).
func condition(items types.Collection) (types.Collection, error) {
	switch {
	case len(items) == 0:
		return items, nil
	case len(items) > 1:
		return nil, fmt.Errorf("a condition has to be a single boolean, got %d items: %.100s", len(items), fmt.Sprint(Values(items)))
	}
	if _, ok := items[0].(types.Boolean); ok {
		return items, nil
	}
	return types.TrueCollection, nil
}

// equality returns the operation of = and !=, which compares collections item by item, in
// order.
func equality(n grammar.IExpressionContext) operation {
	negated := operator(n) == "!="
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		result := equal(left, right)
		if negated {
			return eval.Not(result), nil
		}
		return result, nil
	}}
}

func equal(left, right types.Collection) types.Collection {
	switch {
	case left.Empty() || right.Empty():
		return types.EmptyCollection
	case len(left) != len(right):
		return types.FalseCollection
	}
	unknown := false
	for i := range left {
		same, known := equalItems(left[i], right[i])
		if known && !same {
			return types.FalseCollection
		}
		unknown = unknown || !known
	}
	if unknown {
		return types.EmptyCollection
	}
	return types.TrueCollection
}

// equalItems reports whether two items are equal. known is false if that is undefined.
func equalItems(a, b types.Value) (same, known bool) {
	first, isMoment := momentOf(a)
	if second, ok := momentOf(b); ok && isMoment {
		return first.equal(second)
	}
	if p, q, ok := quantities(a, b); ok {
		order, err := p.Compare(q)
		return err == nil && order == 0, err == nil
	}
	return keyOf(a, exact) == keyOf(b, exact), true
}

// quantities converts two items to quantities if one is a literal or a computed quantity.
// Two objects are not converted, since they may have more members than a quantity.
func quantities(a, b types.Value) (p, q types.Quantity, ok bool) {
	_, first := a.(types.Quantity)
	_, second := b.(types.Quantity)
	if !first && !second || checkDigits(a, b) != nil {
		return p, q, false
	}
	p, first = quantityOf(a)
	q, second = quantityOf(b)
	return p, q, first && second
}

// equivalence returns the operation of ~ and !~, which ignores the order of items.
func equivalence(n grammar.IExpressionContext) operation {
	negated := operator(n) == "!~"
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		return boolean(equivalent(left, right) != negated), nil
	}}
}

func equivalent(left, right types.Collection) bool {
	if len(left) != len(right) {
		return false
	}
	if len(left) == 1 {
		if same, decided := equivalentItems(left[0], right[0]); decided {
			return same
		}
	}
	count := map[string]int{}
	for i := range left {
		count[keyOf(left[i], loose)]++
		count[keyOf(right[i], loose)]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// equivalentItems compares items that need rounding or conversion.
func equivalentItems(a, b types.Value) (same, decided bool) {
	if p, q, ok := quantities(a, b); ok {
		return p.Equivalent(q), true
	}
	x, first := a.(types.Numeric)
	y, second := b.(types.Numeric)
	if first && second && checkDigits(a, b) == nil {
		// The precision is that of the less precise number.
		digits := int32(min(decimals(a), decimals(b)))
		return x.ToDecimal().Value().Round(digits).Equal(y.ToDecimal().Value().Round(digits)), true
	}
	return false, false
}

// decimals returns the number of digits after the decimal point, without trailing zeros.
func decimals(n types.Value) int {
	decimal, ok := n.(types.Numeric)
	if !ok {
		return 0
	}
	return max(0, -int(decimal.ToDecimal().Value().Exponent()))
}

// inequality returns the operation of <, <=, > and >=.
func inequality(n grammar.IExpressionContext) operation {
	holds := map[string]func(order int) bool{
		"<":  func(order int) bool { return order < 0 },
		"<=": func(order int) bool { return order <= 0 },
		">":  func(order int) bool { return order > 0 },
		">=": func(order int) bool { return order >= 0 },
	}[operator(n)]
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		if left.Empty() || right.Empty() {
			return types.EmptyCollection, nil
		}
		if len(left) > 1 || len(right) > 1 {
			return nil, eval.SingletonError(len(left) + len(right))
		}
		order, known, err := compare(left[0], right[0])
		if err != nil || !known {
			return types.EmptyCollection, err
		}
		return boolean(holds(order)), nil
	}}
}

// compare orders two items. known is false if the order is undefined.
func compare(a, b types.Value) (order int, known bool, err error) {
	first, isMoment := momentOf(a)
	if second, ok := momentOf(b); ok && isMoment && first.clock == second.clock {
		order, known = first.compare(second)
		return order, known, nil
	}
	if err := checkDigits(a, b); err != nil {
		return 0, false, err
	}
	p, isQuantity := quantityOf(a)
	if q, ok := quantityOf(b); ok && isQuantity {
		order, err := p.Compare(q)
		return order, err == nil, nil // of units that have nothing in common
	}
	order, err = eval.Compare(a, b)
	return order, true, err
}

// membership returns the operation of in and contains.
func membership(n grammar.IExpressionContext) operation {
	contains := operator(n) == "contains"
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		one, all := left, right
		if contains {
			one, all = right, left
		}
		if one.Empty() {
			return types.EmptyCollection, nil
		}
		if len(one) > 1 {
			return nil, eval.SingletonError(len(one))
		}
		key := keyOf(one[0], exact)
		return boolean(slices.ContainsFunc(all, func(item types.Value) bool { return keyOf(item, exact) == key })), nil
	}}
}

// union returns the operation of |. A side may have an item more than once.
func union(n grammar.IExpressionContext) operation {
	return operation{n, func(left, right types.Collection) (types.Collection, error) {
		return distinct(left.Combine(right)), nil
	}}
}
