package fhir

import (
	"encoding/json"
	"time"
)

// Resource is one version of a resource. It is immutable: a write makes a new
// one, so that reads, history and notifications can share its bytes.
type Resource struct {
	Release     Release
	Type        string
	ID          string
	VersionID   string
	LastUpdated time.Time
	JSON        []byte  // compact encoding, read only
	Object      *Object // the same as a tree, read only

	footprint int // see Footprint; 0: not known
}

// NewResource wraps and encodes a tree that already has its resourceType, id and
// meta. The tree must not be modified afterwards.
func NewResource(r Release, o *Object) *Resource {
	res := &Resource{Release: r, Type: o.Text("resourceType"), ID: o.Text("id"), Object: o, JSON: o.AppendJSON(nil)}
	res.footprint = cap(res.JSON) + footprint(o)
	if meta, ok := o.Get("meta").(*Object); ok {
		res.VersionID = meta.Text("versionId")
		res.LastUpdated, _ = time.Parse(time.RFC3339Nano, meta.Text("lastUpdated"))
	}
	return res
}

// Footprint returns about how many bytes of memory the resource takes, as JSON and as a
// tree. A tree of many small elements takes several times as much as its JSON.
func (r *Resource) Footprint() int { return max(r.footprint, len(r.JSON)) }

// footprint returns about how many bytes of memory a value takes, besides its place in
// what holds it.
func footprint(value any) int {
	const (
		header   = 24 // of a slice
		text     = 16 // of a string
		place    = 16 // of a value
		smallest = 16 // a string of a few bytes
	)
	size := 0
	switch v := value.(type) {
	case *Object:
		if v == nil {
			return 0
		}
		size = header + cap(v.members)*(text+place)
		for _, m := range v.members {
			size += smallest + footprint(m.value) // names are short
		}
	case []any:
		size = header + cap(v)*place
		for _, item := range v {
			size += footprint(item)
		}
	case string:
		size = text + max(smallest, len(v))
	case json.Number:
		size = text + max(smallest, len(v))
	}
	return size
}

// Reference returns the relative reference to the resource, "Encounter/2".
func (r *Resource) Reference() string { return r.Type + "/" + r.ID }
