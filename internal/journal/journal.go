// Package journal is the bounded record of what happened in a room: requests,
// frames in both directions, decisions, life-cycle changes. Every stage of the
// data flow writes to it and none reads it. Its readers are the control routes,
// the page, and tests that wait for something to happen.
//
// It keeps the last entries, and their frames, headers and bodies, long addresses and long
// texts within a budget of bytes. It also keeps tallies and rates, which stay right when entries are
// dropped. It decides nothing.
package journal

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"signalfhir/internal/clock"
)

// Options bound a journal. Zero means the default.
type Options struct {
	Size    int         // entries kept; 10 000. Below zero, entries are only counted
	Payload int         // bytes of frames, headers, bodies, long addresses and texts kept; 64 MiB
	Redact  Redactor    // what hides the tokens of the room; nil: nothing is hidden
	Full    func() bool // reports whether there is memory for no more payload; nil: there is
}

// maxText is the number of bytes kept of a text.
const maxText = 4 << 10

// short is the number of bytes of a text, or of an address, that the journal keeps as long
// as the entry. What is longer is payload.
const short = 256

// cut returns the beginning of a text that is too long. It shares no memory with it.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size], "") + "…"
}

// Journal is safe for concurrent use.
type Journal struct {
	clock   clock.Clock
	size    int
	payload int
	redact  Redactor
	full    func() bool
	frame   atomic.Pointer[redacted] // the frame redacted last

	mu      sync.Mutex // guards all below
	ring    []Entry    // the last entries; entry seq is at (seq-1) % size
	seq     uint64     // of the last entry
	held    int        // bytes of payload in the kept entries
	thinned uint64     // entries up to this one have lost their payload
	latest  *byte      // start of the payload recorded last
	// pending has the kept entries that were reserved and are not complete, in order.
	pending []place
	counts
	changed chan struct{} // closed by the next entry; nil if no reader waits
}

// place is an entry that was reserved and is not complete.
type place struct {
	seq   uint64
	until time.Time // of the machine's clock; readers wait for it no longer
}

// placePatience is how long readers wait for a reserved entry. A client that does not
// read its response holds up its own entry, not the others.
const placePatience = 5 * time.Second

// New returns an empty journal.
func New(c clock.Clock, o Options) *Journal {
	if o.Size == 0 {
		o.Size = 10_000
	}
	if o.Payload == 0 {
		o.Payload = 64 << 20
	}
	if o.Full == nil {
		o.Full = func() bool { return false }
	}
	j := &Journal{clock: c, size: max(o.Size, 0), payload: o.Payload, redact: o.Redact, full: o.Full}
	j.counts.reset()
	return j
}

// Record adds an entry and fills in Seq, Size and, if it is zero, Time. It hides the
// tokens in the entry; the exchange of the entry becomes the journal's. An entry of kind
// [Reset] restarts every tally, because the subscriptions are gone; the entries stay as
// history.
func (j *Journal) Record(e Entry) {
	j.hideTokens(&e)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recordLocked(&e)
}

func (j *Journal) recordLocked(e *Entry) {
	e.Text = cut(e.Text, maxText)
	if e.Time.IsZero() {
		e.Time = j.clock.Now()
	}
	j.seq++
	e.Seq = j.seq
	j.countLocked(e)
	if j.size > 0 {
		j.keepLocked(e)
	}
	j.wakeLocked()
}

// wakeLocked wakes the readers that wait for an entry.
func (j *Journal) wakeLocked() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// Reserve adds an empty entry, for [Journal.Complete] to fill in. It is for what is known
// only after the entries it caused, and yet comes before them. Readers do not see the entry
// before it is complete. A reader that reads on from the last entry it saw does not see
// the entries after it either, for [placePatience]: it would miss this one.
func (j *Journal) Reserve() (seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recordLocked(&Entry{})
	if j.size > 0 {
		j.pending = append(j.pending, place{j.seq, time.Now().Add(placePatience)})
	}
	return j.seq
}

