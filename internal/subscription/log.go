package subscription

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"signalfhir/internal/fhir"
)

// eventLogs bounds the event logs of a room together. Every subscription keeps its last
// least events, whatever their size. More are kept while all events of the room have at
// most limit bytes, so that a subscription can recover a burst (OPE-2). Events that
// share an occurrence share its bytes.
//
// Its lock is a leaf. It guards every log of the room.
type eventLogs struct {
	least int
	limit int64

	mu      sync.Mutex // guards all below and the logs
	all     map[*eventLog]struct{}
	bytes   int64
	surplus int // events beyond the least of each log
}

// eventOverhead is what a logged event costs besides its occurrence.
const eventOverhead = 64

// eventLog holds the last events of a subscription. Their numbers ascend; they are
// contiguous unless the control API has set the number of the last event.
type eventLog struct {
	logs    *eventLogs
	events  []fhir.Event
	head    int   // where the oldest event is in events
	removed int64 // number of the newest event that was removed to bound memory
}

func (l *eventLogs) newLog() *eventLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := &eventLog{logs: l}
	l.all[log] = struct{}{}
	return log
}

// add appends an event and removes older ones of the room if the logs have grown too
// large.
func (l *eventLog) add(e fhir.Event) {
	all := l.logs
	all.mu.Lock()
	defer all.mu.Unlock()
	if l.head > len(l.events)/2 && len(l.events) == cap(l.events) { // reuse the room of what is gone
		n := copy(l.events, l.events[l.head:])
		clear(l.events[n:])
		l.events, l.head = l.events[:n], 0
	}
	l.events = append(l.events, e)
	if l.len() > all.least {
		all.surplus++
	}
	all.bytes += eventOverhead
	if e.Occurrence.Hold() {
		all.bytes += e.Occurrence.Size()
	}
	if all.bytes <= all.limit {
		return
	}
	// Walking the logs is worth it if there is enough to remove: it costs a bounded
	// number of steps for each event that goes.
	const steps = 64
	for target := all.limit - all.limit/8; all.bytes > target && all.surplus > 0 && all.surplus*steps >= len(all.all); {
		for other := range all.all {
			other.removeOldest((other.len() - all.least + 1) / 2)
		}
	}
	for all.bytes > all.limit && l.len() > all.least {
		l.removeOldest(1)
	}
}

func (l *eventLog) len() int { return len(l.events) - l.head }

// removeOldest removes n events. n below one removes nothing.
func (l *eventLog) removeOldest(n int) {
	for range n {
		if l.len() > l.logs.least {
			l.logs.surplus--
		}
		e := l.events[l.head]
		l.events[l.head] = fhir.Event{}
		l.head++
		l.logs.bytes -= eventOverhead
		l.removed = e.Number
		if e.Occurrence.Release() {
			l.logs.bytes -= e.Occurrence.Size()
		}
	}
	if l.head > 2*l.len()+1024 { // a burst is over
		l.events, l.head = append([]fhir.Event(nil), l.events[l.head:]...), 0
	}
}

// empty removes all events.
func (l *eventLog) empty() {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	l.removeOldest(l.len())
	l.removed = 0
}

// removedTo returns the number of the newest event that was removed to bound memory, or 0.
func (l *eventLog) removedTo() int64 {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	return l.removed
}

// last returns the number of the first of the last n events; of all if n is below zero or
// there are fewer. Without events it returns a number that none has.
func (l *eventLog) last(n int) int64 {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	if l.len() == 0 {
		return math.MaxInt64
	}
	if n < 0 || n > l.len() {
		n = l.len()
	}
	return l.events[len(l.events)-n].Number
}

// close removes the log and all its events.
func (l *eventLog) close() {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	l.removeOldest(l.len())
	l.events, l.head = nil, 0
	delete(l.logs.all, l)
}

// first returns the number of the oldest event, or 0 if the log is empty.
func (l *eventLog) first() int64 {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	return l.firstLocked()
}

func (l *eventLog) firstLocked() int64 {
	if l.len() == 0 {
		return 0
	}
	return l.events[l.head].Number
}

// between copies the events with numbers from since to until, both included;
// until below zero means no bound.
func (l *eventLog) between(since, until int64) []fhir.Event { return l.some(since, until, math.MaxInt) }

// some copies the first of these events, at most most.
func (l *eventLog) some(since, until int64, most int) []fhir.Event {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	kept := l.events[l.head:]
	at := func(number int64) int {
		i, _ := slices.BinarySearchFunc(kept, number, func(e fhir.Event, number int64) int { return cmp.Compare(e.Number, number) })
		return i
	}
	from, to := at(since), len(kept)
	if until >= 0 && until < math.MaxInt64 {
		to = at(until + 1)
	}
	if from >= to {
		return nil
	}
	return append([]fhir.Event(nil), kept[from:min(to, from+min(most, len(kept)))]...)
}
