package room

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

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
	link   func() *fhir.Error  // links what a patch made of the resource; nil outside of a transaction
	topics bool                // the topics there are became others by it
	issues []fhir.Issue        // warnings
	found  *fhir.Resource      // of a conditional create that found one: nothing is written
	none   bool                // of a conditional delete that found none: likewise
}

func newStep(o Operation) *step {
	return &step{Operation: o, write: store.Write{Method: o.Method, Type: o.Type, ID: o.ID, Object: o.Object, IfMatch: o.IfMatch, IfNoneMatch: o.IfNoneMatch}}
}

// Transaction does several writes or none of them. All are checked first, against
// what is stored and the topics among them; then they are stored in one step to
// every reader, in the order DELETE, POST, PUT and PATCH, and only then do their
// changes make events, in that order. It answers what became of each, in the order
// they were given. A refusal names the entry it is about.
func (b *Base) Transaction(operations []Operation, q Request) ([]*Written, *fhir.Error) {
	steps := make([]*step, len(operations))
	for i, o := range operations {
		steps[i] = newStep(o)
	}
	// The form of a resource does not depend on what is stored. One that is to
	// have references replaced is checked once it has.
	if len(steps) == 1 && steps[0].Object != nil {
		if err := b.Check(steps[0].Type, steps[0].Object); err != nil {
			return nil, steps[0].at(err)
		}
	}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	return b.runLocked(steps, q)
}

func (b *Base) runLocked(steps []*step, q Request) ([]*Written, *fhir.Error) {
	for _, s := range steps {
		if err := b.selectLocked(s); err != nil {
			return nil, s.at(err)
		}
	}
	if err := unlikeEachOther(steps); err != nil {
		return nil, err
	}
	if err := b.linkLocked(steps); err != nil {
		return nil, err
	}
	ordered := inOrder(steps)
	if err := b.acceptLocked(ordered, q); err != nil {
		return nil, err
	}
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
	// Once all is in force: between a topic's deletion and the step that puts another
	// in its place no subscription is without.
	if topics {
		b.retopicLocked()
	}
	for _, s := range ordered {
		if c := changes[s]; c != nil {
			b.warnedLocked(s, c)
			b.publishLocked(c)
		}
	}
	written := make([]*Written, len(steps))
	for i, s := range steps {
		written[i] = s.written(b.store, changes[s])
	}
	return written, nil
}

// warnedLocked tells the journal what a write was warned of: most clients do not ask
// for it.
func (b *Base) warnedLocked(s *step, c *store.Change) {
	for _, issue := range s.issues {
		b.room.journal.Record(journal.Entry{Kind: journal.Lenient, Resource: c.State().Reference(), Release: string(b.release), Text: strings.Join(append(issue.Expression, issue.Diagnostics), ": ")})
	}
}

// writeLocked does one write whose form was checked.
func (b *Base) writeLocked(o Operation, q Request) *fhir.Error {
	_, err := b.runLocked([]*step{newStep(o)}, q)
	return err
}

