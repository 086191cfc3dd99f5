package synth

import (
	"fmt"
	"time"

	"signalfhir/internal/fhir"
)

// person is an invented person.
type person struct {
	gender        string // male, female
	given, family string
	age           int // in years
	month, day    int // of birth
	mrn           string
	city          city
	street        string
	phone         string
}

// name returns the displayed name.
func (p person) name() string { return p.given + " " + p.family }

func (s *story) newPerson() person {
	p := person{gender: "female", age: 18 + s.rand.IntN(77), month: 1 + s.rand.IntN(12), day: 1 + s.rand.IntN(28)}
	names := femaleNames()
	if s.chance(2) {
		p.gender, names = "male", maleNames()
	}
	p.given, p.family = pick(s.rand, names), pick(s.rand, familyNames())
	p.mrn = fmt.Sprintf("%07d", s.rand.IntN(10_000_000))
	p.city = pick(s.rand, cities())
	p.street = fmt.Sprintf("%d %s", 1+s.rand.IntN(180), pick(s.rand, streets()))
	p.phone = fmt.Sprintf("+1-555-01%02d", s.rand.IntN(100)) // a range reserved for fiction
	return p
}

// birthDate returns a date of birth that makes the person age years old at now.
func (p person) birthDate(now time.Time) string {
	day := time.Date(now.Year()-p.age, time.Month(p.month), p.day, 0, 0, 0, 0, time.UTC)
	if day.AddDate(p.age, 0, 0).After(now) {
		day = day.AddDate(-1, 0, 0)
	}
	return day.Format(time.DateOnly)
}

func (p person) humanName(prefix string) *fhir.Object {
	name := fhir.NewObject("use", "official", "family", p.family, "given", []any{p.given})
	if prefix != "" {
		name.Set("prefix", []any{prefix})
	}
	return name
}

// patient returns the Patient resource of p.
func (s *story) patient(id string, p person, now time.Time) *fhir.Object {
	return fhir.NewObject(
		"resourceType", "Patient",
		"id", id,
		"identifier", []any{fhir.NewObject("use", "usual", "system", "http://hospital.example.org/mrn", "value", p.mrn)},
		"active", true,
		"name", []any{p.humanName("")},
		"telecom", []any{fhir.NewObject("system", "phone", "value", p.phone, "use", "home")},
		"gender", p.gender,
		"birthDate", p.birthDate(now),
		"address", []any{fhir.NewObject("use", "home", "line", []any{p.street}, "city", p.city.name, "postalCode", p.city.postalCode)},
	)
}

// place is the ward of a story.
type place struct{ name string }

func (s *story) unitID() string   { return s.name + "-unit" }
func (s *story) doctorID() string { return s.name + "-doctor" }
func (s *story) nurseID() string  { return s.name + "-nurse" }

func (s *story) openWard() []beat    { return append([]beat{s.writeWard}, s.openStaff()...) }
func (s *story) openStaff() []beat   { return []beat{s.writeDoctor, s.writeNurse} }
func (s *story) openNothing() []beat { return nil }

func (s *story) writeWard(time.Time) Write {
	return put("ward opened", location(s.unitID(), s.ward))
}

func location(id string, p place) *fhir.Object {
	return fhir.NewObject(
		"resourceType", "Location",
		"id", id,
		"status", "active",
		"name", p.name,
		"mode", "instance",
		"type", []any{concept(code{"http://terminology.hl7.org/CodeSystem/v3-RoleCode", "HU", "Hospital unit"})},
		"form", concept(code{"http://terminology.hl7.org/CodeSystem/location-physical-type", "wa", "Ward"}),
	)
}

func (s *story) writeDoctor(time.Time) Write {
	return put("doctor on duty", practitioner(s.doctorID(), s.doctor, "Dr"))
}

func (s *story) writeNurse(time.Time) Write {
	return put("nurse on duty", practitioner(s.nurseID(), s.nurse, ""))
}

func practitioner(id string, p person, prefix string) *fhir.Object {
	return fhir.NewObject(
		"resourceType", "Practitioner",
		"id", id,
		"identifier", []any{fhir.NewObject("system", "http://hospital.example.org/staff", "value", p.mrn)},
		"active", true,
		"name", []any{p.humanName(prefix)},
		"gender", p.gender,
	)
}

func (s *story) patientReference(r *role) *fhir.Object {
	return reference("Patient", r.id, r.person.name())
}

func (s *story) doctorReference() *fhir.Object {
	return reference("Practitioner", s.doctorID(), "Dr "+s.doctor.name())
}

func (s *story) nurseReference() *fhir.Object {
	return reference("Practitioner", s.nurseID(), s.nurse.name())
}
