// Package store holds the resources of one release in memory, every version of
// them, and answers each write with the [Change] it made.
//
// It knows ids, versions and preconditions. It knows no subscriptions, checks no
// content, and never modifies a resource it has handed out.
package store

import (
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
	MaxResources int // 100 000
}

// Store is safe for concurrent use.
type Store struct {
	release fhir.Release
	clock   clock.Clock
	random  *random.Source
	options Options

	mu    sync.RWMutex // guards types, count and everything below them
	types map[string]*collection
	count int // resources that are not deleted
}

// collection is all resources of one type.
type collection struct {
	byID    map[string]*record
	records []*record // in order of creation
}

// record is one resource through time.
type record struct {
	id       string
	last     int       // number of the latest version
	versions []Version // oldest first; the latest is the last
}

// Version is one entry of a history.
type Version struct {
	VersionID string
	Method    string // POST, PUT or DELETE
	Created   bool   // the write brought the resource into being
	At        time.Time
	Resource  *fhir.Resource // nil: deleted
}

// New makes an empty store.
func New(release fhir.Release, c clock.Clock, r *random.Source, o Options) *Store {
	if o.MaxVersions == 0 {
		o.MaxVersions = 100
	}
	if o.MaxResources == 0 {
		o.MaxResources = 100_000
	}
	return &Store{release: release, clock: c, random: r, options: o, types: map[string]*collection{}}
}

// Reset forgets everything.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.types, s.count = map[string]*collection{}, 0
}

func (s *Store) record(typ, id string) *record {
	if c := s.types[typ]; c != nil {
		return c.byID[id]
	}
	return nil
}

func (r *record) current() Version { return r.versions[len(r.versions)-1] }

// Read answers the current version: 404 not-found where there never was one,
// 410 deleted where it is gone (LC-17).
func (s *Store) Read(typ, id string) (*fhir.Resource, *fhir.Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.record(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	return content(typ, id, r.current())
}

func notFound(typ, id string) *fhir.Error {
	return fhir.Refuse(http.StatusNotFound, "not-found", "there is no %s/%s", typ, id)
}

func content(typ, id string, v Version) (*fhir.Resource, *fhir.Error) {
	if v.Resource == nil {
		return nil, fhir.Refuse(http.StatusGone, "deleted", "%s/%s was deleted at %s", typ, id, v.At.UTC().Format(time.RFC3339))
	}
	return v.Resource, nil
}

// VRead answers one version: 404 for one that never was or is no longer kept,
// 410 for the one that is the deletion.
func (s *Store) VRead(typ, id, version string) (*fhir.Resource, *fhir.Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.record(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	for _, v := range r.versions {
		if v.VersionID == version {
			return content(typ, id, v)
		}
	}
	if n, err := strconv.Atoi(version); err == nil && n > 0 && n <= r.last {
		return nil, fhir.Refuse(http.StatusNotFound, "not-found", "version %s of %s/%s is no longer kept; the oldest kept is %s", version, typ, id, r.versions[0].VersionID)
	}
	return nil, fhir.Refuse(http.StatusNotFound, "not-found", "%s/%s has no version %s; the current one is %d", typ, id, version, r.last)
}

// History answers the versions that are kept, newest first.
func (s *Store) History(typ, id string) ([]Version, *fhir.Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.record(typ, id)
	if r == nil {
		return nil, notFound(typ, id)
	}
	versions := slices.Clone(r.versions)
	slices.Reverse(versions)
	return versions, nil
}

// List answers the current resources of a type in order of their creation.
func (s *Store) List(typ string) []*fhir.Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.types[typ]
	if c == nil {
		return nil
	}
	list := make([]*fhir.Resource, 0, len(c.records))
	for _, r := range c.records {
		if res := r.current().Resource; res != nil {
			list = append(list, res)
		}
	}
	return list
}

// Count is the number of resources that are not deleted.
func (s *Store) Count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}

