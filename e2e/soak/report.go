package soak

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// violation is a promise that the server broke.
type violation struct {
	world        string
	subscription string
	socket       string // id of the server
	client       string // name of the client
	text         string
	history      string // of the subscription or socket, for people
}

func (v violation) String() string {
	text := fmt.Sprintf("%s: subscription %q, socket %q, client %q: %s", v.world, v.subscription, v.socket, v.client, v.text)
	if v.history != "" {
		text += "\n" + v.history
	}
	return text
}

// report collects what a run did and what it found.
type report struct {
	counts sync.Map // of *atomic.Int64, by what was done

	mu         sync.Mutex // guards violations
	violations []violation
	broken     chan struct{} // closed by the first violation
}

func newReport() *report { return &report{broken: make(chan struct{})} }

// maxViolations bounds what is printed: one mistake of the server breaks many promises.
const maxViolations = 5

func (r *report) violated(v violation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.violations) == 0 {
		close(r.broken)
	}
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, v)
	}
}

func (r *report) found() []violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

func (r *report) count(what string, n int) {
	c, _ := r.counts.LoadOrStore(what, &atomic.Int64{})
	c.(*atomic.Int64).Add(int64(n))
}

// of returns how often something was done.
func (r *report) of(what string) int64 {
	c, done := r.counts.Load(what)
	if !done {
		return 0
	}
	return c.(*atomic.Int64).Load()
}

// String lists the counts, one a line.
func (r *report) String() string {
	var lines []string
	r.counts.Range(func(what, c any) bool {
		lines = append(lines, fmt.Sprintf("%-34s %9d", what, c.(*atomic.Int64).Load()))
		return true
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
