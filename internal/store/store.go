// Package store holds the resources of one release in memory, every version of
// them, and answers each write with the [Change] it made.
//
// It owns ids, versions, preconditions and the order of creation. It knows no
// subscriptions, checks no content, and never modifies a resource it has handed
// out: a version is immutable, so readers need no lock once they hold one.
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
	MaxVersions  int // kept per resource, the oldest go first; 100
	MaxResources int // that are not deleted; 200 000
	MaxDeleted   int // remembered after their deletion, the oldest go first; 10 000
	MaxBytes     int // of the JSON of all versions kept, of which the former go first; 512 MiB
}

// Store is safe for concurrent use: writes exclude each other and reads.
type Store struct {
	release fhir.Release
	clock   clock.Clock
	random  *random.Source
	options Options

	mu      sync.RWMutex // guards all below and everything reached through it
	commits uint64       // versions ever stored
	types   map[string]*collection
	count   int        // resources that are not deleted
	bytes   int        // of the JSON of all versions kept
	deleted *list.List // of *record, oldest deletion first
}

// record is one resource through time.
type record struct {
	typ, id  string
	last     int       // number of the latest version
	versions []Version // oldest first; the latest is the last
	place    int       // in its collection's order, while not deleted
	grave    *list.Element
}

// Version is one entry of a history. It is immutable.
type Version struct {
	VersionID string
	Method    string // POST, PUT or DELETE
	Created   bool   // the write brought the resource into being
	At        time.Time
	Resource  *fhir.Resource // nil: deleted

	order uint64 // among all versions of the store
}

// New makes an empty store.
func New(release fhir.Release, c clock.Clock, r *random.Source, o Options) *Store {
	o.MaxVersions = orDefault(o.MaxVersions, 100)
	o.MaxResources = orDefault(o.MaxResources, 200_000)
	o.MaxDeleted = orDefault(o.MaxDeleted, 10_000)
	o.MaxBytes = orDefault(o.MaxBytes, 512<<20)
	s := &Store{release: release, clock: c, random: r, options: o}
	s.resetLocked() // nobody else has it yet
	return s
}

func orDefault(n, fallback int) int {
	if n <= 0 {
		return fallback
	}
	return n
}

// Reset forgets everything, also what was deleted.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetLocked()
}

func (s *Store) resetLocked() {
	s.types, s.count, s.bytes, s.deleted = map[string]*collection{}, 0, 0, list.New()
}

func (s *Store) recordLocked(typ, id string) *record {
	if c := s.types[typ]; c != nil {
		return c.byID[id]
	}
	return nil
}

func (r *record) current() Version { return r.versions[len(r.versions)-1] }

// exists tells that r is there and not deleted; r may be nil.
func (r *record) exists() bool { return r != nil && r.current().Resource != nil }

// Write is one step of a commit.
type Write struct {
	Method   string // POST, PUT or DELETE
	Type, ID string // of a POST with ID "" the store makes one up
	Object   *fhir.Object
	IfMatch  string

	// IfNoneMatch of a PUT: "*" for one that may only create, or the versions that
	// must not be the current one.
	IfNoneMatch string
}

