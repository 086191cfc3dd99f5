package testkit

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// The functions below wait for what the client under test does. Each counts only what came
// after the entry of the journal that ended the wait before it, so that a test reads as the
// story of the client, and counts nothing twice:
//
//	s.AwaitTokenTaken("mine", 1)
//	s.AwaitBound("mine", 1)
//	// cut the connection
//	s.AwaitBoundAgain("mine")
//	s.AwaitEventsCalled("mine")
//
// The journal has what a client does in the order in which the server saw it. A wait for
// what came before the entry that the last one returned is in vain; [Server.Since] goes back.
//
// [Server.AwaitBound], [Server.AwaitConnected] and [Server.AwaitSent] ask for how things
// stand. They count from the last reset, whatever was awaited before.

// mark is the entry up to which a server has counted.
type mark struct{ seq atomic.Uint64 }

// pass moves the mark to an entry, unless it is past it.
func (m *mark) pass(seq uint64) {
	for {
		was := m.seq.Load()
		if seq <= was || m.seq.CompareAndSwap(was, seq) {
			return
		}
	}
}

// Mark returns the number of the entry of the journal up to which the awaiting functions
// have counted. It is 0 before the first, which counts from the start or the last reset.
func (s *Server) Mark() uint64 { return s.mark.seq.Load() }

// Since returns the same server, with a mark of its own: its awaiting functions count what
// came after an entry of the journal. With 0 they count from the start or the last reset.
// It is for a wait that goes back, and for goroutines that wait at the same time: one server
// has one mark, so each would count past what another waits for.
//
//	s.Since(0).AwaitTokenTaken("mine", 2) // so far, in all
func (s *Server) Since(seq uint64) *Server {
	view := *s
	view.mark = &mark{}
	view.mark.pass(seq)
	return &view
}

// awaited is the response to an await.
type awaited struct {
	Seq   uint64 `json:"seq"`
	Entry Entry  `json:"entry"`
}

// awaitState waits until things stand in a way, whatever was awaited before.
func (s *Server) awaitState(what string, condition map[string]any) {
	s.t.Helper()
	var out awaited
	s.control(http.MethodPost, "await", map[string]any{what: condition, "timeout": awaitPatience.String()}, &out)
	s.mark.pass(out.Seq)
}

// awaitNext waits for a condition that counts after the mark, and moves the mark.
func (s *Server) awaitNext(what string, condition map[string]any) Entry {
	s.t.Helper()
	body := map[string]any{what: condition, "timeout": awaitPatience.String()}
	if since := s.Mark(); since > 0 {
		body["since"] = since
	}
	var out awaited
	s.control(http.MethodPost, "await", body, &out)
	s.mark.pass(out.Seq)
	return out.Entry
}

// AwaitConnected waits until at least count sockets are open, or with count 0 until none is.
func (s *Server) AwaitConnected(count int) {
	s.t.Helper()
	s.awaitState("connected", map[string]any{"count": count})
}

// AwaitUnbound waits until a binding of a subscription has ended. The Text of the entry says
// why.
func (s *Server) AwaitUnbound(subscription string) Entry {
	s.t.Helper()
	return s.awaitNext("unbound", map[string]any{"subscription": subscription})
}

// AwaitBoundAgain waits until a socket was bound to a subscription after one that was bound
// before has closed.
func (s *Server) AwaitBoundAgain(subscription string) Entry {
	s.t.Helper()
	return s.awaitNext("boundAgain", map[string]any{"subscription": subscription})
}

// AwaitTokenTaken waits until count binding tokens for a subscription were issued, or with ""
// for any.
func (s *Server) AwaitTokenTaken(subscription string, count int) Entry {
	s.t.Helper()
	condition := map[string]any{"count": count}
	if subscription != "" {
		condition["subscription"] = subscription
	}
	return s.awaitNext("tokenTaken", condition)
}

// AwaitRenewed waits until a binding of a subscription got a new token.
func (s *Server) AwaitRenewed(subscription string) Entry {
	s.t.Helper()
	return s.awaitNext("renewed", map[string]any{"subscription": subscription})
}

// AwaitEventsCalled waits until $events of a subscription was called. First and Last of the
// entry are the bounds that it was called with; 0 is none.
func (s *Server) AwaitEventsCalled(subscription string) Entry {
	s.t.Helper()
	return s.awaitNext("eventsCalled", map[string]any{"subscription": subscription})
}

// AwaitEventsCalledFrom waits until $events of a subscription was called with an
// eventsSinceNumber.
func (s *Server) AwaitEventsCalledFrom(subscription string, number int64) Entry {
	s.t.Helper()
	return s.awaitNext("eventsCalled", map[string]any{"subscription": subscription, "eventsSinceNumber": number})
}

// AwaitEvent waits until a notification with the event of a number was sent for a
// subscription.
func (s *Server) AwaitEvent(subscription string, number int64) Entry {
	s.t.Helper()
	return s.awaitNext("sent", map[string]any{"subscription": subscription, "number": number})
}

// AwaitMoreSent waits until count more notifications of a type (handshake, heartbeat,
// event-notification) were sent for a subscription.
func (s *Server) AwaitMoreSent(subscription, kind string, count int) Entry {
	s.t.Helper()
	// Without a mark, a count is from the start, too.
	return s.awaitNext("sent", map[string]any{"subscription": subscription, "type": kind, "count": count})
}

// AwaitClosedByClient waits until the client has closed a socket with a code, or with 0 with
// any. 1006 means that it ended the connection without a close frame.
func (s *Server) AwaitClosedByClient(code int) Entry {
	s.t.Helper()
	return s.awaitNext("closedByClient", map[string]any{"code": code})
}

// AwaitQuiet waits until the journal has got no entry of some kinds, or of any kind, for a
// while. The time is real. It is how a test sees that a client does nothing more; a test that
// knows what the client does waits for that instead.
func (s *Server) AwaitQuiet(d time.Duration, kinds ...string) {
	s.t.Helper()
	condition := map[string]any{"for": d.String()}
	if len(kinds) > 0 {
		condition["kinds"] = kinds
	}
	s.awaitNext("quiet", condition)
}

// JournalFilter says which entries of the journal [Server.AwaitEntry] waits for. They have
// all of it; what is empty is not asked for.
type JournalFilter struct {
	Kinds        []string // sent, not-sent, bound …
	Subscription string
	Socket       string
	Type         string
	Resource     string // "Encounter/1"
	Code         int    // of a close
	Text         string // that the entry contains, frames and bodies included, in any case
	Count        int    // of such entries; 0 means 1
}

// AwaitEntry waits for entries of the journal, and returns the last of them, without frame
// and bodies.
func (s *Server) AwaitEntry(f JournalFilter) Entry {
	s.t.Helper()
	condition := map[string]any{}
	for name, value := range map[string]string{
		"kind": strings.Join(f.Kinds, ","), "subscription": f.Subscription, "socket": f.Socket, "type": f.Type, "resource": f.Resource, "text": f.Text,
	} {
		if value != "" {
			condition[name] = value
		}
	}
	if f.Code != 0 {
		condition["code"] = f.Code
	}
	if f.Count != 0 {
		condition["count"] = f.Count
	}
	return s.awaitNext("journal", condition)
}
