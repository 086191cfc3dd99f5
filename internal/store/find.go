package store

import (
	"cmp"
	"slices"
	"strings"
)

// Found is the latest version of a resource, which may be its deletion.
type Found struct {
	ID string
	Version
}

// Find returns the resources of a type whose id contains text, ignoring case, the
// most recently changed first. Deleted resources that still have a tombstone are
// included. It skips the first offset and returns at most limit; total counts all of
// them.
func (s *Store) Find(typ, text string, offset, limit int) (found []Found, total int) {
	text = strings.ToLower(text)
	offset, limit = max(offset, 0), max(limit, 0)
	order := func(a, b Found) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID))
	}
	// There may be a hundred thousand resources, but only one page is needed. Keep the
	// candidates for it: sort now and then, and drop what sorts after the page.
	best := offset + limit
	sorted := false
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.types[typ]
	if c == nil {
		return nil, 0
	}
	for id, r := range c.byID {
		if text != "" && !strings.Contains(strings.ToLower(id), text) {
			continue
		}
		total++
		one := Found{id, r.current()}
		if sorted && (best == 0 || order(one, found[best-1]) > 0) {
			continue
		}
		found = append(found, one)
		if len(found) >= 2*best+1000 {
			slices.SortFunc(found, order)
			found, sorted = found[:best], true
		}
	}
	slices.SortFunc(found, order)
	return found[min(offset, len(found)):min(best, len(found))], total
}
