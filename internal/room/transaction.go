package room

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// step is one operation of a transaction on its way to the store.
type step struct {
	Operation
	write  store.Write
	accept func(*store.Change) // what to do once it is stored
	link   func() error        // resolves the links that a patch added; nil outside a transaction
	topics bool                // the step changed the topics
	issues []fhir.Issue        // warnings
	ahead  *ahead              // what is known of the step; see [Base.rehearse]
	found  *fhir.Resource      // found by a conditional create; nothing is written
	none   bool                // a conditional delete found nothing; nothing is written
}

func newStep(o Operation, known *ahead) *step {
	return &step{Operation: o, ahead: known, issues: slices.Clone(known.warnings), write: store.Write{Method: o.Method, Type: o.Type, ID: o.ID, Object: o.Object, IfMatch: o.IfMatch, IfNoneMatch: o.IfNoneMatch}}
}

// Transaction does all writes or none of them. It first checks all of them, against the
// stored resources and the topics after the transaction. Then it stores them, in the
// order DELETE, POST, PUT, PATCH; to readers that is one step. Then it publishes their
// changes in the same order. It returns the outcome of each write, in the order of
// operations. A refusal names the entry that caused it. If the process is at its ceiling
// of memory, Transaction refuses everything but deletions.
//
// What costs time is done before the write lock is taken; see [Base.rehearse].
func (b *Base) Transaction(operations []Operation, q Request) ([]*Written, error) {
	if !slices.ContainsFunc(operations, func(o Operation) bool { return o.Method != http.MethodDelete }) {
		if b.room.options.Memory.Over() {
			defer b.room.options.Memory.Freed()
		}
	} else if err := b.room.Admit(); err != nil {
		return nil, err
	}
	if q.Budget == nil {
		q.Budget = budget.New("write", budget.Request)
	}
	if q.Context == nil {
		q.Context = context.Background()
	}
	known := newAhead(operations, q.Budget)
	for _, k := range known {
		k.budget.Until(q.Context)
	}
	// The form of a resource does not depend on what is stored, so check it before
	// locking. In a transaction, check it after its links are resolved.
	if len(operations) == 1 && operations[0].Object != nil {
		o, k := operations[0], known[0]
		var err error
		if k.warnings, err = b.Check(o.Type, o.Object, k.budget); err != nil {
			return nil, newStep(o, k).at(err)
		}
	}
	conditions := b.newConditions()
	steps := newSteps(operations, known)
	conditions.prepare(steps)
	if !b.isCostly(operations) {
		return b.runOnce(steps, conditions, q, false)
	}
	for range maxPasses {
		b.rehearse(operations, known, conditions, q)
		written, err := b.runOnce(newSteps(operations, known), conditions, q, true)
		if !errors.Is(err, errStale) {
			return written, err
		}
	}
	// Other writes have changed what it depends on each time.
	return b.runOnce(newSteps(operations, known), conditions, q, false)
}

func newSteps(operations []Operation, known []*ahead) []*step {
	steps := make([]*step, len(operations))
	for i, o := range operations {
		steps[i] = newStep(o, known[i])
	}
	return steps
}

// statusClientLeft is for the journal and the log, since there is no client to read it.
const statusClientLeft = 499

// runOnce takes the write lock and does the writes. If rehearsed is true, it returns
// errStale and does nothing if that needs a result that the rehearsal does not have.
func (b *Base) runOnce(steps []*step, conditions *conditions, q Request, rehearsed bool) ([]*Written, error) {
	b.room.write.Lock()
	defer b.room.write.Unlock()
	if q.Context.Err() != nil {
		return nil, fhir.Refuse(statusClientLeft, fhir.CodeTransient, "the client left before the write was done, so nothing was written")
	}
	for _, s := range steps {
		s.ahead.only = rehearsed
		s.ahead.budget.Until(context.Background()) // the write has begun, so nothing stops it
	}
	return b.runLocked(steps, conditions, q)
}

// plan decides what steps write, and checks all of it. It returns the steps in the order
// in which they are processed. It changes nothing but the steps, so it can run without the
// write lock; then it may be outdated when it returns.
func (b *Base) plan(steps []*step, conditions *conditions, q Request) ([]*step, error) {
	for _, s := range steps {
		if err := b.selectTarget(s, conditions); err != nil {
			return nil, s.at(err)
		}
	}
	if err := rejectDuplicateTargets(steps); err != nil {
		return nil, err
	}
	if err := b.linkSteps(steps, conditions); err != nil {
		return nil, err
	}
	ordered := processingOrder(steps)
	return ordered, b.acceptSteps(ordered, q)
}

