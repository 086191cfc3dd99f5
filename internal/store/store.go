// Package store holds the resources of one release in memory, in all their
// versions, and returns the [Change] that each write made.
//
// It owns ids, versions, preconditions and the order of creation. It does not know
// subscriptions and does not validate content. A version is immutable, so readers
// need no lock once they have one.
package store

import (
	"container/list"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Options bound a store. Zero means the default.
type Options struct {
	MaxVersions  int // kept of each resource; the oldest are dropped first; 100
	MaxResources int // not counting deleted ones; 200 000
	MaxDeleted   int // tombstones kept; the oldest are dropped first; 10 000
	MaxBytes     int // that all kept versions take in memory; old versions are dropped first; 512 MiB
}

// Store is safe for concurrent use. A write excludes other writes and reads.
type Store struct {
	release fhir.Release
	clock   clock.Clock
	random  *random.Source
	options Options

	mu      sync.RWMutex // guards the fields below and everything reached through them
	commits uint64       // number of versions ever stored, plus resets
	recent  []stored     // the versions stored last, oldest first; emptied by a reset
	types   map[string]*collection
	count   int        // resources that are not deleted
	bytes   int        // that all kept versions take in memory
	deleted *list.List // of *record, oldest deletion first
}

// record is one resource with its history.
type record struct {
	typ, id   string
	last      int           // number of the latest version
	versions  []Version     // kept versions, oldest first
	place     int           // index in the order of its collection, unless deleted
	tombstone *list.Element // in Store.deleted; nil unless deleted
}

// Version is one entry of a history. It is immutable.
type Version struct {
	VersionID string
	Method    string // POST, PUT or DELETE
	Created   bool   // the resource did not exist before
	At        time.Time
	Resource  *fhir.Resource // nil: deleted

	order uint64 // position among all versions of the store
}

// New returns an empty store.
func New(release fhir.Release, c clock.Clock, r *random.Source, o Options) *Store {
	o.MaxVersions = orDefault(o.MaxVersions, 100)
	o.MaxResources = orDefault(o.MaxResources, 200_000)
	o.MaxDeleted = orDefault(o.MaxDeleted, 10_000)
	o.MaxBytes = orDefault(o.MaxBytes, 512<<20)
	s := &Store{release: release, clock: c, random: r, options: o}
	s.resetLocked() // no other goroutine has the store yet
	return s
}

func orDefault(n, fallback int) int {
	if n <= 0 {
		return fallback
	}
	return n
}

// Reset removes everything, including tombstones.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetLocked()
}

func (s *Store) resetLocked() {
	s.types, s.count, s.bytes, s.deleted = map[string]*collection{}, 0, 0, list.New()
	s.commits, s.recent = s.commits+1, nil
}

func (s *Store) recordLocked(typ, id string) *record {
	if c := s.types[typ]; c != nil {
		return c.byID[id]
	}
	return nil
}

func (r *record) current() Version { return r.versions[len(r.versions)-1] }

// exists reports whether r is not nil and not deleted.
func (r *record) exists() bool { return r != nil && r.current().Resource != nil }

// Write is one step of a commit.
type Write struct {
	Method   string // POST, PUT or DELETE
	Type, ID string // if ID is "" in a POST, the store chooses one
	Object   *fhir.Object
	IfMatch  string

	// IfNoneMatch of a PUT is "*" to allow only a create, or a list of versions that
	// must not be the current one.
	IfNoneMatch string
}

// Commit applies all writes in order, or none of them. To readers it is one step. It
// takes ownership of the objects and sets their resourceType, id and meta. It returns
// the change of each write, nil for a DELETE of a resource that does not exist. If it
// refuses a write, refusedAt is its index. It refuses:
//
//   - a POST whose id is in use, with 409 conflict. The id of a deleted resource is
//     free, and its version numbers continue. A PUT to a free id is a create;
//   - a PUT or DELETE with an IfMatch (an ETag, a bare version, a list of them, or *)
//     that does not name the current version, with 412 conflict (7.1);
//   - a PUT with an IfNoneMatch that names the current version, or that is * if the
//     resource exists, with 412 conflict;
//   - a create if the store would hold too many resources, and anything but a DELETE
//     if it holds too many bytes, with 429 too-costly.
//
// Two writes of one commit must not be about the same resource.
func (s *Store) Commit(writes ...Write) (changes []*Change, refusedAt int, refused error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	added := 0 // resources, less those deleted
	for i, w := range writes {
		r := s.recordLocked(w.Type, w.ID)
		switch {
		case w.Method == http.MethodPost && r.exists():
			return nil, i, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "%s/%s already exists, as version %d; update it, or create it without an id", w.Type, w.ID, r.last)
		case w.Method != http.MethodPost:
			if err := s.matchLocked(&w); err != nil {
				return nil, i, err
			}
		}
		switch {
		case w.Method != http.MethodDelete && s.bytes > s.options.MaxBytes && !s.dropOldVersionsLocked():
			return nil, i, fhir.Refuse(http.StatusTooManyRequests, fhir.CodeTooCostly, "the server holds %d MB of resources, the limit is %d MB; delete some, or reset the room", s.bytes>>20, s.options.MaxBytes>>20)
		case w.Method == http.MethodDelete && r.exists():
			added--
		case w.Method != http.MethodDelete && !r.exists():
			if added++; s.count+added > s.options.MaxResources {
				return nil, i, fhir.Refuse(http.StatusTooManyRequests, fhir.CodeTooCostly, "the server holds %d resources, the limit is %d; delete some, or reset the room", s.count, s.options.MaxResources)
			}
		}
	}
	for _, w := range writes {
		if w.Method == http.MethodDelete {
			changes = append(changes, s.deleteLocked(w.Type, w.ID))
			continue
		}
		if w.ID == "" {
			w.ID = s.newIDLocked(w.Type)
		}
		changes = append(changes, s.putLocked(w.Type, w.ID, w.Method, w.Object))
	}
	return changes, 0, nil
}

