package fhirpath_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

const encounter = `{
	"resourceType": "Encounter", "id": "1", "status": "completed",
	"contained": [{"resourceType": "Patient", "id": "inside"}],
	"subject": {"reference": "Patient/1"},
	"partOf": {"type": "Encounter", "display": "no literal reference"},
	"participant": [{"actor": {"reference": "Practitioner/7"}}, {"actor": {"reference": "#inside"}}],
	"actualPeriod": {"start": "2026-01-01T10:00:00Z", "end": "2026-01-02"}
}`

var criterion = fhirpath.Options{Variables: []string{"previous", "current"}}

// eval evaluates an expression on an encounter that was planned before.
func eval(t testing.TB, text string, o fhirpath.Options) ([]any, error) {
	t.Helper()
	expr, err := fhirpath.Compile(text, o)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Replace(strings.Replace(encounter, "completed", "planned", 1), `"actualPeriod": {"start": "2026-01-01T10:00:00Z", "end": "2026-01-02"}`, `"actualPeriod": {"end": "2026-01-02", "start": "2026-01-01T10:00:00Z"}`, 1)
	_, result, err := within(expr, time.Second, []byte(encounter), map[string][]byte{"previous": []byte(before), "current": []byte(encounter)})
	return fhirpath.Values(result), err
}

// within evaluates an expression for as much processor time as limit. It returns the time
// that the evaluation took.
func within(e *fhirpath.Expr, limit time.Duration, resource []byte, vars map[string][]byte) (took time.Duration, result types.Collection, err error) {
	took, err = budget.Within(limit, func(ctx context.Context) (err error) {
		result, err = e.Eval(ctx, fhir.R5, resource, vars)
		return err
	})
	return took, result, err
}

func TestCompile_NamesThePlaceOfAMistake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"status = = 'x'", `line 1, column 10: unexpected "="`},
		{"status\n  ==\n 'x'", `line 2, column 4: unexpected "="`},
		{"status = 'x", `line 1, column 10: cannot read "'x"`},
		{"(status", "line 1, column 8: missing ')'"},
		{"Encounter.status.where(", "line 1, column 24: the expression ends too early"},
		{"a b", `line 1, column 3: unexpected "b"`},
		{"§", `line 1, column 1: cannot read "§"`},
		{" ", "line 1, column 1: the expression is empty"},
		{"", "line 1, column 1: the expression is empty"},
		{"%current.stauts()", `line 1, column 10: unknown function "stauts"`},
		{"true and\n  %curent.exists()", "line 2, column 3: unknown variable %curent; known are %resource, %rootResource, %context, %previous, %current"},
		{"status.memberOf('x')", "line 1, column 8: the function memberOf() is not supported"},
		{"status.startsWith()", "line 1, column 8: startsWith() needs 1 argument(s), got 0"},
		{"status.empty(1)", "line 1, column 8: empty() takes 0 argument(s), got 1"},
		{"(1|2).aggregate($total & $total)", "line 1, column 17: $total on both sides grows without bound"},
		{strings.Repeat("(", 65) + "1" + strings.Repeat(")", 65), "it nests more than 64 brackets"},
		{"1" + strings.Repeat(" + 1", 1024), "it has 4097 characters, at most 4096 are"},
	} {
		_, err := fhirpath.Compile(c.text, criterion)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestEval_ReadsOperatorsAsFHIRPathHasThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"%previous.status != 'completed' and %current.status = 'completed'", "[true]"},
		// Several items, and objects whose members are in another order.
		{"%previous.participant = %current.participant", "[true]"},
		{"%previous.participant != %current.participant", "[false]"},
		{"%previous.participant.first() != %current.participant", "[true]"},
		{"%previous.actualPeriod = %current.actualPeriod", "[true]"},
		{"%previous = %current", "[false]"},
		{"%previous.length = %current.length", "[]"},
		// A single item that is not a boolean is taken as true.
		{"%current.subject and true", "[true]"},
		{"%current.length and true", "[]"},
		{"%current.length and false", "[false]"},
		{"%current.length or true", "[true]"},
		{"%current.status = 'planned' xor %current.subject.exists()", "[true]"},
		{"%current.length.exists() implies false", "[true]"},
		// Unions of anything but conditions.
		{"%current.status in ('planned' | 'completed')", "[true]"},
		{"(%previous.status | %current.status).count() = 2", "[true]"},
		{"%ucum = 'http://unitsofmeasure.org'", "[true]"},
		{"participant.repeat(actor).count()", "[2]"},
		{"actualPeriod.length.single()", "[]"},
		{"participant.trace('x').count()", "[2]"},
	} {
		got, err := eval(t, c.text, criterion)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.text, got, err, c.want)
		}
	}
}

