package room

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Patches, the checks of what they make, and FHIRPath criteria of topics can take long.
// Under the write lock they would stop all writes, so a write that needs them is rehearsed
// before the lock is taken. Under the lock, a result of the rehearsal counts if it was made
// for the same input. If an input has changed meanwhile, the lock is released and the write
// is rehearsed again, maxPasses times at most. After that, what is missing is evaluated
// under the lock, in the time that is left.

// errStale means that a step needs a result that its rehearsal does not have.
var errStale = errors.New("another write has changed what the rehearsal was for")

// ahead has results that a step needs, with the inputs they are for.
type ahead struct {
	budget    *budget.Budget
	rehearsed bool // the write is rehearsed
	only      bool // results that are missing are not made: the write lock is held

	id       string       // chosen for a create
	warnings []fhir.Issue // of the check before all else

	patch struct { // result of the patch on a version
		of     *fhir.Resource
		result *fhir.Object
		err    error
	}
	checked struct { // result of the check of an object
		object content
		issues []fhir.Issue
		err    error
	}
	matched struct { // results of criteria on a change; the change is nil if there are none
		change     *store.Change
		object     content // before it gets an id, a version and a time
		evaluation *topic.Evaluation
	}
	foreseen bool // matched is for the change that is committed, but for its time
}

// newAhead returns what is known of each operation at first: nothing.
func newAhead(operations []Operation, whole *budget.Budget) []*ahead {
	all, known := make([]ahead, len(operations)), make([]*ahead, len(operations))
	for i, o := range operations {
		known[i] = &all[i]
		known[i].budget = whole
		if o.Place != "" {
			// One entry that is costly leaves something for the others.
			known[i].budget = whole.Part("entry", budget.Request)
		}
	}
	return known
}

// content is an object, compared by what it has.
type content struct {
	object *fhir.Object
	text   []byte // nil until it is needed
}

func (c *content) is(o *fhir.Object) bool {
	if c.object == o || c.object == nil || o == nil {
		return c.object == o
	}
	if c.text == nil {
		c.text = c.object.AppendJSON(nil)
	}
	return bytes.Equal(c.text, o.AppendJSON(nil))
}

// isCostly reports whether a write is worth a rehearsal.
func (b *Base) isCostly(operations []Operation) bool {
	return slices.ContainsFunc(operations, func(o Operation) bool {
		return o.Place != "" || o.Method == http.MethodPatch || b.evaluates(o.Type)
	})
}

// evaluates reports whether a topic on a type has FHIRPath criteria.
func (b *Base) evaluates(typ string) bool {
	return slices.ContainsFunc(b.topics.ForType(typ), func(t *topic.Topic) bool { return t.Evaluates(typ) })
}

// rehearse makes the results that operations need, without the write lock. It returns no
// error: the run under the lock decides.
func (b *Base) rehearse(operations []Operation, known []*ahead, conditions *conditions, q Request) {
	for _, k := range known {
		k.rehearsed, k.only = true, false
		k.budget.Until(q.Context)
	}
	ordered, err := b.plan(newSteps(operations, known), conditions, q)
	if err != nil {
		return
	}
	for _, s := range ordered {
		if needed, foreseen := b.foresees(s); !needed || foreseen {
			continue
		}
		m := &s.ahead.matched
		m.object, m.change = content{object: s.write.Object}, b.store.Foresee(s.write)
		if m.change == nil {
			continue // deleted meanwhile
		}
		m.evaluation = topic.NewEvaluation(m.change, s.ahead.budget)
		for _, t := range b.topics.ForType(s.Type) {
			m.evaluation.Prepare(t)
		}
	}
}

// foresees reports whether the change that a step makes needs results of criteria, and
// whether all of them are known.
func (b *Base) foresees(s *step) (needed, foreseen bool) {
	if s.found != nil || s.none || !b.evaluates(s.Type) {
		return false, false
	}
	current, version := b.store.Next(s.write.Type, s.write.ID)
	if s.write.Method == http.MethodDelete && current == nil {
		return false, false
	}
	m := &s.ahead.matched
	return true, m.change != nil && m.change.Previous == current && m.change.VersionID == version && m.change.State().ID == s.write.ID &&
		m.object.is(s.write.Object) &&
		!slices.ContainsFunc(b.topics.ForType(s.Type), func(t *topic.Topic) bool { return !m.evaluation.Has(t) })
}

// evaluation returns the evaluation of criteria on the change that a step has made.
func (s *step) evaluation(c *store.Change) *topic.Evaluation {
	if s.ahead.foreseen {
		return s.ahead.matched.evaluation
	}
	return topic.NewEvaluation(c, s.ahead.budget)
}

// newID returns an id for a step that creates a resource, the same as long as it is free.
func (b *Base) newID(s *step) string {
	if _, version := b.store.Next(s.Type, s.ahead.id); s.ahead.id == "" || version != "1" {
		s.ahead.id = b.store.NewID(s.Type)
	}
	return s.ahead.id
}

// patched returns the result of the patch of a step on a version of its resource.
func (s *step) patched(current *fhir.Resource) (*fhir.Object, error) {
	p := &s.ahead.patch
	if p.of != current {
		if s.ahead.only {
			return nil, errStale
		}
		p.of = current
		p.result, p.err = s.Patch(current.Object, s.ahead.budget)
	}
	return p.result, ownError(p.err)
}

// check checks the resource that a step will store.
func (b *Base) check(s *step) error {
	c := &s.ahead.checked
	if c.object.object == nil || !c.object.is(s.Object) {
		if s.ahead.only {
			return errStale
		}
		c.object = content{object: s.Object}
		c.issues, c.err = b.Check(s.Type, s.Object, s.ahead.budget)
	}
	if c.err == nil {
		s.issues = append(s.issues, c.issues...)
	}
	return ownError(c.err)
}

// ownError returns a copy of a refusal, because whoever gets one may change its issues.
func ownError(err error) error {
	if refused := fhir.AsError(err); refused != nil {
		return &fhir.Error{Status: refused.Status, Issues: slices.Clone(refused.Issues)}
	}
	return err
}

// maxNamed is how many topics a warning names.
const maxNamed = 5

// warnLate adds a warning that topics did not fire because the budget was used up.
func (s *step) warnLate(topics []string, why error) {
	if len(topics) == 0 {
		return
	}
	named := strings.Join(topics[:min(maxNamed, len(topics))], ", ")
	if more := len(topics) - maxNamed; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	s.issues = append(s.issues, fhir.Issue{Severity: "warning", Code: fhir.CodeTooCostly, Diagnostics: "the write is done, but these topics were not matched and did not fire: " + named + ": " + why.Error()})
}