func (b *Base) runLocked(steps []*step, conditions *conditions, q Request) ([]*Written, error) {
	if len(steps) > 0 && !steps[0].ahead.only {
		q.Budget.Cap(budget.Request) // a bundle that starts with more holds the lock no longer than a write
	}
	ordered, err := b.plan(steps, conditions, q)
	if err != nil {
		return nil, err
	}
	for _, s := range ordered {
		needed, foreseen := b.foresees(s)
		if s.ahead.only && needed && !foreseen {
			return nil, errStale
		}
		s.ahead.foreseen = foreseen
	}
	q.Budget.Cap(budget.Request) // for the topics that the steps themselves write
	changes, err := b.commitLocked(ordered, q)
	if err != nil {
		return nil, err
	}
	topics := false
	for _, s := range ordered {
		if c := changes[s]; c != nil && s.accept != nil {
			s.accept(c)
			topics = topics || s.topics
		}
	}
	// Resolve subscriptions only once, at the end: a topic may be deleted by one step and
	// replaced by another.
	if topics {
		b.resolveAllLocked()
	}
	for _, s := range ordered {
		if c := changes[s]; c != nil {
			b.recordWarningsLocked(s, c)
			late, why := b.publishLocked(c, s.evaluation(c))
			s.warnLate(late, why)
		}
	}
	written := make([]*Written, len(steps))
	for i, s := range steps {
		written[i] = s.written(b.store, changes[s])
	}
	return written, nil
}

// recordWarningsLocked records the warnings of a write in the journal, because most
// clients do not ask for them.
func (b *Base) recordWarningsLocked(s *step, c *store.Change) {
	for _, issue := range s.issues {
		b.room.journal.Record(journal.Entry{Kind: journal.Lenient, Resource: c.State().Reference(), Release: string(b.release), Text: strings.Join(append(issue.Expression, issue.Diagnostics), ": ")})
	}
}

// writeLocked does one write whose resource was checked.
func (b *Base) writeLocked(o Operation, q Request) error {
	if q.Budget == nil {
		q.Budget = budget.New("write", budget.Request)
	}
	operations := []Operation{o}
	_, err := b.runLocked(newSteps(operations, newAhead(operations, q.Budget)), b.newConditions(), q)
	return err
}

// at adds the entry of the step to a refusal.
func (s *step) at(err error) error {
	refused := fhir.AsError(err)
	if s.Place == "" || refused == nil {
		return err
	}
	for i := range refused.Issues {
		issue := &refused.Issues[i]
		issue.Diagnostics = fmt.Sprintf("%s (%s %s): %s", s.Place, s.Method, s.Type, issue.Diagnostics)
		places := []string{}
		for _, place := range issue.Expression {
			for _, typ := range []string{s.Type, "Parameters"} { // Parameters: a FHIRPath Patch
				if rest, inside := strings.CutPrefix(place, typ+"."); inside || place == "resourceType" {
					place = s.Place + ".resource." + rest
				}
			}
			places = append(places, place)
		}
		if issue.Expression = places; len(places) == 0 {
			issue.Expression = []string{s.Place}
		}
	}
	return err
}

// written returns the outcome of a step.
func (s *step) written(from *store.Store, c *store.Change) *Written {
	w := &Written{Type: s.write.Type, ID: s.write.ID, Issues: s.issues}
	switch {
	case s.found != nil:
		w.Resource, w.Found = s.found, true
	case c == nil:
		return w
	case c.Current == nil:
		if versions, err := from.History(w.Type, w.ID); err == nil {
			w.VersionID = versions[0].VersionID
		}
		return w
	default:
		w.Resource, w.Created = c.Current, c.Interaction == store.Create
	}
	w.ID, w.VersionID = w.Resource.ID, w.Resource.VersionID
	return w
}

// selectTarget decides which resource a step writes, and whether there is anything to
// write.
func (b *Base) selectTarget(s *step, conditions *conditions) error {
	if err := b.Stores(s.Type); err != nil {
		return err
	}
	if s.Search != "" {
		if err := b.applySearch(s, conditions.of(s.Type, s.Search)); err != nil || s.found != nil || s.none {
			return err
		}
	}
	switch s.Method {
	case http.MethodPost:
		if s.write.ID == "" && (s.Place != "" || s.ahead.rehearsed) {
			s.write.ID = b.newID(s) // other entries, or the criteria of topics, may refer to it
		}
	case http.MethodPut:
		return s.identify()
	}
	return nil
}