// TOP-11: the official example of R5.
func TestEval_UnionOfConditions(t *testing.T) {
	t.Parallel()
	const official = "(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')"
	if _, err := eval(t, official, criterion); err == nil || !strings.Contains(err.Error(), `left of "and": a condition has to be a single boolean, got 2 items: [false true]`) {
		t.Errorf("to the letter: got %v, want an error about two booleans", err)
	}
	lenient := criterion
	lenient.UnionAsOr = true
	for _, c := range []struct {
		text, want string
		unites     bool
	}{
		{official, "[true]", true},
		{"(%previous.exists() | true) | (1 = 2)", "[true]", true},
		{"%previous.exists() | %current.status.startsWith('x')", "[true]", true},
		{"'a' | 'b'", "[a b]", false},
		{"%previous.status | (1 = 1)", "[planned true]", false},
	} {
		got, err := eval(t, c.text, lenient)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.text, got, err, c.want)
		}
		if expr, _ := fhirpath.Compile(c.text, criterion); expr.UnitesConditions() != c.unites {
			t.Errorf("%s: UnitesConditions is %t, want %t", c.text, !c.unites, c.unites)
		}
	}
}

// TOP-9: a resource that did not exist is the empty collection.
func TestEval_AbsentStateIsEmpty(t *testing.T) {
	t.Parallel()
	expr, err := fhirpath.Compile("%previous.empty() and %previous.status.empty() and (%previous.status != 'x').empty()", criterion)
	if err != nil {
		t.Fatal(err)
	}
	result, err := expr.Eval(t.Context(), fhir.R5, []byte(encounter), map[string][]byte{"previous": nil, "current": []byte(encounter)})
	if err != nil || !fhirpath.True(result) {
		t.Errorf("got %v, %v, want a single true", result, err)
	}
}

// TOP-10: only a single true is true.
func TestTrue_IsASingleTrue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"true": true, "false": false, "{}": false, "true | false": false, "'true'": false, "1": false, "%current": false} {
		expr, err := fhirpath.Compile(text, criterion)
		if err != nil {
			t.Fatal(err)
		}
		result, err := expr.Eval(t.Context(), fhir.R5, []byte(encounter), map[string][]byte{"current": []byte(encounter)})
		if err != nil || fhirpath.True(result) != want {
			t.Errorf("%s: got %t, %v, want %t", text, !want, err, want)
		}
	}
}

