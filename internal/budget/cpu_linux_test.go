package budget_test

import (
	"context"
	"testing"
	"time"

	"signalfhir/internal/budget"
)

// An expression that waits, as it does on a busy machine, uses nothing up.
func TestBudget_WaitingIsFree(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	b := budget.New("write", limit)
	err := b.Spend("wait", func(ctx context.Context) error {
		<-time.After(2 * limit)
		return ctx.Err()
	})
	if err != nil || b.Err() != nil {
		t.Errorf("got %v and %v, want that time is left", err, b.Err())
	}
}
