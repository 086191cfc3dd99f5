package fhir

import (
	"slices"
	"strings"
)

// Subset selects the elements of a resource that a client wants.
type Subset struct {
	release Release
	names   []string
	without bool // all but the names
}

// Elements returns the subset of these top-level elements, plus those that are
// mandatory or change the meaning of others, as FHIR demands.
func (r Release) Elements(names []string) *Subset {
	s := &Subset{release: r}
	for _, name := range names {
		name = strings.TrimSpace(name)
		if head, rest, ok := strings.Cut(name, "."); ok { // "Patient.name", "name.family"
			if name = head; r.IsResourceType(head) {
				name, _, _ = strings.Cut(rest, ".")
			}
		}
		s.names = append(s.names, name)
	}
	return s
}

// Without returns the subset of everything but some top-level elements.
func (r Release) Without(names ...string) *Subset {
	return &Subset{release: r, names: names, without: true}
}

// JSON returns a resource reduced to the subset, with the tag SUBSETTED.
func (s *Subset) JSON(res *Resource) []byte {
	o := &Object{}
	for _, name := range res.Object.Names() {
		if s.keeps(res.Type, name) {
			o.Set(name, res.Object.Get(name))
		}
	}
	meta := res.Object.Object("meta").Clone()
	if meta == nil {
		meta = &Object{}
	}
	subsetted := NewObject("system", "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code", "SUBSETTED")
	meta.Set("tag", append(slices.Clone(meta.Array("tag")), subsetted))
	o.Set("meta", meta)
	return o.AppendJSON(nil)
}

func (s *Subset) keeps(typ, name string) bool {
	switch name {
	case "resourceType", "id", "meta", "implicitRules", "modifierExtension":
		return true
	}
	name = strings.TrimPrefix(name, "_")
	t := s.release.tables().typ(typ)
	named := slices.Contains(s.names, name)
	if p, ok := t.elements[""].members[name]; ok {
		named = named || slices.Contains(s.names, p.element.name)
		if p.element.min > 0 {
			return true
		}
	}
	return named != s.without
}
