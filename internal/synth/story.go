package synth

import (
	"fmt"
	"net/http"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Write is one step of a scenario.
type Write struct {
	Method   string       // PUT, POST or DELETE
	Type, ID string       // what is written
	Object   *fhir.Object // the resource, the receiver's to keep; nil on a DELETE
	Note     string       // what it means in the story: "admitted"
	Releases []string     // of the generator
}

// Writer takes the writes of generators. Calls for one generator come one after
// another, those of several at the same time. Apply must not stop, remove or
// step a generator: these wait for it.
type Writer interface {
	Apply(w Write) *fhir.Error
}

// beat is a write that still has to be told when it happens.
type beat func(now time.Time) Write

// scenario is a kind of story.
type scenario struct {
	name    string
	opening func(s *story) []beat          // what has to be there before the first patient
	plot    func(s *story, r *role) []beat // what happens to one patient, from the start to the end
}

// scenarios lists every scenario, in the order they are offered.
func scenarios() []scenario {
	return []scenario{
		{"admission-to-discharge", (*story).openWard, (*story).stay},
		{"lab-results", (*story).openNothing, (*story).labResults},
		{"tasks", (*story).openStaff, (*story).tasks},
	}
}

// Scenarios lists the names a [Spec] may have as its scenario.
func Scenarios() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func findScenario(name string) (scenario, bool) {
	for _, s := range scenarios() {
		if s.name == name {
			return s, true
		}
	}
	return scenario{}, false
}

// story is a scenario being played: an endless sequence of writes in which the
// fates of several patients interleave. It is not safe for concurrent use.
type story struct {
	name     string // prefix of every id
	scenario scenario
	rand     *random.Source
	opening  []beat  // what is left of the scenario's opening
	roles    []*role // the pool
	entering int     // index of the role that enters next
	ward     place
	doctor   person
	nurse    person
}

// role is one patient of the pool.
type role struct {
	id     string // of the patient: "ward-3"
	person person
	known  bool   // the patient was written
	plot   []beat // what is still to happen; empty: between two stories
	visits int    // how often a story began
}

func newStory(name string, of scenario, patients int, seed uint64) *story {
	s := &story{name: name, scenario: of, rand: random.Seeded(seed)}
	s.ward = place{pick(s.rand, wards())}
	s.doctor, s.nurse = s.newPerson(), s.newPerson()
	s.opening = of.opening(s)
	for i := range patients {
		s.roles = append(s.roles, &role{id: fmt.Sprintf("%s-%d", name, i+1)})
	}
	return s
}

// next is the next write of the story.
func (s *story) next(now time.Time) Write {
	if len(s.opening) > 0 {
		b := s.opening[0]
		s.opening = s.opening[1:]
		return b(now)
	}
	r := s.choose()
	if len(r.plot) == 0 {
		s.enter(r)
	}
	b := r.plot[0]
	r.plot = r.plot[1:]
	return b(now)
}

// choose picks whose story goes on: mostly that of somebody who is in the
// middle of one, now and then that of the next in line.
func (s *story) choose() *role {
	var busy []*role
	for _, r := range s.roles {
		if len(r.plot) > 0 {
			busy = append(busy, r)
		}
	}
	if len(busy) == len(s.roles) || len(busy) > 0 && !s.chance(4) {
		return busy[s.rand.IntN(len(busy))]
	}
	for len(s.roles[s.entering].plot) > 0 {
		s.entering = (s.entering + 1) % len(s.roles)
	}
	r := s.roles[s.entering]
	s.entering = (s.entering + 1) % len(s.roles)
	return r
}

// enter begins a story for r, whose patient is made up on the first occasion.
func (s *story) enter(r *role) {
	r.visits++
	if !r.known {
		r.known = true
		r.person = s.newPerson()
		r.plot = append(r.plot, func(now time.Time) Write {
			return put("registered", s.patient(r.id, r.person, now))
		})
	}
	r.plot = append(r.plot, s.scenario.plot(s, r)...)
}

// chance is true once in n times.
func (s *story) chance(n int) bool { return s.rand.IntN(n) == 0 }

// pick is one of choices.
func pick[T any](r *random.Source, choices []T) T { return choices[r.IntN(len(choices))] }

func put(note string, o *fhir.Object) Write {
	return Write{Method: http.MethodPut, Type: o.Text("resourceType"), ID: o.Text("id"), Object: o, Note: note}
}
