package subscription

import (
	"slices"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
)

// beatTogether takes the place of the heartbeats of a subscription in a room whose manners
// have others: one for everything that a socket is bound to, or none.
//
// It is the only place that holds the locks of several subscriptions, and takes them in the
// order of their ids. So what the heartbeat says is true when it is queued.
func (s *subscription) beatTogether(silent []*binding, m *manners.Manners) {
	for _, b := range silent {
		all := s.registry.sockets.of(b.socket)
		for _, one := range all {
			one.mu.Lock()
		}
		if slices.Contains(all, s) {
			s.beatOneLocked(b, all, m)
		}
		for _, one := range all {
			one.mu.Unlock()
		}
	}
}

// beatOneLocked sends the heartbeat of one socket. It holds the locks of all the
// subscriptions that the socket was bound to, s among them.
func (s *subscription) beatOneLocked(b *binding, all []*subscription, m *manners.Manners) {
	for _, one := range all {
		one.expireBindingsLocked()
	}
	if s.bound[b.socket] != b {
		return // it ended meanwhile
	}
	own := s.outgoingLocked(fhir.Heartbeat, nil)
	own.frame.At = s.options.Clock.Now()
	f := own.in(b.Format)
	f.Dialect = b.Dialect
	var bundles [][]byte
	var heard []*subscription // that it is a heartbeat of
	for _, one := range all {
		other := one.bound[b.socket]
		switch {
		case other == nil || other.replay != nil: // it would hear of events that it is still to get
			continue
		case m.Heartbeat != "": // for whatever the socket is bound to
		case other.Format != b.Format || one.spec.Subscription.Release != s.spec.Subscription.Release:
			continue // one bundle cannot have both
		case one == s:
			bundles = append(bundles, f.Bytes)
		default:
			bundles = append(bundles, one.outgoingLocked(fhir.Heartbeat, nil).in(b.Format).Bytes)
		}
		one.postponeLocked(other)
		heard = append(heard, one)
		if one != s {
			f.Also = append(f.Also, one.id)
		}
	}
	switch {
	case f.Bytes == nil || m.Heartbeat == manners.None: // the protocol of R4 has no heartbeats
		return
	case m.Heartbeat == manners.Keepalive:
		f.Bytes, f.Note = []byte("keepalive "+f.At.UTC().Format(time.RFC3339Nano)), manners.AddNote("", "a text in place of a notification")
	case len(bundles) > 1:
		f.Bytes, f.Note = fhir.JoinNotifications(bundles), manners.AddNote(f.Note, "one heartbeat for several subscriptions")
	}
	if b.socket.Send(f, s.options.Observer.Sent) {
		for _, one := range heard {
			one.sent = f.At
		}
		return
	}
	s.options.Observer.NotSent(s.id, 0, 0, whyRefused(b.socket)+"; $events has what it misses")
	s.dropLocked(b, frameRefused)
}

// postponeLocked makes the next heartbeat of a binding due after a period.
func (s *subscription) postponeLocked(b *binding) {
	b.due = s.options.Clock.Elapsed() + s.spec.Subscription.HeartbeatPeriod
}
