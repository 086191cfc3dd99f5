package room

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpatch"
	"signalfhir/internal/invariant"
	"signalfhir/internal/journal"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Request is what a write needs to know about the client's request.
type Request struct {
	Base   string // absolute FHIR base that the client used, without a trailing slash
	Strict bool   // Prefer: handling=strict or the server's option
	Seeded bool   // it is of the seed, so settings of the room do not concern it

	Budget  *budget.Budget  // for the expressions of the write; nil: a new one
	Context context.Context // a write that has not begun when it ends is refused; nil: none
}

// Operation is one write that a client asks for.
type Operation struct {
	Method string // POST, PUT, PATCH or DELETE
	Type   string
	ID     string       // "" for a POST, or if Search selects the resource
	Object *fhir.Object // of a POST or PUT
	Patch  Patch        // of a PATCH

	// Search of a conditional interaction: the value of If-None-Exist, or the query of
	// a PUT, PATCH or DELETE. "" if the interaction is not conditional.
	Search string

	IfMatch     string // If-Match header
	IfNoneMatch string // If-None-Match header of a PUT

	// FullURL and Place of an entry of a transaction. Other entries refer to it by the
	// FullURL. The Place is "Bundle.entry[2]"; it is "" outside a transaction.
	FullURL, Place string
}

// Patch computes the next state of a resource. It must not modify current. It runs
// before the write lock is taken, and again if the resource has changed since.
type Patch func(current *fhir.Object, b *budget.Budget) (*fhir.Object, error)

// JSONPatch returns the [Patch] of an RFC 6902 document.
func JSONPatch(document []byte) Patch {
	return func(current *fhir.Object, _ *budget.Budget) (*fhir.Object, error) {
		return store.Patch(current, document)
	}
}

// FHIRPathPatch returns the [Patch] of a Parameters resource.
func (b *Base) FHIRPathPatch(parameters *fhir.Object) Patch {
	return func(current *fhir.Object, within *budget.Budget) (*fhir.Object, error) {
		if err := fhir.RefuseAll(b.release.Validate(parameters)); err != nil {
			return nil, err
		}
		return fhirpatch.Apply(b.release, current, parameters, within)
	}
}

// Written is the outcome of an accepted write.
type Written struct {
	Type, ID  string         // ID is "" if a conditional delete found nothing
	Resource  *fhir.Resource // as stored; nil after a delete
	VersionID string         // "" if there was nothing to delete
	Created   bool           // the resource did not exist before
	Found     bool           // If-None-Exist found it; nothing was written
	Issues    []fhir.Issue   // warnings; too-costly: what the budget had no time for
}

// Write does one write.
func (b *Base) Write(o Operation, q Request) (*Written, error) {
	written, err := b.Transaction([]Operation{o}, q)
	if err != nil {
		return nil, err
	}
	return written[0], nil
}

// Create stores a new resource of type typ. If ifNoneExist is not "", it is the search
// of a conditional create: if it finds one resource, Create returns that resource and
// writes nothing; if it finds several, Create refuses with 412.
func (b *Base) Create(typ string, o *fhir.Object, ifNoneExist string, q Request) (*Written, error) {
	return b.Write(Operation{Method: http.MethodPost, Type: typ, Object: o, Search: ifNoneExist}, q)
}

// Update stores o as the next version of typ/id, or as its first version.
func (b *Base) Update(typ, id string, o *fhir.Object, q Request) (*Written, error) {
	return b.Write(Operation{Method: http.MethodPut, Type: typ, ID: id, Object: o}, q)
}

// Check refuses a resource that is not of type typ or whose form is invalid. It returns a
// warning if the budget has no time for its invariants.
func (b *Base) Check(typ string, o *fhir.Object, within *budget.Budget) ([]fhir.Issue, error) {
	if err := b.Stores(typ); err != nil {
		return nil, err
	}
	if got := o.Text("resourceType"); got != typ {
		if got == "" {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body has no resourceType, expected %q", typ).At("resourceType")
		}
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body is of type %s, expected %s", got, typ).At("resourceType")
	}
	if err := fhir.RefuseAll(b.release.Validate(o)); err != nil || b.room.options.SkipInvariants {
		return nil, err
	}
	issues := invariant.Check(b.release, o, within)
	return issues, fhir.RefuseAll(issues)
}

// Stores refuses a type that is not a resource type of the release, or that is never
// stored.
func (b *Base) Stores(typ string) error {
	switch {
	case typ == "SubscriptionStatus": // SST-8
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotSupported,
			"a SubscriptionStatus is never stored, it is only part of notifications; get the current one with Subscription/[id]/$status")
	case strings.HasPrefix(typ, "$"):
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotSupported, "there is no operation %s on the whole server; Subscription offers $get-ws-binding-token, $status, $events and $resend", typ)
	case !b.release.IsResourceType(typ):
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotSupported, "%q is not a resource type of FHIR %s", typ, b.release)
	}
	return nil
}

// publishLocked turns a change into events: for each topic that the change fires, it
// appends an event to the subscriptions whose filters the resource passes. It returns the
// topics that do not fire because the budget has no time for their criteria, with the
// reason.
func (b *Base) publishLocked(change *store.Change, e *topic.Evaluation) (late []string, why error) {
	state := change.State()
	record := func(kind, typ, topic, text string) {
		b.room.journal.Record(journal.Entry{Kind: kind, Type: typ, Topic: topic, Resource: state.Reference(), Version: change.VersionID, Release: string(b.release), Interaction: string(change.Interaction), Text: text})
	}
	record(journal.Change, "", "", "")
	for _, t := range b.topics.ForType(state.Type) {
		verdict := t.Match(change, e)
		switch {
		case verdict.Fired:
			record(journal.Fired, "", t.URL(), "")
		case verdict.Late != nil:
			record(journal.NotFired, journal.Budget, t.URL(), verdict.String())
			late, why = append(late, t.URL()), verdict.Late
			continue
		default:
			record(journal.NotFired, "", t.URL(), verdict.String())
			continue
		}
		if !b.room.subscriptions.HasTopic(b.topicKey(t)) {
			continue
		}
		focus := &fhir.Entry{Type: state.Type, ID: state.ID, Method: change.Method, Resource: change.Current}
		b.appendLocked(t, b.occurrence(t, focus, state, change.At), state)
	}
	b.publishClassicLocked(change, state)
	return late, why
}

// appendLocked appends an event to the subscriptions on a topic. It records in the
// journal which subscriptions do not get it, and why.
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
		notSent("", fmt.Sprintf("%d more subscriptions on the topic do not get it; /mock/explain says why for each", others))
	}
	return fired
}

// maxHeldBack is how many subscriptions that do not get an event the journal names.
const maxHeldBack = 20
