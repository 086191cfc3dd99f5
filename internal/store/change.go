package store

import (
	"time"

	"signalfhir/internal/fhir"
)

// Interaction is what a client did to a resource.
type Interaction string

// Interactions that can trigger a topic.
const (
	Create Interaction = "create"
	Update Interaction = "update"
	Delete Interaction = "delete"
)

// Change is one committed interaction on one resource. It is immutable.
type Change struct {
	Interaction Interaction
	Method      string         // POST, PUT or DELETE, as in Bundle.entry.request; a patch is a PUT
	Previous    *fhir.Resource // nil on create
	Current     *fhir.Resource // nil on delete
	VersionID   string         // of the new state; after a delete, of the tombstone
	At          time.Time
}

// State returns the resource the change is about: its new state, or its last state
// before a delete (FLT-14).
func (c *Change) State() *fhir.Resource {
	if c.Current != nil {
		return c.Current
	}
	return c.Previous
}
