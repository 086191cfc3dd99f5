package room

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
)

// A classic subscription, of R4 or R4B, has a search as its criteria instead of a
// topic. It gets an event for a resource that is created or updated, never for a
// deletion (WSL-4, FLT-25).

// Criteria is the search of a classic subscription. It is immutable once the
// subscription is stored.
type Criteria struct {
	Subscription string // id
	Text         string // as the client wrote it
	Type         string // resource type

	query    *search.Query // nil: every resource of the type
	serverID bool          // the server chose the id, so only the client that created it knows it
}

// Explain reports whether the criteria select a resource of their type, and says in
// words how each condition compared.
func (c *Criteria) Explain(state *fhir.Resource) (bool, []string) {
	if c.query == nil {
		return true, nil
	}
	return c.query.Explain(state)
}

// classics holds the classic subscriptions of a base. It is safe for concurrent reads;
// the write lock serialises changes, and each of them stores a new list.
type classics struct{ sorted atomic.Pointer[[]*Criteria] } // by id; a list is never modified

// all returns the classic subscriptions in order of their ids.
func (c *classics) all() []*Criteria {
	if list := c.sorted.Load(); list != nil {
		return *list
	}
	return nil
}

// search returns the list, and the index of a subscription in it or the index at which
// to insert it.
func (c *classics) search(id string) (list []*Criteria, at int, found bool) {
	list = c.all()
	at, found = slices.BinarySearchFunc(list, id, func(one *Criteria, id string) int { return strings.Compare(one.Subscription, id) })
	return list, at, found
}

// find returns the criteria of a subscription, or nil if it is not a classic one.
func (c *classics) find(id string) *Criteria {
	if list, at, found := c.search(id); found {
		return list[at]
	}
	return nil
}

func (c *classics) put(one *Criteria) {
	list, at, found := c.search(one.Subscription)
	rest := list[at:]
	if found {
		rest = rest[1:]
	}
	list = slices.Concat(list[:at], []*Criteria{one}, rest)
	c.sorted.Store(&list)
}

func (c *classics) remove(id string) {
	if list, at, found := c.search(id); found {
		list = slices.Concat(list[:at], list[at+1:])
		c.sorted.Store(&list)
	}
}

func (c *classics) clear() { c.sorted.Store(nil) }

// readCriteria parses the criteria of a classic subscription.
func (b *Base) readCriteria(criteria string) (*Criteria, []fhir.Issue) {
	const at = "Subscription.criteria"
	typ, text, _ := strings.Cut(criteria, "?")
	if err := b.Stores(typ); err != nil {
		return nil, []fhir.Issue{rule(fhir.CodeNotSupported, at, err.Error())}
	}
	c := &Criteria{Text: criteria, Type: typ}
	if text != "" {
		query, err := b.scope().Query(typ, text)
		if err != nil {
			return nil, []fhir.Issue{rule(fhir.CodeNotSupported, at, err.Error())}
		}
		c.query = query
	}
	return c, nil
}

// publishClassicLocked appends an event to the classic subscriptions that select the
// new state, in order of their ids. It records in the journal why the others get none.
func (b *Base) publishClassicLocked(change *store.Change, state *fhir.Resource) {
	if change.Current == nil {
		return
	}
	heldBack := 0
	holdBack := func(id, why string) {
		if heldBack++; heldBack <= maxHeldBack {
			b.room.journal.Record(journal.Entry{Kind: journal.NotSent, Subscription: id, Resource: state.Reference(), Release: string(b.release), Text: why})
		}
	}
	var occurrence *fhir.Occurrence
	for _, c := range b.classic.all() {
		id := c.Subscription
		if c.Type != state.Type {
			continue
		}
		if c.query != nil {
			ok, err := c.query.Match(state)
			if err != nil {
				holdBack(id, "criteria "+c.Text+": "+err.Error())
				continue
			}
			if !ok {
				holdBack(id, "criteria "+c.Text+" does not select it")
				continue
			}
		}
		if occurrence == nil {
			occurrence = b.occurrence(nil, &fhir.Entry{Type: state.Type, ID: state.ID, Method: change.Method, Resource: change.Current}, state, change.At)
		}
		if _, err := b.room.subscriptions.AppendTo(id, occurrence); err != nil {
			holdBack(id, err.Error()) // it is off
		}
	}
}

// forever is the lifetime of a binding without a token.
const forever = 100 * 365 * 24 * time.Hour

// legacyKey takes the place of the token in a binding without one.
const legacyKey = "bind"

// BindLegacy binds a socket to a classic subscription, for the R4 message "bind [id]",
// and sends "bound [id]" (WSL-2, WSL-3). It refuses a subscription on a topic, which
// needs a token (WSL-6, WSL-8).
func (r *Room) BindLegacy(s subscription.Socket, id string) error {
	b, err := r.baseOf(id)
	if err != nil {
		return err
	}
	if b.classic.find(id) == nil {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule,
			"Subscription/%s is on a topic; take a token with Subscription/%[1]s/$get-ws-binding-token and send bind-with-token TOKEN", id)
	}
	return r.bindIn(subscription.Speech{Format: fhir.LegacyFormat, Dialect: dialect.Legacy}, id, s, legacyKey, r.clock.Now().Add(forever))
}

// UnbindLegacy ends a binding that BindLegacy made, if there is one.
func (r *Room) UnbindLegacy(s subscription.Socket, id string) {
	r.subscriptions.Unbind(id, s, legacyKey)
}

// orphans remembers to which subscriptions sockets were bound in the dialect of
// Medplum. Its client creates a subscription for each connection and deletes none, so
// the server deletes those to which no socket is bound any more.
//
// The registry cannot be asked instead: it forgets a binding that ends, and one may end
// before its socket does, for example if its token expires or if the socket refuses a
// frame because it reads too slowly. The subscription is left behind all the same.
type orphans struct {
	mu       sync.Mutex // guards bySocket
	bySocket map[subscription.Socket]map[string]struct{}
}

func (o *orphans) bound(s subscription.Socket, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bySocket == nil {
		o.bySocket = map[subscription.Socket]map[string]struct{}{}
	}
	if o.bySocket[s] == nil {
		o.bySocket[s] = map[string]struct{}{}
	}
	o.bySocket[s][id] = struct{}{}
}

// of returns the subscriptions to which a socket was bound: only id, or all if id is "".
func (o *orphans) of(s subscription.Socket, id string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for held := range o.bySocket[s] {
		if id == "" || held == id {
			ids = append(ids, held)
		}
	}
	slices.Sort(ids)
	return ids
}

func (o *orphans) forget(s subscription.Socket, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.bySocket[s], id)
	if len(o.bySocket[s]) == 0 {
		delete(o.bySocket, s)
	}
}

// collect deletes the subscriptions that a socket has left behind: classic ones whose
// id the server chose and to which no socket is bound.
func (r *Room) collect(s subscription.Socket, id string) {
	for _, id := range r.orphans.of(s, id) {
		state, ok := r.subscriptions.State(id)
		if slices.Contains(state.Sockets, s.ID()) {
			continue // another token holds it
		}
		r.orphans.forget(s, id)
		if !ok || len(state.Sockets) > 0 {
			continue
		}
		b := r.Base(state.Release)
		r.write.Lock()
		if c := b.classic.find(id); c != nil && c.serverID {
			_ = b.writeLocked(Operation{Method: http.MethodDelete, Type: "Subscription", ID: id}, Request{})
		}
		r.write.Unlock()
	}
}
