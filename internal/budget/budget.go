// Package budget bounds the time that the expressions of one request take together, so
// that many slow expressions cost no more than one.
//
// It does not run anything in the background. Whoever evaluates expressions asks before
// each one, and says what is left undone when the budget is used up.
package budget

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The budgets of requests. A single write, an entry of a bundle and an explanation have
// the same budget. A bundle has more, because it has many entries that all cost a little;
// it has a limit nevertheless, because it may have a thousand.
const (
	Request = time.Second
	Bundle  = 10 * time.Second
)

// ErrUsedUp is wrapped by the errors that say that a budget is used up.
var ErrUsedUp = errors.New("used up")

// Budget is the processor time that is left for the expressions of one request. The time
// for which the request waits does not count. A budget belongs to one goroutine.
type Budget struct {
	of          string // what has the budget: "write"
	limit, left time.Duration
	whole       *Budget // of which this is a part; nil: none
	run         run
	request     context.Context // see Until; nil: that of the whole

	costliest string // expression that took longest
	most      time.Duration
}

// New returns a budget of a request. of names the request in texts: "write".
func New(of string, limit time.Duration) *Budget {
	return &Budget{of: of, limit: limit, left: limit, run: within}
}

// NewOf is [New] with a measure for tests, which is asked before and after each expression for
// the time used so far. It does not end an expression.
func NewOf(of string, limit time.Duration, used func() time.Duration) *Budget {
	b := New(of, limit)
	b.run = func(ctx context.Context, _ time.Duration, evaluate func(context.Context) error) (time.Duration, error) {
		from := used()
		err := evaluate(ctx)
		return used() - from, err
	}
	return b
}

// Part returns a budget that is a part of b. What it spends is spent of b as well, and it
// is used up when b is.
func (b *Budget) Part(of string, limit time.Duration) *Budget {
	return &Budget{of: of, limit: limit, left: limit, whole: b, run: b.run}
}

// Until makes expressions end when ctx ends, too, because nobody waits for them any more. It
// returns b.
func (b *Budget) Until(ctx context.Context) *Budget {
	b.request = ctx
	return b
}

func (b *Budget) context() context.Context {
	switch {
	case b.request != nil:
		return b.request
	case b.whole != nil:
		return b.whole.context()
	}
	return context.Background()
}

// Cap lowers what is left to at most limit.
func (b *Budget) Cap(limit time.Duration) { b.left = min(b.left, limit) }

// remaining returns the time that is left.
func (b *Budget) remaining() time.Duration {
	if b.whole != nil {
		return min(b.left, b.whole.remaining())
	}
	return b.left
}

// Spend calls evaluate with a context that ends when the budget is used up. expression
// names what is evaluated. If the budget was used up before, it does not call evaluate; if
// evaluate fails because it is used up now, its error is lost. Both times Spend returns an
// error that wraps [ErrUsedUp]. Other errors of evaluate are returned as they are.
func (b *Budget) Spend(expression string, evaluate func(context.Context) error) error {
	left := b.remaining()
	if left <= 0 {
		return b.Err()
	}
	took, err := b.run(b.context(), left, evaluate)
	b.charge(expression, took)
	if err != nil && b.remaining() <= 0 {
		return b.Err()
	}
	return err
}

func (b *Budget) charge(expression string, took time.Duration) {
	b.left -= took
	if took > b.most || b.costliest == "" {
		b.costliest, b.most = expression, took
	}
	if b.whole != nil {
		b.whole.charge(expression, took)
	}
}

// maxExpression is how many bytes of an expression a text shows.
const maxExpression = 200

// Err returns an error that says which budget is used up, and what to do. It returns nil
// if none is.
func (b *Budget) Err() error {
	if b.whole != nil {
		if err := b.whole.Err(); err != nil {
			return err
		}
	}
	if b.left > 0 {
		return nil
	}
	what := ""
	if b.costliest != "" {
		what = fmt.Sprintf("; most of it took %.*q, so simplify that", maxExpression, b.costliest)
	}
	return fmt.Errorf("the %s has %w its %s for evaluating expressions%s", b.of, ErrUsedUp, b.limit, what)
}
