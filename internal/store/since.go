package store

// maxRecent is how many versions [Store.Since] can go back, at least.
const maxRecent = 4096

// Changed names a resource that changed.
type Changed struct{ Type, ID string }

// Commits returns a number that grows with each version stored and with each reset. It
// names a state of the store for [Store.Since].
func (s *Store) Commits() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.commits
}

// Since returns the resources that changed since Commits returned the number commits,
// each once, and the number it returns now. Its cost grows with the changes, not with
// the resources. ok is false if the changes are not known any more, because there were
// thousands of them or a reset.
func (s *Store) Since(commits uint64) (changed []Changed, now uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	back := s.commits - commits
	if back > uint64(len(s.recent)) {
		return nil, s.commits, false
	}
	for _, v := range s.recent[uint64(len(s.recent))-back:] {
		if r := v.record; len(r.versions) == 0 || r.current().order == v.order {
			changed = append(changed, Changed{r.typ, r.id})
		} // otherwise it changed again, and is returned for that
	}
	return changed, s.commits, true
}

// stored is a version that was stored.
type stored struct {
	record *record
	order  uint64
}

// noteLocked adds the latest version of r to the recent ones.
func (s *Store) noteLocked(r *record) {
	if len(s.recent) == 2*maxRecent {
		s.recent = s.recent[:copy(s.recent, s.recent[maxRecent:])]
	}
	s.recent = append(s.recent, stored{r, s.commits})
}
