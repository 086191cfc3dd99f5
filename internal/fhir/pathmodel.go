package fhir

import "strings"

// PathModel tells a FHIRPath engine the types of a release. It has the methods
// of the Model interface of github.com/gofhir/fhirpath. It holds no state and is
// safe for concurrent use.
//
// The engine asks for the path "<type of an object>.<member>". That an object is
// a BackboneElement tells nothing about its members, so an element that defines
// its members itself has its path for a type: participant of an Encounter is of
// type "Encounter.participant", which derives from BackboneElement.
type PathModel struct{ tables *tables }

// Model answers the type model of the release.
func (r Release) Model() PathModel { return PathModel{r.tables()} }

// element finds the element at a path, following borrowed content and the types
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

// content is the element that has the children of e.
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

// ChoiceTypes lists the types a choice element may have, nil for another.
func (m PathModel) ChoiceTypes(path string) []string {
	e := m.element(path)
	if e == nil || !e.choice {
		return nil
	}
	return e.types
}

// ElementName is the name of the element at a path, "" where there is none. That of a
// choice may be written with its type: "Patient.deceasedBoolean" is deceased.
func (m PathModel) ElementName(path string) string {
	if e := m.element(path); e != nil {
		return e.name
	}
	return ""
}

// IsList tells whether an element may repeat.
func (m PathModel) IsList(path string) bool {
	e := m.element(path)
	return e != nil && e.many
}

// TypeOf is the type of the element at a path, "" where it is not known, one of
// several, or a resource, which says itself what it is.
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

// Member tells what the members of a JSON object hold: the path of the element a
// member is, if that has members of its own, else its type; "" where it is not known,
// or a resource. path is that of the object, as Member answered it.
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

// ReferenceTargets lists the types a reference may point to.
func (m PathModel) ReferenceTargets(path string) []string {
	if e := m.element(path); e != nil {
		return e.targets
	}
	return nil
}

// ParentType is the type a type derives from, "" where there is none.
func (m PathModel) ParentType(name string) string {
	if declared := m.declared(name); declared != name {
		return declared
	}
	if t := m.tables.typ(name); t != nil {
		return t.base
	}
	return ""
}

// IsSubtype tells whether a type is another or derives from it.
func (m PathModel) IsSubtype(child, parent string) bool {
	return child == parent || m.tables.isSubtype(m.declared(child), parent)
}

// declared is the type an element with members of its own was declared with, of
// any other type the type itself.
func (m PathModel) declared(name string) string {
	if strings.Contains(name, ".") {
		if e := m.element(name); e != nil && len(e.types) == 1 {
			return e.types[0]
		}
	}
	return name
}

// ResolvePath is the path of the element that holds the content of path.
func (m PathModel) ResolvePath(path string) string {
	if e := m.element(path); e != nil && e.ref != "" {
		return e.ref
	}
	return path
}

// IsResource tells whether a type is a resource type.
func (m PathModel) IsResource(name string) bool {
	t := m.tables.typ(name)
	return t != nil && t.kind == "resource"
}
