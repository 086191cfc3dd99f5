package journal

import (
	"context"
	"maps"
	"time"
)

// maxTallies bounds the subscriptions a journal counts for. It is more than can
// exist at once; the oldest tallies are dropped first.
const maxTallies = 250_000

// Tally sums up the entries about one subscription since the room was created or
// reset. A reset closes no sockets.
type Tally struct {
	Bound int            // sockets bound now
	Open  int            // sockets open now, whatever they are bound to
	Sent  map[string]int // notifications queued for sockets, by type
}

// Totals count entries since the room was created or reset.
type Totals struct {
	Changes  uint64 `json:"changes"`
	Fired    uint64 `json:"fired"`
	Events   uint64 `json:"events"` // appended to subscriptions
	Frames   uint64 `json:"frames"` // sent
	Received uint64 `json:"received"`
}

// Seconds is how far back [Rates] go.
const Seconds = 300

// Rates count entries per second, the oldest second first.
type Rates struct {
	Step     int             `json:"step"` // seconds
	End      time.Time       `json:"end"`  // of the last second counted, which is not over
	Changes  [Seconds]uint32 `json:"changes"`
	Events   [Seconds]uint32 `json:"events"`
	Frames   [Seconds]uint32 `json:"frames"`
	Received [Seconds]uint32 `json:"received"`
}

// counts are the numbers a journal keeps besides its entries. The lock of the
// journal guards them.
type counts struct {
	totals  Totals
	fired   map[string]uint64 // by topic
	seconds [Seconds]second   // at their time modulo Seconds
	tallies map[string]*tally
	tallied []string // keys of tallies, oldest first
	last    *tally   // the tally used last: frames come in runs
	waiting map[string]*wait
	open    int    // sockets
	start   uint64 // Seq of the last reset
}

// second counts the entries of one second.
type second struct {
	at                                int64 // Unix time
	changes, events, frames, received uint32
}

// tally is a [Tally] that is cheap to add to.
type tally struct {
	subscription string
	bound        int
	sent         []sent
}

type sent struct {
	kind  string
	count int
}

// wait is shared by all callers that await one subscription.
type wait struct {
	changed chan struct{} // closed by the next entry that changes the tally
	waiters int           // the last one to leave removes the wait
}

func (c *counts) reset() {
	c.tallies, c.tallied, c.last, c.fired, c.totals = map[string]*tally{}, nil, nil, map[string]uint64{}, Totals{}
	c.seconds = [Seconds]second{}
	// Wake the waiters, so that they look again.
	for _, w := range c.waiting {
		close(w.changed)
	}
	c.waiting = map[string]*wait{}
}

func (j *Journal) countLocked(e *Entry) {
	switch e.Kind {
	case Sent, Appended, Change, Received:
		at := e.Time.Unix()
		s := &j.seconds[uint64(at)%Seconds]
		if s.at != at {
			*s = second{at: at}
		}
		switch e.Kind {
		case Sent:
			if !e.Shared {
				j.totals.Frames++
				s.frames++
			}
			if e.Subscription != "" {
				j.countTallyLocked(e)
			}
		case Appended:
			j.totals.Events++
			s.events++
		case Change:
			j.totals.Changes++
			s.changes++
		case Received:
			j.totals.Received++
			s.received++
		}
	case Bound, Unbound:
		j.countTallyLocked(e)
	case Opened:
		j.open++
		e.Count = int32(j.open)
		j.wakeTallyLocked("")
	case Closed:
		j.open = max(j.open-1, 0)
		e.Count = int32(j.open)
		j.wakeTallyLocked("")
	case Fired:
		j.totals.Fired++
		j.fired[e.Topic]++
	case Reset:
		j.counts.reset()
		j.start = e.Seq
	}
}

func (j *Journal) countTallyLocked(e *Entry) {
	t := j.last
	if t == nil || t.subscription != e.Subscription {
		t = j.tallies[e.Subscription]
	}
	if t == nil {
		t = &tally{subscription: e.Subscription}
		j.tallies[e.Subscription] = t
		j.tallied = append(j.tallied, e.Subscription)
		if len(j.tallied) > maxTallies {
			delete(j.tallies, j.tallied[0])
			j.tallied = j.tallied[1:]
		}
	}
	j.last = t
	switch e.Kind {
	case Bound:
		t.bound++
		e.Count = int32(t.bound)
	case Unbound:
		// A binding from before a reset may end after it.
		t.bound = max(t.bound-1, 0)
		e.Count = int32(t.bound)
	case Sent:
		e.Count = int32(t.add(e.Type))
	}
	if len(j.waiting) > 0 {
		j.wakeTallyLocked(e.Subscription)
	}
}

// wakeTallyLocked wakes those who await a subscription.
func (j *Journal) wakeTallyLocked(subscription string) {
	if w := j.waiting[subscription]; w != nil {
		close(w.changed)
		delete(j.waiting, subscription)
	}
}

// add counts a notification and returns how many of its type there are.
func (t *tally) add(kind string) int {
	for i := range t.sent {
		if t.sent[i].kind == kind {
			t.sent[i].count++
			return t.sent[i].count
		}
	}
	t.sent = append(t.sent, sent{kind, 1})
	return 1
}

// Totals returns the totals, and how often each topic fired.
func (j *Journal) Totals() (Totals, map[string]uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.totals, maps.Clone(j.fired)
}

// Rates returns the counts of the last [Seconds] seconds.
func (j *Journal) Rates() *Rates {
	now := j.clock.Now()
	r := &Rates{Step: 1, End: now}
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range Seconds {
		at := now.Unix() - int64(Seconds-1-i)
		if s := &j.seconds[uint64(at)%Seconds]; s.at == at {
			r.Changes[i], r.Events[i], r.Frames[i], r.Received[i] = s.changes, s.events, s.frames, s.received
		}
	}
	return r
}

// Await returns once the tally of a subscription meets a condition, or when ctx
// ends. It returns the tally it saw last and whether that met the condition, so
// that a caller that waited in vain can report what was seen instead. met is
// called without a lock and only from within Await. Without a subscription, it awaits the
// number of open sockets.
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
			return seen, met(seen) // it may have become true at the last moment
		}
	}
}

// Tally returns the present tally of a subscription.
func (j *Journal) Tally(subscription string) Tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tallyLocked(subscription)
}

// join returns the present tally and what to wait on until it changes.
func (j *Journal) join(subscription string) (Tally, *wait) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.waiting[subscription]
	if w == nil {
		w = &wait{changed: make(chan struct{})}
		j.waiting[subscription] = w
	}
	w.waiters++
	return j.tallyLocked(subscription), w
}

// leave stops waiting and returns the present tally. It removes a wait that has
// no waiters.
func (j *Journal) leave(subscription string, w *wait) Tally {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.waiters--
	if w.waiters == 0 && j.waiting[subscription] == w {
		delete(j.waiting, subscription)
	}
	return j.tallyLocked(subscription)
}

func (j *Journal) tallyLocked(subscription string) Tally {
	seen := Tally{Open: j.open, Sent: map[string]int{}}
	if t := j.tallies[subscription]; t != nil {
		seen.Bound = t.bound
		for _, s := range t.sent {
			seen.Sent[s.kind] = s.count
		}
	}
	return seen
}
