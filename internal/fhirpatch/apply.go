package fhirpatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
)

// patching is a resource while it is being patched.
type patching struct {
	release fhir.Release
	root    *fhir.Object
	budget  *budget.Budget
	passed  int // elements, so far
}

// errWork says that a patch takes too long.
var errWork = fmt.Errorf("the patch passes more than %d elements in all; patch less at a time", maxWork)

// pass counts elements that an operation passes.
func (p *patching) pass(elements int) error {
	if p.passed += elements; p.passed > maxWork {
		return errWork
	}
	return nil
}

// place is the position of an element: a member of an object, and an index if the member
// is a list.
type place struct {
	item
	parent *fhir.Object
	owner  *place // the element whose members are in parent; nil for the resource
	name   string // member as it is in JSON
	index  int    // in the list; -1 if the member is not a list
	path   string // "Patient.name", for the model
	inside string // path or type for its members: the type, for a choice or a resource
	typ    string // "HumanName"; "" if the model does not know it
}

// members returns the object with the members of an element, for a primitive the one in
// "_name"; nil if there is none.
func (at *place) members() *fhir.Object {
	if o, isObject := at.value.(*fhir.Object); isObject {
		return o
	}
	o, _ := at.beside.(*fhir.Object)
	return o
}

// needMembers is members, but creates the object if there is none.
func (at *place) needMembers() *fhir.Object {
	if at.members() == nil {
		at.beside = &fhir.Object{}
		at.set(at.item)
	}
	return at.members()
}

// set replaces the element at the place.
func (at *place) set(it item) {
	if at.index < 0 {
		setItem(at.parent, at.name, it)
		return
	}
	items := itemsOf(at.parent, at.name)
	items[at.index] = it
	setItems(at.parent, at.name, items)
}

// remove removes the element, and its container if that becomes empty: FHIR has no empty
// elements.
func (at *place) remove() {
	if at.index < 0 {
		setItem(at.parent, at.name, item{})
	} else {
		setItems(at.parent, at.name, slices.Delete(itemsOf(at.parent, at.name), at.index, at.index+1))
	}
	if at.owner == nil || at.parent.Len() > 0 {
		return
	}
	if at.owner.value == at.parent || at.owner.value == nil {
		at.owner.remove()
		return
	}
	at.owner.set(item{value: at.owner.value}) // a primitive without id and extensions
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
			return errors.New("the path selects nothing")
		}
		return p.reorder(o, places)
	case "delete":
		switch len(places) {
		case 0:
			return nil // FHIR: deleting what does not exist is not an error
		case 1:
			places[0].remove()
			return nil
		}
		return fmt.Errorf("the path selects %d elements; a delete needs one", len(places))
	}
	if len(places) != 1 {
		return fmt.Errorf("the path selects %d elements; a replace needs one", len(places))
	}
	return p.replace(o, &places[0])
}

func (p *patching) replace(o operation, at *place) error {
	it, typ, err := p.value(o.given, at.path)
	if err != nil {
		return err
	}
	if name := p.memberFor(at.path, at.name, typ); name != at.name { // a choice of another type
		at.set(item{})
		at.name = name
	}
	at.set(it)
	return nil
}

// add appends a value to a member of the one element the path selects.
func (p *patching) add(o operation) error {
	parent, inside := p.root, p.root.Text("resourceType")
	if o.path != inside {
		places, err := p.find(o.path)
		if err != nil {
			return err
		}
		if len(places) != 1 {
			return fmt.Errorf("the path selects %d elements; an add needs one", len(places))
		}
		parent, inside = places[0].needMembers(), places[0].inside
	}
	path, _, err := p.element(inside, strings.TrimSuffix(o.name, "[x]"))
	if err != nil {
		return err
	}
	it, typ, err := p.value(o.given, path)
	if err != nil {
		return err
	}
	return p.put(parent, path, p.memberFor(path, o.name, typ), it)
}

// reorder inserts into, or moves within, the list that the path names.
func (p *patching) reorder(o operation, places []place) error {
	var at place
	if len(places) > 0 {
		at = places[0]
	} else { // an insert into a list that does not exist yet
		var err error
		if at, err = p.listToBe(o.path); err != nil {
			return err
		}
	}
	for _, other := range places {
		if other.parent != at.parent || other.name != at.name {
			return errors.New("the path selects elements of several lists")
		}
	}
	if at.index < 0 {
		return errors.New("the path does not select a list")
	}
	items := itemsOf(at.parent, at.name)
	if o.kind == "insert" {
		if o.index > len(items) {
			return fmt.Errorf("index %d is beyond the %d elements of the list", o.index, len(items))
		}
		it, _, err := p.value(o.given, at.path)
		if err != nil {
			return err
		}
		setItems(at.parent, at.name, slices.Insert(items, o.index, it))
		return nil
	}
	if o.source >= len(items) || o.destination >= len(items) {
		return fmt.Errorf("source %d and destination %d must be among the %d elements of the list", o.source, o.destination, len(items))
	}
	moved := items[o.source]
	setItems(at.parent, at.name, slices.Insert(slices.Delete(items, o.source, o.source+1), o.destination, moved))
	return nil
}

// listToBe returns the place of the first element of a list that does not exist yet.
func (p *patching) listToBe(path string) (place, error) {
	head, name, ok := cutLast(path)
	if !ok {
		return place{}, errors.New("the path does not name a list")
	}
	parents, err := p.parents(head)
	if err != nil {
		return place{}, err
	}
	if len(parents) != 1 {
		return place{}, fmt.Errorf("%s selects %d elements; an insert needs one", head, len(parents))
	}
	at := place{parent: parents[0].object, owner: parents[0].at, name: name}
	if at.path, _, err = p.element(parents[0].inside, name); err != nil {
		return place{}, err
	}
	if !p.release.Model().IsList(at.path) {
		return place{}, fmt.Errorf("%s is not a list", name)
	}
	if at.parent == nil {
		at.parent = at.owner.needMembers()
	}
	return at, nil
}
