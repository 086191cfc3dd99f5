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

// History answers the versions of typ/id, newest first.
func (b *Base) History(typ, id string) ([]store.Version, *fhir.Error) {
	return b.store.History(typ, id)
}

// Find lists the resources of a type whose id contains text, what changed last
// first, with those that were deleted; see [store.Store.Find].
func (b *Base) Find(typ, text string, offset, limit int) (found []store.Found, total int) {
	return b.store.Find(typ, text, offset, limit)
}

// Log lists the versions of the resources of a type, of all for "", that came to be
// at or after since, newest first; see [store.Store.Log].
func (b *Base) Log(typ string, since time.Time, offset, limit int) (entries []store.Entry, total int) {
	return b.store.Log(typ, since, offset, limit)
}
