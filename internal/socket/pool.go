package socket

import (
	"sync"
	"sync/atomic"
)

// Pool bounds the bytes that wait in the outboxes of all sockets together. Frames that
// share their bytes count once. Create it with [NewPool].
type Pool struct {
	limit     int64
	used      atomic.Int64
	relieving atomic.Bool // the slowest socket is about to be closed

	mu     sync.Mutex           // guards behind; a leaf
	behind map[*outbox]struct{} // those with frames that melody has no room for
}

// NewPool returns a pool for at most limit bytes.
func NewPool(limit int64) *Pool { return &Pool{limit: limit, behind: map[*outbox]struct{}{}} }

// Used returns the bytes that wait.
func (p *Pool) Used() int64 { return p.used.Load() }

// add counts a frame. It reports whether more bytes wait than may.
func (p *Pool) add(w *waiting) (tooMuch bool) {
	n := w.weight()
	if w.shared != nil && w.shared.Add(1) > 1 {
		n = frameOverhead
	}
	return p.used.Add(n) > p.limit
}

func (p *Pool) remove(w *waiting) {
	n := w.weight()
	if w.shared != nil && w.shared.Add(-1) > 0 {
		n = frameOverhead
	}
	p.used.Add(-n)
}

func (p *Pool) join(o *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind[o] = struct{}{}
}

func (p *Pool) leave(o *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.behind, o)
}

// slowest returns the outbox that has been still for longest and, of several, the one
// that holds most bytes. It returns nil if no outbox is behind.
func (p *Pool) slowest() (slowest *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.behind {
		if slowest == nil || o.slower(slowest) {
			slowest = o
		}
	}
	return slowest
}

func (o *outbox) slower(than *outbox) bool {
	a, b := o.still.Load(), than.still.Load()
	return a > b || a == b && o.bytes.Load() > than.bytes.Load()
}
