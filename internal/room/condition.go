package room

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// A conditional interaction and a conditional reference need a search. Under the write
// lock, the search would stop all writes, so it runs before the lock is taken. Under
// the lock, only the resources that changed meanwhile are evaluated again.

// conditions are the searches of one transaction. They belong to one goroutine.
type conditions struct {
	base *Base
	all  map[[2]string]*condition // by type and text
}

func (b *Base) newConditions() *conditions {
	return &conditions{base: b, all: map[[2]string]*condition{}}
}

// of returns the search of a type for a text. It is not evaluated yet.
func (all *conditions) of(typ, text string) *condition {
	key := [2]string{typ, text}
	if all.all[key] == nil {
		all.all[key] = &condition{base: all.base, typ: typ, text: text}
	}
	return all.all[key]
}

// maxPasses is how often prepare brings the searches of a transaction up to date. A
// pass after the first one costs little, unless a search has to start again.
const maxPasses = 3

// prepare evaluates the searches of steps, before the write lock is taken. It returns
// no errors: a search keeps its error until its step needs it, so that the first step
// that is wrong decides how the transaction is refused.
func (all *conditions) prepare(steps []*step) {
	for _, s := range steps {
		if all.base.Stores(s.Type) != nil {
			return // the step is refused, so the searches of those after it are not needed
		}
		if s.Search == "" {
			continue
		}
		c := all.of(s.Type, s.Search)
		if c.update(); c.err != nil {
			return
		}
	}
	for _, s := range steps {
		if s.Place != "" {
			all.addReferences(s)
		}
	}
	for range maxPasses {
		again := false
		for _, c := range all.all {
			again = c.update() || again
		}
		if !again {
			return
		}
	}
}

// addReferences adds the searches of the conditional references that a step may write.
func (all *conditions) addReferences(s *step) {
	if s.Object != nil {
		all.addReferencesIn(s.Object, nil)
	}
	if s.Method != http.MethodPatch {
		return
	}
	// Only the patch knows which references it adds, so try it. What it makes of the
	// resource under the lock is what counts.
	id := s.write.ID
	if s.Search != "" {
		id = all.of(s.Type, s.Search).one()
	}
	current, err := all.base.store.Read(s.Type, id)
	if err != nil {
		return
	}
	if patched, err := s.patched(current); err == nil {
		before := map[string]bool{}
		addStrings(before, current.Object)
		all.addReferencesIn(patched, before)
	}
}

// addReferencesIn adds the searches of the conditional references in v, except those in
// before.
func (all *conditions) addReferencesIn(v any, before map[string]bool) {
	switch v := v.(type) {
	case *fhir.Object:
		for _, name := range v.Names() {
			member := v.Get(name)
			text, _ := member.(string)
			if name != "reference" || text == "" || before[text] {
				all.addReferencesIn(member, before)
			} else if typ, query, ok := all.base.conditional(text); ok {
				all.of(typ, query)
			}
		}
	case []any:
		for _, item := range v {
			all.addReferencesIn(item, before)
		}
	}
}

// conditional splits a conditional reference, "Patient?identifier=x".
func (b *Base) conditional(reference string) (typ, query string, ok bool) {
	typ, query, ok = strings.Cut(reference, "?")
	return typ, query, ok && b.release.IsResourceType(typ)
}

// condition is a search whose result is brought up to date as the store changes.
//
// Whether a resource matches depends on the resource alone, unless the query is chained,
// reversed (_has) or about a stored Group, List, ValueSet or CodeSystem. A condition
// notes which other resources the query looked at:
//
//   - If one changed that a verdict looked up, that verdict is made again.
//   - If a type changed that the query listed, or a resource that parsing it looked up,
//     the search starts again. If that happens before the lock, it does not delay
//     writes. Only a search whose types change all the time starts again under the lock.
type condition struct {
	base      *Base
	typ, text string

	query  *search.Query
	err    error    // of the first evaluation that failed; it stays
	source *watched // of the query; nil: not evaluated yet

	commits  uint64          // state of the store up to which changes are noted
	stale    map[string]bool // ids of the resources whose verdicts the changes affect
	outdated bool            // the changes affect the whole result

	matching map[string]*fhir.Resource // by id
	needs    map[string]bool           // references of resources that parsing looked up
	readers  map[string][]string       // ids of the resources whose verdict looked up a reference
}

