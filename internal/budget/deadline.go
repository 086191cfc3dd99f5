package budget

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// began is the zero of times that pass.
var began = time.Now()

// Within calls evaluate with a context that ends when evaluate has used the processor for
// limit. It returns what evaluate returns, and the processor time it took. Evaluate must
// ask the context on the goroutine on which it is called.
//
// Passed time would be unjust: on a busy machine, a write that takes a millisecond may wait
// for a second until it goes on. Systems other than Linux measure it nevertheless.
func Within(limit time.Duration, evaluate func(context.Context) error) (took time.Duration, err error) {
	return within(context.Background(), limit, evaluate)
}

// run is the form of within.
type run = func(ctx context.Context, limit time.Duration, evaluate func(context.Context) error) (took time.Duration, err error)

func within(ctx context.Context, limit time.Duration, evaluate func(context.Context) error) (took time.Duration, err error) {
	runtime.LockOSThread() // the time is that of a thread
	defer runtime.UnlockOSThread()
	from := threadTime()
	d := &deadline{Context: ctx, until: from + limit}
	// The processor time is asked for only once so much time has passed, because each
	// question is a system call.
	d.timer = time.AfterFunc(limit, func() { d.look.Store(true) })
	defer d.timer.Stop()
	err = evaluate(d)
	return threadTime() - from, err
}

// ended is the channel of a context that has ended.
var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// deadline is a context that ends at a processor time, or with another one. It is asked on
// one goroutine, again and again: nobody can wait for it.
type deadline struct {
	context.Context
	until time.Duration
	look  atomic.Bool // it may have ended
	timer *time.Timer
	done  bool
}

// Done implements [context.Context].
func (d *deadline) Done() <-chan struct{} {
	if d.look.Load() && !d.done {
		d.look.Store(false)
		left := d.until - threadTime()
		if d.done = left <= 0; !d.done {
			d.timer.Reset(left)
		}
	}
	if d.done {
		return ended
	}
	return d.Context.Done()
}

// Err implements [context.Context].
func (d *deadline) Err() error {
	if d.Done(); d.done {
		return context.DeadlineExceeded
	}
	return d.Context.Err()
}
