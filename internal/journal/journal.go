// Package journal is the bounded record of what happened in a room. Every
// station of the street writes to it and none reads it: readers are the control
// routes, and tests that wait for something to have happened.
//
// It keeps the last entries, and besides them a tally per subscription that
// does not suffer when entries are dropped. It decides nothing.
package journal

import (
	"context"
	"maps"
	"sync"
	"time"

	"signalfhir/internal/clock"
)

// The kinds of entry.
const (
	Bound    = "bound"     // a socket was bound to a subscription
	Unbound  = "unbound"   // a binding ended; Text says why
	Sent     = "sent"      // a notification was queued for a socket
	NotSent  = "not-sent"  // a notification was not; Text says why
	Appended = "appended"  // an event was numbered and logged
	NotFired = "not-fired" // a change did not fire a topic (Type); Text says why
	Status   = "status"    // a subscription changed its status
	Token    = "token"     // a binding token was issued or revoked
	Refused  = "refused"   // something was refused; Text says why
	Opened   = "opened"    // a socket opened
	Closed   = "closed"    // a socket closed; Text has code and reason
	Received = "received"  // a frame came in
	Reset    = "reset"     // the room went back to its seed; tallies begin anew
)

// Entry is one thing that happened.
type Entry struct {
	Seq          uint64    `json:"seq"`
	Time         time.Time `json:"time"`
	Kind         string    `json:"kind"`
	Subscription string    `json:"subscription,omitempty"`
	Socket       string    `json:"socket,omitempty"`
	Type         string    `json:"type,omitempty"` // of a notification; for some kinds something else
	First        int64     `json:"first,omitempty"`
	Last         int64     `json:"last,omitempty"` // numbers of the events it carries
	Text         string    `json:"text,omitempty"`
}

// maxTallies bounds the subscriptions a journal keeps count of. It is beyond the
// number that can exist at once; those heard of first are forgotten first.
const maxTallies = 250_000

// Tally is what the entries about one subscription add up to since the room was
// made or reset.
type Tally struct {
	Bound int            // sockets bound now
	Sent  map[string]int // notifications queued for sockets, by type
}

// Journal is safe for concurrent use.
type Journal struct {
	clock clock.Clock

	mu      sync.Mutex // guards all below
	ring    []Entry    // the last entries; entry seq is at (seq-1) % size
	size    int
	seq     uint64 // of the last entry
	tallies map[string]*Tally
	heard   []string // keys of tallies, oldest first
	waiting map[string]*wait
}

// wait is what everyone who awaits one subscription waits for.
type wait struct {
	changed chan struct{} // closed by the next entry that changes the tally
	waiters int           // the last to give up removes the wait
}

// New makes a journal that keeps the last size entries, one or more.
func New(c clock.Clock, size int) *Journal {
	return &Journal{clock: c, size: max(size, 1), tallies: map[string]*Tally{}, waiting: map[string]*wait{}}
}

// Record adds an entry; Seq and Time are filled in. An entry of kind [Reset]
// makes every tally begin anew, as the subscriptions they are about are gone; the
// entries stay, they are history.
func (j *Journal) Record(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.Time = j.seq, j.clock.Now()
	if len(j.ring) < j.size {
		j.ring = append(j.ring, e)
	} else {
		j.ring[(e.Seq-1)%uint64(j.size)] = e
	}
	switch e.Kind {
	case Bound, Unbound, Sent:
		j.tallyLocked(e)
	case Reset:
		j.resetLocked()
	}
}

func (j *Journal) tallyLocked(e Entry) {
	t := j.tallies[e.Subscription]
	if t == nil {
		t = &Tally{Sent: map[string]int{}}
		j.tallies[e.Subscription] = t
		j.heard = append(j.heard, e.Subscription)
		if len(j.heard) > maxTallies {
			delete(j.tallies, j.heard[0])
			j.heard = j.heard[1:]
		}
	}
	switch e.Kind {
	case Bound:
		t.Bound++
	case Unbound:
		// What was bound before a reset is unbound after it.
		t.Bound = max(t.Bound-1, 0)
	case Sent:
		t.Sent[e.Type]++
	}
	if w := j.waiting[e.Subscription]; w != nil {
		close(w.changed)
		delete(j.waiting, e.Subscription)
	}
}

// Filter selects entries; an empty member selects all.
type Filter struct{ Subscription, Kind string }

// Entries answers the entries that are kept, oldest first.
func (j *Journal) Entries(f Filter) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	found := []Entry{}
	for i := range j.ring {
		e := j.ring[(j.seq+uint64(i))%uint64(len(j.ring))]
		if (f.Subscription == "" || e.Subscription == f.Subscription) && (f.Kind == "" || e.Kind == f.Kind) {
			found = append(found, e)
		}
	}
	return found
}

// Await returns once the tally of a subscription meets a condition, at once if
// it does already, or when ctx ends. It answers the tally it saw last, so that
// who waited in vain can say what was seen instead, and whether that met the
// condition. met is called without a lock and only from within Await.
func (j *Journal) Await(ctx context.Context, subscription string, met func(Tally) bool) (Tally, bool) {
	for {
		seen, w := j.join(subscription)
		if met(seen) {
			j.leave(subscription, w)
			return seen, true
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			seen = j.leave(subscription, w)
			return seen, met(seen) // it may have come true at the last moment
		}
	}
}

// join answers the tally as it is and what to wait for until it changes.
func (j *Journal) join(subscription string) (Tally, *wait) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.waiting[subscription]
	if w == nil {
		w = &wait{changed: make(chan struct{})}
		j.waiting[subscription] = w
	}
	w.waiters++
	return j.tallyOfLocked(subscription), w
}

// leave gives up waiting and answers the tally as it is. What nobody waits for
// is not kept.
func (j *Journal) leave(subscription string, w *wait) Tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.waiters--
	if w.waiters == 0 && j.waiting[subscription] == w {
		delete(j.waiting, subscription)
	}
	return j.tallyOfLocked(subscription)
}

func (j *Journal) tallyOfLocked(subscription string) Tally {
	if t := j.tallies[subscription]; t != nil {
		return Tally{Bound: t.Bound, Sent: maps.Clone(t.Sent)}
	}
	return Tally{Sent: map[string]int{}}
}

// resetLocked lets those who wait look again.
func (j *Journal) resetLocked() {
	j.tallies, j.heard = map[string]*Tally{}, nil
	for _, w := range j.waiting {
		close(w.changed)
	}
	clear(j.waiting)
}