// applySearch applies the result of the search of a conditional interaction.
func (b *Base) applySearch(s *step, c *condition) error {
	c.update()
	if c.query != nil && c.query.Empty() {
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeRequired, "the conditional %s has no condition; name at least one search parameter", s.Method)
	}
	if c.err != nil {
		return c.err
	}
	if len(c.matching) > 1 {
		what := "the search"
		if s.Method == http.MethodPost {
			what = "If-None-Exist"
		}
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeMultipleMatches,
			"%s: %d resources of type %s match %q; make the search select at most one", what, len(c.matching), s.Type, s.Search)
	}
	found := c.matching[c.one()]
	switch {
	case found == nil && s.IfMatch != "" && s.Method != http.MethodPatch: // a patch is refused with 404 below
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeConflict, "If-Match %s: no %s matches %q", s.IfMatch, s.Type, s.Search)
	case found != nil && s.Method == http.MethodPost:
		s.found = found
	case found != nil:
		s.write.ID = found.ID
	case s.Method == http.MethodPatch:
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "no %s matches %q; a patch needs an existing resource", s.Type, s.Search)
	case s.Method == http.MethodDelete:
		s.none = true
	case s.Method == http.MethodPut && s.Object.Text("id") == "":
		s.write.Method, s.write.ID = http.MethodPost, b.newID(s)
		s.Object = s.Object.Clone()
		s.Object.Set("id", s.write.ID)
	case s.Method == http.MethodPut:
		// R4 and later: if nothing matches and the body has an id, create it with that id.
		s.write.ID = s.Object.Text("id")
		if _, err := b.store.Read(s.Type, s.write.ID); err == nil {
			return fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "%s/%s exists, but does not match %q; update it by its id", s.Type, s.write.ID, s.Search)
		}
	}
	return nil
}

// identify checks that the body of a PUT names the resource it is for.
func (s *step) identify() error {
	switch in := s.Object.Text("id"); {
	case in == s.write.ID:
	case in == "" && s.Search != "":
		s.Object = s.Object.Clone()
		s.Object.Set("id", s.write.ID)
	case in == "":
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body has no id; an update needs the id of its URL: %q", s.ID).At(s.Type + ".id")
	case s.Search != "":
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body has id %q, but %q selects %q; they must be the same", in, s.Search, s.write.ID).At(s.Type + ".id")
	default:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the body has id %q, the URL %q; they must be the same", in, s.ID).At(s.Type + ".id")
	}
	return nil
}

// rejectDuplicateTargets refuses two steps that write the same resource, and a
// conditional create that found a resource which another step deletes.
func rejectDuplicateTargets(steps []*step) error {
	if len(steps) == 1 {
		return nil
	}
	seen := map[string]*step{}
	for _, s := range steps {
		if s.found != nil || s.none || s.write.ID == "" {
			continue
		}
		reference := s.write.Type + "/" + s.write.ID
		if first := seen[reference]; first != nil {
			return s.at(fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "%s is written by %s too; a transaction may write a resource only once", reference, first.Place))
		}
		seen[reference] = s
	}
	for _, s := range steps {
		if s.found == nil {
			continue
		}
		if other := seen[s.found.Reference()]; other != nil && other.Method == http.MethodDelete {
			return s.at(fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "%q matches %s, which %s deletes; create it without a condition, or do not delete it", s.Search, s.found.Reference(), other.Place))
		}
	}
	return nil
}

// processingOrder returns the steps in the order in which a transaction processes them.
func processingOrder(steps []*step) []*step {
	if len(steps) == 1 {
		return steps
	}
	order := []string{http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch}
	ordered := slices.Clone(steps)
	slices.SortStableFunc(ordered, func(a, b *step) int {
		return slices.Index(order, a.Method) - slices.Index(order, b.Method)
	})
	return ordered
}

