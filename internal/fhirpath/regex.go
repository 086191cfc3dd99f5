package fhirpath

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"sync"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/types"
)

// The bounds of a regular expression. In Go, a search takes time in proportion to the steps
// of the expression and the length of the text, so the product bounds it.
const (
	maxPattern = 1000    // characters
	maxKept    = 1 << 16 // steps of the expressions that are kept compiled; a step takes about 100 bytes
	maxSteps   = 1 << 25
)

// pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	steps int
}

// patterns is the cache of patterns. The cache of the library writes the time of each use
// without its lock, which is a data race.
var patterns = struct {
	sync.Mutex
	of    map[string]pattern
	steps int // of all of them
}{of: map[string]pattern{}}

// patternOf compiles a regular expression in the single-line mode that FHIRPath requires: a
// dot also matches an end of line.
func patternOf(source string) (pattern, error) {
	patterns.Lock()
	defer patterns.Unlock()
	if known, ok := patterns.of[source]; ok {
		return known, nil
	}
	if len(source) > maxPattern {
		return pattern{}, fmt.Errorf("the regular expression has %d characters, at most %d are read", len(source), maxPattern)
	}
	tree, err := syntax.Parse(source, syntax.Perl|syntax.DotNL)
	if err != nil {
		return pattern{}, fmt.Errorf("the regular expression %q: %w", source, err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return pattern{}, fmt.Errorf("the regular expression %q: %w", source, err)
	}
	steps := len(program.Inst)
	if steps > maxKept/4 {
		return pattern{}, fmt.Errorf("the regular expression %q has %d steps, at most %d are allowed; repeat less", source, steps, maxKept/4)
	}
	compiled, err := regexp.Compile("(?s)" + source)
	if err != nil {
		return pattern{}, fmt.Errorf("the regular expression %q: %w", source, err)
	}
	if patterns.steps += steps; patterns.steps > maxKept {
		clear(patterns.of)
		patterns.steps = steps
	}
	made := pattern{compiled, steps}
	patterns.of[source] = made
	return made, nil
}

// ofPattern returns matches() or replaceMatches().
func ofPattern(name string) eval.FuncImpl {
	return func(ctx *eval.Context, input types.Collection, args []any) (types.Collection, error) {
		text, hasText := textOf(input)
		source, hasPattern := textOf(args[0])
		if !hasText || !hasPattern {
			return types.Collection{}, nil
		}
		p, err := patternOf(source)
		if err != nil {
			return nil, err
		}
		if p.steps*len(text) > maxSteps {
			return nil, fmt.Errorf("%s(): the regular expression is too large for a text of %d characters", name, len(text))
		}
		if name == "matches" {
			return boolean(p.MatchString(text)), nil
		}
		with, ok := textOf(args[1])
		if !ok {
			return types.Collection{}, nil
		}
		return p.replaced(ctx, text, with)
	}
}

// replaced replaces the matches. A first pass checks the deadline at each match.
func (p pattern) replaced(ctx *eval.Context, text, with string) (result types.Collection, err error) {
	type late struct{ error }
	defer func() {
		switch stopped := recover().(type) {
		case nil:
		case late:
			err = stopped.error
		default:
			panic(stopped)
		}
	}()
	p.ReplaceAllStringFunc(text, func(string) string {
		if err := ctx.CheckCancellation(); err != nil {
			panic(late{err})
		}
		return ""
	})
	return types.Collection{types.NewString(p.ReplaceAllString(text, with))}, nil
}

// textOf returns a single item as text.
func textOf(arg any) (string, bool) {
	items, ok := arg.(types.Collection)
	if !ok || len(items) != 1 {
		return "", false
	}
	if s, ok := items[0].(types.String); ok {
		return s.Value(), true
	}
	return items[0].String(), true
}
