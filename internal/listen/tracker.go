package listen

// tracker follows the event numbers of one subscription. Numbers have no holes,
// so a number that does not follow the last one tells what was missed.
type tracker struct {
	last  int64 // number of the last event that was shown
	known bool  // last means something: a handshake or an event was seen
}

// span is a run of event numbers, both ends included; empty where to < from.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.to < s.from }

// handshake takes the total of a handshake. It answers what was missed since the
// last event, and whether the numbering began anew, as it does when the server
// was restarted. The first handshake only says where to begin.
func (t *tracker) handshake(total int64) (missed span, restarted bool) {
	switch {
	case !t.known:
		t.last, t.known = total, true
		return span{1, 0}, false
	case total < t.last:
		t.last = 0
		return span{1, total}, true
	}
	return span{t.last + 1, total}, false
}

// event takes the number of an event. It answers whether the event is new, and
// what was missed before it.
func (t *tracker) event(number int64) (missed span, isNew bool) {
	if !t.known {
		t.last, t.known = number-1, true
	}
	if number <= t.last {
		return span{1, 0}, false
	}
	return span{t.last + 1, number - 1}, true
}

// shown notes that an event was shown, or given up for lost.
func (t *tracker) shown(number int64) {
	t.known = true
	t.last = max(t.last, number)
}
