// Package journal is the bounded record of what happened in a room: requests,
// frames in both directions, decisions, life-cycle changes. Every stage of the
// data flow writes to it and none reads it. Its readers are the control routes,
// the page, and tests that wait for something to happen.
//
// It keeps the last entries, and their frames and bodies within a budget of
// bytes. It also keeps tallies and rates, which stay right when entries are
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
	Size    int // entries kept; 10 000. Below zero, entries are only counted
	Payload int // bytes of frames and bodies kept; 64 MiB
}

// maxText is the number of bytes kept of a text.
const maxText = 4 << 10

// Journal is safe for concurrent use.
type Journal struct {
	clock   clock.Clock
	size    int
	payload int

	mu      sync.Mutex // guards all below
	ring    []Entry    // the last entries; entry seq is at (seq-1) % size
	seq     uint64     // of the last entry
	held    int        // bytes of payload in the kept entries
	thinned uint64     // entries up to this one have lost their payload
	latest  *byte      // start of the payload recorded last
	counts
	changed chan struct{} // closed by the next entry; nil if no reader waits
}

// New returns an empty journal.
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

// Record adds an entry and fills in Seq, Size and, if it is zero, Time. An entry
// of kind [Reset] restarts every tally, because the subscriptions are gone; the
// entries stay as history.
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

// keepLocked puts an entry into the ring and drops what exceeds the limits.
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

// weighLocked sets the size of an entry and its cost, the memory charged to it:
// the frames of one notification to many sockets are recorded in a row and share
// their bytes, so only the first is charged.
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

// thinLocked drops the oldest payload from all entries that share it.
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
	j.latest = nil // a later entry with the same payload is charged for it again
}

// Held returns how many entries are kept and how many bytes of payload they hold.
func (j *Journal) Held() (entries, payload int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.ring), j.held
}

// Now returns the time of the journal's clock.
func (j *Journal) Now() time.Time { return j.clock.Now() }
