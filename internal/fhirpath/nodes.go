package fhirpath

import (
	"cmp"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
)

// The evaluator of the library calls Accept of each node of the tree, so a replaced node
// decides how it is evaluated. This package corrects operators, literals and the arguments
// of functions that way.

// correct replaces the nodes that the library evaluates wrongly. It decides about a node
// before it changes the children of the node.
func (o Options) correct(parent antlr.Tree) {
	children := parent.GetChildren()
	for i, child := range children {
		replacement := o.replacement(child)
		if replacement == nil {
			replacement = child
		}
		if n, ok := replacement.(grammar.IExpressionContext); ok {
			replacement = asArgument(parent, i, n)
		}
		o.correct(child)
		children[i] = replacement
	}
}

func (o Options) replacement(node antlr.Tree) antlr.Tree {
	switch n := node.(type) {
	case *grammar.AndExpressionContext:
		return logical(n, eval.And)
	case *grammar.OrExpressionContext:
		if operator(n) == "xor" {
			return logical(n, eval.Xor)
		}
		return logical(n, eval.Or)
	case *grammar.ImpliesExpressionContext:
		return logical(n, eval.Implies)
	case *grammar.UnionExpressionContext:
		if o.UnionAsOr && isUnionOfConditions(n) {
			return logical(n, eval.Or)
		}
		return union(n)
	case *grammar.EqualityExpressionContext:
		if op := operator(n); op == "~" || op == "!~" {
			return equivalence(n)
		}
		return equality(n)
	case *grammar.InequalityExpressionContext:
		return inequality(n)
	case *grammar.MembershipExpressionContext:
		return membership(n)
	case *grammar.AdditiveExpressionContext, *grammar.MultiplicativeExpressionContext:
		return arithmetic(n.(grammar.IExpressionContext))
	case *grammar.PolarityExpressionContext:
		return polarity{n}
	case *grammar.StringLiteralContext:
		return literal{n, unescape(n.GetText())}
	case *grammar.ExternalConstantContext:
		if url := named(variableName(n)); url != "" {
			return constant{n, url}
		}
	case *grammar.InvocationExpressionContext:
		var corrected grammar.IExpressionContext
		if takesArguments(n.Invocation()) {
			corrected = call{n}
		}
		if beside := o.extensionsBeside(n); beside != nil {
			return extended{cmp.Or[grammar.IExpressionContext](corrected, n), beside}
		}
		if corrected != nil {
			return corrected
		}
	case *grammar.InvocationTermContext:
		if takesArguments(n.Invocation()) {
			return callTerm{n}
		}
	}
	return nil
}
