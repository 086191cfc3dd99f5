package fhirpatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// patching is a resource while it is being patched.
type patching struct {
	release fhir.Release
	root    *fhir.Object
}

// place is where an element stands: a member of an object, and in a list there.
type place struct {
	parent *fhir.Object
	name   string // member as it is in JSON
	index  int    // in the list, -1 where the member is none
	path   string // "Patient.name", for the model
	inside string // the same for its members: of a choice it is the type
}

func (p place) value() any {
	v := p.parent.Get(p.name)
	if p.index >= 0 {
		return v.([]any)[p.index]
	}
	return v
}

func (p place) list() []any {
	list, _ := p.parent.Get(p.name).([]any)
	return list
}

func (p *patching) apply(o operation) error {
	if o.kind == "add" {
		return p.add(o)
	}
	places, err := p.find(o.path)
	if err != nil {
		return err
	}
	switch o.kind {
	case "insert", "move":
		if len(places) == 0 && o.kind == "move" {
			return errors.New("it selects nothing")
		}
		return p.reorder(o, places)
	case "delete":
		switch len(places) {
		case 0:
			return nil // FHIR: deleting what is not there is no mistake
		case 1:
			remove(places[0])
			return nil
		}
		return fmt.Errorf("it selects %d elements; a delete is of one", len(places))
	}
	if len(places) != 1 {
		return fmt.Errorf("it selects %d elements; a replace is of one", len(places))
	}
	at := places[0]
	if at.index >= 0 {
		at.list()[at.index] = o.value
		return nil
	}
	name := p.memberFor(at.path, at.name, o.valueType)
	if name != at.name { // a choice of another type
		at.parent.Delete(at.name)
		at.parent.Delete("_" + at.name)
	}
	at.parent.Set(name, o.value)
	return nil
}

// add appends a value to a member of the one element the path selects.
func (p *patching) add(o operation) error {
	parent, path := p.root, p.root.Text("resourceType")
	if o.path != path {
		places, err := p.find(o.path)
		if err != nil {
			return err
		}
		if len(places) != 1 {
			return fmt.Errorf("it selects %d elements; an add is to one", len(places))
		}
		inner, isObject := places[0].value().(*fhir.Object)
		if !isObject {
			return errors.New("it selects a plain value, which has no members")
		}
		parent, path = inner, places[0].inside
	}
	name := o.name
	if base, choice := strings.CutSuffix(name, "[x]"); choice {
		name = base
	}
	path += "." + name
	name = p.memberFor(path, name, o.valueType)
	switch {
	case p.release.Model().IsList(path):
		list, _ := parent.Get(name).([]any)
		parent.Set(name, append(slices.Clone(list), o.value))
	case parent.Has(name):
		return fmt.Errorf("%s is there already and can be only once; replace it", name)
	default:
		parent.Set(name, o.value)
	}
	return nil
}

// memberFor is the name of an element in JSON, which for a choice has the type of
// the value behind it.
func (p *patching) memberFor(path, name, valueType string) string {
	owner, last, _ := cutLast(path)
	model := p.release.Model()
	if valueType == "" || model.ChoiceTypes(path) == nil || strings.HasSuffix(last, valueType) && model.Member(owner, last) != "" {
		return name // also of a choice whose name has its type already
	}
	return last + valueType
}

// reorder inserts into, or moves within, the list the path names.
func (p *patching) reorder(o operation, places []place) error {
	var at place
	if len(places) > 0 {
		at = places[0]
	} else { // an insert into a list that is not there yet
		head, name, ok := cutLast(o.path)
		if !ok {
			return errors.New("it names no list")
		}
		parents, err := p.parents(head)
		if err != nil {
			return err
		}
		if len(parents) != 1 {
			return fmt.Errorf("%s selects %d elements; an insert is into one", head, len(parents))
		}
		at = place{parent: parents[0].object, name: name, path: parents[0].path + "." + name}
		if !p.release.Model().IsList(at.path) {
			return fmt.Errorf("%s is no list", name)
		}
	}
	for _, other := range places {
		if other.parent != at.parent || other.name != at.name {
			return errors.New("it selects elements of several lists")
		}
	}
	if at.index < 0 {
		return errors.New("it selects no list")
	}
	list := slices.Clone(at.list())
	if o.kind == "insert" {
		if o.index > len(list) {
			return fmt.Errorf("index %d is beyond the %d elements there are", o.index, len(list))
		}
		at.parent.Set(at.name, slices.Insert(list, o.index, o.value))
		at.alongside(func(siblings []any) []any {
			if o.index >= len(siblings) {
				return siblings
			}
			return slices.Insert(siblings, o.index, nil)
		})
		return nil
	}
	if o.source >= len(list) || o.destination >= len(list) {
		return fmt.Errorf("source %d and destination %d have to be among the %d elements there are", o.source, o.destination, len(list))
	}
	move := func(list []any) []any {
		moved := list[o.source]
		return slices.Insert(slices.Delete(list, o.source, o.source+1), o.destination, moved)
	}
	at.parent.Set(at.name, move(list))
	at.alongside(func(siblings []any) []any {
		for len(siblings) < len(list) {
			siblings = append(siblings, nil)
		}
		return move(siblings)
	})
	return nil
}

// alongside changes the ids and extensions that stand beside the primitives of a list,
// each at the index of its own.
func (p place) alongside(change func([]any) []any) {
	if siblings, ok := p.parent.Get("_" + p.name).([]any); ok {
		p.parent.Set("_"+p.name, change(slices.Clone(siblings)))
	}
}

// remove takes an element out; a list that becomes empty goes too, and what
// stands beside a primitive as its sibling.
func remove(at place) {
	sibling := "_" + at.name
	if at.index < 0 {
		at.parent.Delete(at.name)
		at.parent.Delete(sibling)
		return
	}
	for _, name := range []string{at.name, sibling} {
		list, _ := at.parent.Get(name).([]any)
		if at.index >= len(list) {
			continue
		}
		list = slices.Delete(slices.Clone(list), at.index, at.index+1)
		if !slices.ContainsFunc(list, func(v any) bool { return v != nil }) {
			at.parent.Delete(name)
			continue
		}
		at.parent.Set(name, list)
	}
}
