package room

import (
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpatch"
	"signalfhir/internal/invariant"
	"signalfhir/internal/journal"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Request is what a write needs to know of the request that asked for it.
type Request struct {
	Base   string // absolute FHIR base the client used, no trailing slash
	Strict bool   // Prefer: handling=strict or the server's option
}

// Operation is one write a client asks for.
type Operation struct {
	Method string // POST, PUT, PATCH or DELETE
	Type   string
	ID     string       // "" for a POST, and where Search selects the resource
	Object *fhir.Object // of a POST or PUT
	Patch  Patch        // of a PATCH

	// Search of a conditional interaction, as in If-None-Exist or behind the "?"
	// of a PUT, PATCH or DELETE. "" for none.
	Search string

	IfMatch     string // If-Match header
	IfNoneMatch string // If-None-Match header of a PUT

	// Of an entry of a transaction: what the others refer to it by, and its place,
	// "Bundle.entry[2]".
	FullURL, Place string
}

// Patch makes the next state of a resource of the one it has, which it must not
// modify.
type Patch func(current *fhir.Object) (*fhir.Object, *fhir.Error)

// JSONPatch is the [Patch] of an RFC 6902 document.
func JSONPatch(document []byte) Patch {
	return func(current *fhir.Object) (*fhir.Object, *fhir.Error) { return store.Patch(current, document) }
}

// FHIRPathPatch is the [Patch] of a Parameters resource.
func (b *Base) FHIRPathPatch(parameters *fhir.Object) Patch {
	return func(current *fhir.Object) (*fhir.Object, *fhir.Error) {
		if err := fhir.RefuseAll(b.release.Validate(parameters)); err != nil {
			return nil, err
		}
		return fhirpatch.Apply(b.release, current, parameters)
	}
}

// Written is the outcome of a write that was accepted.
type Written struct {
	Type, ID  string         // "" where a conditional delete found nothing
	Resource  *fhir.Resource // as stored; nil after a delete
	VersionID string         // "" where there was nothing to delete
	Created   bool           // false: an existing resource was changed, or found
	Found     bool           // If-None-Exist found it; nothing was written
	Issues    []fhir.Issue   // warnings
}

// Write does one write.
func (b *Base) Write(o Operation, q Request) (*Written, *fhir.Error) {
	written, err := b.Transaction([]Operation{o}, q)
	if err != nil {
		return nil, err
	}
	return written[0], nil
}

// Create stores a new resource of type typ. ifNoneExist is the search of a
// conditional create, "" for none: where it finds one resource, that one is
// returned and nothing is written (412 where it finds several).
func (b *Base) Create(typ string, o *fhir.Object, ifNoneExist string, q Request) (*Written, *fhir.Error) {
	return b.Write(Operation{Method: http.MethodPost, Type: typ, Object: o, Search: ifNoneExist}, q)
}

// Update stores o as the next version of typ/id, or as its first one.
func (b *Base) Update(typ, id string, o *fhir.Object, q Request) (*Written, *fhir.Error) {
	return b.Write(Operation{Method: http.MethodPut, Type: typ, ID: id, Object: o}, q)
}

// Check refuses a resource that is not of the type or form its place asks for.
func (b *Base) Check(typ string, o *fhir.Object) *fhir.Error {
	if err := b.Stores(typ); err != nil {
		return err
	}
	if got := o.Text("resourceType"); got != typ {
		if got == "" {
			return fhir.Refuse(http.StatusBadRequest, "invalid", "the body has no resourceType; this address takes %q", typ).At("resourceType")
		}
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the body is of type %s; this address takes %s", got, typ).At("resourceType")
	}
	if err := fhir.RefuseAll(b.release.Validate(o)); err != nil || b.room.options.SkipInvariants {
		return err
	}
	return fhir.RefuseAll(invariant.Check(b.release, o))
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

// publishLocked turns a change into events: every topic of its type decides
// whether it fires, the subscriptions on it whether it concerns them.
func (b *Base) publishLocked(change *store.Change) {
	state := change.State()
	record := func(kind, topic, text string) {
		b.room.journal.Record(journal.Entry{Kind: kind, Topic: topic, Resource: state.Reference(), Version: change.VersionID, Release: string(b.release), Interaction: string(change.Interaction), Text: text})
	}
	record(journal.Change, "", "")
	for _, t := range b.topics.ForType(state.Type) {
		verdict := t.Match(change)
		if !verdict.Fired {
			record(journal.NotFired, t.URL(), verdict.String())
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