// Create stores a new resource under id, or under a new id where it is "". The
// store takes o over and puts resourceType, id and meta in place.
func (s *Store) Create(typ, id string, o *fhir.Object) (*Change, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id == "" || s.record(typ, id) != nil {
		id = s.random.ID()
	}
	return s.putLocked(typ, id, http.MethodPost, o)
}

// Update stores the next version of typ/id, or its first one. A non-empty
// ifMatch (an ETag, a bare version, or *) must name the current version; else
// it is refused with 412.
func (s *Store) Update(typ, id string, o *fhir.Object, ifMatch string) (*Change, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.matchLocked(typ, id, ifMatch); err != nil {
		return nil, err
	}
	return s.putLocked(typ, id, http.MethodPut, o)
}

// Delete removes typ/id. It answers nil where there is nothing to remove.
func (s *Store) Delete(typ, id, ifMatch string) (*Change, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.matchLocked(typ, id, ifMatch); err != nil {
		return nil, err
	}
	r := s.record(typ, id)
	if r == nil || r.current().Resource == nil {
		return nil, nil
	}
	previous, now := r.current().Resource, s.nowFor(r)
	s.appendLocked(r, Version{Method: http.MethodDelete, At: now})
	s.count--
	return &Change{Interaction: Delete, Method: http.MethodDelete, Previous: previous, At: now}, nil
}

func (s *Store) matchLocked(typ, id, ifMatch string) *fhir.Error {
	if ifMatch == "" {
		return nil
	}
	r := s.record(typ, id)
	if r == nil || r.current().Resource == nil {
		return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-Match %s: there is no current %s/%s", ifMatch, typ, id)
	}
	current := strconv.Itoa(r.last)
	for tag := range strings.SplitSeq(ifMatch, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == "*" || tag == current {
			return nil
		}
	}
	return fhir.Refuse(http.StatusPreconditionFailed, "conflict", "If-Match %s: the current version of %s/%s is %s; read it again and redo the change", ifMatch, typ, id, current)
}

func (s *Store) putLocked(typ, id, method string, o *fhir.Object) (*Change, *fhir.Error) {
	r := s.record(typ, id)
	exists := r != nil && r.current().Resource != nil
	if !exists && s.count >= s.options.MaxResources {
		return nil, fhir.Refuse(http.StatusTooManyRequests, "too-costly", "the server holds %d resources, its limit; delete some or POST /mock/reset", s.count)
	}
	if r == nil {
		r = &record{id: id}
		c := s.types[typ]
		if c == nil {
			c = &collection{byID: map[string]*record{}}
			s.types[typ] = c
		}
		c.byID[id] = r
		c.records = append(c.records, r)
	}
	change := &Change{Interaction: Create, Method: method, At: s.nowFor(r)}
	if exists {
		change.Interaction, change.Previous = Update, r.current().Resource
	} else {
		s.count++
	}
	change.Current = fhir.NewResource(s.release, Stamp(o, id, strconv.Itoa(r.last+1), change.At))
	s.appendLocked(r, Version{Method: method, Created: !exists, At: change.At, Resource: change.Current})
	return change, nil
}

// nowFor is the time of the next version of r: never before that of the last,
// whatever the machine's clock does.
func (s *Store) nowFor(r *record) time.Time {
	now := s.clock.Now().UTC().Truncate(time.Millisecond)
	if len(r.versions) > 0 && now.Before(r.current().At) {
		return r.current().At
	}
	return now
}

func (s *Store) appendLocked(r *record, v Version) {
	r.last++
	v.VersionID = strconv.Itoa(r.last)
	r.versions = append(r.versions, v)
	if over := len(r.versions) - s.options.MaxVersions; over > 0 {
		r.versions = slices.Delete(r.versions, 0, over)
	}
}

// Stamp puts resourceType, id and meta of a resource in place, at its front,
// and answers it. Other members of meta stay.
func Stamp(o *fhir.Object, id, version string, at time.Time) *fhir.Object {
	meta := o.Object("meta")
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
