package subscription

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// Replay says which events a bind sends again after its handshake (WS-23). The zero value
// is none.
type Replay struct {
	kind string // "" is none
	last int    // of last:n
}

const (
	replayNone   = "none"
	replayMissed = "missed"
	replayLast   = "last"
	replayAll    = "all"
)

// MaxReplayLast is the largest n of last:n.
const MaxReplayLast = 1_000_000

// ParseReplay reads a policy:
//
//	none    no event; the handshake has the number of the last one
//	missed  those after the last one that a socket of the subscription got: that was
//	        queued for it and not lost with its connection
//	last:n  the last n
//	all     all that the log still has
func ParseReplay(text string) (Replay, error) {
	name, number, counted := strings.Cut(text, ":")
	n, err := strconv.Atoi(number)
	switch {
	case !counted && (name == replayNone || name == replayMissed || name == replayAll):
		return Replay{kind: name}, nil
	case counted && name == replayLast && err == nil && n >= 1 && n <= MaxReplayLast && strconv.Itoa(n) == number:
		return Replay{kind: name, last: n}, nil
	}
	return Replay{}, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected none, missed, all, or last:n with n from 1 to %d", text, MaxReplayLast)
}

// String returns the policy as ParseReplay reads it.
func (p Replay) String() string {
	if p.kind == replayLast {
		return fmt.Sprint(p.kind, ":", p.last)
	}
	return cmp.Or(p.kind, replayNone)
}

// SetReplay sets the policy of the subscriptions that have none of their own. It is asked
// at each bind.
func (r *Registry) SetReplay(p Replay) { r.replay.Store(&p) }

