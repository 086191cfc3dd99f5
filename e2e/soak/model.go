package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signalfhir/testkit"
)

// model is what should be seen of a room, by its journal so far. It is not safe for
// concurrent use.
//
// Writes, triggers, resets and changes of subscriptions happen under the write lock of the room, and
// everything about one subscription under its own lock. So their entries are in order, and
// the model needs no tolerance.
type model struct {
	ttl      time.Duration // of the tokens
	violated func(violation)

	subscriptions map[string]*subscription
	sockets       map[string]*socket // by the id of the server
	byClient      map[string]*socket // by the name that the client put into its address
	tokens        map[string]*token  // by fingerprint
	changes       map[string]int     // how often the journal has a version, by "Encounter/1 2"
	occurrence    *occurrence        // the last one, until the next is seen
}

// subscription is one subscription in the model.
type subscription struct {
	id         string
	live       bool // it exists
	off        bool
	generation *generation
	bindings   map[string]*binding // by socket
	notSent    int64               // number of the last event that the journal names as not sent
}

// generation is the log of a subscription from its creation to its deletion.
type generation struct {
	focus []string    // of event i+1
	at    []time.Time // when event i+1 occurred, or a little later
}

func (g *generation) last() int64 { return int64(len(g.focus)) }

// binding is one socket bound to one subscription.
type binding struct {
	greeted   bool      // the handshake was sent since the last bind
	owed      []int64   // events that it must get
	until     time.Time // no token keeps it longer
	least     time.Time // it has a token until then, at least
	shortened bool      // a token may have been taken from it
}

// socket is what the server sent on one socket.
type socket struct {
	id      string
	client  string
	sent    []frame
	dropped map[string][2]int64 // events that it did not get in the end, by subscription: first and last
	slow    bool                // the server cut it because it does not keep up
	closed  bool
}

// token is a binding token. Its expiry is between the two times.
type token struct {
	least, most time.Time
	revoked     bool
}

// occurrence is a change or a trigger, and which subscriptions must get an event of it.
type occurrence struct {
	entry    testkit.Entry
	fired    bool
	expected map[string]bool
}

func newModel(ttl time.Duration, violated func(violation)) *model {
	return &model{
		ttl: ttl, violated: violated,
		subscriptions: map[string]*subscription{}, sockets: map[string]*socket{}, byClient: map[string]*socket{},
		tokens: map[string]*token{}, changes: map[string]int{},
	}
}

// violate reports that the server broke a promise about a subscription or a socket.
func (m *model) violate(e testkit.Entry, format string, args ...any) {
	m.violated(violation{subscription: e.Subscription, socket: e.Socket, text: fmt.Sprintf(format, args...) + "\n  at " + e.String()})
}

// take follows the journal by one entry.
func (m *model) take(e testkit.Entry) {
	switch e.Kind {
	case "change":
		m.settle()
		m.change(e)
	case "fired":
		m.fired(e)
	case "status":
		m.settle()
		m.subscription(e.Subscription).off = e.Text == "off"
	case "reset":
		m.settle()
		m.reset(e)
	case "appended":
		m.appended(e)
	case "token":
		m.token(e)
	case "bound":
		s := m.subscription(e.Subscription)
		if s.bindings[e.Socket] != nil {
			m.violate(e, "bound twice")
		}
		s.bindings[e.Socket] = &binding{}
		m.hold(s.bindings[e.Socket], e)
	case "unbound":
		m.unbound(e)
	case "opened":
		m.opened(e)
	case "received":
		m.received(e)
	case "sent":
		m.sent(e)
	case "not-sent":
		m.notSent(e)
	case "overflow":
		m.socket(e).slow = true
	case "closed":
		m.closed(e)
	}
}

func (m *model) subscription(id string) *subscription {
	s := m.subscriptions[id]
	if s == nil {
		s = &subscription{id: id, generation: &generation{}, bindings: map[string]*binding{}}
		m.subscriptions[id] = s
	}
	return s
}

func (m *model) socket(e testkit.Entry) *socket {
	s := m.sockets[e.Socket]
	if s == nil {
		m.violate(e, "a socket that was never opened")
		s = &socket{id: e.Socket}
		m.sockets[e.Socket] = s
	}
	return s
}

