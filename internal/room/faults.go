package room

import "signalfhir/internal/fault"

// Faults returns the faults of the room. A new or reset room has none.
func (r *Room) Faults() *fault.Set { return r.faults }
