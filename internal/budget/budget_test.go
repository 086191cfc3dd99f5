package budget_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
)

// stopwatch is a measure of what evaluations use.
type stopwatch struct{ used time.Duration }

func (w *stopwatch) budget(of string, limit time.Duration) *budget.Budget {
	return budget.NewOf(of, limit, func() time.Duration { return w.used })
}

// takes returns an evaluation that takes some time and returns err.
func (w *stopwatch) takes(d time.Duration, err error) func(context.Context) error {
	return func(context.Context) error {
		w.used += d
		return err
	}
}

// want checks that an error is about a budget that is used up, and what it says.
func want(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, budget.ErrUsedUp) || err.Error() != text {
		t.Errorf("got %v, want %s", err, text)
	}
}

// spin runs until it is told to end.
func spin(ctx context.Context) error {
	for ctx.Err() == nil {
		runtime.Gosched()
	}
	return ctx.Err()
}

func TestSpend(t *testing.T) {
	t.Parallel()
	w := &stopwatch{}
	b := w.budget("write", time.Second)
	broken := errors.New("broken")
	if err := b.Spend("a", w.takes(100*time.Millisecond, broken)); err != broken {
		t.Errorf("with time left: got %v, want the error of the evaluation", err)
	}
	if err := b.Spend("b", w.takes(800*time.Millisecond, nil)); err != nil || b.Err() != nil {
		t.Errorf("with time left: got %v and %v", err, b.Err())
	}
	// What was evaluated counts, even if the time is used up by then.
	if err := b.Spend("c", w.takes(200*time.Millisecond, nil)); err != nil {
		t.Errorf("the last evaluation: got %v", err)
	}
	const text = `the write has used up its 1s for evaluating expressions; most of it took "b", so simplify that`
	want(t, b.Err(), text)
	want(t, b.Spend("d", func(context.Context) error {
		t.Error("an expression is evaluated without time for it")
		return nil
	}), text)
}

func TestSpend_LosesTheErrorOfAnEvaluationThatHadNoTime(t *testing.T) {
	t.Parallel()
	w := &stopwatch{}
	b := w.budget("write", time.Second)
	want(t, b.Spend("a", w.takes(time.Second, errors.New("late"))), `the write has used up its 1s for evaluating expressions; most of it took "a", so simplify that`)
}

// What a part spends is spent of the whole as well, and both have to have time.
func TestPart(t *testing.T) {
	t.Parallel()
	w := &stopwatch{}
	whole := w.budget("bundle", 2500*time.Millisecond)
	for range 2 {
		part := whole.Part("entry", time.Second)
		if err := part.Spend("a", w.takes(time.Second, nil)); err != nil {
			t.Fatal(err)
		}
		want(t, part.Spend("b", w.takes(0, nil)), `the entry has used up its 1s for evaluating expressions; most of it took "a", so simplify that`)
	}
	if err := whole.Err(); err != nil {
		t.Errorf("got %v, want that half a second is left", err)
	}
	part := whole.Part("entry", time.Second)
	const text = `the bundle has used up its 2.5s for evaluating expressions; most of it took "a", so simplify that`
	want(t, part.Spend("c", w.takes(600*time.Millisecond, errors.New("late"))), text)
	want(t, whole.Part("entry", time.Second).Spend("d", w.takes(0, nil)), text)
}

// A part has no more time than its whole.
func TestPart_IsEndedByItsWhole(t *testing.T) {
	t.Parallel()
	whole := budget.New("bundle", time.Millisecond)
	want(t, whole.Part("entry", 1000*time.Hour).Spend("a", spin), `the bundle has used up its 1ms for evaluating expressions; most of it took "a", so simplify that`)
}

func TestCap(t *testing.T) {
	t.Parallel()
	w := &stopwatch{}
	b := w.budget("bundle", 10*time.Second)
	b.Cap(time.Minute) // does not add any
	b.Cap(time.Second)
	if err := b.Spend("a", w.takes(time.Second, nil)); err != nil {
		t.Fatal(err)
	}
	if b.Err() == nil {
		t.Error("more than a second is left")
	}
	b.Cap(time.Second)
	if b.Err() == nil {
		t.Error("a cap has made a budget larger")
	}
}

func TestErr_ShortensAnExpression(t *testing.T) {
	t.Parallel()
	w := &stopwatch{}
	b := w.budget("write", time.Second)
	_ = b.Spend(strings.Repeat("x", 201), w.takes(time.Second, nil))
	if err := b.Err(); err == nil || !strings.Contains(err.Error(), `"`+strings.Repeat("x", 200)+`"`) {
		t.Errorf("got %v, want the first 200 characters of the expression", err)
	}
	if err := w.budget("write", 0).Err(); err == nil || err.Error() != "the write has used up its 0s for evaluating expressions" {
		t.Errorf("got %v, want nothing about an expression: none was evaluated", err)
	}
}

// The processor time that an expression uses ends it.
func TestSpend_EndsAnEvaluation(t *testing.T) {
	t.Parallel()
	want(t, budget.New("write", time.Millisecond).Spend("a", spin), `the write has used up its 1ms for evaluating expressions; most of it took "a", so simplify that`)
}

// A budget ends with the request that nobody waits for any more, and not once it is told to
// go on.
func TestBudget_EndsWithItsRequest(t *testing.T) {
	t.Parallel()
	request, leave := context.WithCancel(t.Context())
	whole := budget.New("bundle", time.Hour).Until(request)
	part := whole.Part("entry", time.Hour)
	ends := func(ctx context.Context) error {
		leave()
		<-ctx.Done()
		return ctx.Err()
	}
	if err := part.Spend("e", ends); !errors.Is(err, context.Canceled) || part.Err() != nil {
		t.Errorf("got %v, and then %v", err, part.Err())
	}
	if err := part.Until(context.Background()).Spend("e", func(ctx context.Context) error { return ctx.Err() }); err != nil {
		t.Errorf("told to go on: %v", err)
	}
}