// change follows a write of a resource.
func (m *model) change(e testkit.Entry) {
	typ, id, _ := strings.Cut(e.Resource, "/")
	switch typ {
	case "Encounter":
		if e.Interaction != "delete" {
			m.changes[e.Resource+" "+e.Version]++
		}
		if strings.HasPrefix(id, neverWritten) {
			m.violate(e, "a refused transaction stored a resource")
		}
		m.occurrence = &occurrence{entry: e}
	case "Subscription":
		s := m.subscription(id)
		switch e.Interaction {
		case "create":
			s.live, s.generation, s.notSent = true, &generation{}, 0
		case "delete":
			s.live = false
		}
		if (!s.live || s.off) && len(s.bindings) > 0 {
			m.violate(e, "sockets are still bound: %v", slices.Sorted(maps.Keys(s.bindings)))
		}
	}
}

// fired follows a topic that fired. The subscriptions whose filter lets the resource pass
// get an event.
func (m *model) fired(e testkit.Entry) {
	if e.Type == "trigger" {
		m.settle()
		m.occurrence = &occurrence{entry: e, fired: true, expected: map[string]bool{}}
		if s := m.subscription(e.Subscription); s.live && !s.off {
			m.occurrence.expected[s.id] = true
		}
		return
	}
	o := m.occurrence
	if o == nil || o.entry.Resource != e.Resource || o.fired {
		m.violate(e, "a topic fired without a change")
		return
	}
	o.entry, o.fired, o.expected = e, true, map[string]bool{}
	for id, s := range m.subscriptions {
		if s.live && !s.off && passes(id, e.Resource) {
			o.expected[id] = true
		}
	}
}

// settle ends the last occurrence: whoever had to get an event has got it.
func (m *model) settle() {
	o := m.occurrence
	m.occurrence = nil
	if o == nil {
		return
	}
	if !o.fired {
		m.violate(o.entry, "the change fired no topic")
	}
	for id := range o.expected {
		e := o.entry
		e.Subscription = id
		m.violate(e, "the subscription got no event")
	}
}

// appended follows an event that was numbered.
func (m *model) appended(e testkit.Entry) {
	s := m.subscription(e.Subscription)
	g := s.generation
	if e.First != g.last()+1 {
		m.violate(e, "event %d follows event %d", e.First, g.last())
	}
	o := m.occurrence
	switch {
	case o == nil || o.entry.Resource != e.Resource:
		m.violate(e, "an event without an occurrence")
		return
	case !o.expected[s.id]:
		m.violate(e, "the event does not concern the subscription, or it has it already")
	}
	delete(o.expected, s.id)
	g.focus, g.at = append(g.focus, e.Resource), append(g.at, o.entry.Time)
	for _, b := range s.bindings {
		b.owed = append(b.owed, e.First)
	}
}

// token follows the life of a token.
func (m *model) token(e testkit.Entry) {
	switch e.Type {
	case "issued":
		_, until, _ := strings.Cut(e.Text, " until ")
		least, err := time.Parse(time.RFC3339, until) // whole seconds, rounded down
		if err != nil {
			m.violate(e, "no time of expiry: %v", err)
		}
		m.tokens[e.Token] = &token{least: least, most: e.Time.Add(m.ttl)}
	case "revoked":
		if t := m.tokens[e.Token]; t != nil {
			t.revoked = true
		}
		for _, s := range m.subscriptions {
			for _, b := range s.bindings {
				b.shortened = true // it may be this token that kept it
			}
		}
	case "renewed":
		b := m.subscription(e.Subscription).bindings[e.Socket]
		if b == nil {
			m.violate(e, "renewed without a binding")
			return
		}
		m.hold(b, e)
	}
}

// hold makes a token keep a binding.
func (m *model) hold(b *binding, e testkit.Entry) {
	b.greeted = false
	t := m.tokens[e.Token]
	if t == nil {
		m.violate(e, "bound with a token that was never issued")
		return
	}
	if t.most.After(b.until) {
		b.until, b.least = t.most, t.least
	}
	b.shortened = b.shortened || t.revoked
}

// unbound follows the end of a binding.
func (m *model) unbound(e testkit.Entry) {
	s := m.subscription(e.Subscription)
	b := s.bindings[e.Socket]
	if b == nil {
		m.violate(e, "unbound twice")
		return
	}
	delete(s.bindings, e.Socket)
	if n := len(b.owed); n > 0 && b.owed[n-1] > s.notSent {
		m.violate(e, "the binding ended without the events %v, and nothing says so", b.owed)
	}
	if e.Text == "token expired" && !b.shortened && e.Time.Before(b.least) {
		m.violate(e, "the binding expired before %s", b.least)
	}
}

