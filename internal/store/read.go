package store

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"signalfhir/internal/fhir"
)

// Read returns the current version of typ/id. It refuses with 404 not-found if it
// never existed, and with 410 deleted if it was deleted (LC-17).
func (s *Store) Read(typ, id string) (*fhir.Resource, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.recordLocked(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	return content(typ, id, r.current())
}

func notFound(typ, id string) error {
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no %s/%s", typ, id)
}

func content(typ, id string, v Version) (*fhir.Resource, error) {
	if v.Resource == nil {
		return nil, fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "%s/%s was deleted at %s, as version %s", typ, id, v.At.Format(time.RFC3339), v.VersionID)
	}
	return v.Resource, nil
}

// VRead returns one version of typ/id. It refuses with 404 not-found if the version
// never existed or is no longer kept, and with 410 deleted if it is the deletion.
func (s *Store) VRead(typ, id, version string) (*fhir.Resource, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.recordLocked(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	for _, v := range r.versions {
		if v.VersionID == version {
			return content(typ, id, v)
		}
	}
	if n, err := strconv.Atoi(version); err == nil && n > 0 && n <= r.last && strconv.Itoa(n) == version {
		return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "version %s of %s/%s is no longer kept; the oldest kept is %s", version, typ, id, r.versions[0].VersionID)
	}
	return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "%s/%s has no version %q; the latest is %d", typ, id, version, r.last)
}

// History returns the kept versions of typ/id, newest first, including deletions. It
// refuses with 404 not-found if there are none.
func (s *Store) History(typ, id string) ([]Version, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.recordLocked(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	versions := slices.Clone(r.versions)
	slices.Reverse(versions)
	return versions, nil
}

// ChangeTo returns the change that made a version. It returns nil if that version, or
// the one before it, is no longer kept.
func (s *Store) ChangeTo(typ, id, version string) *Change {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.recordLocked(typ, id)
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.versions, func(v Version) bool { return v.VersionID == version })
	if i < 0 || i == 0 && version != "1" {
		return nil
	}
	v := r.versions[i]
	c := &Change{Interaction: Update, Method: v.Method, Current: v.Resource, VersionID: v.VersionID, At: v.At}
	if i > 0 {
		c.Previous = r.versions[i-1].Resource
	}
	switch {
	case v.Resource == nil:
		c.Interaction = Delete
	case v.Created:
		c.Interaction = Create
	}
	return c
}

// Entry is a version together with the type and id of its resource.
type Entry struct {
	Type, ID string
	Version
}

// Log returns the kept versions that were made at or after since, newest first,
// including deletions: those of typ/id, or of all resources of typ if id is "", or of
// all resources if typ is "" too. It skips the first offset and returns at most limit;
// total counts all of them.
func (s *Store) Log(typ, id string, since time.Time, offset, limit int) (entries []Entry, total int) {
	s.mu.RLock()
	for name, c := range s.types {
		if typ != "" && name != typ {
			continue
		}
		records := c.byID
		if id != "" {
			records = map[string]*record{id: c.byID[id]}
		}
		for id, r := range records {
			if r == nil {
				continue
			}
			for _, v := range r.versions {
				if !v.At.Before(since) {
					entries = append(entries, Entry{name, id, v})
				}
			}
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(b.order, a.order) })
	total = len(entries)
	return entries[min(offset, total):min(offset+limit, total)], total
}

// List returns the current resources of a type in order of creation. A resource that
// was deleted and created again has the place of its second creation.
func (s *Store) List(typ string) []*fhir.Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.types[typ]
	if c == nil {
		return nil
	}
	found := make([]*fhir.Resource, 0, c.len())
	for _, r := range c.order {
		if r != nil {
			found = append(found, r.current().Resource)
		}
	}
	return found
}

// Count returns the number of resources that are not deleted.
func (s *Store) Count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}

// Types returns the number of resources that are not deleted, by type. Types that
// have none are left out.
func (s *Store) Types() map[string]int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	counts := map[string]int{}
	for typ, c := range s.types {
		if n := c.len(); n > 0 {
			counts[typ] = n
		}
	}
	return counts
}

// collection holds the resources of one type.
type collection struct {
	byID  map[string]*record // including deleted ones that have a tombstone
	order []*record          // resources that exist, in order of creation; nil if deleted since
	holes int                // nils in order
}

func (c *collection) len() int { return len(c.order) - c.holes }

// add puts r at the end of the order.
func (c *collection) add(r *record) {
	c.byID[r.id] = r
	r.place = len(c.order)
	c.order = append(c.order, r)
}

// remove removes r from the order; it can still be found by id. It closes the holes
// once they are half of the order, so that a removal takes constant time on average.
func (c *collection) remove(r *record) {
	c.order[r.place] = nil
	c.holes++
	if 2*c.holes < len(c.order) {
		return
	}
	c.order = slices.DeleteFunc(c.order, func(r *record) bool { return r == nil })
	for place, r := range c.order {
		r.place = place
	}
	c.holes = 0
}
