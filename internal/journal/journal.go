// Package journal is the bounded record of what happened in a room: requests,
// frames both ways, decisions, life-cycle changes. Every station of the street
// writes to it and none reads it: readers are the control routes, the page, and
// tests that wait for something to have happened.
//
// It keeps the last entries, and of their frames and bodies as much as a budget
// allows; besides them tallies and rates that do not suffer when entries are
// dropped. It decides nothing.
package journal

import (
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
)

// Options bound a journal. Zero means the default.
type Options struct {
	Size    int // entries kept; 10 000. Below zero none is kept, only counted
	Payload int // bytes of frames and bodies kept; 64 MiB
}

// maxText is how many bytes of a text are kept.
const maxText = 4 << 10

// Journal is safe for concurrent use.
type Journal struct {
	clock   clock.Clock
	size    int
	payload int

	mu      sync.Mutex // guards all below
	ring    []Entry    // the last entries; entry seq is at (seq-1) % size
	seq     uint64     // of the last entry
	held    int        // bytes of payload the kept entries hold
	thinned uint64     // entries up to this one have had their payload dropped
	latest  *byte      // start of the payload recorded last
	counts
	changed chan struct{} // closed by the next entry; nil while nobody waits
}

// New makes an empty journal.
func New(c clock.Clock, o Options) *Journal {
	if o.Size == 0 {
		o.Size = 10_000
	}
	if o.Payload == 0 {
		o.Payload = 64 << 20
	}
	j := &Journal{clock: c, size: max(o.Size, 0), payload: o.Payload}
	j.counts.reset()
	return j
}

// Record adds an entry; Seq, Size and, where it is zero, Time are filled in. An
// entry of kind [Reset] makes every tally begin anew, as the subscriptions they
// are about are gone; the entries stay, they are history.
func (j *Journal) Record(e Entry) {
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = j.clock.Now()
	}
	j.seq++
	e.Seq = j.seq
	j.countLocked(&e)
	if j.size > 0 {
		j.keepLocked(&e)
	}
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// keepLocked puts an entry into the ring and lets go of what is too much.
func (j *Journal) keepLocked(e *Entry) {
	j.weighLocked(e)
	if len(j.ring) < j.size {
		j.ring = append(j.ring, *e)
	} else {
		place := &j.ring[(e.Seq-1)%uint64(j.size)]
		j.held -= place.cost
		j.thinned = max(j.thinned, place.Seq)
		*place = *e
	}
	for j.held > j.payload && j.thinned < j.seq {
		j.thinLocked()
	}
}

// weighLocked tells the size of an entry and what memory it answers for: the
// frames of one notification to many sockets are recorded in a row and share
// their bytes.
func (j *Journal) weighLocked(e *Entry) {
	switch {
	case e.Exchange != nil:
		x := e.Exchange
		e.Size = len(x.RequestBody) + len(x.ResponseBody)
		e.cost = e.Size + weight(x.RequestHeaders) + weight(x.ResponseHeaders)
	case len(e.Frame) > 0:
		e.Size = len(e.Frame)
		if j.latest != &e.Frame[0] {
			e.cost = e.Size
		}
		j.latest = &e.Frame[0]
	}
	j.held += e.cost
}

func weight(headers map[string]string) (bytes int) {
	for name, value := range headers {
		bytes += len(name) + len(value)
	}
	return bytes
}

// thinLocked lets the oldest payload go, in all entries that share it.
func (j *Journal) thinLocked() {
	for first := true; j.thinned < j.seq; first = false {
		e := &j.ring[j.thinned%uint64(j.size)]
		if !first && e.cost > 0 {
			return
		}
		j.thinned++
		j.held -= e.cost
		e.cost = 0
		if e.Frame != nil {
			e.Dropped, e.Frame = true, nil
		}
		if x := e.Exchange; x != nil {
			bare := *x
			bare.RequestHeaders, bare.RequestBody, bare.ResponseHeaders, bare.ResponseBody = nil, nil, nil, nil
			e.Dropped, e.Exchange = true, &bare
		}
	}
	j.latest = nil // who shares it next keeps it alive anew
}

// Held is how many entries are kept and how many bytes of payload they hold.
func (j *Journal) Held() (entries, payload int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.ring), j.held
}

// Now is the time of the journal's clock.
func (j *Journal) Now() time.Time { return j.clock.Now() }
