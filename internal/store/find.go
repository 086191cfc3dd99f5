package store

import (
	"cmp"
	"slices"
	"strings"
)

// Found is the latest version of a resource, its deletion included.
type Found struct {
	ID string
	Version
}

// Find lists the resources of a type whose id contains text, in any case, what
// changed last first; those that were deleted and are remembered are among them.
// It skips the first offset and answers at most limit, and how many there are in
// all.
func (s *Store) Find(typ, text string, offset, limit int) (found []Found, total int) {
	text = strings.ToLower(text)
	s.mu.RLock()
	if c := s.types[typ]; c != nil {
		for id, r := range c.byID {
			if strings.Contains(strings.ToLower(id), text) {
				found = append(found, Found{id, r.current()})
			}
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID))
	})
	total = len(found)
	from := min(max(offset, 0), total)
	return found[from:min(from+max(limit, 0), total)], total
}
