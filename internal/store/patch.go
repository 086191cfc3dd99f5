package store

import (
	"encoding/json"
	"errors"
	"net/http"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"signalfhir/internal/fhir"
)

// The bounds of a patch: copies inside it may not add up to more, nor may it
// have more operations.
const (
	maxPatchCopy       = 8 << 20
	maxPatchOperations = 1000
)

// Patch applies a JSON Patch (RFC 6902) to a copy of a resource. A document
// that is no patch is refused with 400, an operation that cannot be done with
// 422; the diagnostics say which one.
func Patch(current *fhir.Object, document []byte) (*fhir.Object, *fhir.Error) {
	var operations []json.RawMessage
	if err := json.Unmarshal(document, &operations); err != nil {
		return nil, fhir.Refuse(http.StatusBadRequest, "structure", "a JSON Patch is an array of operations: %v", err)
	}
	if len(operations) > maxPatchOperations {
		return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, "too-costly", "the patch has %d operations, the limit is %d", len(operations), maxPatchOperations)
	}
	state := current.AppendJSON(nil)
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxPatchCopy
	// One operation at a time, so that a failure can name its place.
	for i, operation := range operations {
		if err := checkOperation(i, operation); err != nil {
			return nil, err
		}
		one, err := jsonpatch.DecodePatch([]byte("[" + string(operation) + "]"))
		if err != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch: %v", i, err)
		}
		next, err := one.ApplyWithOptions(state, options)
		if err != nil {
			return nil, failed(i, operation, err)
		}
		state = next
	}
	patched, err := fhir.Parse(state)
	if err != nil {
		err.Status = http.StatusUnprocessableEntity
		return nil, err
	}
	for _, name := range []string{"resourceType", "id"} {
		if patched.Text(name) != current.Text(name) {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "a patch may not change %s from %q to %q", name, current.Text(name), patched.Text(name)).At(name)
		}
	}
	return patched, nil
}

func checkOperation(i int, operation json.RawMessage) *fhir.Error {
	var o struct {
		Op    string           `json:"op"`
		Path  *string          `json:"path"`
		From  *string          `json:"from"`
		Value *json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(operation, &o); err != nil {
		return fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch: %v", i, err)
	}
	missing := ""
	switch o.Op {
	case "add", "replace", "test":
		if o.Value == nil {
			missing = "value"
		}
	case "move", "copy":
		if o.From == nil {
			missing = "from"
		}
	case "remove":
	default:
		return fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch: op is %q, expected add, remove, replace, move, copy or test", i, o.Op)
	}
	if o.Path == nil {
		missing = "path"
	}
	if missing != "" {
		return fhir.Refuse(http.StatusBadRequest, "structure", "operation %d of the patch (%s) has no %s", i, o.Op, missing)
	}
	return nil
}

func failed(i int, operation json.RawMessage, err error) *fhir.Error {
	if errors.Is(err, jsonpatch.ErrTestFailed) {
		return fhir.Refuse(http.StatusUnprocessableEntity, "conflict", "operation %d of the patch: the test %s failed; nothing was changed", i, operation)
	}
	return fhir.Refuse(http.StatusUnprocessableEntity, "processing", "operation %d of the patch, %s, cannot be done: %v; nothing was changed", i, operation, err)
}
