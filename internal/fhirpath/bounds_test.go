package fhirpath

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofhir/fhirpath/funcs"

	"signalfhir/internal/fhir"
)

// An evaluation ends, whatever number a function is given. The lock of a room is held
// meanwhile, so one that does not end stops every write.
func TestEval_EndsWithAnyNumber(t *testing.T) {
	t.Parallel()
	numbers := []string{"2147483647", "(-2147483648)", "-1", "999999999999999999999999.9", "(1.0e-10)"}
	for _, name := range slices.Sorted(slices.Values(funcs.List())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended, now := make(chan struct{}), make(chan string, 1)
			go func() {
				defer close(ended)
				for _, on := range []string{"1", "1.5", "(-0.001)", "1.5 'cm'", "'text'", "@2014", "@2014-01-01T08", "@T10:30", "(1 | 2 | 3)", "{}", numbers[0], numbers[3]} {
					for _, n := range numbers {
						for _, call := range []string{"(%s)", "(%s, %[1]s)", "('a', %s)"} {
							source := on + "." + name + fmt.Sprintf(call, n)
							select {
							case now <- source:
							case <-now:
								now <- source
							}
							if e, err := Compile(source, Options{}); err == nil {
								ctx, cancel := context.WithTimeout(t.Context(), time.Second)
								_, _ = e.Eval(ctx, fhir.R5, []byte(`{"resourceType":"Patient"}`), nil)
								cancel()
							}
						}
					}
				}
			}()
			select {
			case <-ended:
			case <-time.After(2 * time.Minute): // reached only by a failure
				t.Fatalf("%s does not end", <-now)
			}
		})
	}
}

// asked is a context that counts how often somebody asks whether it is over.
type asked struct {
	context.Context
	times int
}

func (a *asked) Done() <-chan struct{} {
	a.times++
	return a.Context.Done()
}

func (a *asked) Err() error {
	a.times++
	return a.Context.Err()
}

// The time of an evaluation can run out inside of operators, without any function. So each
// operator on something large looks at the time.
func TestEval_OperatorsLookAtTheTime(t *testing.T) {
	t.Parallel()
	resource := []byte(`{"resourceType":"Observation","code":{"text":"a"},"note":[{"text":"` + strings.Repeat("x", 2000) + `"}]}`)
	looks := func(source string) int {
		e, err := Compile(source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx := &asked{Context: t.Context()}
		whole := Object(resource, "Observation")
		if _, err := NewScope(ctx, fhir.R5, resource).Eval(e, whole, whole); err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		return ctx.times
	}
	const more = 20
	for _, source := range []string{"(code ~ code)", "(code = code)", "(code != code)", "(note.text & note.text).exists()", "(note.text = note.text)"} {
		one, many := looks(source), looks(source+strings.Repeat(" and "+source, more))
		// The function of an expression looks at it as well.
		if want := one + more*(1+strings.Count(source, "exists")); many < want {
			t.Errorf("%s: looks at the time %d times, and %d times with %d more, want at least %d", source, one, many, more, want)
		}
	}
}

func TestEval_ConcatenationIsBounded(t *testing.T) {
	t.Parallel()
	resource := []byte(`{"resourceType":"Observation","note":[{"text":"` + strings.Repeat("x", 1_000_000) + `"}]}`)
	for _, source := range []string{"note.text & note.text", "'a'.repeat($this & $this)"} {
		e, err := Compile(source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		// Without a deadline, which a busy machine may reach first.
		whole := Object(resource, "Observation")
		if _, err := NewScope(t.Context(), fhir.R5, resource).Eval(e, whole, whole); err == nil || !strings.Contains(err.Error(), "more than 1048576 characters") {
			t.Errorf("%s: got %v, want that the string is too long", source, err)
		}
	}
}

func TestEval_BoundaryOfAPrecisionThereIsNot(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]int{
		"1.587.lowBoundary(32)": 0, "1.587.lowBoundary(-1)": 0, "1.587.highBoundary(2147483647)": 0,
		"1.587.lowBoundary(31)": 1, "1.587.highBoundary(0)": 1, "1.587.lowBoundary()": 1,
	} {
		e, err := Compile(source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Eval(t.Context(), fhir.R5, []byte(`{"resourceType":"Patient"}`), nil); err != nil || len(got) != want {
			t.Errorf("%s: got %v (%v), want %d values", source, got, err, want)
		}
	}
}

// A regular expression takes time in proportion to its own size times that of the text,
// and cannot be interrupted. So the product is bounded.
func TestEval_RegularExpressionsAreBounded(t *testing.T) {
	t.Parallel()
	pattern := strings.Repeat("a", 1000)
	for size, refused := range map[int]bool{33_000: false, 34_000: true} {
		resource := []byte(`{"resourceType":"Observation","note":[{"text":"` + strings.Repeat("x", size) + `"}]}`)
		for _, call := range []string{"matches('" + pattern + "')", "replaceMatches('" + pattern + "', 'b')"} {
			e, err := Compile("note.text."+call, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.Eval(t.Context(), fhir.R5, resource, nil)
			if !refused && err != nil || refused && (err == nil || !strings.Contains(err.Error(), "too large for a text of 34000 characters")) {
				t.Errorf("%.10s on %d characters: got %v, want a refusal: %v", call, size, err, refused)
			}
		}
	}
}

func TestEval_CharactersAreBounded(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]string{10_000: "", 10_001: "toChars() would make more than 10000 strings"} {
		e, err := Compile("note.text.toChars()", Options{})
		if err != nil {
			t.Fatal(err)
		}
		resource := []byte(`{"resourceType":"Observation","note":[{"text":"` + strings.Repeat("x", size) + `"}]}`)
		found, err := e.Eval(t.Context(), fhir.R5, resource, nil)
		if want == "" && (err != nil || len(found) != size) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d characters: got %d values, %v, want %q", size, len(found), err, want)
		}
	}
}
