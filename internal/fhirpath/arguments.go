package fhirpath

import (
	"errors"
	"slices"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"
)

// The arguments of most functions are evaluated in the context of the call: in
// "name.subsetOf($this.alias)", $this is the same as outside the call. The library
// evaluates them on the input of the function, here the names. So a call records its
// context, and its arguments return to it.

// perItem lists the functions that evaluate their argument on their input, or that take
// the name of a type.
var perItem = []string{"where", "exists", "all", "select", "repeat", "aggregate", "iif", "is", "as", "ofType", "trace"}

// outside is the variable that holds $this of the context of a call. No expression can
// name it.
const outside = " outside"

// takesArguments reports whether the arguments of a call are evaluated in its context.
func takesArguments(n grammar.IInvocationContext) bool {
	f, ok := n.(*grammar.FunctionInvocationContext)
	return ok && f.Function().ParamList() != nil && !slices.Contains(perItem, functionName(f.Function()))
}

// asArgument returns the node to use for an expression that is an argument of a call. place
// is its position in the list of arguments.
func asArgument(parent antlr.Tree, place int, n grammar.IExpressionContext) antlr.Tree {
	list, ok := parent.(*grammar.ParamListContext)
	if !ok {
		return n
	}
	f := list.GetParent().(*grammar.FunctionContext)
	switch name := functionName(f); {
	case name == "repeat":
		return deferred{n}
	case name == "iif" && place == 0:
		return criterion{n}
	case name == "is" || name == "as" || name == "ofType":
		return typeName{n}
	case slices.Contains(perItem, name):
		return n
	}
	return argument{n}
}

// call is "input.function(arguments)"; callTerm is a call without input.
type call struct {
	*grammar.InvocationExpressionContext
}

// Accept implements antlr.ParseTree.
func (n call) Accept(v antlr.ParseTreeVisitor) any {
	return evaluateCall(n.InvocationExpressionContext, v)
}

type callTerm struct{ *grammar.InvocationTermContext }

// Accept implements antlr.ParseTree.
func (n callTerm) Accept(v antlr.ParseTreeVisitor) any {
	return evaluateCall(n.InvocationTermContext, v)
}

// evaluateCall evaluates a call and records its context.
func evaluateCall(n antlr.ParseTree, v antlr.ParseTreeVisitor) any {
	ctx, err := contextOf(v)
	if err != nil {
		return err
	}
	before, _ := ctx.GetVariable(outside)
	ctx.SetVariable(outside, ctx.This())
	defer ctx.SetVariable(outside, before)
	return n.Accept(v)
}

// argument is an argument that is evaluated in the context of its call.
type argument struct{ grammar.IExpressionContext }

// Accept implements antlr.ParseTree.
func (n argument) Accept(v antlr.ParseTreeVisitor) any {
	ctx, err := contextOf(v)
	if err != nil {
		return err
	}
	this, _ := ctx.GetVariable(outside)
	result, err := eval.NewEvaluator(ctx.WithThis(this), registry{}).Evaluate(n.IExpressionContext)
	if err != nil {
		return err
	}
	return result
}

// criterion is the condition of iif().
type criterion struct{ grammar.IExpressionContext }

// Accept implements antlr.ParseTree.
func (n criterion) Accept(v antlr.ParseTreeVisitor) any {
	items, err := v.(*eval.Evaluator).Evaluate(n.IExpressionContext)
	if err == nil {
		items, err = condition(items)
	}
	if err != nil {
		return err
	}
	return items
}

// typeName is an argument that names a type. The library takes it as written, with its
// backquotes.
type typeName struct{ grammar.IExpressionContext }

// GetText implements antlr.ParseTree.
func (n typeName) GetText() string {
	return strings.ReplaceAll(n.IExpressionContext.GetText(), "`", "")
}

// deferred is an argument that its function gets unevaluated.
type deferred struct{ grammar.IExpressionContext }

// Accept implements antlr.ParseTree.
func (n deferred) Accept(antlr.ParseTreeVisitor) any { return n }

// An evaluator gives its context to functions only. So a function, which no expression
// can name either, returns the context.

const contextFunction = " context"

var contextCall = func() *grammar.FunctionInvocationContext {
	tree, err := parse("`" + contextFunction + "`()")
	if err != nil {
		panic(err) // the grammar is not the one of the library
	}
	return tree.Expression().(*grammar.TermExpressionContext).Term().(*grammar.InvocationTermContext).Invocation().(*grammar.FunctionInvocationContext)
}()

// held is a context as an item.
type held struct {
	types.Value
	ctx *eval.Context
}

func holdContext(ctx *eval.Context, _ types.Collection, _ []any) (types.Collection, error) {
	return types.Collection{held{ctx: ctx}}, nil
}

func contextOf(v antlr.ParseTreeVisitor) (*eval.Context, error) {
	if e, ok := v.(*eval.Evaluator); ok {
		if result, ok := e.VisitFunctionInvocation(contextCall).(types.Collection); ok && len(result) == 1 {
			return result[0].(held).ctx, nil
		}
	}
	return nil, errors.New("the evaluator gives no context")
}
