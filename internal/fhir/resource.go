package fhir

import "time"

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
}

// NewResource wraps and encodes a tree that already has its resourceType, id and
// meta. The tree must not be modified afterwards.
func NewResource(r Release, o *Object) *Resource {
	res := &Resource{Release: r, Type: o.Text("resourceType"), ID: o.Text("id"), Object: o, JSON: o.AppendJSON(nil)}
	if meta, ok := o.Get("meta").(*Object); ok {
		res.VersionID = meta.Text("versionId")
		res.LastUpdated, _ = time.Parse(time.RFC3339Nano, meta.Text("lastUpdated"))
	}
	return res
}

// Reference returns the relative reference to the resource, "Encounter/2".
func (r *Resource) Reference() string { return r.Type + "/" + r.ID }
