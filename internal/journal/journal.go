// Package journal is the bounded record of what happened in a room. Every
// station of the street writes to it and none reads it: readers are the control
// routes, and tests that wait for something to have happened.
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
	Bound    = "bound"    // a socket was bound to a subscription
	Unbound  = "unbound"  // a binding ended; Text says why
	Sent     = "sent"     // a notification was queued for a socket
	NotSent  = "not-sent" // a notification was not; Text says why
	Appended = "appended" // an event was numbered and logged
	Status   = "status"   // a subscription changed its status
	Token    = "token"    // a binding token was issued or revoked
	Refused  = "refused"  // something was refused; Text says why
	Opened   = "opened"   // a socket opened
	Closed   = "closed"   // a socket closed; Text has code and reason
	Received = "received" // a frame came in
	Reset    = "reset"    // the room went back to its seed
)

// Entry is one thing that happened.
type Entry struct {
	Seq          uint64    `json:"seq"`
	Time         time.Time `json:"time"`
	Kind         string    `json:"kind"`
	Subscription string    `json:"subscription,omitempty"`
	Socket       string    `json:"socket,omitempty"`
	Type         string    `json:"type,omitempty"` // of a notification
	First        int64     `json:"first,omitempty"`
	Last         int64     `json:"last,omitempty"` // numbers of the events it carries
	Text         string    `json:"text,omitempty"`
}

// Tally is what the entries about one subscription add up to.
type Tally struct {
	Bound int            // sockets bound now
	Sent  map[string]int // notifications queued for sockets, by type
}

// Journal is safe for concurrent use.
type Journal struct {
	clock clock.Clock

	mu      sync.Mutex // guards all below
	ring    []Entry    // the last entries, oldest at seq % len once full
	size    int
	seq     uint64
	tallies map[string]*Tally
	waiting map[string]chan struct{} // closed at the next entry about a subscription
}

// New makes a journal that keeps the last size entries.
func New(c clock.Clock, size int) *Journal {
	return &Journal{clock: c, size: size, tallies: map[string]*Tally{}, waiting: map[string]chan struct{}{}}
}

// Record adds an entry; Seq and Time are filled in.
func (j *Journal) Record(e Entry) {
	e.Time = j.clock.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	if len(j.ring) < j.size {
		j.ring = append(j.ring, e)
	} else {
		j.ring[(e.Seq-1)%uint64(j.size)] = e
	}
	j.tallyLocked(e)
}

func (j *Journal) tallyLocked(e Entry) {
	switch e.Kind {
	case Bound, Unbound, Sent:
	default:
		return
	}
	t := j.tallies[e.Subscription]
	if t == nil {
		t = &Tally{Sent: map[string]int{}}
		j.tallies[e.Subscription] = t
	}
	switch e.Kind {
	case Bound:
		t.Bound++
	case Unbound:
		t.Bound--
	case Sent:
		t.Sent[e.Type]++
	}
	if wake, ok := j.waiting[e.Subscription]; ok {
		close(wake)
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
// it does already, or when ctx ends. It answers the tally it saw last and
// whether that met the condition.
func (j *Journal) Await(ctx context.Context, subscription string, met func(Tally) bool) (Tally, bool) {
	for {
		j.mu.Lock()
		seen := Tally{Sent: map[string]int{}}
		if t := j.tallies[subscription]; t != nil {
			seen.Bound, seen.Sent = t.Bound, maps.Clone(t.Sent)
		}
		wake := j.waiting[subscription]
		if wake == nil {
			wake = make(chan struct{})
			j.waiting[subscription] = wake
		}
		j.mu.Unlock()
		if met(seen) {
			return seen, true
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return seen, false
		}
	}
}

// Reset forgets the tallies, as the subscriptions they are about are gone. The
// entries stay: they are history.
func (j *Journal) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tallies = map[string]*Tally{}
	for subscription, wake := range j.waiting {
		close(wake)
		delete(j.waiting, subscription)
	}
}
