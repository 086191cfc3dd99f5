package store

import (
	"time"

	"signalfhir/internal/fhir"
)

// Interaction is what a client did to a resource.
type Interaction string

// The interactions that can trigger a topic.
const (
	Create Interaction = "create"
	Update Interaction = "update"
	Delete Interaction = "delete"
)

// Change is one committed interaction on one resource. It is immutable.
type Change struct {
	Interaction Interaction
	Method      string         // POST, PUT or DELETE, as Bundle.entry.request would say it (a patch is a PUT)
	Previous    *fhir.Resource // nil on create
	Current     *fhir.Resource // nil on delete
	VersionID   string         // of the new state; of a delete that of the deletion
	At          time.Time
}

// State is the resource the change is about: its new state, or on a delete the
// last one it had (FLT-14).
func (c *Change) State() *fhir.Resource {
	if c.Current != nil {
		return c.Current
	}
	return c.Previous
}
