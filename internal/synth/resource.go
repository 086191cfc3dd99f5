package synth

import (
	"encoding/json"
	"time"

	"signalfhir/internal/fhir"
)

// code is one code of a code system.
type code struct{ system, code, display string }

func (c code) coding() *fhir.Object {
	return fhir.NewObject("system", c.system, "code", c.code, "display", c.display)
}

// concept returns a CodeableConcept with one coding.
func concept(c code) *fhir.Object { return fhir.NewObject("coding", []any{c.coding()}) }

func reference(typ, id, display string) *fhir.Object {
	return fhir.NewObject("reference", typ+"/"+id, "display", display)
}

// instant formats a time as FHIR's instant and dateTime demand.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// period returns a Period from start, open if end is the zero time.
func period(start, end time.Time) *fhir.Object {
	p := fhir.NewObject("start", instant(start))
	if !end.IsZero() {
		p.Set("end", instant(end))
	}
	return p
}

// encounter returns the stay v with a status of http://hl7.org/fhir/encounter-status.
func (s *story) encounter(v *visit, status string) *fhir.Object {
	o := fhir.NewObject(
		"resourceType", "Encounter",
		"id", v.id,
		"identifier", []any{fhir.NewObject("system", "http://hospital.example.org/visit", "value", v.number)},
		"status", status,
		"class", []any{concept(v.kind.class)},
		"priority", concept(v.kind.priority),
		"subject", s.patientReference(v.role),
	)
	if v.start.IsZero() {
		o.Set("plannedStartDate", instant(v.planned.Add(time.Hour)))
		o.Set("reason", reason(v.reason))
		return o
	}
	o.Set("participant", []any{fhir.NewObject(
		"type", []any{concept(code{"http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "ATND", "attender"})},
		"actor", s.doctorReference(),
	)})
	o.Set("actualPeriod", period(v.start, v.end))
	o.Set("reason", reason(v.reason))
	admission := fhir.NewObject("admitSource", concept(v.source))
	at := "active"
	if !v.end.IsZero() {
		at = "completed"
		minutes := max(1, int(v.end.Sub(v.start).Minutes()))
		o.Set("length", quantity(jsonInt(minutes), "min"))
		admission.Set("dischargeDisposition", concept(v.destination))
	}
	o.Set("admission", admission)
	ward := reference("Location", s.unitID(), s.ward.name+", "+v.bed)
	o.Set("location", []any{fhir.NewObject("location", ward, "status", at, "period", period(v.start, v.end))})
	return o
}

func reason(c code) []any {
	return []any{fhir.NewObject("value", []any{fhir.NewObject("concept", concept(c))})}
}

// observation returns the result l with a status of http://hl7.org/fhir/observation-status.
func (s *story) observation(l *lab, status string, now time.Time) *fhir.Object {
	o := fhir.NewObject(
		"resourceType", "Observation",
		"id", l.id,
		"status", status,
		"category", []any{concept(code{"http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "Laboratory"})},
		"code", concept(code{loinc, l.test.loinc, l.test.display}),
		"subject", s.patientReference(l.role),
	)
	o.Object("code").Set("text", l.test.short)
	if l.visit != nil {
		o.Set("encounter", fhir.NewObject("reference", "Encounter/"+l.visit.id))
	}
	o.Set("effectiveDateTime", instant(l.taken))
	o.Set("issued", instant(now))
	o.Set("performer", []any{fhir.NewObject("type", "Organization", "display", "Riverside Laboratory")})
	o.Set("valueQuantity", quantity(json.Number(l.value), l.test.unit))
	o.Set("interpretation", []any{concept(l.test.interpret(l.value))})
	o.Set("referenceRange", []any{fhir.NewObject(
		"low", quantity(json.Number(l.test.low), l.test.unit),
		"high", quantity(json.Number(l.test.high), l.test.unit),
	)})
	return o
}

// quantity returns a Quantity with a UCUM unit.
func quantity(value json.Number, unit string) *fhir.Object {
	return fhir.NewObject("value", value, "unit", unit, "system", "http://unitsofmeasure.org", "code", unit)
}

// taskResource returns the task c with a status of http://hl7.org/fhir/task-status.
func (s *story) taskResource(c *chore, status string, now time.Time) *fhir.Object {
	o := fhir.NewObject(
		"resourceType", "Task",
		"id", c.id,
		"status", status,
		"intent", "order",
		"priority", c.priority,
		"code", concept(code{"http://hl7.org/fhir/CodeSystem/task-code", "fulfill", "Fulfill the focal request"}),
		"description", c.work,
		"for", s.patientReference(c.role),
	)
	o.Object("code").Set("text", c.work)
	if status == "rejected" || status == "failed" || status == "on-hold" {
		o.Set("statusReason", fhir.NewObject("concept", fhir.NewObject("text", statusReasons()[status])))
	}
	if c.visit != nil {
		o.Set("encounter", fhir.NewObject("reference", "Encounter/"+c.visit.id))
	}
	if !c.started.IsZero() {
		o.Set("executionPeriod", period(c.started, c.ended))
	}
	o.Set("authoredOn", instant(c.authored))
	o.Set("lastModified", instant(now))
	o.Set("requester", s.doctorReference())
	o.Set("owner", s.nurseReference())
	return o
}
