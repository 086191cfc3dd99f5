package room

import (
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Request is what a write needs to know of the request that asked for it.
type Request struct {
	Base    string // absolute FHIR base the client used, no trailing slash
	Strict  bool   // Prefer: handling=strict or the server's option
	IfMatch string // If-Match header
}

// Written is the outcome of a write that was accepted.
type Written struct {
	Resource *fhir.Resource // as stored; nil after a delete
	Created  bool           // false: an existing resource was changed, or If-None-Exist found it
	Issues   []fhir.Issue   // warnings
}

// Create stores a new resource of type typ. ifNoneExist is the search of a
// conditional create, "" for none: where it finds one resource, that one is
// returned and nothing is written (412 where it finds several).
func (b *Base) Create(typ string, o *fhir.Object, ifNoneExist string, q Request) (*Written, *fhir.Error) {
	if err := b.check(typ, o); err != nil {
		return nil, err
	}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	if ifNoneExist != "" {
		query, err := b.scope().Query(typ, ifNoneExist)
		if err != nil {
			return nil, err
		}
		found, err := b.matching(typ, query)
		if err != nil {
			return nil, err
		}
		switch len(found) {
		case 0:
		case 1:
			return &Written{Resource: found[0]}, nil
		default:
			return nil, fhir.Refuse(http.StatusPreconditionFailed, "multiple-matches",
				"If-None-Exist: %d resources of type %s match %q; make the search select at most one", len(found), typ, ifNoneExist)
		}
	}
	return b.commitLocked(typ, "", o, q, func(o *fhir.Object) (*store.Change, *fhir.Error) {
		return b.store.Create(typ, "", o)
	})
}

// Update stores o as the next version of typ/id, or as its first one.
func (b *Base) Update(typ, id string, o *fhir.Object, q Request) (*Written, *fhir.Error) {
	if err := b.check(typ, o); err != nil {
		return nil, err
	}
	switch in := o.Text("id"); in {
	case id:
	case "":
		return nil, fhir.Refuse(http.StatusBadRequest, "invalid", "the body has no id; an update needs the id of its URL: %q", id).At(typ + ".id")
	default:
		return nil, fhir.Refuse(http.StatusBadRequest, "invalid", "the body has id %q, the URL %q; they must be the same", in, id).At(typ + ".id")
	}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	return b.updateLocked(typ, id, o, q)
}

func (b *Base) updateLocked(typ, id string, o *fhir.Object, q Request) (*Written, *fhir.Error) {
	return b.commitLocked(typ, id, o, q, func(o *fhir.Object) (*store.Change, *fhir.Error) {
		return b.store.Update(typ, id, o, q.IfMatch)
	})
}

// Patch applies a JSON Patch to the current version of typ/id.
func (b *Base) Patch(typ, id string, patch []byte, q Request) (*Written, *fhir.Error) {
	b.room.write.Lock()
	defer b.room.write.Unlock()
	current, err := b.store.Read(typ, id)
	if err != nil {
		return nil, err
	}
	o, err := store.Patch(current.Object, patch)
	if err != nil {
		return nil, err
	}
	if err := b.check(typ, o); err != nil {
		// The patch was well formed; what it makes of the resource is not (7.1).
		err.Status = http.StatusUnprocessableEntity
		return nil, err
	}
	return b.updateLocked(typ, id, o, q)
}

// Delete removes typ/id. Deleting what is not there is no error, unless strict.
func (b *Base) Delete(typ, id string, q Request) *fhir.Error {
	b.room.write.Lock()
	defer b.room.write.Unlock()
	return b.deleteLocked(typ, id, q)
}

func (b *Base) deleteLocked(typ, id string, q Request) *fhir.Error {
	change, err := b.store.Delete(typ, id, q.IfMatch)
	if err != nil {
		return err
	}
	if change == nil {
		if q.Strict {
			return fhir.Refuse(http.StatusNotFound, "not-found", "there is no %s/%s to delete", typ, id)
		}
		return nil
	}
	switch typ {
	case "Subscription":
		b.room.subscriptions.Remove(id)
		b.room.lives.Delete(id)
		delete(b.classic, id)
	default:
		b.dropTopicLocked(typ + "/" + id)
	}
	b.publishLocked(change)
	return nil
}

// check refuses a resource that is not of the type or form its place asks for.
func (b *Base) check(typ string, o *fhir.Object) *fhir.Error {
	if err := b.Stores(typ); err != nil {
		return err
	}
	if got := o.Text("resourceType"); got != typ {
		if got == "" {
			return fhir.Refuse(http.StatusBadRequest, "invalid", "the body has no resourceType; this address takes %q", typ).At("resourceType")
		}
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the body is a %s; this address takes a %s", got, typ).At("resourceType")
	}
	return fhir.RefuseAll(b.release.Validate(o))
}

// Stores refuses what is no type of resource the room holds.
func (b *Base) Stores(typ string) *fhir.Error {
	switch {
	case typ == "SubscriptionStatus": // SST-8
		return fhir.Refuse(http.StatusNotFound, "not-supported",
			"a SubscriptionStatus is never stored: it comes inside notifications; ask Subscription/[id]/$status for the current one")
	case strings.HasPrefix(typ, "$"):
		return fhir.Refuse(http.StatusNotFound, "not-supported", "there is no operation %s on the whole server; Subscription offers $get-ws-binding-token, $status, $events and $resend", typ)
	case !b.release.IsResourceType(typ):
		return fhir.Refuse(http.StatusNotFound, "not-supported", "%q is not a resource type of FHIR %s", typ, b.release)
	}
	return nil
}

// commitLocked runs the part of a write that create, update and patch share:
// the rules of the types the server itself acts on, the store, the events.
func (b *Base) commitLocked(typ, id string, o *fhir.Object, q Request, put func(*fhir.Object) (*store.Change, *fhir.Error)) (*Written, *fhir.Error) {
	var issues []fhir.Issue
	var accept func(*store.Change)
	var err *fhir.Error
	if topic, ok := b.release.TopicOf(o); ok {
		accept, issues, err = b.acceptTopicLocked(typ+"/"+id, topic, q)
	} else if typ == "Subscription" {
		o, accept, issues, err = b.acceptSubscriptionLocked(id, o, q)
	} else {
		accept = func(c *store.Change) { b.dropTopicLocked(c.Current.Reference()) } // one it may have defined before
	}
	if err != nil {
		return nil, err
	}
	change, err := put(o)
	if err != nil {
		return nil, err
	}
	accept(change)
	b.publishLocked(change)
	return &Written{Resource: change.Current, Created: change.Interaction == store.Create, Issues: issues}, nil
}

// publishLocked turns a change into events: every topic of its type decides
// whether it fires, the subscriptions on it whether it concerns them.
func (b *Base) publishLocked(change *store.Change) {
	state := change.State()
	record := func(kind, topic, text string) {
		b.room.journal.Record(journal.Entry{Kind: kind, Topic: topic, Resource: state.Reference(), Release: string(b.release), Interaction: string(change.Interaction), Text: text})
	}
	record(journal.Change, "", "")
	for _, t := range b.topics.ForType(state.Type) {
		verdict := t.Match(change)
		if !verdict.Fired {
			record(journal.NotFired, t.URL(), strings.Join(verdict.Steps, "; "))
			continue
		}
		record(journal.Fired, t.URL(), "")
		if !b.room.subscriptions.HasTopic(b.topicKey(t)) {
			continue
		}
		focus := &fhir.Entry{Type: state.Type, ID: state.ID, Method: change.Method, Resource: change.Current}
		b.appendLocked(t, b.occurrence(t, focus, state, change.At), state)
	}
	b.publishClassicLocked(change, state)
}

// appendLocked gives the subscriptions on a topic their events, and tells the
// journal whom it did not concern and why.
func (b *Base) appendLocked(t *topic.Topic, o *fhir.Occurrence, state *fhir.Resource) []Fired {
	fired := []Fired{}
	notSent := func(subscription, why string) {
		b.room.journal.Record(journal.Entry{Kind: journal.NotSent, Subscription: subscription, Topic: t.URL(), Resource: state.Reference(), Release: string(b.release), Text: why})
	}
	deliveries, others := b.room.subscriptions.Append(b.topicKey(t), o, state)
	heldBack := 0
	for _, d := range deliveries {
		if d.Number > 0 {
			fired = append(fired, Fired{d.Subscription, d.Number})
		} else if heldBack++; heldBack <= maxHeldBack {
			notSent(d.Subscription, d.Why)
		}
	}
	if others += max(0, heldBack-maxHeldBack); others > 0 {
		notSent("", fmt.Sprintf("nor did it concern %d more subscriptions on the topic; /mock/explain tells why, of each", others))
	}
	return fired
}

// maxHeldBack bounds the subscriptions the journal names of those an event did
// not concern.
const maxHeldBack = 20