func TestResolve_TellsTheTypeOfAReference(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"subject.where(resolve() is Patient).count()":                          "[1]",
		"subject.where(resolve() is Group).count()":                            "[0]",
		"partOf.where(resolve() is Encounter).count()":                         "[1]",
		"participant.actor.where(resolve() is Patient).reference":              "[#inside]",
		"participant.actor.where(resolve() is Practitioner).reference":         "[Practitioner/7]",
		"('http://x.org/fhir/Patient/9/_history/2').resolve().id":              "[9]",
		"('urn:uuid:5f1b1a52-0000-0000-0000-000000000000').resolve().exists()": "[false]",
		"('#').resolve().id":              "[1]",
		"subject.resolve().name.exists()": "[false]",
		"participant.actor.resolve().where($this is Practitioner or true).count()": "[2]",
	} {
		if got, err := eval(t, text, fhirpath.Options{}); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

// Every expression ends soon, with a result or an error.
func TestEval_IsBounded(t *testing.T) {
	t.Parallel()
	nested := "(1|2|3|4|5|6|7|8|9|10)"
	for range 7 {
		nested = "(1|2|3|4|5|6|7|8|9|10).where(" + nested + ".exists($this = 0))"
	}
	for _, text := range []string{
		nested,
		"(1|2).select($this + 1).repeat($this + 1)",
		"1.5.round(100000000)",
		"'" + strings.Repeat("a", 1000) + "'" + strings.Repeat(".replace('a', '"+strings.Repeat("a", 400)+"')", 5),
		"'" + strings.Repeat("a", 1000) + "'.toChars()" + strings.Repeat(".select('"+strings.Repeat("a", 10)+"'.toChars())", 20),
		"'" + strings.Repeat("a", 3000) + "'" + strings.Repeat(".replace('a', 'aaaaaaa')", 2) + ".replaceMatches('a.*b|a', '')",
		"'" + strings.Repeat("a", 3000) + "'" + strings.Repeat(".replace('a', 'aaaaaaa')", 2) + ".matches('" + strings.Repeat("(a?){500}", 100) + "b')",
		"'" + strings.Repeat("9", 1001) + "'.toDecimal()",
		"'" + strings.Repeat("9", 1001) + "'.convertsToQuantity()",
		"(1|2|3|4|5|6|7|8|9|10).aggregate($total * $this * 1.5 * $total, 3.1)",
	} {
		expr, err := fhirpath.Compile(text, fhirpath.Options{})
		if err != nil {
			t.Fatal(err)
		}
		took, got, err := within(expr, time.Second, []byte(encounter), nil)
		if took > 3*time.Second {
			t.Errorf("%.40s: took %s", text, took)
		}
		if err == nil {
			t.Errorf("%.40s: gives %.80v, want an error", text, got)
		}
	}
}

// FHIRPath: a function for one item fails on several.
func TestEval_FunctionsOfOneItemFailOnSeveral(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"('a' | 'b').startsWith('a')":          "startsWith() is about a single item, got 2: [a, b]",
		"('a' | 'b').matches('a')":             "matches() is about a single item, got 2: [a, b]",
		"(1 | 2).abs()":                        "abs() is about a single item, got 2: [1, 2]",
		"(1 | 2).toDecimal()":                  "toDecimal() is about a single item, got 2: [1, 2]",
		"'a'.replace('a', 'b' | 'c')":          "replace() wants a single item for argument 2, got 2: [b, c]",
		"participant.actor.reference.length()": "length() is about a single item, got 2",
	} {
		if got, err := eval(t, text, fhirpath.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestEval_RegularExpressions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`'abc'.matches('b')`:                       "[true]",
		`'abc'.matches('^b')`:                      "[false]",
		`'a\nb'.matches('a.b')`:                    "[true]", // in single-line mode
		`'<a><b>'.replaceMatches('<.*?>', 'x')`:    "[xx]",
		`'1abc'.replaceMatches('(a)(b)', '$2$1')`:  "[1bac]",
		`'aaa'.replaceMatches('^a', '')`:           "[aa]",
		`5.matches('^\\d$')`:                       "[true]",
		`{}.matches('a')`:                          "[]",
		`'a'.matches({})`:                          "[]",
		`'a'.replaceMatches('a', {})`:              "[]",
		`'((((((a))))))'.matches('((((((a))))))')`: "[true]",
		`'x'.matches('(')`:                         "missing closing )",
		`'x'.matches('` + strings.Repeat("(a|b|[^c]){1,1000}", 5) + `')`: "steps, at most 16384 are allowed; repeat less",
		`'x'.matches('` + strings.Repeat("a", 1001) + `')`:               "has 1001 characters, at most 1000 are read",
	} {
		got, err := eval(t, text, fhirpath.Options{})
		if result := fmt.Sprint(got, err); result != want+" <nil>" && (err == nil || !strings.Contains(result, want)) {
			t.Errorf("%.60s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

// The patterns of all evaluations are kept in one place.
func TestEval_RegularExpressionsAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1200 { // more than are kept
				text := fmt.Sprintf("'a%d'.matches('^a%d$')", i%600, i%600)
				if got, err := eval(t, text, fhirpath.Options{}); err != nil || fmt.Sprint(got) != "[true]" {
					t.Errorf("%s: got %v, %v, want true", text, got, err)
				}
			}
		})
	}
	all.Wait()
}

// Concurrent evaluations share a compiled expression and the bytes of a resource.
func TestEval_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	shared := []byte(encounter)
	expr, err := fhirpath.Compile("%current.descendants().where($this = 'Patient/1').exists()", criterion)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				result, err := expr.Eval(t.Context(), fhir.R5, shared, map[string][]byte{"previous": nil, "current": shared})
				if err != nil || !fhirpath.True(result) {
					t.Errorf("got %v, %v, want true", result, err)
				}
				_ = slices.Clone(shared)
			}
		})
	}
	all.Wait()
}

func FuzzCompile(f *testing.F) {
	for _, text := range []string{"status = 'x'", "%previous.status != %current.status", "a.where(b.exists()) | c", "'\\u0041' & `x`", "@2026-01-01T10:00:00Z", "iif(1 > 2, {}, -3.5)", "repeat($this)", "a is B or (c as D).e[0]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		expr, err := fhirpath.Compile(text, fhirpath.Options{Variables: []string{"previous", "current"}, UnionAsOr: true})
		if err != nil {
			return
		}
		took, result, err := within(expr, time.Second, []byte(encounter), map[string][]byte{"previous": nil, "current": []byte(encounter)})
		if err == nil {
			fhirpath.Values(result)
		}
		if took > 5*time.Second {
			t.Errorf("%q took %s", text, took)
		}
	})
}

func BenchmarkEval_Criterion(b *testing.B) {
	expr, err := fhirpath.Compile("%previous.status != 'completed' and %current.status = 'completed'", criterion)
	if err != nil {
		b.Fatal(err)
	}
	vars := map[string][]byte{"previous": []byte(encounter), "current": []byte(encounter)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expr.Eval(b.Context(), fhir.R5, []byte(encounter), vars); err != nil {
			b.Fatal(err)
		}
	}
}
