package search

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// Source provides the other resources a query needs: the targets of chains and
// _has, Groups, ValueSets and CodeSystems.
type Source interface {
	// Lookup returns the current version of the resource with a relative reference
	// such as "Patient/1", or nil if there is none.
	Lookup(reference string) *fhir.Resource
	// List returns the current resources of a type.
	List(typ string) []*fhir.Resource
}

// Scope is the context of a query: a release and its resources.
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

// canonical returns the resource of a type that a canonical URL or relative
// reference names; of several, the one stored last.
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

// resolve returns the target of a reference or canonical inside res, or nil if it
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
					// It may refer to its siblings in contained. Its JSON stays without them:
					// with them, the size would grow with the square of their number.
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
