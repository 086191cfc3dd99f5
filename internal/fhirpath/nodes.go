package fhirpath

import (
	"fmt"
	"slices"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// The evaluator of the library asks each node of the tree to accept it, so a node
// put in the place of another decides how it is evaluated. That is how its
// operators are corrected.

// correct puts the nodes below in the place of those the library gets wrong. What
// a node is put for is decided before its children are touched.
func (o Options) correct(parent antlr.Tree) {
	children := parent.GetChildren()
	for i, child := range children {
		replacement := o.replacement(child)
		o.correct(child)
		if replacement != nil {
			children[i] = replacement
		}
	}
}

func (o Options) replacement(node antlr.Tree) antlr.Tree {
	switch n := node.(type) {
	case *grammar.AndExpressionContext:
		return logical{n, eval.And}
	case *grammar.OrExpressionContext:
		if operator(n) == "xor" {
			return logical{n, eval.Xor}
		}
		return logical{n, eval.Or}
	case *grammar.ImpliesExpressionContext:
		return logical{n, eval.Implies}
	case *grammar.UnionExpressionContext:
		if o.UnionAsOr && isUnionOfConditions(n) {
			return logical{n, eval.Or}
		}
	case *grammar.EqualityExpressionContext:
		if op := operator(n); op == "=" || op == "!=" {
			return equality{n, op == "!="}
		}
	case grammar.IExpressionContext:
		if list, ok := n.GetParent().(*grammar.ParamListContext); ok {
			if call, ok := list.GetParent().(*grammar.FunctionContext); ok && functionName(call) == "repeat" {
				return deferred{n}
			}
		}
	}
	return nil
}

// operator is the text between the operands of an expression.
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

// logical joins two conditions.
type logical struct {
	grammar.IExpressionContext
	join func(left, right types.Collection) types.Collection
}

// Accept implements antlr.ParseTree.
func (n logical) Accept(v antlr.ParseTreeVisitor) any {
	left, right, err := operands(v, n)
	if err != nil {
		return err
	}
	if left, err = condition(left); err != nil {
		return fmt.Errorf("left of %q: %w", operator(n), err)
	}
	if right, err = condition(right); err != nil {
		return fmt.Errorf("right of %q: %w", operator(n), err)
	}
	return n.join(left, right)
}

// condition is a collection taken for a condition: nothing stays nothing, a single
// boolean is one, any other single item is true, and several items are a mistake
// (FHIRPath, singleton evaluation of collections).
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

// equality compares two collections item by item, in order.
type equality struct {
	grammar.IExpressionContext
	negated bool
}

// Accept implements antlr.ParseTree.
func (n equality) Accept(v antlr.ParseTreeVisitor) any {
	left, right, err := operands(v, n)
	if err != nil {
		return err
	}
	result := equal(left, right)
	if n.negated {
		return eval.Not(result)
	}
	return result
}

func equal(left, right types.Collection) types.Collection {
	switch {
	case left.Empty() || right.Empty():
		return types.EmptyCollection
	case len(left) != len(right):
		return types.FalseCollection
	}
	for i := range left {
		a, aObject := left[i].(*types.ObjectValue)
		b, bObject := right[i].(*types.ObjectValue)
		one := eval.Equal(left[i:i+1], right[i:i+1])
		if !True(one) && !(aObject && bObject && sameTree(a, b)) {
			return one // false, or nothing where it cannot be said
		}
	}
	return types.TrueCollection
}

// sameTree compares two objects in whatever order their members are.
func sameTree(a, b *types.ObjectValue) bool {
	x, err := fhir.Parse(a.Data())
	if err != nil {
		return false
	}
	y, err := fhir.Parse(b.Data())
	return err == nil && sameValue(x, y)
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case *fhir.Object:
		b, ok := b.(*fhir.Object)
		return ok && a.Len() == b.Len() && !slices.ContainsFunc(a.Names(), func(name string) bool {
			return !b.Has(name) || !sameValue(a.Get(name), b.Get(name))
		})
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	}
	return a == b
}

// deferred is an argument that reaches its function as it is, not evaluated.
type deferred struct{ grammar.IExpressionContext }

// Accept implements antlr.ParseTree.
func (n deferred) Accept(antlr.ParseTreeVisitor) any { return n }