// NewID returns an id that no resource of the type has, not even a deleted one with a
// tombstone.
func (s *Store) NewID(typ string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.newIDLocked(typ)
}

func (s *Store) newIDLocked(typ string) string {
	for {
		if id := s.random.ID(); s.recordLocked(typ, id) == nil {
			return id
		}
	}
}

// Create commits one POST; see [Store.Commit].
func (s *Store) Create(typ, id string, o *fhir.Object) (*Change, error) {
	return s.commitOne(Write{Method: http.MethodPost, Type: typ, ID: id, Object: o})
}

// Update commits one PUT; see [Store.Commit].
func (s *Store) Update(typ, id string, o *fhir.Object, ifMatch string) (*Change, error) {
	return s.commitOne(Write{Method: http.MethodPut, Type: typ, ID: id, Object: o, IfMatch: ifMatch})
}

// Delete commits one DELETE; see [Store.Commit]. It returns nil, nil if there is
// nothing to delete.
func (s *Store) Delete(typ, id, ifMatch string) (*Change, error) {
	return s.commitOne(Write{Method: http.MethodDelete, Type: typ, ID: id, IfMatch: ifMatch})
}

func (s *Store) commitOne(w Write) (*Change, error) {
	changes, _, err := s.Commit(w)
	if err != nil {
		return nil, err
	}
	return changes[0], nil
}

// Next returns the current version of a resource, nil if it does not exist, and the
// version that the next write of the resource makes.
func (s *Store) Next(typ, id string) (current *fhir.Resource, version string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.recordLocked(typ, id)
	if r == nil {
		return nil, "1"
	}
	return r.current().Resource, strconv.Itoa(r.last + 1)
}

// Foresee returns the change that [Store.Commit] would make now of one write with an id,
// nil for a DELETE of a resource that does not exist. It checks no preconditions. The
// change shares what is in the object, which it does not modify. What is committed later
// differs in its time, even if nothing else was written meanwhile.
func (s *Store) Foresee(w Write) *Change {
	previous, version := s.Next(w.Type, w.ID)
	c := &Change{Interaction: Update, Method: w.Method, Previous: previous, VersionID: version, At: s.clock.Now().UTC().Truncate(time.Millisecond)}
	switch {
	case w.Method == http.MethodDelete && previous == nil:
		return nil
	case w.Method == http.MethodDelete:
		c.Interaction = Delete
		return c
	case previous == nil:
		c.Interaction = Create
	}
	o := &fhir.Object{}
	for _, name := range w.Object.Names() {
		o.Set(name, w.Object.Get(name))
	}
	c.Current = fhir.NewResource(s.release, Stamp(o, w.ID, version, c.At))
	return c
}

// deleteLocked deletes a resource and returns the change, or nil if it does not exist.
func (s *Store) deleteLocked(typ, id string) *Change {
	r := s.recordLocked(typ, id)
	if !r.exists() {
		return nil
	}
	change := &Change{Interaction: Delete, Method: http.MethodDelete, Previous: r.current().Resource, At: s.nextTimeLocked(r)}
	s.appendLocked(r, Version{Method: change.Method, At: change.At})
	change.VersionID = r.current().VersionID
	s.types[typ].remove(r)
	s.count--
	s.addTombstoneLocked(r)
	return change
}

// addTombstoneLocked keeps the history of r, which was deleted, and drops the oldest
// tombstone if there are too many.
func (s *Store) addTombstoneLocked(r *record) {
	r.tombstone = s.deleted.PushBack(r)
	if s.deleted.Len() > s.options.MaxDeleted {
		oldest := s.deleted.Remove(s.deleted.Front()).(*record)
		s.dropLocked(oldest, len(oldest.versions))
		delete(s.types[oldest.typ].byID, oldest.id)
	}
}

// dropLocked drops the oldest versions of r.
func (s *Store) dropLocked(r *record, number int) {
	for _, v := range r.versions[:number] {
		s.bytes -= v.size()
	}
	r.versions = slices.Delete(r.versions, 0, number)
}