// at names the entry a refusal is about.
func (s *step) at(err *fhir.Error) *fhir.Error {
	if s.Place == "" {
		return err
	}
	for i := range err.Issues {
		issue := &err.Issues[i]
		issue.Diagnostics = fmt.Sprintf("%s (%s %s): %s", s.Place, s.Method, s.Type, issue.Diagnostics)
		places := []string{}
		for _, place := range issue.Expression {
			for _, typ := range []string{s.Type, "Parameters"} { // the latter of a patch
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

// written is what became of a step.
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

// selectLocked finds out which resource a step is about, and whether there is
// anything to write.
func (b *Base) selectLocked(s *step) *fhir.Error {
	if err := b.Stores(s.Type); err != nil {
		return err
	}
	if s.Search != "" {
		if err := b.searchLocked(s); err != nil || s.found != nil || s.none {
			return err
		}
	}
	switch s.Method {
	case http.MethodPost:
		if s.write.ID == "" && s.Place != "" {
			s.write.ID = b.store.NewID(s.Type) // others may refer to it
		}
	case http.MethodPut:
		return s.identify()
	}
	return nil
}

// searchLocked applies the search of a conditional interaction.
func (b *Base) searchLocked(s *step) *fhir.Error {
	query, err := b.scope().Query(s.Type, s.Search)
	if err != nil {
		return err
	}
	if query.Empty() {
		return fhir.Refuse(http.StatusPreconditionFailed, "required", "the conditional %s has no condition; name at least one search parameter", s.Method)
	}
	found, err := b.matching(s.Type, query)
	if err != nil {
		return err
	}
	if len(found) > 1 {
		what := "the search"
		if s.Method == http.MethodPost {
			what = "If-None-Exist"
		}
		return fhir.Refuse(http.StatusPreconditionFailed, "multiple-matches",
			"%s: %d resources of type %s match %q; make the search select at most one", what, len(found), s.Type, s.Search)
	}
	switch {
	case len(found) == 0 && s.IfMatch != "" && s.Method != http.MethodPatch: // of which it is 404 anyway
		return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-Match %s: no %s matches %q", s.IfMatch, s.Type, s.Search)
	case len(found) == 1 && s.Method == http.MethodPost:
		s.found = found[0]
	case len(found) == 1:
		s.write.ID = found[0].ID
	case s.Method == http.MethodPatch:
		return fhir.Refuse(http.StatusNotFound, "not-found", "no %s matches %q; a patch needs one to start from", s.Type, s.Search)
	case s.Method == http.MethodDelete:
		s.none = true
	case s.Method == http.MethodPut && s.Object.Text("id") == "":
		s.write.Method, s.write.ID = http.MethodPost, b.store.NewID(s.Type)
		s.Object = s.Object.Clone()
		s.Object.Set("id", s.write.ID)
	case s.Method == http.MethodPut:
		// R4 and later: a client that names the id of what it did not find creates it.
		s.write.ID = s.Object.Text("id")
		if _, err := b.store.Read(s.Type, s.write.ID); err == nil {
			return fhir.Refuse(http.StatusConflict, "conflict", "%s/%s exists, but does not match %q; update it by its id", s.Type, s.write.ID, s.Search)
		}
	}
	return nil
}

// identify checks that the body of a PUT names the resource it is for.
func (s *step) identify() *fhir.Error {
	switch in := s.Object.Text("id"); {
	case in == s.write.ID:
	case in == "" && s.Search != "":
		s.Object = s.Object.Clone()
		s.Object.Set("id", s.write.ID)
	case in == "":
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the body has no id; an update needs the id of its URL: %q", s.ID).At(s.Type + ".id")
	case s.Search != "":
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the body has id %q, but %q selects %q; they must be the same", in, s.Search, s.write.ID).At(s.Type + ".id")
	default:
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the body has id %q, the URL %q; they must be the same", in, s.ID).At(s.Type + ".id")
	}
	return nil
}

// unlikeEachOther refuses two steps about one resource, of which one may be a
// conditional create that found what the other deletes.
func unlikeEachOther(steps []*step) *fhir.Error {
	seen := map[string]*step{}
	for _, s := range steps {
		if s.found != nil || s.none || s.write.ID == "" {
			continue
		}
		reference := s.write.Type + "/" + s.write.ID
		if first := seen[reference]; first != nil {
			return s.at(fhir.Refuse(http.StatusBadRequest, "invalid", "it is about %s, as %s is; a transaction may change a resource once", reference, first.Place))
		}
		seen[reference] = s
	}
	for _, s := range steps {
		if s.found == nil {
			continue
		}
		if other := seen[s.found.Reference()]; other != nil && other.Method == http.MethodDelete {
			return s.at(fhir.Refuse(http.StatusBadRequest, "invalid", "%q matches %s, which %s deletes; create it without a condition, or do not delete it", s.Search, s.found.Reference(), other.Place))
		}
	}
	return nil
}

// inOrder is the order a transaction is processed in.
func inOrder(steps []*step) []*step {
	order := []string{http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch}
	ordered := slices.Clone(steps)
	slices.SortStableFunc(ordered, func(a, b *step) int {
		return slices.Index(order, a.Method) - slices.Index(order, b.Method)
	})
	return ordered
}

// acceptLocked checks every resource that is to be stored: its form, and of the
// types the server acts on their rules. Subscriptions see the topics as they will
// be.
func (b *Base) acceptLocked(steps []*step, q Request) *fhir.Error {
	topicsThen := b.topics
	if len(steps) > 1 {
		topicsThen = b.topics.Clone()
		for _, s := range steps { // what is to be one is put back
			if s.found == nil {
				topicsThen.Remove(s.write.Type + "/" + s.write.ID)
			}
		}
	}
	subscriptions := b.room.subscriptions.Len()
	for _, topics := range []bool{true, false} {
		for _, s := range steps {
			if s.found != nil || s.none || (topics != (s.Type == "SubscriptionTopic" || s.Type == "Basic")) {
				continue
			}
			if err := b.acceptOneLocked(s, q, topicsThen); err != nil {
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
			if most := b.room.options.MaxSubscriptions; s.Method != http.MethodDelete && subscriptions > most {
				return s.at(fhir.Refuse(http.StatusTooManyRequests, "too-costly", "the server would hold more than %d subscriptions, its limit; delete some first", most))
			}
		}
	}
	return nil
}

// acceptOneLocked checks one step against the topics there will be: those there are,
// or a copy that foresees what the other steps do to them.
func (b *Base) acceptOneLocked(s *step, q Request, topicsThen *topic.Catalogue) *fhir.Error {
	several := topicsThen != b.topics
	reference := s.write.Type + "/" + s.write.ID
	if s.Method == http.MethodDelete {
		s.accept = func(*store.Change) { s.topics = b.forgetLocked(s.write.Type, s.write.ID) }
		return nil
	}
	if s.Method == http.MethodPatch {
		if err := b.patchLocked(s); err != nil {
			return err
		}
	} else if several {
		if err := b.Check(s.Type, s.Object); err != nil {
			return err
		}
	}
	s.write.Object = s.Object
	var err *fhir.Error
	var issues []fhir.Issue
	if read, ok := b.release.TopicOf(s.Object); ok {
		var compiled *topic.Topic
		compiled, issues, err = b.acceptTopicLocked(topicsThen, reference, read, q)
		if err == nil && several {
			topicsThen.Put(reference, compiled)
		}
		s.accept = func(c *store.Change) { b.topics.Put(c.Current.Reference(), compiled); s.topics = true }
	} else if s.Type == "Subscription" {
		s.write.Object, s.accept, issues, err = b.acceptSubscriptionLocked(topicsThen, s.write.ID, s.Object, q)
	} else {
		s.accept = func(c *store.Change) { s.topics = b.dropTopicLocked(c.Current.Reference()) } // one it may have defined before
	}
	s.issues = append(s.issues, issues...)
	return err
}

// patchLocked makes the next state of the resource a PATCH is about.
func (b *Base) patchLocked(s *step) *fhir.Error {
	current, err := b.store.Read(s.write.Type, s.write.ID)
	if err != nil {
		return err
	}
	// A patch of another version may well fail; why it does is If-Match.
	if err := b.store.Allows(s.write); err != nil {
		return err
	}
	if s.Object, err = s.Patch(current.Object); err != nil {
		return err
	}
	if s.link != nil {
		if err := s.link(); err != nil {
			return err
		}
	}
	if err := b.Check(s.Type, s.Object); err != nil {
		// The patch was well formed; what it makes of the resource is not (7.1).
		err.Status = http.StatusUnprocessableEntity
		return err
	}
	s.write.Method = http.MethodPut
	return nil
}

// commitLocked stores what is to be stored, and answers the change of each step.
func (b *Base) commitLocked(steps []*step, q Request) (map[*step]*store.Change, *fhir.Error) {
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
				return nil, of[i].at(fhir.Refuse(http.StatusNotFound, "not-found", "there is no %s/%s to delete", w.Type, w.ID))
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

// forgetLocked ends what the server did for a resource that was deleted, and tells
// whether that was a topic.
func (b *Base) forgetLocked(typ, id string) (topic bool) {
	if typ != "Subscription" {
		return b.dropTopicLocked(typ + "/" + id)
	}
	b.room.subscriptions.Remove(id)
	b.room.lives.Delete(id)
	b.classic.remove(id)
	return false
}
