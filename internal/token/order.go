package token

import "container/heap"

// schedule is a heap of entries by the time they expire. Tokens mostly arrive in
// that order, and then adding one is a single comparison.
type schedule []*entry

func (h *schedule) add(e *entry) { heap.Push(h, e) }

func (h *schedule) remove(e *entry) { heap.Remove(h, e.at) }

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (h schedule) Len() int { return len(h) }

func (h schedule) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }

func (h schedule) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *schedule) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

func (h *schedule) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.at = -1
	return e
}

// fifo is a linked queue of entries.
type fifo struct{ first, last *entry }

func (q *fifo) push(e *entry) {
	if q.first == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
}

// pop removes and returns the first entry, or nil if the queue is empty.
func (q *fifo) pop() *entry {
	e := q.first
	if e != nil {
		q.first, e.next = e.next, nil
	}
	return e
}
