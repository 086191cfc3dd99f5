package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"signalfhir/internal/fhir"
)

// Limits of a patch. They are far beyond what a patch of a resource needs.
const (
	maxPatchOperations = 1000
	maxPatchBytes      = 8 << 20 // copied and moved within the resource
	maxPatchMembers    = 1000    // of an object that a test compares
	maxPatchWork       = 1 << 26 // members and elements passed on the way to all places
)

// operation is one step of a JSON Patch (RFC 6902).
type operation struct {
	op         string
	path, from pointer
	value      any
	label      string // `operation 2 (replace "/status")`, for error texts
}

// Patch applies a JSON Patch (RFC 6902) to a copy of a resource and returns the
// copy. Numbers keep their text and members their order. The result is not
// validated. Patch refuses:
//
//   - a document that is not a JSON Patch, with 400 structure;
//   - a patch that is too large, with 413 too-costly;
//   - an operation that cannot be applied, with 422 processing, or 422 conflict if
//     it is a test that failed;
//   - a patch that changes the type or id of the resource, with 422 business-rule.
func Patch(current *fhir.Object, document []byte) (*fhir.Object, error) {
	operations, refused := readPatch(document)
	if refused != nil {
		return nil, refused
	}
	p := patching{root: current.Clone()}
	for _, o := range operations {
		if err := p.apply(o); err != nil {
			code := fhir.CodeProcessing
			switch {
			case errors.Is(err, errTest):
				code = fhir.CodeConflict
			case errors.Is(err, errTooMuch):
				return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "%s of the patch: %v; nothing was changed", o.label, err)
			}
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, code, "%s of the patch: %v; nothing was changed", o.label, err)
		}
	}
	patched, ok := p.root.(*fhir.Object)
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeProcessing, "the patch replaces the resource with %s; nothing was changed", kind(p.root))
	}
	for _, name := range []string{"resourceType", "id"} {
		if patched.Text(name) != current.Text(name) {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "a patch may not change %s: it is %q and would be %s", name, current.Text(name), brief(patched.Get(name))).
				At(current.Text("resourceType") + "." + name)
		}
	}
	return patched, nil
}

// readPatch parses the operations of a patch and checks their form.
func readPatch(document []byte) ([]operation, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(document, &raw); err != nil || raw == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "a JSON Patch is an array of operations, such as [{\"op\": \"replace\", \"path\": \"/status\", \"value\": \"final\"}]; got %s", clip(string(bytes.ToValidUTF8(bytes.TrimSpace(document), []byte("\uFFFD")))))
	}
	if len(raw) > maxPatchOperations {
		return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the patch has %d operations, the limit is %d; split it, or update the whole resource", len(raw), maxPatchOperations)
	}
	operations := make([]operation, len(raw))
	for i := range raw {
		// The strict parser refuses duplicate members, deep nesting and invalid
		// UTF-8, so that none of them gets into the resource.
		o, refused := fhir.Parse(raw[i])
		if refused != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "operation %d of the patch: %v", i+1, refused)
		}
		operation, err := readOperation(o)
		if errors.Is(err, errTooMuch) {
			return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "operation %d of the patch: %v", i+1, err)
		}
		if err != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "operation %d of the patch: %v", i+1, err)
		}
		operation.label = fmt.Sprintf("operation %d (%s %q)", i+1, operation.op, clip(o.Text("path")))
		operations[i] = operation
	}
	return operations, nil
}

func readOperation(o *fhir.Object) (operation, error) {
	result := operation{op: o.Text("op")}
	var needs string
	switch result.op {
	case "add", "replace", "test":
		needs = "value"
	case "move", "copy":
		needs = "from"
	case "remove":
	default:
		return result, fmt.Errorf("op: got %s, expected add, remove, replace, move, copy or test", brief(o.Get("op")))
	}
	if needs != "" && !o.Has(needs) {
		return result, fmt.Errorf("%s needs a member %q", result.op, needs)
	}
	var err error
	if result.path, err = readPointer(o, "path"); err != nil {
		return result, err
	}
	if needs == "from" {
		if result.from, err = readPointer(o, "from"); err != nil {
			return result, err
		}
	}
	result.value = o.Get("value")
	return result, nil
}

// patching is a resource to which a patch is being applied.
type patching struct {
	root  any
	bytes int // copied and moved so far
	work  int // members and elements passed so far
}

// errTooMuch is wrapped by the errors of operations that exceed a limit.
var errTooMuch = errors.New("too much")

// pass adds the members or elements of a value that the patch goes through to its work, and
// fails if that exceeds maxPatchWork. Looking for a member, and shifting the elements of an
// array, takes time in proportion to them.
func (p *patching) pass(v any) error {
	switch v := v.(type) {
	case *fhir.Object:
		p.work += v.Len()
	case []any:
		p.work += len(v)
	}
	if p.work > maxPatchWork {
		return fmt.Errorf("%w: the operations go through more than %d members and elements together; split the patch, or update the whole resource", errTooMuch, maxPatchWork)
	}
	return nil
}

// errTest is wrapped by the error of a test operation that failed.
var errTest = errors.New("the test failed")

func (p *patching) apply(o operation) error {
	switch o.op {
	case "add":
		return p.add(o.path, o.value)
	case "remove":
		_, err := p.remove(o.path)
		return err
	case "replace":
		return p.replace(o.path, o.value)
	case "move":
		if o.from.contains(o.path) {
			return fmt.Errorf("%s cannot be moved into itself", o.from)
		}
		value, err := p.remove(o.from)
		if err != nil {
			return err
		}
		if err := p.charge(value); err != nil {
			return err
		}
		return p.add(o.path, value)
	case "copy":
		value, err := p.get(o.from)
		if err != nil {
			return err
		}
		if err := p.charge(value); err != nil {
			return err
		}
		return p.add(o.path, fhir.NewObject("", value).Clone().Get(""))
	default: // test
		if tooWide(o.value) {
			return fmt.Errorf("the value has an object with more than %d members, the limit of a test", maxPatchMembers)
		}
		value, err := p.get(o.path)
		switch {
		case errors.Is(err, errTooMuch):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", errTest, err)
		}
		if !equal(value, o.value) {
			return fmt.Errorf("%w: the value is %s, expected %s", errTest, brief(value), brief(o.value))
		}
		return nil
	}
}

// charge adds a copied or moved value to the bytes of the patch, and fails if they
// exceed maxPatchBytes.
func (p *patching) charge(value any) error {
	p.bytes += len(encode(value))
	if p.bytes > maxPatchBytes {
		return fmt.Errorf("the patch copies and moves more than %d bytes", maxPatchBytes)
	}
	return nil
}

// encode returns a value as compact JSON.
func encode(v any) []byte {
	data := fhir.NewObject("", v).AppendJSON(nil) // {"":v}
	return data[4 : len(data)-1]
}

// brief returns a value as JSON, shortened for an error text.
func brief(v any) string { return clip(string(encode(v))) }

// clip shortens a text that is too long for an error text.
func clip(text string) string {
	const limit = 80
	if len(text) <= limit {
		return text
	}
	end := limit
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// kind returns the JSON type of a value with its article.
func kind(v any) string {
	switch v.(type) {
	case *fhir.Object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}
