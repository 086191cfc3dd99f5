package fhirpath

import (
	"fmt"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
)

// The extensions of a primitive value stand beside it in JSON: those of birthDate in
// _birthDate, which the library does not look into. So "birthDate.extension(x)" gives
// what "_birthDate.extension(x)" gives, too.

// extended is the extensions of an element, those of a primitive one included.
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

// extensionsBeside is the expression for the extensions beside the member that n
// asks for its extensions, nil if n is anything else. An expression in which more of
// these are nested is left alone, since each of them would double the next.
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

// invoked is the name of a member or a function.
func invoked(n grammar.IInvocationContext) string {
	switch n := n.(type) {
	case *grammar.MemberInvocationContext:
		return strings.Trim(n.Identifier().GetText(), "`")
	case *grammar.FunctionInvocationContext:
		return functionName(n.Function())
	}
	return ""
}

// count is how often an expression invokes a name.
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

// written is a part of an expression as it was written.
func written(n antlr.ParserRuleContext) string {
	start := n.GetStart()
	return start.GetInputStream().GetText(start.GetStart(), n.GetStop().GetStop())
}
