package fhirpatch

import (
	"fmt"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

// found is an object a path leads to.
type found struct {
	object *fhir.Object
	path   string
}

// find answers the places a path selects, in their order.
func (p *patching) find(path string) ([]place, error) {
	head, last, ok := cutLast(path)
	if !ok {
		return nil, fmt.Errorf("%q names no element; expected a path such as %s.name[0]", path, p.root.Text("resourceType"))
	}
	// What stands behind the last member says which of its elements are meant.
	var tail []string
	for isFunction(last) {
		tail = append([]string{last}, tail...)
		if head, last, ok = cutLast(head); !ok {
			return nil, fmt.Errorf("%q names no element", path)
		}
	}
	parents, err := p.parents(head)
	if err != nil {
		return nil, err
	}
	var places []place
	for _, parent := range parents {
		more, err := p.members(parent, last)
		if err != nil {
			return nil, err
		}
		places = append(places, more...)
	}
	for _, function := range tail {
		if places, err = p.narrow(places, function); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// parents answers the objects a path leads to.
func (p *patching) parents(path string) ([]found, error) {
	typ := p.root.Text("resourceType")
	if path == typ || path == "" {
		return []found{{p.root, typ}}, nil
	}
	places, err := p.find(path)
	if err != nil {
		return nil, err
	}
	var objects []found
	for _, at := range places {
		if o, isObject := at.value().(*fhir.Object); isObject {
			objects = append(objects, found{o, at.inside})
		}
	}
	return objects, nil
}

// members answers the elements of a member, "name" or "name[0]" of an object.
func (p *patching) members(parent found, segment string) ([]place, error) {
	name, index, err := cutIndex(segment)
	if err != nil {
		return nil, err
	}
	if name == "" || strings.ContainsAny(name, "()'\" |") {
		return nil, fmt.Errorf("%q is no element", segment)
	}
	path := parent.path + "." + name
	var places []place
	for _, choice := range p.release.Model().ChoiceTypes(path) {
		if member := name + strings.ToUpper(choice[:1]) + choice[1:]; parent.object.Has(member) {
			places = append(places, place{parent.object, member, -1, path, choice})
		}
	}
	if parent.object.Has(name) {
		list, isList := parent.object.Get(name).([]any)
		if !isList {
			places = append(places, place{parent.object, name, -1, path, path})
		}
		for i := range list {
			places = append(places, place{parent.object, name, i, path, path})
		}
	}
	if index < 0 {
		return places, nil
	}
	return nth(places, index), nil
}

// nth is the place of an index, none where there are fewer.
func nth(places []place, index int) []place {
	if index >= len(places) {
		return nil
	}
	return places[index : index+1]
}

// narrow applies a function to what was selected so far.
func (p *patching) narrow(places []place, function string) ([]place, error) {
	function, index, err := cutIndex(function)
	if err != nil {
		return nil, err
	}
	name, argument, _ := strings.Cut(strings.TrimSuffix(function, ")"), "(")
	var kept []place
	switch name {
	case "first":
		kept = nth(places, 0)
	case "last":
		if len(places) > 0 {
			kept = places[len(places)-1:]
		}
	case "where":
		expr, err := fhirpath.Compile(argument, fhirpath.Options{})
		if err != nil {
			return nil, err
		}
		for _, at := range places {
			element, isObject := at.value().(*fhir.Object)
			if !isObject {
				continue
			}
			result, err := expr.Eval(p.release, element.AppendJSON(nil), nil)
			if err != nil {
				return nil, err
			}
			if fhirpath.True(result) {
				kept = append(kept, at)
			}
		}
	case "ofType":
		suffix := strings.ToUpper(argument[:min(1, len(argument))]) + argument[min(1, len(argument)):]
		for _, at := range places {
			if suffix != "" && strings.HasSuffix(at.name, suffix) {
				kept = append(kept, at)
			}
		}
	case "extension":
		for _, at := range places {
			element, isObject := at.value().(*fhir.Object)
			if !isObject {
				continue
			}
			for i, item := range element.Array("extension") {
				if extension, _ := item.(*fhir.Object); extension.Text("url") == strings.Trim(argument, `'"`) {
					kept = append(kept, place{element, "extension", i, at.path + ".extension", "Extension"})
				}
			}
		}
	default:
		return nil, fmt.Errorf("%s() cannot stand in the path of a patch here; use members, indexes, first(), last(), where(), ofType() and extension()", name)
	}
	if index >= 0 {
		kept = nth(kept, index)
	}
	return kept, nil
}

func isFunction(segment string) bool {
	name, _, _ := cutIndex(segment)
	return strings.HasSuffix(name, ")")
}

// cutIndex takes an index off a segment, -1 where there is none.
func cutIndex(segment string) (name string, index int, err error) {
	if !strings.HasSuffix(segment, "]") {
		return segment, -1, nil
	}
	at := strings.LastIndexByte(segment, '[')
	if at < 0 {
		return segment, -1, nil
	}
	index, err = strconv.Atoi(segment[at+1 : len(segment)-1])
	if err != nil || index < 0 {
		return "", -1, fmt.Errorf("%q has no index that is a whole number", segment)
	}
	return segment[:at], index, nil
}

// cutLast cuts the last segment off a path, at the dot outside of brackets and
// quotes.
func cutLast(path string) (head, last string, ok bool) {
	depth, quoted, at := 0, false, -1
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == '.' && depth == 0:
			at = i
		}
	}
	if at < 0 {
		return "", path, false
	}
	return path[:at], path[at+1:], true
}
