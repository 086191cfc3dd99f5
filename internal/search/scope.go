package search

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// Source is where a query finds other resources than the one it is asked about:
// those chains and _has go to, Groups, ValueSets and CodeSystems.
type Source interface {
	// Lookup answers the current version of a relative reference such as
	// "Patient/1", nil where there is none.
	Lookup(reference string) *fhir.Resource
	// List answers the current resources of a type.
	List(typ string) []*fhir.Resource
}

// Scope is where queries are asked: a release and the resources it has.
type Scope struct {
	Release fhir.Release
	Source  Source // nil: there are no other resources
}

func (s Scope) lookup(reference string) *fhir.Resource {
	if s.Source == nil {
		return nil
	}
	return s.Source.Lookup(reference)
}

func (s Scope) list(typ string) []*fhir.Resource {
	if s.Source == nil {
		return nil
	}
	return s.Source.List(typ)
}

// canonical finds the resource of a type a canonical URL names, the last stored
// of several; also by a relative reference.
func (s Scope) canonical(typ, canonical string) *fhir.Resource {
	url, version, versioned := strings.Cut(canonical, "|")
	for _, res := range slices.Backward(s.list(typ)) {
		if res.Object.Text("url") == url && (!versioned || res.Object.Text("version") == version) {
			return res
		}
	}
	if strings.Contains(url, ":") {
		return nil
	}
	return s.lookup(typ + "/" + strings.TrimPrefix(url, typ+"/"))
}

// resolve finds what a reference or canonical inside res points to, nil where it
// is not stored here.
func (s Scope) resolve(res *fhir.Resource, value any, types []string) *fhir.Resource {
	switch v := value.(type) {
	case string:
		for _, typ := range types {
			if found := s.canonical(typ, v); found != nil {
				return found
			}
		}
	case *fhir.Object:
		if inner := v.Object("reference"); inner != nil {
			v = inner // a CodeableReference
		}
		reference := v.Text("reference")
		if id, contained := strings.CutPrefix(reference, "#"); contained {
			for _, item := range res.Object.Array("contained") {
				if inner, isObject := item.(*fhir.Object); isObject && id != "" && inner.Text("id") == id {
					found := fhir.NewResource(s.Release, inner)
					// It may refer to what is contained beside it. Its JSON stays as
					// it is: that of many beside each other would grow with each.
					found.Object = fhir.NewObject()
					for _, name := range inner.Names() {
						found.Object.Set(name, inner.Get(name))
					}
					found.Object.Set("contained", res.Object.Array("contained"))
					return found
				}
			}
			return nil
		}
		if parts := takeApart(s.Release, reference); parts.typ != "" && parts.base == "" {
			return s.lookup(parts.typ + "/" + parts.id)
		}
	}
	return nil
}
