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

// The bounds of a patch: the number of its operations, the bytes it may copy and
// move within the resource, and the members of an object it may test for. They
// are far beyond what a patch of a resource needs.
const (
	maxPatchOperations = 1000
	maxPatchBytes      = 8 << 20
	maxPatchMembers    = 1000
)

// operation is one step of a JSON Patch (RFC 6902).
type operation struct {
	op         string
	path, from pointer
	value      any
	place      string // `operation 2 (replace "/status")`, for refusals
}

// Patch applies a JSON Patch (RFC 6902) to a copy of a resource; numbers keep
// their text and members their order. A document that is no patch is refused
// with 400 structure, one that is too large with 413 too-costly. An operation
// that cannot be done is refused with 422, conflict where it is a test that
// failed: then nothing is changed. So is a patch that changes the resource's
// type or id. The result is not validated.
func Patch(current *fhir.Object, document []byte) (*fhir.Object, *fhir.Error) {
	operations, refused := readPatch(document)
	if refused != nil {
		return nil, refused
	}
	p := patching{root: current.Clone()}
	for _, o := range operations {
		if err := p.apply(o); err != nil {
			code := "processing"
			if errors.Is(err, errTest) {
				code = "conflict"
			}
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, code, "%s of the patch: %v; nothing was changed", o.place, err)
		}
	}
	patched, ok := p.root.(*fhir.Object)
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "processing", "the patch makes %s of the resource; nothing was changed", kind(p.root))
	}
	for _, name := range []string{"resourceType", "id"} {
		if patched.Text(name) != current.Text(name) {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "a patch may not change %s: it is %q and would be %s", name, current.Text(name), brief(patched.Get(name))).
				At(current.Text("resourceType") + "." + name)
		}
	}
	return patched, nil
}

// readPatch reads the operations of a patch and checks their form.
func readPatch(document []byte) ([]operation, *fhir.Error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(document, &raw); err != nil || raw == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, "structure", "a JSON Patch is an array of operations, such as [{\"op\": \"replace\", \"path\": \"/status\", \"value\": \"final\"}]; got %s", clip(string(bytes.ToValidUTF8(bytes.TrimSpace(document), []byte("\uFFFD")))))
	}
	if len(raw) > maxPatchOperations {
		return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, "too-costly", "the patch has %d operations, the limit is %d; split it, or update the resource as a whole", len(raw), maxPatchOperations)
	}
	operations := make([]operation, len(raw))
	for i := range raw {
		// The strict reader: it refuses members that stand twice, deep nesting
		// and what is not UTF-8, so that none of it gets into the resource.
		o, refused := fhir.Parse(raw[i])
		if refused != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch: %v", i+1, refused)
		}
		operation, err := readOperation(o)
		if err != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch: %v", i+1, err)
		}
		operation.place = fmt.Sprintf("operation %d (%s %q)", i+1, operation.op, clip(o.Text("path")))
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

// patching is a resource while a patch is applied to it.
type patching struct {
	root  any
	bytes int // copied and moved so far
}

// errTest marks a test that failed.
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
		if err := p.spend(value); err != nil {
			return err
		}
		return p.add(o.path, value)
	case "copy":
		value, err := p.get(o.from)
		if err != nil {
			return err
		}
		if err := p.spend(value); err != nil {
			return err
		}
		return p.add(o.path, fhir.NewObject("", value).Clone().Get(""))
	default: // test
		if wide(o.value) {
			return fmt.Errorf("this server tests for objects of up to %d members", maxPatchMembers)
		}
		value, err := p.get(o.path)
		if err != nil {
			return fmt.Errorf("%w: %w", errTest, err)
		}
		if !same(value, o.value) {
			return fmt.Errorf("%w: the value is %s, expected %s", errTest, brief(value), brief(o.value))
		}
		return nil
	}
}

// spend counts what a patch copies and moves.
func (p *patching) spend(value any) error {
	p.bytes += len(encode(value))
	if p.bytes > maxPatchBytes {
		return fmt.Errorf("what the patch copies and moves adds up to more than %d bytes", maxPatchBytes)
	}
	return nil
}

// encode is the compact JSON of a value.
func encode(v any) []byte {
	data := fhir.NewObject("", v).AppendJSON(nil) // {"":v}
	return data[4 : len(data)-1]
}

// brief is a value as a refusal shows it.
func brief(v any) string { return clip(string(encode(v))) }

// clip cuts a text that is too long for a refusal.
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

// kind names the JSON type of a value with its article.
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
