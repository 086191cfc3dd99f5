package subscription

import (
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// What the control API does to a subscription: frames that nothing led to, another
// number of the last event, and the early end of a token.

// Custom is the type of a frame whose text the control API gave.
const Custom fhir.NotificationType = "custom"

// Notify sends a handshake or a heartbeat now: to every bound socket, or to the one with
// the id socket if that is not "". Events that wait for a shared bundle go first. Notify
// returns the ids of the sockets that it was queued for, or why there are none. It
// refuses an unknown id with not-found, and so a socket that is not bound.
func (r *Registry) Notify(id string, kind fhir.NotificationType, socket string) (sockets []string, why string, refused error) {
	return r.notify(id, socket, func(s *subscription) *outgoing { return s.outgoingLocked(kind, nil) })
}

// SendText is [Registry.Notify] for a text in the place of a notification. It is sent as
// it is to sockets of every frame format.
func (r *Registry) SendText(id string, text []byte, socket string) (sockets []string, why string, refused error) {
	return r.notify(id, socket, func(s *subscription) *outgoing {
		return &outgoing{text: text, frame: Frame{Subscription: s.id, Type: Custom, Timeout: s.spec.Subscription.Timeout}}
	})
}

func (r *Registry) notify(id, socket string, notification func(*subscription) *outgoing) (sockets []string, why string, refused error) {
	s := r.get(id)
	if s == nil {
		return nil, "", unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, "", unknown(id)
	}
	s.expireBindingsLocked()
	s.flushLocked()
	to := slices.Clone(s.bindings)
	if socket != "" {
		to = slices.DeleteFunc(to, func(b *binding) bool { return b.socket.ID() != socket })
		if len(to) == 0 {
			return nil, "", fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "socket %q is not bound to Subscription/%s; %s", socket, id, s.boundLocked()).At("socket")
		}
	}
	w := notification(s)
	s.sendLocked(to, w)
	sockets, reasons := []string{}, []string(nil)
	for _, b := range to {
		switch {
		case w.in(b.Format).Bytes == nil:
			reasons = append(reasons, "socket "+b.socket.ID()+" speaks the protocol of R4 without topics, which has no "+string(w.frame.Type))
		case s.bound[b.socket] != b:
			reasons = append(reasons, whyRefused(b.socket))
		default:
			sockets = append(sockets, b.socket.ID())
		}
	}
	if len(to) == 0 {
		reasons = []string{s.boundLocked()}
	}
	return sockets, strings.Join(reasons, "; "), nil
}

// boundLocked says in words which sockets are bound.
func (s *subscription) boundLocked() string {
	switch {
	case dormant(s.status):
		return "no socket is bound, because it is " + s.status
	case len(s.bindings) == 0:
		return "no socket is bound to it"
	}
	ids := make([]string, len(s.bindings))
	for i, b := range s.bindings {
		ids[i] = b.socket.ID()
	}
	return "bound are " + strings.Join(ids, ", ")
}

// SetCounter sets the number of the last event, so that the next one has the number
// after it. Going forward, the numbers between are of no event: a client sees a loss that
// $events cannot make good. Going back, numbers are given again, as after a restart of a
// server, so the log is emptied: a number never names two events. SetCounter returns the
// number there was. It refuses an unknown id with not-found.
func (r *Registry) SetCounter(id string, last int64) (before int64, refused error) {
	s := r.get(id)
	if s == nil {
		return 0, unknown(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked() // they have their numbers
	before = s.counter
	if last < before {
		s.abandonReplaysLocked("the control API set the number of the last event back")
		s.log.empty()
		s.reached = min(s.reached, last)
		for _, b := range s.bindings {
			b.sent = min(b.sent, last)
		}
		for socket, sent := range s.left {
			s.left[socket] = min(sent, last)
		}
	}
	s.counter = last
	return before, nil
}

// ExpireToken ends every binding that only this token keeps, as the expiry of the token
// does (WS-33): not if bindings outlive their tokens.
func (r *Registry) ExpireToken(tokenKey string) {
	if !r.options.KeepExpired {
		r.endToken(tokenKey, TokenExpired)
	}
}
