package synth

import (
	"fmt"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Example invents a valid resource of a type, for an event that was triggered without
// one: a Patient, an Encounter in progress, a final laboratory Observation or a
// requested Task, with the id "example". It returns nil for any other type. Variation
// is drawn from r; times are at now.
//
// The resources it refers to are always the same, see [ExampleCast].
func Example(typ string, r *random.Source, now time.Time) *fhir.Object {
	s := exampleStory(r)
	patient := exampleRole()
	switch typ {
	case "Patient":
		return s.patient("example", s.newPerson(), now)
	case "Encounter":
		v := s.newVisit(patient)
		v.id, v.number, v.start = "example", fmt.Sprintf("E-%06d", r.IntN(1_000_000)), now
		return s.encounter(v, "in-progress")
	case "Observation":
		l := s.newLab("example", patient, nil, pick(r, labTests()))
		l.taken = now
		return s.observation(l, "final", now)
	case "Task":
		c := s.newChore("example", patient, nil)
		c.reach("requested", now)
		return s.taskResource(c, "requested", now)
	}
	return nil
}

// ExampleCast returns the resources that examples refer to: Location/example-unit,
// Practitioner/example-doctor, Practitioner/example-nurse and Patient/example. The
// built-in seed has them, so that an example about a patient comes with the patient.
// Ages are counted from now.
func ExampleCast(now time.Time) []*fhir.Object {
	s, patient := exampleStory(nil), exampleRole()
	return []*fhir.Object{
		location(s.unitID(), s.ward),
		practitioner(s.doctorID(), s.doctor, "Dr"),
		practitioner(s.nurseID(), s.nurse, ""),
		s.patient(patient.id, patient.person, now),
	}
}

func exampleStory(r *random.Source) *story {
	return &story{
		name:   "example",
		rand:   r,
		ward:   place{"Ward 3 East"},
		doctor: person{gender: "male", given: "Jonas", family: "Lindqvist", mrn: "2004117"},
		nurse:  person{gender: "female", given: "Priya", family: "Ramirez", mrn: "2007730"},
	}
}

func exampleRole() *role {
	return &role{id: "example", person: person{
		gender: "female", given: "Amara", family: "Okafor",
		age: 46, month: 3, day: 14,
		mrn: "4471902", street: "27 Linden Avenue", city: cities()[3], phone: "+1-555-0142",
	}}
}
