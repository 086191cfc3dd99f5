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

// An argument of most functions is evaluated where the call stands: of
// "name.subsetOf($this.alias)" $this is what it is outside of the call. The library
// evaluates it on the input of the function, here the names. So a call notes where
// it stands, and its arguments go back there.

// perItem are the functions that evaluate their argument on their input, or take
// the name of a type.
var perItem = []string{"where", "exists", "all", "select", "repeat", "aggregate", "iif", "is", "as", "ofType", "trace"}

// outside is the variable that holds $this where a call stands. No expression can
// name it.
const outside = " outside"

// takesArguments tells a call of which the arguments are to be evaluated outside.
func takesArguments(n grammar.IInvocationContext) bool {
	f, ok := n.(*grammar.FunctionInvocationContext)
	return ok && f.Function().ParamList() != nil && !slices.Contains(perItem, functionName(f.Function()))
}

// asArgument is an expression in the place it has among the arguments of a call,
// where it stands in a list of those.
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

// call is "input.function(arguments)", callTerm a call without input.
type call struct {
	*grammar.InvocationExpressionContext
}

// Accept implements antlr.ParseTree.
func (n call) Accept(v antlr.ParseTreeVisitor) any { return standing(n.InvocationExpressionContext, v) }

type callTerm struct{ *grammar.InvocationTermContext }

// Accept implements antlr.ParseTree.
func (n callTerm) Accept(v antlr.ParseTreeVisitor) any { return standing(n.InvocationTermContext, v) }

// standing evaluates a call with a note of where it stands.
func standing(n antlr.ParseTree, v antlr.ParseTreeVisitor) any {
	ctx, err := contextOf(v)
	if err != nil {
		return err
	}
	before, _ := ctx.GetVariable(outside)
	ctx.SetVariable(outside, ctx.This())
	defer ctx.SetVariable(outside, before)
	return n.Accept(v)
}

// argument is an argument that is evaluated where its call stands.
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

// typeName is an argument that names a type. The library takes it as it is written,
// in its backquotes.
type typeName struct{ grammar.IExpressionContext }

// GetText implements antlr.ParseTree.
func (n typeName) GetText() string {
	return strings.ReplaceAll(n.IExpressionContext.GetText(), "`", "")
}

// deferred is an argument that reaches its function as it is, not evaluated.
type deferred struct{ grammar.IExpressionContext }

// Accept implements antlr.ParseTree.
func (n deferred) Accept(antlr.ParseTreeVisitor) any { return n }

// An evaluator keeps its context to itself, and hands it to functions only. So the
// context is asked of a function, which no expression can name either.

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
