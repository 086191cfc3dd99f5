package invariant

import (
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
)

// place returns the FHIRPath of a location, or "" if it is not in the resource.
func place(root *fhir.Object, at location) string {
	path, _ := find(root, root.Text("resourceType"), at.object)
	if at.name == "" {
		return path
	}
	path += "." + at.name
	if _, isList := at.object.Get(at.name).([]any); isList {
		path += "[" + strconv.Itoa(at.index) + "]"
	}
	return path
}

// find finds an object below another, by identity.
func find(o *fhir.Object, path string, wanted *fhir.Object) (string, bool) {
	if o == wanted {
		return path, true
	}
	for _, name := range o.Names() {
		below := path + "." + strings.TrimPrefix(name, "_")
		switch v := o.Get(name).(type) {
		case *fhir.Object:
			if found, ok := find(v, below, wanted); ok {
				return found, true
			}
		case []any:
			for i, item := range v {
				if o, isObject := item.(*fhir.Object); isObject {
					if found, ok := find(o, below+"["+strconv.Itoa(i)+"]", wanted); ok {
						return found, true
					}
				}
			}
		}
	}
	return "", false
}
