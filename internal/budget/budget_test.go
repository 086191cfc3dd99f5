package budget_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
)

// stopwatch is a clock that an evaluation moves.
type stopwatch struct{ now time.Time }

func (w *stopwatch) budget(of string, limit time.Duration) *budget.Budget {
	return budget.NewAt(of, limit, func() time.Time { return w.now })
}

// takes returns an evaluation that takes some time and returns err.
func (w *stopwatch) takes(d time.Duration, err error) func(context.Context) error {
	return func(context.Context) error {
		w.now = w.now.Add(d)
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

// The timer that ends an evaluation need not agree with the clock.
func TestSpend_EndsAnEvaluation(t *testing.T) {
	t.Parallel()
	b := (&stopwatch{}).budget("write", time.Nanosecond) // the clock stands still
	err := b.Spend("a", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	const text = `the write has used up its 1ns for evaluating expressions; most of it took "a", so simplify that`
	want(t, err, text)
	want(t, b.Err(), text)
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
	part := (&stopwatch{}).budget("bundle", time.Nanosecond).Part("entry", 1000*time.Hour)
	want(t, part.Spend("a", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}), `the bundle has used up its 1ns for evaluating expressions; most of it took "a", so simplify that`)
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
