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
	Type, ID string       // of the written resource
	Object   *fhir.Object // the resource, owned by the receiver; nil on a DELETE
	Note     string       // its meaning in the story: "admitted"
	Releases []string     // the generator's releases
}

// Writer receives the writes of generators. Calls for one generator come one after
// another; those of several may be concurrent. Apply must not stop, remove or step a
// generator: these calls wait for Apply.
type Writer interface {
	Apply(w Write) error
}

// beat is a write whose time is not yet known.
type beat func(now time.Time) Write

// scenario is a kind of story.
type scenario struct {
	name    string
	opening func(s *story) []beat          // what must exist before the first patient
	plot    func(s *story, r *role) []beat // what happens to one patient, from start to end
}

// scenarios returns every scenario, in the order they are listed to clients.
func scenarios() []scenario {
	return []scenario{
		{"admission-to-discharge", (*story).openWard, (*story).stay},
		{"lab-results", (*story).openNothing, (*story).labResults},
		{"tasks", (*story).openStaff, (*story).tasks},
	}
}

// Scenarios returns the valid values of [Spec].Scenario.
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

// story is a scenario in progress: an endless sequence of writes in which the stories
// of several patients interleave. It is not safe for concurrent use.
type story struct {
	name     string // prefix of every id
	scenario scenario
	rand     *random.Source
	opening  []beat  // the rest of the scenario's opening
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
	known  bool   // the patient has been written
	plot   []beat // the remaining writes; empty: between two stories
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

// next returns the next write of the story.
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

// choose picks the role whose story continues: usually one in the middle of a story,
// now and then the next in line.
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

// enter begins a story for r and invents its patient on the first call.
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

// chance is true once in n times on average.
func (s *story) chance(n int) bool { return s.rand.IntN(n) == 0 }

// pick returns one of choices.
func pick[T any](r *random.Source, choices []T) T { return choices[r.IntN(len(choices))] }

func put(note string, o *fhir.Object) Write {
	return Write{Method: http.MethodPut, Type: o.Text("resourceType"), ID: o.Text("id"), Object: o, Note: note}
}
