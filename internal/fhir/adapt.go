package fhir

// Adapt returns a generated resource, which has the form of R5, in the form of the
// release. It supports the types of the scenarios: Encounter, Task and Location
// differ; Patient, Practitioner, Organization and Observation are the same.
// Elements that the release does not have are omitted. o is not modified.
func (r Release) Adapt(o *Object) *Object { return r.codec().adapt(o) }

// adaptToR4 converts a resource to R4 and R4B.
func adaptToR4(o *Object) *Object {
	o = o.Clone()
	switch o.Text("resourceType") {
	case "Encounter":
		adaptEncounter(o)
	case "Task":
		if reason := o.Object("statusReason"); reason != nil {
			o.Set("statusReason", reason.Get("concept"))
		}
	case "Location":
		rename(o, "form", "physicalType")
	}
	return o
}

// adaptEncounter converts an Encounter to R4 and R4B.
func adaptEncounter(o *Object) {
	switch o.Text("status") {
	case "completed", "discharged", "discontinued":
		o.Set("status", "finished")
	case "on-hold":
		o.Set("status", "onleave")
	}
	for _, class := range o.Array("class") {
		// R4 has one Coding in place of many concepts.
		if concept, ok := class.(*Object); ok && len(concept.Array("coding")) > 0 {
			o.Set("class", concept.Array("coding")[0])
			break
		}
	}
	o.Delete("plannedStartDate")
	for _, participant := range o.Array("participant") {
		if p, ok := participant.(*Object); ok {
			rename(p, "actor", "individual")
		}
	}
	rename(o, "actualPeriod", "period")
	rename(o, "admission", "hospitalization")
	var reasons []any
	for _, reason := range o.Array("reason") {
		r, _ := reason.(*Object)
		for _, value := range r.Array("value") {
			if v, ok := value.(*Object); ok && v.Has("concept") {
				reasons = append(reasons, v.Get("concept"))
			}
		}
	}
	o.Delete("reason")
	if reasons != nil {
		o.Set("reasonCode", reasons)
	}
}

func rename(o *Object, from, to string) {
	if v := o.Get(from); v != nil {
		o.Delete(from)
		o.Set(to, v)
	}
}
