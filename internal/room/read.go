package room

import (
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
)

// Read returns the current version of typ/id. It refuses with 404 if it never existed,
// and with 410 if it was deleted (LC-17).
func (b *Base) Read(typ, id string) (*fhir.Resource, error) {
	return b.store.Read(typ, id)
}

// ReadVersion returns one version of typ/id.
func (b *Base) ReadVersion(typ, id, version string) (*fhir.Resource, error) {
	return b.store.VRead(typ, id, version)
}

// Find returns the resources of a type whose id contains text, the most recently changed
// first, including deleted ones; see [store.Store.Find].
func (b *Base) Find(typ, text string, offset, limit int) (found []store.Found, total int) {
	return b.store.Find(typ, text, offset, limit)
}

// Log returns the versions that were made at or after since, newest first: those of
// typ/id, or of all resources of typ if id is "", or of all resources if typ is "" too;
// see [store.Store.Log]. It refuses with 404 if typ/id never existed.
func (b *Base) Log(typ, id string, since time.Time, offset, limit int) (entries []store.Entry, total int, err error) {
	if id != "" {
		if _, err := b.store.History(typ, id); err != nil {
			return nil, 0, err
		}
	}
	entries, total = b.store.Log(typ, id, since, offset, limit)
	return entries, total, nil
}
