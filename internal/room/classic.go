package room

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
)

// Classic subscriptions: those of R4 and R4B whose criteria is a search and not
// a topic. They concern the new state of what is created or updated, never a
// deletion (WSL-4, FLT-25).

// Criteria is what a classic subscription looks for. It is immutable once the
// subscription is stored.
type Criteria struct {
	Subscription string // its id
	Text         string // as it was written
	Type         string // of the resources it is about

	query *search.Query // nil: every resource of the type
	made  bool          // the id is the server's: nobody but its client knows it
}

// Explain reports whether the criteria select a resource of their type, and says in
// words how each condition compares.
func (c *Criteria) Explain(state *fhir.Resource) (bool, []string) {
	if c.query == nil {
		return true, nil
	}
	return c.query.Explain(state)
}

// classics are the classic subscriptions of a base. They are safe for concurrent
// reading; the write lock serialises changes, each of which makes a new list.
type classics struct{ sorted atomic.Pointer[[]*Criteria] } // by id; the list is never modified

// all lists them in order of their ids.
func (c *classics) all() []*Criteria {
	if list := c.sorted.Load(); list != nil {
		return *list
	}
	return nil
}

func (c *classics) place(id string) (list []*Criteria, at int, found bool) {
	list = c.all()
	at, found = slices.BinarySearchFunc(list, id, func(one *Criteria, id string) int { return strings.Compare(one.Subscription, id) })
	return list, at, found
}

// find returns the criteria of a subscription, nil if it is not a classic one.
func (c *classics) find(id string) *Criteria {
	if list, at, found := c.place(id); found {
		return list[at]
	}
	return nil
}

func (c *classics) put(one *Criteria) {
	list, at, found := c.place(one.Subscription)
	rest := list[at:]
	if found {
		rest = rest[1:]
	}
	list = slices.Concat(list[:at], []*Criteria{one}, rest)
	c.sorted.Store(&list)
}

func (c *classics) remove(id string) {
	if list, at, found := c.place(id); found {
		list = slices.Concat(list[:at], list[at+1:])
		c.sorted.Store(&list)
	}
}

func (c *classics) clear() { c.sorted.Store(nil) }

// readCriteria reads the search of a classic subscription.
func (b *Base) readCriteria(criteria string) (*Criteria, []fhir.Issue) {
	const at = "Subscription.criteria"
	typ, text, _ := strings.Cut(criteria, "?")
	if err := b.Stores(typ); err != nil {
		return nil, []fhir.Issue{rule("not-supported", at, err.Error())}
	}
	c := &Criteria{Text: criteria, Type: typ}
	if text != "" {
		query, err := b.scope().Query(typ, text)
		if err != nil {
			return nil, []fhir.Issue{rule("not-supported", at, err.Error())}
		}
		c.query = query
	}
	return c, nil
}

// publishClassicLocked gives the classic subscriptions a change concerns their
// event, in order of their ids, and tells the journal why others get none.
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

// forever is beyond what a binding without a token lasts.
const forever = 100 * 365 * 24 * time.Hour

// legacyKey names the hold a binding without a token has.
const legacyKey = "bind"

// BindLegacy answers the R4 message "bind [id]" with "bound [id]" (WSL-2, WSL-3).
// A subscription on a topic takes a token (WSL-6, WSL-8).
func (r *Room) BindLegacy(s subscription.Socket, id string) *fhir.Error {
	b, err := r.baseOf(id)
	if err != nil {
		return err
	}
	if b.classic.find(id) == nil {
		return fhir.Refuse(http.StatusUnprocessableEntity, "business-rule",
			"Subscription/%s is on a topic; take a token with Subscription/%[1]s/$get-ws-binding-token and send bind-with-token TOKEN", id)
	}
	return r.subscriptions.BindIn(fhir.LegacyFormat, id, s, legacyKey, r.clock.Now().Add(forever))
}

// UnbindLegacy ends what BindLegacy began. It tells whether there was a binding.
func (r *Room) UnbindLegacy(s subscription.Socket, id string) bool {
	return r.subscriptions.Unbind(id, s, legacyKey)
}

// orphans remembers which subscriptions sockets were bound to in Medplum's
// dialect. Its client makes a subscription for each connection and deletes none:
// the server collects those nobody is bound to any more.
type orphans struct {
	mu     sync.Mutex // guards byHost
	byHost map[subscription.Socket]map[string]struct{}
}

func (o *orphans) bound(s subscription.Socket, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byHost == nil {
		o.byHost = map[subscription.Socket]map[string]struct{}{}
	}
	if o.byHost[s] == nil {
		o.byHost[s] = map[string]struct{}{}
	}
	o.byHost[s][id] = struct{}{}
}

// of answers what a socket was bound to: one subscription, or all where id is "".
func (o *orphans) of(s subscription.Socket, id string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for held := range o.byHost[s] {
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
	delete(o.byHost[s], id)
	if len(o.byHost[s]) == 0 {
		delete(o.byHost, s)
	}
}

// collect deletes the subscriptions a socket has left behind: classic ones with
// an id of the server's that no socket is bound to.
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
		if c := b.classic.find(id); c != nil && c.made {
			_ = b.writeLocked(Operation{Method: http.MethodDelete, Type: "Subscription", ID: id}, Request{})
		}
		r.write.Unlock()
	}
}
