// Package fhirpatch applies FHIRPath Patches: a Parameters resource whose operations
// add, insert, delete, replace and move elements, which they select by FHIRPath.
//
// The FHIRPath engine returns values, not their places, so this package walks the paths
// itself: members, choice elements, indexes, first(), last(), ofType(), extension(url)
// and where(condition), whose condition the engine evaluates. Other functions make no
// sense in a patch and are refused.
package fhirpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
)

// The bounds of a patch. The budget of Apply bounds the time that its conditions take.
const (
	maxOperations = 1000
	maxSteps      = 64      // of a path, because no resource is nested deeper
	maxWork       = 1 << 20 // elements that the operations pass together; about a second
)

// operation is one step of a patch.
type operation struct {
	kind, path, name           string
	given                      *fhir.Object // the part that has the value
	index, source, destination int
	place                      string
}

// Apply applies a patch to a copy of a resource. A malformed patch is refused with 400.
// If an operation cannot be done, or the patch would change the resource's type or id,
// it is refused with 422 and nothing changes, also if the budget has no time for its
// conditions. The result is not validated.
func Apply(release fhir.Release, current, patch *fhir.Object, b *budget.Budget) (*fhir.Object, error) {
	operations, refused := read(patch)
	if refused != nil {
		return nil, refused
	}
	p := &patching{release: release, root: current.Clone(), budget: b}
	for _, o := range operations {
		if err := p.apply(o); err != nil {
			code := fhir.CodeProcessing
			switch {
			case errors.Is(err, budget.ErrUsedUp):
				code = fhir.CodeTooCostly
				err = fmt.Errorf("%w; or name the elements by index, or patch less at a time", err)
			case errors.Is(err, errWork):
				code = fhir.CodeTooCostly
			}
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, code, "%s: %v; nothing was changed", o.kind+" "+o.path, err).At(o.place)
		}
	}
	for _, name := range []string{"resourceType", "id"} {
		if p.root.Text(name) != current.Text(name) {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "a patch may not change %s: it is %q and would be %q", name, current.Text(name), p.root.Text(name)).
				At(current.Text("resourceType") + "." + name)
		}
	}
	return p.root, nil
}

// read parses the operations of a patch.
func read(patch *fhir.Object) ([]operation, error) {
	parameters := patch.Array("parameter")
	if len(parameters) == 0 || len(parameters) > maxOperations {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "a FHIRPath Patch has 1 to %d parameters named operation, got %d", maxOperations, len(parameters)).At("Parameters.parameter")
	}
	var operations []operation
	for i, item := range parameters {
		place := fmt.Sprintf("Parameters.parameter[%d]", i)
		parameter, _ := item.(*fhir.Object)
		if parameter.Text("name") != "operation" {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "got the parameter %q, expected operation", parameter.Text("name")).At(place + ".name")
		}
		o, err := readOperation(parameter)
		if err != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "%v", err).At(place)
		}
		if steps := countSteps(o.path); steps > maxSteps {
			return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the path has %d steps, at most %d are followed", steps, maxSteps).At(place)
		}
		o.place = place
		operations = append(operations, o)
	}
	return operations, nil
}

func readOperation(parameter *fhir.Object) (operation, error) {
	var o operation
	given := map[string]bool{}
	for _, item := range parameter.Array("part") {
		part, _ := item.(*fhir.Object)
		name := part.Text("name")
		if given[name] {
			return o, fmt.Errorf("duplicate part %s", name)
		}
		given[name] = true
		var err error
		switch name {
		case "type":
			o.kind = part.Text("valueCode")
		case "path":
			o.path = part.Text("valueString")
		case "name":
			o.name = part.Text("valueString")
		case "index":
			o.index, err = whole(part)
		case "source":
			o.source, err = whole(part)
		case "destination":
			o.destination, err = whole(part)
		case "value":
			o.given = part
			if !hasValue(part) {
				err = errors.New("the part value needs a value, a resource or parts")
			}
		default:
			err = fmt.Errorf("unknown part %q of an operation; its parts are type, path, name, value, index, source and destination", name)
		}
		if err != nil {
			return o, err
		}
	}
	needs := map[string][]string{
		"add": {"path", "name", "value"}, "insert": {"path", "value", "index"}, "delete": {"path"},
		"replace": {"path", "value"}, "move": {"path", "source", "destination"},
	}
	needed, known := needs[o.kind]
	if !known {
		return o, fmt.Errorf("got the type %q, expected add, insert, delete, replace or move", o.kind)
	}
	for _, name := range needed {
		if !given[name] {
			return o, fmt.Errorf("an operation of type %s needs the part %s", o.kind, name)
		}
	}
	return o, nil
}

func whole(part *fhir.Object) (int, error) {
	n, ok := part.Get("valueInteger").(json.Number)
	if !ok {
		return 0, fmt.Errorf("the part %s needs a valueInteger", part.Text("name"))
	}
	i, err := n.Int64()
	if err != nil || i < 0 || i > 1<<20 {
		return 0, fmt.Errorf("the part %s: got %s, expected a whole number of at least 0", part.Text("name"), n)
	}
	return int(i), nil
}

func hasValue(part *fhir.Object) bool {
	return part.Has("resource") || len(part.Array("part")) > 0 || slices.ContainsFunc(part.Names(), func(name string) bool {
		_, typ := valueMember(name)
		return typ != ""
	})
}

// valueMember splits the name of a member that is a value[x] or its sibling:
// "_valueDate" into "valueDate" and "Date".
func valueMember(name string) (member, typ string) {
	member = strings.TrimPrefix(name, "_")
	typ, isValue := strings.CutPrefix(member, "value")
	if !isValue {
		return "", ""
	}
	return member, typ
}