// SetReplayOf sets the policy of one subscription; nil: it has none of its own. It refuses
// an unknown id with not-found.
func (r *Registry) SetReplayOf(id string, p *Replay) error {
	s := r.get(id)
	if s == nil {
		return unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = p
	return nil
}

func (s *subscription) replayPolicyLocked() Replay {
	if s.policy != nil {
		return *s.policy
	}
	if p := s.registry.replay.Load(); p != nil {
		return *p
	}
	return Replay{}
}

// replay is what a binding still gets from the log before it gets new events as they
// occur. Until then it is not among the bindings that an event is sent to: it finds the
// event in the log. So there is neither a gap nor a double, whatever occurs meanwhile.
type replay struct {
	next int64         // number of the event that it gets next
	old  int64         // number of the last event from before the bind; later ones are not sent again
	over chan struct{} // closed when the binding ends, or is no longer behind
}

// A round of a replay ends when it has sent so many frames or bytes.
const (
	roundFrames = 64
	roundBytes  = 1 << 20
)

// beginReplayLocked begins the replay of a binding that has just been made or renewed. A
// socket that was bound before gets only what it has not been sent. The first round is
// sent at once, so a short replay follows its handshake before anything else happens.
func (s *subscription) beginReplayLocked(b *binding) {
	if s.status != fhir.StatusActive || b.replay != nil {
		return
	}
	var next int64
	switch p := s.replayPolicyLocked(); p.kind {
	case replayMissed:
		next = s.reachedLocked() + 1
	case replayLast:
		next = s.log.last(p.last)
	case replayAll:
		next = s.log.last(-1)
	default:
		return
	}
	if next = max(next, b.sent+1); next > s.counter {
		return
	}
	r := &replay{next: next, old: s.counter, over: make(chan struct{})}
	b.replay = r
	s.replaying++
	if s.replayRoundLocked(b) {
		hold := s.options.Clock.Hold()
		s.registry.replays.Go(func() { s.replayRest(b, r, hold) })
	}
}

// reachedLocked returns the number of the last event that a socket got.
func (s *subscription) reachedLocked() int64 {
	reached := max(s.reached, s.sortLeftLocked())
	for _, b := range s.bindings {
		got, _ := got(b.socket, s.id, b.sent)
		reached = max(reached, got)
	}
	return reached
}

// got returns the number of the last event that a socket got, or still gets, and whether that
// is certain. sent is the number of the last one that was queued for it.
func got(socket Socket, subscription string, sent int64) (last int64, certain bool) {
	lost, certain := socket.Lost(subscription, sent)
	if lost > 0 {
		return lost - 1, certain
	}
	return sent, certain
}

// leaveLocked remembers what the socket of a binding that ends got.
func (s *subscription) leaveLocked(b *binding) {
	last, certain := got(b.socket, s.id, b.sent)
	if certain || b.sent == 0 {
		s.reached = max(s.reached, last)
		return
	}
	if s.left == nil {
		s.left = map[Socket]int64{}
	}
	s.left[b.socket] = b.sent
	if len(s.left) > s.leftMax {
		s.sortLeftLocked()
		s.leftMax = 2*len(s.left) + 16 // so that this costs little, however many leave
	}
}

// sortLeftLocked returns the number of the last event that those of the sockets got, or still
// get, whose bindings have ended and that have not. It forgets those that have.
func (s *subscription) sortLeftLocked() (reached int64) {
	for socket, sent := range s.left {
		last, certain := got(socket, s.id, sent)
		if certain {
			s.reached = max(s.reached, last)
			delete(s.left, socket)
		}
		reached = max(reached, last)
	}
	return reached
}

// replayAhead is how many bytes wait in a socket at most when a replay goes on. It is enough
// for a reader to stay busy, and little enough that many sockets can get one at a time.
const replayAhead = 1 << 20

// replayRest sends the rest of a replay as fast as the socket takes it, so that a long one
// neither fills the queue of a client that keeps up nor holds the lock for long. A socket
// that stays behind is closed by itself, so waiting has an end. The clock is held meanwhile,
// and what others began earlier comes first, so that a room can repeat itself.
func (s *subscription) replayRest(b *binding, r *replay, hold *clock.Hold) {
	defer hold.Release()
	hold.Turn()
	for {
		if ready := b.socket.Ready(replayAhead); ready != nil {
			select {
			case <-ready:
			case <-r.over:
				return
			}
		}
		s.mu.Lock()
		s.expireBindingsLocked()
		more := b.replay == r && s.replayRoundLocked(b)
		s.mu.Unlock()
		if !more {
			return
		}
	}
}

// replayRoundLocked sends the next events of a replay, in bundles of at most maxCount, or
// of one event. It reports whether there is more. Events that wait for a shared bundle are
// left to it: the binding is no longer behind when that is sent.
func (s *subscription) replayRoundLocked(b *binding) (more bool) {
	r, size := b.replay, max(s.spec.Subscription.MaxCount, 1)
	for frames, bytes := 0, 0; frames < roundFrames && bytes < roundBytes; frames++ {
		end := s.counter
		if len(s.pending) > 0 {
			end = s.pending[0].Number - 1
		}
		if removed := min(s.log.removedTo(), end); removed >= r.next {
			s.options.Observer.NotSent(s.id, r.next, removed, "socket "+b.socket.ID()+" is to get them again, but the log no longer has them")
			r.next = removed + 1
		}
		again := r.next <= r.old
		if again {
			end = min(end, r.old)
		} else if s.options.BatchWindow <= 0 {
			size = 1 // as other sockets get them
		}
		events := s.log.some(r.next, end, size)
		if len(events) == 0 && again && r.old < s.counter {
			r.next = r.old + 1 // there is no event with the numbers before it
			continue
		}
		if len(events) == 0 {
			s.endReplayLocked(b)
			return false
		}
		events = fitting(events, s.spec.Subscription.Content)
		w := s.outgoingLocked(fhir.EventNotification, events)
		w.replayed = again
		r.next = events[len(events)-1].Number + 1
		s.sendLocked([]*binding{b}, w)
		if b.replay != r {
			return false // the socket took no more
		}
		bytes += len(w.in(b.Format).Bytes)
	}
	return true
}

// fitting returns the first events whose bundle has about the size of a round.
func fitting(events []fhir.Event, content fhir.Content) []fhir.Event {
	bytes := int64(0)
	for i := range events {
		if bytes += events[i].EncodedSize(content); bytes > roundBytes && i > 0 {
			return events[:i]
		}
	}
	return events
}

// endReplayLocked makes a binding get new events as they occur.
func (s *subscription) endReplayLocked(b *binding) {
	if b.replay != nil {
		close(b.replay.over)
		b.replay = nil
		s.replaying--
	}
}

// abandonReplayLocked ends a replay before all is sent.
func (s *subscription) abandonReplayLocked(b *binding, why string) {
	if b.replay == nil {
		return
	}
	end := s.counter
	if len(s.pending) > 0 {
		end = s.pending[0].Number - 1
	}
	if next := b.replay.next; next <= end {
		s.options.Observer.NotSent(s.id, next, end, "the replay for socket "+b.socket.ID()+" ended: "+why+"; $events has the events")
	}
	s.endReplayLocked(b)
}

func (s *subscription) abandonReplaysLocked(why string) {
	for _, b := range s.bindings {
		s.abandonReplayLocked(b, why)
	}
}

// currentLocked returns the bindings that get events as they occur.
func (s *subscription) currentLocked() []*binding {
	if s.replaying == 0 {
		return s.bindings
	}
	current := make([]*binding, 0, len(s.bindings)-s.replaying)
	for _, b := range s.bindings {
		if b.replay == nil {
			current = append(current, b)
		}
	}
	return current
}
