package fhirpath

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/funcs"
	"github.com/gofhir/fhirpath/parser/grammar"
)

// The bounds of an expression. The parser and the evaluator recurse into it, and the time
// that the parser takes for a syntax error grows with the square of the depth.
const (
	maxLength  = 4096 // characters
	maxNesting = 64   // brackets open at a time
)

// Options are the settings of [Compile].
type Options struct {
	// Variables are the names, without %, of the variables that [Expr.Eval] gets.
	Variables []string

	// UnionAsOr reads | between two conditions as or: the lenient mode of TOP-11.
	// Unions of anything else stay unions.
	UnionAsOr bool
}

// Compile compiles an expression. An error has the line and column, both from 1, and the
// text at that place.
func Compile(source string, o Options) (e *Expr, err error) {
	defer recovered(&err)
	if err := bounded(source); err != nil {
		return nil, fmt.Errorf("the expression is not accepted: %w", err)
	}
	tree, err := parse(source)
	if err != nil {
		return nil, fmt.Errorf("the expression %q does not compile: %w", source, err)
	}
	r := &reading{options: o}
	if err := r.check(tree); err != nil {
		return nil, fmt.Errorf("the expression %q does not compile: %w", source, err)
	}
	o.correct(tree)
	return &Expr{source: source, tree: tree, unites: r.unites}, nil
}

func bounded(source string) error {
	if n := utf8.RuneCountInString(source); n > maxLength {
		return fmt.Errorf("it has %d characters, at most %d are", n, maxLength)
	}
	depth := 0
	for _, c := range source {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
		if depth > maxNesting {
			return fmt.Errorf("it nests more than %d brackets", maxNesting)
		}
	}
	return nil
}

// mistake keeps the first error that the lexer or the parser reports.
type mistake struct {
	*antlr.DefaultErrorListener
	err error
}

// SyntaxError implements antlr.ErrorListener.
func (m *mistake) SyntaxError(_ antlr.Recognizer, offending any, line, column int, message string, _ antlr.RecognitionException) {
	if m.err != nil {
		return
	}
	what := ""
	token, isToken := offending.(antlr.Token)
	switch {
	case !isToken: // of the lexer: token recognition error at: '…'
		text := strings.TrimPrefix(message, "token recognition error at: ")
		text = strings.TrimSuffix(strings.TrimPrefix(text, "'"), "'")
		what = fmt.Sprintf("cannot read %q", text)
		if strings.HasPrefix(text, "'") || strings.HasPrefix(text, "`") {
			what += "; is the quote closed, and every \\ escape one FHIRPath has?"
		}
	case strings.HasPrefix(message, "missing "):
		what, _, _ = strings.Cut(message, " at ")
	case token.GetTokenType() == antlr.TokenEOF:
		what = "the expression ends too early"
	default:
		what = fmt.Sprintf("unexpected %q", token.GetText())
	}
	m.err = at(line, column, what)
}

func at(line, column int, what string) error {
	return fmt.Errorf("line %d, column %d: %s", line, column+1, what)
}

func parse(source string) (*grammar.EntireExpressionContext, error) {
	if strings.TrimSpace(source) == "" {
		return nil, at(1, 0, "the expression is empty")
	}
	found := &mistake{}
	lexer := grammar.NewfhirpathLexer(antlr.NewInputStream(source))
	lexer.RemoveErrorListeners()
	lexer.AddErrorListener(found)
	parser := grammar.NewfhirpathParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	parser.RemoveErrorListeners()
	parser.AddErrorListener(found)
	tree, ok := parser.EntireExpression().(*grammar.EntireExpressionContext)
	if found.err == nil && !ok {
		found.err = at(1, 0, "not an expression")
	}
	return tree, found.err
}

// reading is one walk over the tree of an expression.
type reading struct {
	options Options
	unites  bool
}

// check refuses an expression that cannot be evaluated.
func (r *reading) check(node antlr.Tree) error {
	switch n := node.(type) {
	case *grammar.FunctionContext:
		if err := checkFunction(n); err != nil {
			return err
		}
	case *grammar.ExternalConstantContext:
		if err := r.checkVariable(n); err != nil {
			return err
		}
	case *grammar.AdditiveExpressionContext:
		// Inside aggregate(), this would double the total with every item.
		if mentionsTotal(n.Expression(0)) && mentionsTotal(n.Expression(1)) {
			return place(n, "$total on both sides grows without bound")
		}
	case *grammar.UnionExpressionContext:
		r.unites = r.unites || isUnionOfConditions(n)
	}
	for _, child := range node.GetChildren() {
		if err := r.check(child); err != nil {
			return err
		}
	}
	return nil
}

