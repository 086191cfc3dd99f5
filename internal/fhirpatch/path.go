package fhirpatch

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

// found is an element that a path leads to, with its members.
type found struct {
	object *fhir.Object // nil for a primitive without id and extensions
	inside string       // path or type, for the model
	at     *place       // nil for the resource itself
}

// find returns the places that a path selects, in order.
func (p *patching) find(path string) ([]place, error) {
	head, last, ok := cutLast(path)
	if !ok {
		return nil, fmt.Errorf("%q does not name an element; expected a path such as %s.name[0]", path, p.root.Text("resourceType"))
	}
	// Functions after the last member select among its elements.
	var tail []string
	for isFunction(last) {
		tail = append([]string{last}, tail...)
		if head, last, ok = cutLast(head); !ok {
			return nil, fmt.Errorf("%q does not name an element", path)
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

// parents returns the elements that a path leads to.
func (p *patching) parents(path string) ([]found, error) {
	typ := p.root.Text("resourceType")
	if path == typ || path == "" {
		return []found{{object: p.root, inside: typ}}, nil
	}
	places, err := p.find(path)
	if err != nil {
		return nil, err
	}
	if err := p.pass(len(places)); err != nil {
		return nil, err
	}
	elements := make([]found, len(places))
	for i := range places {
		elements[i] = found{places[i].members(), places[i].inside, &places[i]}
	}
	return elements, nil
}

// element returns the path of a member for the model, and the element's name there:
// "value" for valueQuantity. It refuses an impossible member, because a path with one
// would select nothing in any resource.
func (p *patching) element(inside, member string) (path, name string, err error) {
	if name = p.release.Model().ElementName(inside + "." + member); name == "" {
		if inside == "Element" {
			return "", "", fmt.Errorf("a plain value has no element %q, only id and extension", member)
		}
		return "", "", fmt.Errorf("%s has no element %q", inside, member)
	}
	return inside + "." + name, name, nil
}

// members returns the elements of a member of an object, "name", "name[0]" or
// "extension(url)".
func (p *patching) members(parent found, segment string) ([]place, error) {
	member, index, err := cutIndex(segment)
	if err != nil {
		return nil, err
	}
	url, ofURL := "", strings.HasPrefix(member, "extension(")
	if ofURL {
		member, url, _ = strings.Cut(strings.TrimSuffix(member, ")"), "(")
	}
	path, name, err := p.element(parent.inside, member)
	if err != nil {
		return nil, err
	}
	var places []place
	add := func(name string, index int, it item, typ string) {
		inside := path
		switch o, isObject := it.value.(*fhir.Object); {
		case !isObject:
			inside = "Element" // all primitives have the members of Element
		case o.Text("resourceType") != "":
			typ = o.Text("resourceType")
			inside = typ
		case p.release.Model().ChoiceTypes(path) != nil:
			inside = typ
		}
		places = append(places, place{item: it, parent: parent.object, owner: parent.at, name: name, index: index, path: path, inside: inside, typ: typ})
	}
	for _, typ := range p.release.Model().ChoiceTypes(path) {
		inJSON := name + strings.ToUpper(typ[:1]) + typ[1:]
		it := item{parent.object.Get(inJSON), parent.object.Get("_" + inJSON)}
		if !it.none() && (member == name || member == inJSON) {
			add(inJSON, -1, it, typ)
		}
	}
	typ := p.release.Model().TypeOf(path)
	if p.release.Model().IsList(path) {
		items := itemsOf(parent.object, name)
		if err := p.pass(len(items)); err != nil {
			return nil, err
		}
		for i, it := range items {
			if extension, _ := it.value.(*fhir.Object); !ofURL || extension.Text("url") == strings.Trim(url, `'"`) {
				add(name, i, it, typ)
			}
		}
	} else if it := (item{parent.object.Get(name), parent.object.Get("_" + name)}); !it.none() {
		add(name, -1, it, typ)
	}
	if index < 0 {
		return places, nil
	}
	return nth(places, index), nil
}

// nth returns the place at an index, or none if there are fewer.
func nth(places []place, index int) []place {
	if index >= len(places) {
		return nil
	}
	return places[index : index+1]
}

// narrow applies a function to the places selected so far.
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
		if kept, err = p.where(places, argument); err != nil {
			return nil, err
		}
	case "ofType":
		for _, at := range places {
			if at.typ == strings.TrimPrefix(argument, "FHIR.") {
				kept = append(kept, at)
			}
		}
	default:
		return nil, fmt.Errorf("%s() is not supported in the path of a patch; use members, indexes, first(), last(), where(), ofType() and extension()", name)
	}
	if index >= 0 {
		kept = nth(kept, index)
	}
	return kept, nil
}

// where keeps the places of the elements for which a condition holds.
func (p *patching) where(places []place, condition string) (kept []place, err error) {
	expr, err := fhirpath.Compile(condition, fhirpath.Options{})
	if err != nil {
		return nil, err
	}
	var whole map[string][]byte
	if strings.Contains(condition, "%resource") {
		whole = map[string][]byte{"resource": p.root.AppendJSON(nil)}
	}
	for _, at := range places {
		element, isObject := at.value.(*fhir.Object)
		if !isObject {
			return nil, fmt.Errorf("where() does not apply to %s, which is a plain value; use an index", at.name)
		}
		holds := false
		if err := p.budget.Spend(condition, func(ctx context.Context) error {
			result, err := expr.Eval(ctx, p.release, element.AppendJSON(nil), whole)
			holds = fhirpath.True(result)
			return err
		}); err != nil {
			return nil, err
		}
		if holds {
			kept = append(kept, at)
		}
	}
	return kept, nil
}

// isFunction reports whether a segment is a function; extension(url) counts as a member.
func isFunction(segment string) bool {
	name, _, _ := cutIndex(segment)
	return strings.HasSuffix(name, ")") && !strings.HasPrefix(name, "extension(")
}

// cutIndex cuts an index off a segment; it is -1 if there is none.
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
		return "", -1, fmt.Errorf("the index in %q is not a whole number", segment)
	}
	return segment[:at], index, nil
}

// cutLast cuts the last segment off a path, at a dot outside of brackets and quotes.
func cutLast(path string) (head, last string, ok bool) {
	at := -1
	eachDot(path, func(i int) { at = i })
	if at < 0 {
		return "", path, false
	}
	return path[:at], path[at+1:], true
}

// countSteps returns the number of segments of a path after the first.
func countSteps(path string) (steps int) {
	eachDot(path, func(int) { steps++ })
	return steps
}

// eachDot calls do with the place of each dot outside of brackets and quotes.
func eachDot(path string, do func(at int)) {
	depth, quoted := 0, false
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
			do(i)
		}
	}
}