// update brings the result up to date with the store. It reports whether that took an
// evaluation of every resource of the type.
func (c *condition) update() (all bool) {
	if c.err != nil {
		return false
	}
	if c.source != nil {
		if c.note(); !c.outdated {
			c.revise()
			return false
		}
	}
	c.source = &watched{stored: stored{c.base.store}, lists: map[string][]*fhir.Resource{}}
	c.commits, c.stale, c.outdated = c.base.store.Commits(), map[string]bool{}, false // before anything is read
	c.matching, c.needs, c.readers = map[string]*fhir.Resource{}, map[string]bool{}, map[string][]string{}
	scope := search.Scope{Release: c.base.release, Source: c.source}
	if c.query, c.err = scope.Query(c.typ, c.text); c.err != nil {
		return true
	}
	for _, reference := range c.source.taken() {
		c.needs[reference] = true
	}
	c.evaluate(c.base.store.List(c.typ))
	return true
}

// note notes which verdicts the changes since the last call affect.
func (c *condition) note() {
	changed, now, ok := c.base.store.Since(c.commits)
	c.commits = now
	c.outdated = c.outdated || !ok
	for _, one := range changed {
		reference := one.Type + "/" + one.ID
		if _, listed := c.source.lists[one.Type]; listed || c.needs[reference] {
			c.outdated = true
		}
		if one.Type == c.typ {
			c.stale[one.ID] = true
		}
		for _, id := range c.readers[reference] {
			c.stale[id] = true
		}
	}
}

// revise makes the verdicts again that changes affected.
func (c *condition) revise() {
	if len(c.stale) == 0 {
		return
	}
	var again []*fhir.Resource
	for _, id := range slices.Sorted(maps.Keys(c.stale)) {
		delete(c.matching, id)
		if res, err := c.base.store.Read(c.typ, id); err == nil {
			again = append(again, res)
		}
	}
	clear(c.stale)
	c.evaluate(again)
}

// evaluate makes the verdicts on resources.
func (c *condition) evaluate(resources []*fhir.Resource) {
	made := 0
	c.err = evaluate(context.Background(), resources, []*search.Query{c.query}, func(res *fhir.Resource, matches bool) {
		if matches {
			c.matching[res.ID] = res
		}
		for _, reference := range c.source.taken() {
			c.readers[reference] = append(c.readers[reference], res.ID)
		}
		if made++; made%100 == 0 {
			c.note() // the store does not remember its changes for long
		}
	})
}

// one returns the id of the only match, or "" if there is none or more than one.
func (c *condition) one() string {
	if len(c.matching) == 1 {
		for id := range c.matching {
			return id
		}
	}
	return ""
}

// matches reports whether a resource that is not stored yet matches. A resource on
// which the query cannot be evaluated does not match.
func (c *condition) matches(res *fhir.Resource) bool {
	ok, _ := c.query.Match(res)
	c.source.taken()
	return ok
}

// watched is a source of resources that notes which ones a query looks at.
type watched struct {
	stored
	lists   map[string][]*fhir.Resource // by type, as each was when it was first asked for
	lookups []string                    // references, since taken was called
}

func (w *watched) Lookup(reference string) *fhir.Resource {
	w.lookups = append(w.lookups, reference)
	return w.stored.Lookup(reference)
}

func (w *watched) List(typ string) []*fhir.Resource {
	list, known := w.lists[typ]
	if !known {
		list = w.stored.List(typ)
		w.lists[typ] = list
	}
	return list
}

// taken returns the references looked up since the last call. They are valid until the
// next lookup.
func (w *watched) taken() []string {
	lookups := w.lookups
	w.lookups = w.lookups[:0]
	return lookups
}
