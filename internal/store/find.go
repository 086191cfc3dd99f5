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
	offset, limit = max(offset, 0), max(limit, 0)
	order := func(a, b Found) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID))
	}
	// A page of perhaps a hundred thousand is wanted, so only what may be on it is
	// kept: sorted now and then, and measured against the last of the best.
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