// opened follows a new socket. Its address has the name that the client gave it.
func (m *model) opened(e testkit.Entry) {
	_, rest, _ := strings.Cut(e.Text, "?"+clientParameter+"=")
	name, _, _ := strings.Cut(rest, " ")
	s := &socket{id: e.Socket, client: name, dropped: map[string][2]int64{}}
	m.sockets[e.Socket], m.byClient[name] = s, s
}

// received follows a message of a client.
func (m *model) received(e testkit.Entry) {
	if !strings.HasPrefix(e.Type, "unbind") {
		return
	}
	for _, s := range m.subscriptions {
		if b := s.bindings[e.Socket]; b != nil {
			b.shortened = true
		}
	}
}

// sent follows a frame to a socket.
func (m *model) sent(e testkit.Entry) {
	to := m.socket(e)
	if to.closed {
		m.violate(e, "a frame for a closed socket")
	}
	f := frame{kind: e.Type, subscription: e.Subscription, first: e.First, last: e.Last, size: e.Size}
	if e.Subscription != "" {
		m.notified(e, &f)
	}
	to.sent = append(to.sent, f)
}

// notified follows a notification.
func (m *model) notified(e testkit.Entry, f *frame) {
	s := m.subscription(e.Subscription)
	b, g := s.bindings[e.Socket], s.generation
	switch {
	case b == nil:
		m.violate(e, "a notification without a binding")
		return
	case e.Type == "handshake":
		b.greeted = true
	case !b.greeted:
		m.violate(e, "a notification before the handshake")
	}
	if e.Type != "event-notification" {
		if len(b.owed) > 0 {
			m.violate(e, "the events %v are overtaken", b.owed)
		}
		f.total = g.last()
		return
	}
	f.total = e.Last
	for n := e.First; n <= e.Last; n++ {
		if len(b.owed) == 0 || b.owed[0] != n || n > g.last() {
			m.violate(e, "the socket gets event %d, it should get %v", n, b.owed)
			return
		}
		b.owed = b.owed[1:]
		f.focus = append(f.focus, g.focus[n-1])
		// The occurrence is recorded before the server looks for expired bindings.
		if at := g.at[n-1]; !at.Before(b.until) {
			m.violate(e, "event %d occurred at %s, after the token expired at %s or before", n, stamp(at), stamp(b.until))
		}
	}
}

// notSent follows events that a subscription or a socket did not send.
func (m *model) notSent(e testkit.Entry) {
	switch {
	case e.First == 0:
		return // an event that does not concern the subscription, or a frame without one
	case e.Socket == "":
		s := m.subscription(e.Subscription)
		s.notSent = max(s.notSent, e.Last)
	default:
		s := m.socket(e)
		if s.dropped == nil {
			s.dropped = map[string][2]int64{}
		}
		gap, again := s.dropped[e.Subscription]
		if !again {
			gap = [2]int64{e.First, e.Last}
		}
		s.dropped[e.Subscription] = [2]int64{min(gap[0], e.First), max(gap[1], e.Last)}
	}
}

// closed follows the end of a socket. Its bindings have ended before.
func (m *model) closed(e testkit.Entry) {
	m.socket(e).closed = true
	for id, s := range m.subscriptions {
		if s.bindings[e.Socket] != nil {
			e.Subscription = id
			m.violate(e, "the socket ended while it was bound")
		}
	}
}

// reset follows a reset. Every subscription is gone, and every binding has ended before.
func (m *model) reset(e testkit.Entry) {
	for id, s := range m.subscriptions {
		s.live = false
		for to := range s.bindings {
			e.Subscription, e.Socket = id, to
			m.violate(e, "the binding outlived the reset")
		}
	}
}

// bound returns the bindings that there are, as "subscription on socket".
func (m *model) bound() (bindings []string) {
	for id, s := range m.subscriptions {
		for to := range s.bindings {
			bindings = append(bindings, id+" on "+to)
		}
	}
	return bindings
}

func stamp(t time.Time) string { return t.Format("15:04:05.000000") }
