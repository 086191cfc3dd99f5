package fhirpatch

import (
	"fmt"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// item is an element in JSON: its value and, for a primitive, the object with its id and
// extensions in the member "_name". Either may be nil.
type item struct{ value, beside any }

func (it item) none() bool { return it.value == nil && it.beside == nil }

// itemsOf returns the elements of a list.
func itemsOf(o *fhir.Object, name string) []item {
	values, besides := o.Array(name), o.Array("_"+name)
	items := make([]item, max(len(values), len(besides)))
	for i, v := range values {
		items[i].value = v
	}
	for i, b := range besides {
		items[i].beside = b
	}
	return items
}

// setItems sets the list of a member. Each value has the same index in both arrays.
func setItems(o *fhir.Object, name string, items []item) {
	values, besides := make([]any, len(items)), make([]any, len(items))
	for i, it := range items {
		values[i], besides[i] = it.value, it.beside
	}
	for name, list := range map[string][]any{name: values, "_" + name: besides} {
		if slices.ContainsFunc(list, func(v any) bool { return v != nil }) {
			o.Set(name, list)
		} else {
			o.Delete(name)
		}
	}
}

// setItem sets the only element of a member.
func setItem(o *fhir.Object, name string, it item) {
	for name, v := range map[string]any{name: it.value, "_" + name: it.beside} {
		if v != nil {
			o.Set(name, v)
		} else {
			o.Delete(name)
		}
	}
}

// value makes the element for a path from the part that gives it: from its value[x], its
// resource or, for an element without a type of its own, its parts. typ is
// "CodeableConcept" for valueCodeableConcept, otherwise "".
func (p *patching) value(given *fhir.Object, path string) (it item, typ string, err error) {
	given = given.Clone() // it becomes part of the resource
	for _, name := range given.Names() {
		member, typ := valueMember(name)
		if typ == "" {
			continue
		}
		it.value = given.Get(member)
		if beside := given.Object("_" + member); beside != nil {
			it.beside = beside
		}
		return it, typ, nil
	}
	if resource := given.Object("resource"); resource != nil {
		return item{value: resource}, "", nil
	}
	o := &fhir.Object{}
	for _, each := range given.Array("part") {
		part, _ := each.(*fhir.Object)
		name := strings.TrimSuffix(part.Text("name"), "[x]")
		if !hasValue(part) {
			return item{}, "", fmt.Errorf("the part %s has no value", name)
		}
		inner := path + "." + name
		it, typ, err := p.value(part, inner)
		if err != nil {
			return item{}, "", err
		}
		if err := p.put(o, inner, p.memberFor(inner, name, typ), it); err != nil {
			return item{}, "", err
		}
	}
	return item{value: o}, "", nil
}

// put appends an element to a member that is a list, and sets a member that is not.
func (p *patching) put(o *fhir.Object, path, member string, it item) error {
	switch {
	case p.release.Model().IsList(path):
		setItems(o, member, append(itemsOf(o, member), it))
	case o.Has(member) || o.Has("_"+member):
		return fmt.Errorf("%s already exists and may occur only once; replace it", member)
	default:
		setItem(o, member, it)
	}
	return nil
}

// memberFor returns the JSON name of an element; the name of a choice ends in the type
// of its value.
func (p *patching) memberFor(path, name, typ string) string {
	if typ != "" && p.release.Model().ChoiceTypes(path) != nil {
		return p.release.Model().ElementName(path) + typ
	}
	return name
}
