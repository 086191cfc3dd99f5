package subscription

import "signalfhir/internal/fhir"

// eventLog holds the last events of a subscription. Their numbers are
// contiguous, so an event is found by arithmetic.
type eventLog struct {
	events []fhir.Event // grows to the size of the log, then is a ring
	oldest int          // where the ring begins
}

// add appends an event. If the log already holds size events, it overwrites the
// oldest.
func (l *eventLog) add(e fhir.Event, size int) {
	if len(l.events) < size {
		l.events = append(l.events, e)
		return
	}
	l.events[l.oldest] = e
	l.oldest = (l.oldest + 1) % size
}

// first returns the number of the oldest event, or 0 if the log is empty.
func (l *eventLog) first() int64 {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[l.oldest].Number
}

// between copies the events with numbers from since to until, both included;
// until below zero means no bound.
func (l *eventLog) between(since, until int64) []fhir.Event {
	first := l.first()
	since = max(since, first)
	if last := first + int64(len(l.events)) - 1; until < 0 || until > last {
		until = last
	}
	if len(l.events) == 0 || since > until {
		return nil
	}
	found := make([]fhir.Event, until-since+1)
	for i := range found {
		found[i] = l.events[(l.oldest+int(since-first)+i)%len(l.events)]
	}
	return found
}
