package fhir

import "strings"

// PathModel describes the types of a release to a FHIRPath engine. It has the
// methods of the Model interface of github.com/gofhir/fhirpath. It holds no state
// and is safe for concurrent use.
//
// The engine looks up the path "<type of an object>.<member>". The type
// BackboneElement says nothing about an object's members, so the type of an
// element that defines its own members is its path: participant of an Encounter
// has type "Encounter.participant", which derives from BackboneElement.
type PathModel struct{ tables *tables }

// Model returns the type model of the release.
func (r Release) Model() PathModel { return PathModel{r.tables()} }

// element returns the element at a path. It follows shared content and the types
// of elements: "Patient.name.family" is HumanName.family.
func (m PathModel) element(path string) *element {
	segments := strings.Split(path, ".")
	t := m.tables.typ(segments[0])
	if t == nil {
		return nil
	}
	e := t.elements[""]
	for _, name := range segments[1:] {
		if e = m.content(e); e == nil {
			return nil
		}
		p, ok := e.members[name]
		if !ok {
			if p.element = choiceNamed(e, name); p.element == nil {
				return nil
			}
		}
		e = p.element
	}
	return e
}

func choiceNamed(e *element, name string) *element {
	for _, child := range e.children {
		if child.choice && child.name == name {
			return child
		}
	}
	return nil
}

// content returns the element that has the children of e.
func (m PathModel) content(e *element) *element {
	switch {
	case e.ref != "":
		return m.tables.find(e.ref)
	case len(e.children) > 0:
		return e
	case len(e.types) == 1:
		if t := m.tables.typ(e.types[0]); t != nil {
			return t.elements[""]
		}
	}
	return nil
}

// ChoiceTypes returns the types of a choice element, or nil for another element.
func (m PathModel) ChoiceTypes(path string) []string {
	e := m.element(path)
	if e == nil || !e.choice {
		return nil
	}
	return e.types
}

// ElementName returns the name of the element at a path, or "" if there is none.
// The path of a choice may include its type: "Patient.deceasedBoolean" is deceased.
func (m PathModel) ElementName(path string) string {
	if e := m.element(path); e != nil {
		return e.name
	}
	return ""
}

// IsList reports whether an element may repeat.
func (m PathModel) IsList(path string) bool {
	e := m.element(path)
	return e != nil && e.many
}

// TypeOf returns the type of the element at a path. It is "" if the type is
// unknown, one of several, or a resource, which names its own type.
func (m PathModel) TypeOf(path string) string {
	e := m.element(path)
	switch {
	case e == nil:
		return ""
	case e.ref != "":
		return e.ref
	case len(e.types) != 1 || m.IsResource(e.types[0]):
		return ""
	case len(e.children) > 0:
		return e.path
	}
	return e.types[0]
}

// Member returns what a member of a JSON object holds: the path of the member's
// element if that has its own members, otherwise its type. It is "" for an unknown
// member and for a resource. path is the object's own, as Member returned it.
func (m PathModel) Member(path, name string) string {
	owner := m.element(path)
	if owner != nil {
		owner = m.content(owner)
	}
	if owner == nil {
		return ""
	}
	p, ok := owner.members[name]
	switch {
	case !ok || m.IsResource(p.typ):
		return ""
	case p.element.ref != "":
		return p.element.ref
	case len(p.element.children) > 0:
		return p.element.path
	}
	return p.typ
}

// ReferenceTargets returns the types a reference may point to.
func (m PathModel) ReferenceTargets(path string) []string {
	if e := m.element(path); e != nil {
		return e.targets
	}
	return nil
}

// ParentType returns the type a type derives from, or "" if there is none.
func (m PathModel) ParentType(name string) string {
	if declared := m.declared(name); declared != name {
		return declared
	}
	if t := m.tables.typ(name); t != nil {
		return t.base
	}
	return ""
}

// IsSubtype reports whether child is parent or derives from it.
func (m PathModel) IsSubtype(child, parent string) bool {
	return child == parent || m.tables.isSubtype(m.declared(child), parent)
}

// declared returns the declared type of an element with its own members, and any
// other type unchanged.
func (m PathModel) declared(name string) string {
	if strings.Contains(name, ".") {
		if e := m.element(name); e != nil && len(e.types) == 1 {
			return e.types[0]
		}
	}
	return name
}

// ResolvePath returns the path of the element that defines the content of path.
func (m PathModel) ResolvePath(path string) string {
	if e := m.element(path); e != nil && e.ref != "" {
		return e.ref
	}
	return path
}

// IsResource reports whether a type is a resource type.
func (m PathModel) IsResource(name string) bool {
	t := m.tables.typ(name)
	return t != nil && t.kind == "resource"
}
