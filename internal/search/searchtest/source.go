// Package searchtest provides resources for queries to look up in tests.
package searchtest

import (
	"slices"

	"signalfhir/internal/fhir"
)

// Source is a list of resources in the order they were stored. It implements
// search.Source.
type Source []*fhir.Resource

// Lookup returns a resource by its relative reference.
func (s Source) Lookup(reference string) *fhir.Resource {
	i := slices.IndexFunc(s, func(res *fhir.Resource) bool { return res.Reference() == reference })
	if i < 0 {
		return nil
	}
	return s[i]
}

// List returns the resources of a type.
func (s Source) List(typ string) []*fhir.Resource {
	var found []*fhir.Resource
	for _, res := range s {
		if res.Type == typ {
			found = append(found, res)
		}
	}
	return found
}