// Complete fills in the entry that Reserve returned. The entry keeps its Seq and, unless
// e has one, its Time. If readers have stopped waiting for the entry, e becomes a new one,
// so that they do not miss it. An entry that is no longer kept is dropped, as it would have
// been later.
func (j *Journal) Complete(seq uint64, e Entry) {
	j.hideTokens(&e)
	j.mu.Lock()
	defer j.mu.Unlock()
	at, is := slices.BinarySearchFunc(j.pending, seq, func(p place, seq uint64) int { return cmp.Compare(p.seq, seq) })
	if !is {
		return
	}
	late := !time.Now().Before(j.pending[at].until)
	j.pending = slices.Delete(j.pending, at, at+1)
	if late {
		j.recordLocked(&e)
		return
	}
	j.latest = nil // what is charged here lies between frames that share their bytes
	place := &j.ring[(seq-1)%uint64(j.size)]
	e.Seq = seq
	if e.Time.IsZero() {
		e.Time = place.Time
	}
	*place = e
	j.weighLocked(place)
	if seq <= j.thinned || j.full() {
		j.dropLocked(place)
	}
	j.fitLocked()
	j.wakeLocked()
}

// keepLocked puts an entry into the ring and drops what exceeds the limits.
func (j *Journal) keepLocked(e *Entry) {
	j.weighLocked(e)
	if j.full() {
		j.dropLocked(e)
		j.latest = nil // a later entry with the same payload is charged for it
	}
	if len(j.ring) < j.size {
		j.ring = append(j.ring, *e)
	} else {
		place := &j.ring[(e.Seq-1)%uint64(j.size)]
		j.held -= place.cost
		j.thinned = max(j.thinned, place.Seq)
		if len(j.pending) > 0 && j.pending[0].seq == place.Seq {
			j.pending = slices.Delete(j.pending, 0, 1)
		}
		*place = *e
	}
	j.fitLocked()
}

// fitLocked drops the oldest payload until what is left fits the budget.
func (j *Journal) fitLocked() {
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
		e.cost = e.Size + weight(x.RequestHeaders) + weight(x.ResponseHeaders) + long(x.Path)
	case len(e.Frame) > 0:
		e.Size = len(e.Frame)
		if j.latest != &e.Frame[0] {
			e.cost = e.Size
		}
		j.latest = &e.Frame[0]
	}
	e.cost += long(e.Text)
	j.held += e.cost
}

// long returns the length of a text that is payload.
func long(text string) (bytes int) {
	if len(text) > short {
		return len(text)
	}
	return 0
}

// slot is the memory of a place in a map of headers. A map has up to twice as many places
// as headers.
const slot = 2 * int(unsafe.Sizeof(""))

func weight(headers map[string]string) (bytes int) {
	for name, value := range headers {
		bytes += len(name) + len(value) + 2*slot
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
		j.dropLocked(e)
	}
	j.latest = nil // a later entry with the same payload is charged for it again
}

// dropLocked drops the payload of an entry.
func (j *Journal) dropLocked(e *Entry) {
	j.held -= e.cost
	e.cost = 0
	if e.Frame != nil {
		e.Dropped, e.Frame = true, nil
	}
	if x := e.Exchange; x != nil {
		bare := *x
		bare.RequestHeaders, bare.RequestBody, bare.ResponseHeaders, bare.ResponseBody = nil, nil, nil, nil
		bare.Path = cut(bare.Path, short)
		e.Dropped, e.Exchange = true, &bare
	}
	if len(e.Text) > short {
		e.Dropped, e.Text = true, cut(e.Text, short)
	}
}

// Held returns how many entries are kept and how many bytes of payload they hold.
func (j *Journal) Held() (entries, payload int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.ring), j.held
}

// Seq returns the number of the last entry, complete or not; 0 if there is none.
func (j *Journal) Seq() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}

// Now returns the time of the journal's clock.
func (j *Journal) Now() time.Time { return j.clock.Now() }