// dropOldVersionsLocked drops all versions except the current ones, and reports
// whether the store is within its limit then.
func (s *Store) dropOldVersionsLocked() bool {
	s.keepCurrentLocked()
	return s.bytes <= s.options.MaxBytes
}

// DropOldVersions drops all versions except the current ones, those of deleted resources
// too. It returns how many there were.
func (s *Store) DropOldVersions() (versions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepCurrentLocked()
}

func (s *Store) keepCurrentLocked() (dropped int) {
	for _, c := range s.types {
		for _, r := range c.byID {
			dropped += len(r.versions) - 1
			s.dropLocked(r, len(r.versions)-1)
		}
	}
	return dropped
}

// Bytes returns about how many bytes of memory the kept versions take.
func (s *Store) Bytes() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bytes
}

func (v Version) size() int {
	if v.Resource == nil {
		return 0
	}
	return v.Resource.Footprint()
}

// Allows checks the IfMatch and IfNoneMatch of a PUT or DELETE, and refuses it as
// [Store.Commit] would.
func (s *Store) Allows(w Write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.matchLocked(&w)
}

// matchLocked checks the IfMatch and IfNoneMatch of a PUT or DELETE.
func (s *Store) matchLocked(w *Write) error {
	r := s.recordLocked(w.Type, w.ID)
	exists := r.exists()
	current := ""
	if exists {
		current = strconv.Itoa(r.last)
	}
	switch {
	case w.IfMatch != "" && !exists:
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeConflict, "If-Match %s: %s/%s does not exist", w.IfMatch, w.Type, w.ID)
	case w.IfMatch != "" && !Tagged(w.IfMatch, current):
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeConflict, "If-Match %s: the current version of %s/%s is %s; read it again and repeat the change", w.IfMatch, w.Type, w.ID, current)
	case w.IfNoneMatch != "" && exists && Tagged(w.IfNoneMatch, current):
		return fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeConflict, "If-None-Match %s: the current version of %s/%s is %s; leave the header out to replace it", w.IfNoneMatch, w.Type, w.ID, current)
	}
	return nil
}

// Tagged reports whether an If-Match or If-None-Match header names a version: as an
// ETag, weak or strong, as a bare version, in a list of those, or as *.
func Tagged(header, version string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == "*" || tag == version {
			return true
		}
	}
	return false
}

func (s *Store) putLocked(typ, id, method string, o *fhir.Object) *Change {
	r := s.recordLocked(typ, id)
	existed := r.exists()
	if r == nil {
		r = &record{typ: typ, id: id}
	}
	change := &Change{Interaction: Create, Method: method, At: s.nextTimeLocked(r)}
	if existed {
		change.Interaction, change.Previous = Update, r.current().Resource
	}
	change.Current = fhir.NewResource(s.release, Stamp(o, id, strconv.Itoa(r.last+1), change.At))
	s.appendLocked(r, Version{Method: method, Created: !existed, At: change.At, Resource: change.Current})
	change.VersionID = change.Current.VersionID
	if !existed {
		s.addLocked(r)
	}
	return change
}

// addLocked adds r, which is new or was deleted, to the resources that exist.
func (s *Store) addLocked(r *record) {
	if r.tombstone != nil {
		s.deleted.Remove(r.tombstone)
		r.tombstone = nil
	}
	c := s.types[r.typ]
	if c == nil {
		c = &collection{byID: map[string]*record{}}
		s.types[r.typ] = c
	}
	c.add(r)
	s.count++
}

// nextTimeLocked returns the time of the next version of r, in milliseconds. It is
// never before that of the last version, even if the clock goes back.
func (s *Store) nextTimeLocked(r *record) time.Time {
	now := s.clock.Now().UTC().Truncate(time.Millisecond)
	if len(r.versions) > 0 && now.Before(r.current().At) {
		return r.current().At
	}
	return now
}

func (s *Store) appendLocked(r *record, v Version) {
	r.last++
	v.VersionID = strconv.Itoa(r.last)
	s.commits++
	v.order = s.commits
	r.versions = append(r.versions, v)
	s.noteLocked(r)
	s.bytes += v.size()
	if over := len(r.versions) - s.options.MaxVersions; over > 0 {
		s.dropLocked(r, over)
	}
}

// Stamp sets resourceType, id, meta.versionId and meta.lastUpdated at the front of o
// and returns o. It keeps the other members of meta.
func Stamp(o *fhir.Object, id, version string, at time.Time) *fhir.Object {
	// Clone meta: o may share it with the version it was made from.
	meta := o.Object("meta").Clone()
	if meta == nil {
		meta = &fhir.Object{}
	}
	meta.SetFirst("lastUpdated", at.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	meta.SetFirst("versionId", version)
	o.SetFirst("meta", meta)
	o.SetFirst("id", id)
	o.SetFirst("resourceType", o.Text("resourceType"))
	return o
}
