package topic

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Catalogue holds topics by the id of the resource that defines each. It is safe for
// concurrent use. Its lock is held for memory work only.
type Catalogue struct {
	mu     sync.RWMutex // guards the fields below
	byKey  map[string]*Topic
	order  []*Topic            // in the order in which they were stored
	byType map[string][]*Topic // built on demand; its slices are never modified
}

// NewCatalogue returns an empty catalogue.
func NewCatalogue() *Catalogue {
	c := &Catalogue{}
	c.Clear()
	return c
}

// Clear removes every topic.
func (c *Catalogue) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey, c.order, c.byType = map[string]*Topic{}, nil, map[string][]*Topic{}
}

// Clone returns a copy of the catalogue that can be changed independently.
func (c *Catalogue) Clone() *Catalogue {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return &Catalogue{byKey: maps.Clone(c.byKey), order: slices.Clone(c.order), byType: map[string][]*Topic{}}
}

// Put adds a topic under the id of its resource, or replaces the topic that has the
// id. The topic must not be in use yet.
func (c *Catalogue) Put(id string, t *Topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(id)
	t.key = id
	c.byKey[id] = t
	c.order = append(c.order, t)
	c.byType = map[string][]*Topic{}
}

// Remove removes the topic that a resource defines.
func (c *Catalogue) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(id)
}

func (c *Catalogue) removeLocked(id string) {
	if t := c.byKey[id]; t != nil {
		delete(c.byKey, id)
		c.order = slices.DeleteFunc(c.order, func(other *Topic) bool { return other == t })
		c.byType = map[string][]*Topic{}
	}
}

// ByKey returns the topic that a resource defines, by the id of the resource.
func (c *Catalogue) ByKey(key string) (*Topic, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.byKey[key]
	return t, ok
}

// DefinedBy returns the id of the resource that defines a topic with this url and
// version.
func (c *Catalogue) DefinedBy(url, version string) (id string, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, t := range c.order {
		if t.topic.URL == url && t.topic.Version == version {
			return t.key, true
		}
	}
	return "", false
}

// Resolve returns the topic that a canonical names. Without a version, that is the
// latest one; of equal versions, the last stored (TOP-21).
func (c *Catalogue) Resolve(canonical string) (*Topic, bool) {
	url, version, versioned := strings.Cut(canonical, "|")
	c.mu.RLock()
	defer c.mu.RUnlock()
	var best *Topic
	for _, t := range c.order {
		if t.topic.URL != url || versioned && t.topic.Version != version {
			continue
		}
		if best == nil || compareVersions(t.topic.Version, best.topic.Version) >= 0 {
			best = t
		}
	}
	return best, best != nil
}

// compareVersions compares two versions part by part: numbers by value, other parts
// as text. The version with more parts is later, but a pre-release (after "-") is
// earlier.
func compareVersions(a, b string) int {
	aMain, aPre, _ := strings.Cut(a, "-")
	bMain, bPre, _ := strings.Cut(b, "-")
	if d := compareParts(aMain, bMain); d != 0 {
		return d
	}
	switch {
	case aPre == bPre:
		return 0
	case aPre == "":
		return 1
	case bPre == "":
		return -1
	}
	return compareParts(aPre, bPre)
}

func compareParts(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		an, aErr := strconv.Atoi(as[i])
		bn, bErr := strconv.Atoi(bs[i])
		d := cmp.Compare(as[i], bs[i])
		if aErr == nil && bErr == nil {
			d = cmp.Compare(an, bn)
		}
		if d != 0 {
			return d
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// All returns the topics in the order in which they were stored.
func (c *Catalogue) All() []*Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.order)
}

// URLs returns the canonical URLs of all topics, sorted, without duplicates.
func (c *Catalogue) URLs() []string {
	var urls []string
	for _, t := range c.All() {
		urls = append(urls, t.topic.URL)
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// ForType returns the topics that have a trigger on a resource type, in the order in
// which they were stored.
func (c *Catalogue) ForType(typ string) []*Topic {
	c.mu.RLock()
	found, ok := c.byType[typ]
	c.mu.RUnlock()
	if ok {
		return found
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found = nil
	for _, t := range c.order {
		if slices.ContainsFunc(t.triggers, func(g trigger) bool { return g.concerns(typ) }) {
			found = append(found, t)
		}
	}
	c.byType[typ] = found
	return found
}
