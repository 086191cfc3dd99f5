package synth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
)

// The limits of a set.
const (
	MaxGenerators = 100
	MaxStep       = 10_000 // writes per call of Step
)

// Set holds the generators of a room. It is safe for concurrent use. Its methods wait
// for a write under way before they stop or remove a generator, so a [Writer] must
// not call them.
type Set struct {
	clock  clock.Clock
	writer Writer

	mu         sync.Mutex // guards generators and closed; held for memory work only
	generators []*generator
	closed     bool
}

// NewSet returns an empty set whose generators run on c and write to w.
func NewSet(c clock.Clock, w Writer) *Set { return &Set{clock: c, writer: w} }

// Add adds a generator and starts it if the spec says so: its first write comes one
// interval later. A bad spec is refused with 400 and an issue for each wrong member, a
// name in use with 409.
func (s *Set) Add(spec Spec) error {
	if err := spec.Check(); err != nil {
		return err
	}
	g := newGenerator(s.clock, s.writer, spec)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the room is closed or being reset; try again")
	case s.findLocked(spec.Name) != nil:
		return fhir.Refuse(http.StatusConflict, fhir.CodeDuplicate, "there is already a generator %q; remove it first or choose another name", spec.Name).At("name")
	case len(s.generators) >= MaxGenerators:
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "there are already %d generators, the limit; remove one", MaxGenerators)
	}
	patients := g.state.Patients
	for _, other := range s.generators {
		patients += other.state.Patients
	}
	if patients > MaxPatientsInAll {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "with this one the generators would have %d patients, at most %d in all; remove one, or give each fewer patients", patients, MaxPatientsInAll).At("patients")
	}
	s.generators = append(s.generators, g)
	if spec.Running {
		g.start()
	}
	return nil
}

// Start lets a generator write on the clock. It has no effect if the generator runs.
func (s *Set) Start(name string) error {
	g, err := s.find(name)
	if err != nil {
		return err
	}
	if !g.start() {
		return s.unknown(name)
	}
	return nil
}

// Stop stops a generator. After it returns there are no more writes until the next
// Start, which continues the story where it stopped.
func (s *Set) Stop(name string) error {
	g, err := s.find(name)
	if err != nil {
		return err
	}
	g.stop()
	return nil
}

// SetRate changes how often a generator writes; see [Spec].
func (s *Set) SetRate(name, rate string) error {
	every, err := interval(rate)
	if err != nil {
		return fhir.At(err, "rate")
	}
	g, err := s.find(name)
	if err != nil {
		return err
	}
	if rate == "" {
		rate = DefaultRate
	}
	g.setRate(rate, every)
	return nil
}

// Remove ends a generator. The resources it wrote stay.
func (s *Set) Remove(name string) error {
	s.mu.Lock()
	var removed *generator
	for i, g := range s.generators {
		if g.name == name {
			removed = g
			s.generators = append(s.generators[:i:i], s.generators[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	if removed == nil {
		return s.unknown(name)
	}
	removed.end()
	return nil
}

// List returns the state of every generator, in the order they were added.
func (s *Set) List() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]State, len(s.generators))
	for i, g := range s.generators {
		states[i] = g.snapshot()
	}
	return states
}

// Step makes the next n writes of a generator at once, from 1 to [MaxStep], whether or
// not it runs. It stops at the first refused write and returns the refusal.
func (s *Set) Step(name string, n int) error {
	if n < 1 || n > MaxStep {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected 1 to %d writes", n, MaxStep).At("count")
	}
	g, err := s.find(name)
	if err != nil {
		return err
	}
	for i := range n {
		err, ok := g.write()
		if !ok {
			return fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "generator %q was removed after %d of %d writes", name, i, n)
		}
		if err != nil {
			refused := fhir.AsError(err)
			issues := slices.Clone(refused.Issues)
			issues[0].Diagnostics = fmt.Sprintf("write %d of %d was refused: %s", i+1, n, issues[0].Diagnostics)
			return &fhir.Error{Status: refused.Status, Issues: issues}
		}
	}
	return nil
}

// Reset replaces all generators by those of specs, each at the start of its story, and
// reopens a closed set. If a spec is wrong, nothing changes.
func (s *Set) Reset(specs []Spec) error {
	taken := map[string]bool{}
	fresh := make([]*generator, len(specs))
	if len(specs) > MaxGenerators {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "got %d generators, expected at most %d", len(specs), MaxGenerators).At("generators")
	}
	for i, spec := range specs {
		err := spec.Check()
		if err == nil && taken[spec.Name] {
			err = fhir.Refuse(http.StatusConflict, fhir.CodeDuplicate, "duplicate generator name %q", spec.Name).At("name")
		}
		if err != nil {
			return under(err, fmt.Sprintf("generators[%d]", i))
		}
		taken[spec.Name] = true
		fresh[i] = newGenerator(s.clock, s.writer, spec)
	}
	for {
		s.mu.Lock()
		old := s.generators
		if len(old) == 0 {
			break
		}
		s.generators, s.closed = nil, true // so that no generator is added meanwhile
		s.mu.Unlock()
		for _, g := range old {
			g.end()
		}
	}
	defer s.mu.Unlock()
	s.generators, s.closed = fresh, false
	for i, g := range fresh {
		if specs[i].Running {
			g.start()
		}
	}
	return nil
}

// Close ends every generator and waits for writes under way. No generator can be added
// until the next Reset.
func (s *Set) Close() {
	s.mu.Lock()
	old := s.generators
	s.generators, s.closed = nil, true
	s.mu.Unlock()
	for _, g := range old {
		g.end()
	}
}

// under prefixes the expressions of a refusal with a path.
func under(err error, path string) error {
	for _, issue := range fhir.IssuesOf(err) {
		for j, e := range issue.Expression {
			issue.Expression[j] = path + "." + e
		}
	}
	return err
}

func (s *Set) findLocked(name string) *generator {
	for _, g := range s.generators {
		if g.name == name {
			return g
		}
	}
	return nil
}

func (s *Set) find(name string) (*generator, error) {
	s.mu.Lock()
	g := s.findLocked(name)
	s.mu.Unlock()
	if g == nil {
		return nil, s.unknown(name)
	}
	return g, nil
}

// unknown refuses a name that no generator has.
func (s *Set) unknown(name string) error {
	states := s.List()
	if len(states) == 0 {
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no generator named %q; there are no generators", name)
	}
	names := make([]string, len(states))
	for i, state := range states {
		names[i] = state.Name
	}
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no generator named %q; the generators are %s", name, strings.Join(names, ", "))
}