// acceptSteps checks every resource that will be stored. Subscriptions and topics are
// also checked against their rules; subscriptions see the topics after the transaction.
func (b *Base) acceptSteps(steps []*step, q Request) error {
	topicsAfter := b.topics
	if len(steps) > 1 {
		topicsAfter = b.topics.Clone()
		for _, s := range steps { // a step that writes a topic puts it back
			if s.found == nil {
				topicsAfter.Remove(s.write.Type + "/" + s.write.ID)
			}
		}
	}
	subscriptions := b.room.subscriptions.Len()
	for _, topics := range []bool{true, false} {
		for _, s := range steps {
			if s.found != nil || s.none || (topics != (s.Type == "SubscriptionTopic" || s.Type == "Basic")) {
				continue
			}
			if err := b.acceptStep(s, q, topicsAfter); err != nil {
				return s.at(err)
			}
			if s.Type != "Subscription" {
				continue
			}
			switch state, exists := b.room.subscriptions.State(s.write.ID); {
			case s.Method == http.MethodDelete && exists && state.Release == b.release:
				subscriptions--
			case s.Method != http.MethodDelete && !exists:
				subscriptions++
			}
			if limit := b.room.options.MaxSubscriptions; s.Method != http.MethodDelete && subscriptions > limit {
				return s.at(fhir.Refuse(http.StatusTooManyRequests, fhir.CodeTooCostly, "the server would hold more than %d subscriptions, the limit; delete some first", limit))
			}
		}
	}
	return nil
}

// acceptStep checks one step. topicsAfter are the topics after the transaction:
// the catalogue of the base, or a copy if there are several steps.
func (b *Base) acceptStep(s *step, q Request, topicsAfter *topic.Catalogue) error {
	several := topicsAfter != b.topics
	reference := s.write.Type + "/" + s.write.ID
	if s.Method == http.MethodDelete {
		s.accept = func(*store.Change) { s.topics = b.forgetLocked(s.write.Type, s.write.ID) }
		return nil
	}
	if s.Method == http.MethodPatch {
		if err := b.acceptPatch(s); err != nil {
			return err
		}
	} else if several {
		if err := b.check(s); err != nil {
			return err
		}
	}
	s.write.Object = s.Object
	var err error
	var issues []fhir.Issue
	if read, ok := b.release.TopicOf(s.Object); ok {
		var compiled *topic.Topic
		compiled, issues, err = b.acceptTopic(topicsAfter, reference, read, q)
		if err == nil && several {
			topicsAfter.Put(reference, compiled)
		}
		s.accept = func(c *store.Change) { b.topics.Put(c.Current.Reference(), compiled); s.topics = true }
	} else if s.Type == "Subscription" {
		s.write.Object, s.accept, issues, err = b.acceptSubscription(topicsAfter, s.write.ID, s.Object, q)
	} else {
		s.accept = func(c *store.Change) { s.topics = b.dropTopicLocked(c.Current.Reference()) } // it may have defined a topic before
	}
	s.issues = append(s.issues, issues...)
	return err
}

// acceptPatch computes the next state of the resource that a PATCH changes.
func (b *Base) acceptPatch(s *step) error {
	current, err := b.store.Read(s.write.Type, s.write.ID)
	if err != nil {
		return err
	}
	// Check If-Match first: a patch made for another version may fail for other reasons.
	if err := b.store.Allows(s.write); err != nil {
		return err
	}
	if s.Object, err = s.patched(current); err != nil {
		return err
	}
	if s.link != nil {
		if err := s.link(); err != nil {
			return err
		}
	}
	if err := b.check(s); err != nil {
		// The patch is well formed, but its result is not (7.1).
		return fhir.WithStatus(err, http.StatusUnprocessableEntity)
	}
	s.write.Method = http.MethodPut
	return nil
}

// commitLocked stores the writes and returns the change of each step.
func (b *Base) commitLocked(steps []*step, q Request) (map[*step]*store.Change, error) {
	var writes []store.Write
	var of []*step
	for _, s := range steps {
		if s.found == nil && !s.none {
			writes, of = append(writes, s.write), append(of, s)
		}
	}
	for i, w := range writes {
		if q.Strict && w.Method == http.MethodDelete {
			if _, err := b.store.Read(w.Type, w.ID); err != nil {
				return nil, of[i].at(fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no %s/%s to delete", w.Type, w.ID))
			}
		}
	}
	done, at, err := b.store.Commit(writes...)
	if err != nil {
		return nil, of[at].at(err)
	}
	changes := make(map[*step]*store.Change, len(of))
	for i, s := range of {
		changes[s] = done[i]
	}
	return changes, nil
}

// forgetLocked removes the subscription or topic that a deleted resource defined, and
// reports whether it was a topic.
func (b *Base) forgetLocked(typ, id string) (topic bool) {
	if typ != "Subscription" {
		return b.dropTopicLocked(typ + "/" + id)
	}
	b.room.subscriptions.Remove(id)
	b.room.generations.Delete(id)
	b.classic.remove(id)
	return false
}
