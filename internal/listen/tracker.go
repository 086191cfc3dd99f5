package listen

import "math"

// tracker follows the event numbers of one subscription. Numbers are contiguous, so a
// number that does not follow the last one shows what was missed.
type tracker struct {
	last  int64 // number of the last event that was shown
	known bool  // last means something: a handshake or an event was seen
}

// span is a closed range of event numbers; it is empty if to < from.
type span struct{ from, to int64 }

// open is the end of a span without one.
const open = math.MaxInt64

func (s span) empty() bool { return s.to < s.from }

// handshake takes the total of a handshake. It returns the events missed since the
// last one, and whether the numbering started again, as it does when the server
// restarts. The first handshake only sets where to begin.
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

// event takes the number of an event. It returns the events missed before it, and
// whether it is new.
func (t *tracker) event(number int64) (missed span, isNew bool) {
	if !t.known {
		t.last, t.known = number-1, true
	}
	if number <= t.last {
		return span{1, 0}, false
	}
	return span{t.last + 1, number - 1}, true
}

// shown records that an event was shown or given up as lost.
func (t *tracker) shown(number int64) {
	t.known = true
	t.last = max(t.last, number)
}