// Commit does several writes in their order, or none of them, in one step to
// every reader. It takes their objects over and puts resourceType, id and meta in
// place. It answers the change of each write, nil where there was nothing to
// delete. Where it refuses it names the write it refuses:
//
//   - A POST, with 409 conflict, where its id is taken. One that was deleted is
//     free, and its numbering goes on. A PUT to an id that is free is a create.
//   - A PUT or DELETE, with 412 conflict, where IfMatch (an ETag, a bare version, a
//     list of them, or *) is not empty and does not name the current version (7.1).
//   - A PUT, with 412 conflict, where IfNoneMatch names the current version, or is * and
//     there is one.
//   - All that create, with 429 too-costly, where the store would hold too many, and
//     all but a DELETE where it holds too much.
//
// No two writes of a commit may be about one resource.
func (s *Store) Commit(writes ...Write) (changes []*Change, refusedAt int, refused *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := 0
	for i, w := range writes {
		r := s.recordLocked(w.Type, w.ID)
		switch {
		case w.Method == http.MethodPost && r.exists():
			return nil, i, fhir.Refuse(http.StatusConflict, "conflict", "%s/%s exists, as version %d; update it, or create without an id", w.Type, w.ID, r.last)
		case w.Method != http.MethodPost:
			if err := s.matchLocked(&w); err != nil {
				return nil, i, err
			}
		}
		switch {
		case w.Method != http.MethodDelete && s.bytes > s.options.MaxBytes && !s.forgetFormerLocked():
			return nil, i, fhir.Refuse(http.StatusTooManyRequests, "too-costly", "the server holds %d MB of resources, and at most %d; delete some, or reset the room", s.bytes>>20, s.options.MaxBytes>>20)
		case w.Method == http.MethodDelete && r.exists():
			more--
		case w.Method != http.MethodDelete && !r.exists():
			if more++; s.count+more > s.options.MaxResources {
				return nil, i, fhir.Refuse(http.StatusTooManyRequests, "too-costly", "the server holds %d resources, and at most %d; delete some, or reset the room", s.count, s.options.MaxResources)
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

// NewID makes up an id no resource of a type has or had.
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

// Create is a [Store.Commit] of one POST.
func (s *Store) Create(typ, id string, o *fhir.Object) (*Change, *fhir.Error) {
	return s.commitOne(Write{Method: http.MethodPost, Type: typ, ID: id, Object: o})
}

// Update is a [Store.Commit] of one PUT.
func (s *Store) Update(typ, id string, o *fhir.Object, ifMatch string) (*Change, *fhir.Error) {
	return s.commitOne(Write{Method: http.MethodPut, Type: typ, ID: id, Object: o, IfMatch: ifMatch})
}

// Delete is a [Store.Commit] of one DELETE. It answers nil, nil where there is
// nothing to remove.
func (s *Store) Delete(typ, id, ifMatch string) (*Change, *fhir.Error) {
	return s.commitOne(Write{Method: http.MethodDelete, Type: typ, ID: id, IfMatch: ifMatch})
}

func (s *Store) commitOne(w Write) (*Change, *fhir.Error) {
	changes, _, err := s.Commit(w)
	if err != nil {
		return nil, err
	}
	return changes[0], nil
}

// deleteLocked removes a resource and answers the change, nil where there is none.
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
	s.buryLocked(r)
	return change
}

// buryLocked remembers that r was deleted, and forgets the deletion longest ago
// where there are too many.
func (s *Store) buryLocked(r *record) {
	r.grave = s.deleted.PushBack(r)
	if s.deleted.Len() > s.options.MaxDeleted {
		oldest := s.deleted.Remove(s.deleted.Front()).(*record)
		s.dropLocked(oldest, len(oldest.versions))
		delete(s.types[oldest.typ].byID, oldest.id)
	}
}

// dropLocked forgets the oldest versions of r.
func (s *Store) dropLocked(r *record, number int) {
	for _, v := range r.versions[:number] {
		s.bytes -= v.size()
	}
	r.versions = slices.Delete(r.versions, 0, number)
}

// forgetFormerLocked forgets every version but the current ones, and tells whether
// that made room.
func (s *Store) forgetFormerLocked() bool {
	for _, c := range s.types {
		for _, r := range c.byID {
			s.dropLocked(r, len(r.versions)-1)
		}
	}
	return s.bytes <= s.options.MaxBytes
}

func (v Version) size() int {
	if v.Resource == nil {
		return 0
	}
	return len(v.Resource.JSON)
}

// Allows asks the conditions of a PUT or DELETE before it is made, and refuses as
// [Store.Commit] would.
func (s *Store) Allows(w Write) *fhir.Error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.matchLocked(&w)
}

// matchLocked asks the conditions of a PUT or DELETE.
func (s *Store) matchLocked(w *Write) *fhir.Error {
	r := s.recordLocked(w.Type, w.ID)
	exists := r.exists()
	current := ""
	if exists {
		current = strconv.Itoa(r.last)
	}
	switch {
	case w.IfMatch != "" && !exists:
		return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-Match %s: there is no current %s/%s", w.IfMatch, w.Type, w.ID)
	case w.IfMatch != "" && !Tagged(w.IfMatch, current):
		return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-Match %s: the current version of %s/%s is %s; read it again and redo the change", w.IfMatch, w.Type, w.ID, current)
	case w.IfNoneMatch != "" && exists && Tagged(w.IfNoneMatch, current):
		return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-None-Match %s: the current version of %s/%s is %s; leave the header out to replace it", w.IfNoneMatch, w.Type, w.ID, current)
	}
	return nil
}

// Tagged tells whether If-Match or If-None-Match names a version: by an ETag, weak or
// not, bare, in a list, or as *.
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
		s.enterLocked(r)
	}
	return change
}

// enterLocked makes r, new or deleted before, one of the resources that exist.
func (s *Store) enterLocked(r *record) {
	if r.grave != nil {
		s.deleted.Remove(r.grave)
		r.grave = nil
	}
	c := s.types[r.typ]
	if c == nil {
		c = &collection{byID: map[string]*record{}}
		s.types[r.typ] = c
	}
	c.add(r)
	s.count++
}

// nextTimeLocked is the time of the next version of r, in the milliseconds of
// an instant: never before that of the last, whatever the machine's clock does.
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
	s.bytes += v.size()
	if over := len(r.versions) - s.options.MaxVersions; over > 0 {
		s.dropLocked(r, over)
	}
}

// Stamp puts resourceType, id and meta of a resource in place, at its front,
// and answers it: o itself, changed. Other members of meta stay.
func Stamp(o *fhir.Object, id, version string, at time.Time) *fhir.Object {
	// A copy: o may share its meta with the version it was made from.
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
