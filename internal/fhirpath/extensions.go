package fhirpath

import (
	"fmt"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
)

// In JSON, the extensions of a primitive value are in another member: those of birthDate
// are in _birthDate, where the library does not look. So "birthDate.extension(x)" also
// returns what "_birthDate.extension(x)" returns.

// extended evaluates to the extensions of an element, including those of a primitive value.
type extended struct {
	grammar.IExpressionContext
	beside antlr.ParseTree
}

// Accept implements antlr.ParseTree.
func (n extended) Accept(v antlr.ParseTreeVisitor) any {
	e, ok := v.(*eval.Evaluator)
	if !ok {
		return fmt.Errorf("unexpected visitor %T", v)
	}
	inside, err := e.Evaluate(n.IExpressionContext)
	if err != nil {
		return err
	}
	beside, err := e.Evaluate(n.beside)
	if err != nil {
		return err
	}
	return inside.Combine(beside)
}

// extensionsBeside returns the expression for the extensions in the other member, if n
// selects the extensions of a member, and nil otherwise. It leaves an expression alone in
// which these are nested, since each would double the next.
func (o Options) extensionsBeside(n *grammar.InvocationExpressionContext) antlr.ParseTree {
	if invoked(n.Invocation()) != "extension" || count(n, "extension") > 1 {
		return nil
	}
	path := ""
	var member grammar.IInvocationContext
	switch owner := n.Expression().(type) {
	case *grammar.InvocationExpressionContext:
		path, member = written(owner.Expression())+".", owner.Invocation()
	case *grammar.TermExpressionContext:
		if term, ok := owner.Term().(*grammar.InvocationTermContext); ok {
			member = term.Invocation()
		}
	}
	if _, ok := member.(*grammar.MemberInvocationContext); !ok || strings.HasPrefix(invoked(member), "_") {
		return nil
	}
	tree, err := parse(path + "`_" + invoked(member) + "`." + written(n.Invocation()))
	if err != nil {
		return nil
	}
	o.correct(tree)
	return tree
}

// invoked returns the name of a member or a function.
func invoked(n grammar.IInvocationContext) string {
	switch n := n.(type) {
	case *grammar.MemberInvocationContext:
		return strings.Trim(n.Identifier().GetText(), "`")
	case *grammar.FunctionInvocationContext:
		return functionName(n.Function())
	}
	return ""
}

// count returns how often an expression invokes a name.
func count(node antlr.Tree, name string) int {
	n := 0
	if invocation, ok := node.(grammar.IInvocationContext); ok && invoked(invocation) == name {
		n++
	}
	for _, child := range node.GetChildren() {
		n += count(child, name)
	}
	return n
}

// written returns the source of a part of an expression.
func written(n antlr.ParserRuleContext) string {
	start := n.GetStart()
	return start.GetInputStream().GetText(start.GetStart(), n.GetStop().GetStop())
}
