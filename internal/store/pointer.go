package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
)

// pointer is a JSON Pointer (RFC 6901): the member names and array indices from the
// root to a value.
type pointer []string

// readPointer parses a member of a patch operation that must be a pointer.
func readPointer(o *fhir.Object, name string) (pointer, error) {
	text, ok := o.Get(name).(string)
	if !ok {
		return nil, fmt.Errorf("%s needs a member %q that is a JSON Pointer", o.Text("op"), name)
	}
	if text == "" {
		return pointer{}, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("%s: got %q, expected a JSON Pointer, which starts with /", name, clip(text))
	}
	if n := strings.Count(text, "/"); n > fhir.MaxDepth {
		return nil, fmt.Errorf("%w: %s has %d steps, at most %d are taken; nothing in a resource is nested deeper", errTooMuch, name, n, fhir.MaxDepth)
	}
	steps := strings.Split(text[1:], "/")
	for i, step := range steps {
		bare := strings.NewReplacer("~0", "", "~1", "").Replace(step)
		if strings.Contains(bare, "~") {
			return nil, fmt.Errorf("%s: got %q; in a JSON Pointer ~ is written ~0, and / in a name ~1", name, clip(text))
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	return steps, nil
}

// String returns the pointer in its text form, shortened for an error text.
func (p pointer) String() string {
	var b strings.Builder
	for _, step := range p {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return clip(b.String())
}

// contains reports whether other points inside the value that p points to.
func (p pointer) contains(other pointer) bool {
	return len(other) > len(p) && slices.Equal(p, other[:len(p)])
}

// index parses a step into an array of n values. limit is the largest index allowed.
func index(step string, n, limit int) (int, error) {
	i, err := strconv.Atoi(step)
	if err != nil || i < 0 || strconv.Itoa(i) != step {
		return 0, fmt.Errorf("%q is not an array index", clip(step))
	}
	if i > limit {
		return 0, fmt.Errorf("index %s is out of range for an array of length %d", clip(step), n)
	}
	return i, nil
}

// child returns the value one step into v.
func child(v any, step string) (any, error) {
	switch v := v.(type) {
	case *fhir.Object:
		if !v.Has(step) {
			return nil, fmt.Errorf("there is no member %q", clip(step))
		}
		return v.Get(step), nil
	case []any:
		i, err := index(step, len(v), len(v)-1)
		if err != nil {
			return nil, err
		}
		return v[i], nil
	}
	return nil, fmt.Errorf("%s has no %q", kind(v), clip(step))
}

// get returns the value at a path.
func (p *patching) get(path pointer) (any, error) {
	v := p.root
	for _, step := range path {
		if err := p.pass(v); err != nil {
			return nil, err
		}
		var err error
		if v, err = child(v, step); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// edit calls change with the object or array that holds the value at a path, and
// with the last step of the path, and puts the result of change in its place. The
// path must not be empty.
func (p *patching) edit(path pointer, change func(parent any, step string) (any, error)) error {
	root, err := p.editIn(p.root, path, change)
	if err == nil {
		p.root = root
	}
	return err
}

func (p *patching) editIn(v any, path pointer, change func(any, string) (any, error)) (any, error) {
	if err := p.pass(v); err != nil {
		return nil, err
	}
	step := path[0]
	if len(path) == 1 {
		return change(v, step)
	}
	inner, err := child(v, step)
	if err != nil {
		return nil, err
	}
	if inner, err = p.editIn(inner, path[1:], change); err != nil {
		return nil, err
	}
	// Inserting into an array returns a new slice, so store it again.
	switch v := v.(type) {
	case *fhir.Object:
		v.Set(step, inner)
	case []any:
		i, _ := index(step, len(v), len(v)-1) // child has checked it
		v[i] = inner
	}
	return v, nil
}

func (p *patching) add(path pointer, value any) error {
	if err := checkDepth(path, value); err != nil {
		return err
	}
	if len(path) == 0 {
		p.root = value
		return nil
	}
	return p.edit(path, func(parent any, step string) (any, error) {
		switch parent := parent.(type) {
		case *fhir.Object:
			parent.Set(step, value)
			return parent, nil
		case []any:
			if step == "-" {
				return append(parent, value), nil
			}
			i, err := index(step, len(parent), len(parent))
			if err != nil {
				return nil, err
			}
			return slices.Insert(parent, i, value), nil
		}
		return nil, fmt.Errorf("%s cannot have a member %q", kind(parent), clip(step))
	})
}

func (p *patching) replace(path pointer, value any) error {
	if _, err := p.get(path); err != nil {
		return err
	}
	if err := checkDepth(path, value); err != nil {
		return err
	}
	if len(path) == 0 {
		p.root = value
		return nil
	}
	return p.edit(path, func(parent any, step string) (any, error) {
		switch parent := parent.(type) {
		case *fhir.Object:
			parent.Set(step, value)
		case []any:
			i, _ := index(step, len(parent), len(parent)-1) // get has checked it
			parent[i] = value
		}
		return parent, nil
	})
}

// remove removes the value at a path and returns it.
func (p *patching) remove(path pointer) (any, error) {
	value, err := p.get(path)
	if err != nil {
		return nil, err
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("a patch cannot remove the whole resource; delete it instead")
	}
	return value, p.edit(path, func(parent any, step string) (any, error) {
		switch parent := parent.(type) {
		case *fhir.Object:
			parent.Delete(step)
		case []any:
			i, _ := index(step, len(parent), len(parent)-1) // get has checked it
			return slices.Delete(parent, i, i+1), nil
		}
		return parent, nil
	})
}

// checkDepth returns an error if a value at a path would be nested too deeply.
func checkDepth(path pointer, value any) error {
	if len(path)+depth(value) > fhir.MaxDepth {
		return fmt.Errorf("the resource would be nested deeper than %d levels", fhir.MaxDepth)
	}
	return nil
}

// depth returns the nesting depth of objects and arrays in v, including v itself.
func depth(v any) int {
	deepest, open, text := 0, 0, false
	data := encode(v)
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case !text && (c == '{' || c == '['):
			open++
			deepest = max(deepest, open)
		case !text && (c == '}' || c == ']'):
			open--
		}
	}
	return deepest
}

// tooWide reports whether v contains an object with too many members to compare.
func tooWide(v any) bool {
	switch v := v.(type) {
	case *fhir.Object:
		return v.Len() > maxPatchMembers || slices.ContainsFunc(v.Names(), func(name string) bool { return tooWide(v.Get(name)) })
	case []any:
		return slices.ContainsFunc(v, tooWide)
	}
	return false
}

// equal reports whether two values are equal by RFC 6902 (4.6): the order of object
// members does not matter, and numbers are compared by value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case *fhir.Object:
		b, ok := b.(*fhir.Object)
		if !ok || a.Len() != b.Len() {
			return false
		}
		for _, name := range a.Names() {
			if !b.Has(name) || !equal(a.Get(name), b.Get(name)) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && normalize(string(a)) == normalize(string(b))
	}
	switch b.(type) {
	case *fhir.Object, []any: // not comparable by ==
		return false
	}
	return a == b
}

// normalize returns the same text for equal JSON numbers: 1, 1.0 and 10e-1 are all
// "1e0". It works on the digits, so that a large exponent does not make it slow.
func normalize(number string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	power := 0
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil || power > 1<<40 || power < -1<<40 {
			return number // absurdly large: compare as text
		}
	}
	significant := strings.TrimRight(digits, "0")
	return sign + significant + "e" + strconv.Itoa(power-len(fraction)+len(digits)-len(significant))
}
