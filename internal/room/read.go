package room

import (
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
)

// Read answers the current version of typ/id: 404 where there never was one,
// 410 where it was deleted (LC-17).
func (b *Base) Read(typ, id string) (*fhir.Resource, *fhir.Error) {
	return b.store.Read(typ, id)
}

// ReadVersion answers one version of typ/id.
func (b *Base) ReadVersion(typ, id, version string) (*fhir.Resource, *fhir.Error) {
	return b.store.VRead(typ, id, version)
}

// Find lists the resources of a type whose id contains text, what changed last
// first, with those that were deleted; see [store.Store.Find].
func (b *Base) Find(typ, text string, offset, limit int) (found []store.Found, total int) {
	return b.store.Find(typ, text, offset, limit)
}

// Log lists the versions of typ/id, of the resources of a type for an id of "", of all
// types for a typ of "", that came to be at or after since, newest first; see
// [store.Store.Log]. Of what never was it answers 404.
func (b *Base) Log(typ, id string, since time.Time, offset, limit int) (entries []store.Entry, total int, err *fhir.Error) {
	if id != "" {
		if _, err := b.store.History(typ, id); err != nil {
			return nil, 0, err
		}
	}
	entries, total = b.store.Log(typ, id, since, offset, limit)
	return entries, total, nil
}
