package search

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
)

// Include is a link between resources, as in _include and _revinclude.
type Include struct {
	Source string // type that refers; "" for any
	Target string // type that is referred to; "" for any
	name   string // of the parameter; "*" for every reference

	// referring caches the referrers of each parameter: a page of results looks
	// them up for each of its resources.
	referring *sync.Map // *Parameter → *referrers
}

// ParseInclude parses "Encounter:patient", "Encounter:patient:Patient",
// "Encounter:*" and "*". It refuses anything that is not a reference of the release.
func (s Scope) ParseInclude(text string) (Include, error) {
	refuse := func(why string) (Include, error) {
		return Include{}, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%q: %s; expected Type:parameter or Type:parameter:Target, as in Encounter:patient", text, why)
	}
	f := strings.Split(text, ":")
	switch {
	case text == "*":
		return Include{name: "*", referring: &sync.Map{}}, nil
	case len(f) < 2 || len(f) > 3:
		return refuse("it is not an include")
	case !s.Release.IsResourceType(f[0]):
		return refuse(f[0] + " is not a resource type of FHIR " + string(s.Release))
	}
	i := Include{Source: f[0], name: f[1], referring: &sync.Map{}}
	if len(f) == 3 {
		i.Target = f[2]
		if !s.Release.IsResourceType(i.Target) {
			return refuse(i.Target + " is not a resource type of FHIR " + string(s.Release))
		}
	}
	if i.name == "*" {
		return i, nil
	}
	p, ok := Lookup(s.Release, i.Source, i.name)
	if !ok {
		return refuse(i.Source + " has no search parameter " + i.name)
	}
	if p.Type != "reference" || !p.Supported() {
		return refuse(i.name + " is a " + p.Type + ", not a reference")
	}
	return i, nil
}

// parameters returns the reference parameters of a type that the include follows.
func (i Include) parameters(r fhir.Release, typ string) []*Parameter {
	if i.Source != "" && i.Source != typ {
		return nil
	}
	if i.name != "*" {
		p, ok := Lookup(r, typ, i.name)
		if !ok {
			return nil
		}
		return []*Parameter{p}
	}
	return slices.DeleteFunc(Parameters(r, typ), func(p *Parameter) bool {
		return p.Type != "reference" || !p.Supported() || aboutResource[p.Name] != nil
	})
}

// Included returns the stored resources that res refers to by the include, in the
// order of the references.
func (s Scope) Included(i Include, res *fhir.Resource) []*fhir.Resource {
	var found []*fhir.Resource
	for _, p := range i.parameters(s.Release, res.Type) {
		values, err := p.Values(res)
		if err != nil {
			continue
		}
		for _, v := range values {
			if o, isObject := v.(*fhir.Object); isObject && strings.HasPrefix(o.Text("reference"), "#") {
				continue // it is part of res anyway
			}
			if other := s.resolve(res, v, p.Target); other != nil && (i.Target == "" || other.Type == i.Target) {
				found = append(found, other)
			}
		}
	}
	return found
}

// Including returns the stored resources that refer to res by the include.
func (s Scope) Including(i Include, res *fhir.Resource) []*fhir.Resource {
	if i.Target != "" && i.Target != res.Type {
		return nil
	}
	types := []string{i.Source}
	if i.Source == "" {
		types = s.Release.ResourceTypes()
	}
	var found []*fhir.Resource
	for _, typ := range types {
		stored := s.list(typ)
		if len(stored) == 0 {
			continue
		}
		for _, p := range i.parameters(s.Release, typ) {
			referring, _ := i.referring.LoadOrStore(p, &referrers{link: p})
			found = append(found, referring.(*referrers).to(res, stored)...)
		}
	}
	return found
}