func place(n antlr.ParserRuleContext, format string, args ...any) error {
	return at(n.GetStart().GetLine(), n.GetStart().GetColumn(), fmt.Sprintf(format, args...))
}

func checkFunction(n *grammar.FunctionContext) error {
	name := functionName(n)
	def, ok := published(name)
	switch {
	case !ok && funcs.Has(name):
		return place(n, "the function %s() is not supported", name)
	case !ok:
		return place(n, "unknown function %q", name)
	}
	count := 0
	if list := n.ParamList(); list != nil {
		count = len(list.AllExpression())
	}
	least := def.MinArgs
	if name == "where" || name == "select" || name == "all" {
		least = 1
	}
	switch {
	case count < least:
		return place(n, "%s() needs %d argument(s), got %d", name, least, count)
	case def.MaxArgs >= 0 && count > def.MaxArgs:
		return place(n, "%s() takes %d argument(s), got %d", name, def.MaxArgs, count)
	}
	return nil
}

func functionName(n grammar.IFunctionContext) string {
	return strings.Trim(n.Identifier().GetText(), "`")
}

func (r *reading) checkVariable(n *grammar.ExternalConstantContext) error {
	name := variableName(n)
	known := append([]string{"resource", "rootResource", "context"}, r.options.Variables...)
	if _, constant := constants[name]; constant || slices.Contains(known, name) || named(name) != "" {
		return nil
	}
	return place(n, "unknown variable %%%s; known are %%%s", name, strings.Join(known, ", %"))
}

func variableName(n *grammar.ExternalConstantContext) string {
	return strings.Trim(strings.TrimPrefix(n.GetText(), "%"), "`'")
}

func mentionsTotal(node antlr.Tree) bool {
	if _, ok := node.(*grammar.TotalInvocationContext); ok {
		return true
	}
	return slices.ContainsFunc(node.GetChildren(), mentionsTotal)
}

// isUnionOfConditions reports whether each side of a | gives at most one item, a boolean,
// or is itself such a union.
func isUnionOfConditions(n *grammar.UnionExpressionContext) bool {
	for _, side := range n.AllExpression() {
		var node antlr.Tree = side
		for inside(node) != nil {
			node = inside(node)
		}
		if union, ok := node.(*grammar.UnionExpressionContext); ok {
			if !isUnionOfConditions(union) {
				return false
			}
		} else if !isCondition(node) {
			return false
		}
	}
	return true
}

// inside returns the node inside a term or a pair of parentheses, or nil for another node.
func inside(node antlr.Tree) antlr.Tree {
	switch n := node.(type) {
	case *grammar.TermExpressionContext:
		return n.Term()
	case *grammar.ParenthesizedTermContext:
		return n.Expression()
	}
	return nil
}

func isCondition(node antlr.Tree) bool {
	switch n := node.(type) {
	case *grammar.EqualityExpressionContext, *grammar.InequalityExpressionContext, *grammar.MembershipExpressionContext,
		*grammar.AndExpressionContext, *grammar.OrExpressionContext, *grammar.ImpliesExpressionContext:
		return true
	case *grammar.TypeExpressionContext:
		return n.GetChild(1).(antlr.ParseTree).GetText() == "is"
	case *grammar.LiteralTermContext:
		_, boolean := n.Literal().(*grammar.BooleanLiteralContext)
		return boolean
	case *grammar.InvocationTermContext:
		return isCondition(n.Invocation())
	case *grammar.InvocationExpressionContext:
		return isCondition(n.Invocation())
	case *grammar.FunctionInvocationContext:
		name := functionName(n.Function())
		return slices.Contains(conditionFunctions, name) || strings.HasPrefix(name, "convertsTo")
	}
	return false
}

// conditionFunctions lists the functions that return a boolean.
var conditionFunctions = []string{
	"all", "allFalse", "allTrue", "anyFalse", "anyTrue", "contains", "empty", "endsWith", "exists", "hasExtension", "hasValue",
	"is", "isDistinct", "matches", "not", "startsWith", "subsetOf", "supersetOf",
}
