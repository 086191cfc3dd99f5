package budget_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"signalfhir/internal/budget"
)

// A budget is used up when the processor was used for so long, however much time has passed.
func TestBudget_CountsWhatIsUsed(t *testing.T) {
	t.Parallel()
	const limit = time.Millisecond
	asked := 0
	b := budget.NewOf("write", limit, func() time.Duration {
		if asked++; asked <= 5 {
			return 0 // although a limit has passed between two questions
		}
		return limit
	})
	spin := func(ctx context.Context) error {
		for ctx.Err() == nil {
			runtime.Gosched()
		}
		return ctx.Err()
	}
	if err := b.Spend("spin", spin); !errors.Is(err, budget.ErrUsedUp) || asked < 6 {
		t.Errorf("got %v after %d questions, want that the budget is used up after 6", err, asked)
	}
	if err := b.Spend("more", func(context.Context) error { t.Error("it was called"); return nil }); !errors.Is(err, budget.ErrUsedUp) {
		t.Errorf("a second time: got %v", err)
	}
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

// A part that is used up leaves the whole what it has not used.
func TestBudget_PartIsPartOfTheWhole(t *testing.T) {
	t.Parallel()
	used := time.Duration(0)
	whole := budget.NewOf("bundle", 3*time.Hour, func() time.Duration { return used })
	hours := func(n int) func(context.Context) error {
		return func(context.Context) error { used += time.Duration(n) * time.Hour; return errors.New("late") }
	}
	for i, want := range []string{
		`the entry has used up its 1h0m0s for evaluating expressions; most of it took "e", so simplify that`,
		`the entry has used up its 1h0m0s for evaluating expressions; most of it took "e", so simplify that`,
		`the bundle has used up its 3h0m0s for evaluating expressions; most of it took "e", so simplify that`,
		`the bundle has used up its 3h0m0s for evaluating expressions; most of it took "e", so simplify that`,
	} {
		if err := whole.Part("entry", time.Hour).Spend("e", hours(1)); err == nil || err.Error() != want {
			t.Errorf("part %d: got %v, want %s", i, err, want)
		}
	}
	if used != 3*time.Hour {
		t.Errorf("used %s, want that nothing is evaluated once the whole is used up", used)
	}
}
