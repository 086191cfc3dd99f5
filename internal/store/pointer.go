package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
)

// pointer is a JSON Pointer (RFC 6901): the names and indices from the root on.
type pointer []string

// readPointer reads a member of a patch operation that is a pointer.
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

// String is the pointer as it is written.
func (p pointer) String() string {
	var b strings.Builder
	for _, step := range p {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return clip(b.String())
}

// contains tells that other leads to a place inside of what p leads to.
func (p pointer) contains(other pointer) bool {
	return len(other) > len(p) && slices.Equal(p, other[:len(p)])
}

// index reads a step into an array of n values; at most is the largest allowed.
func index(step string, n, atMost int) (int, error) {
	i, err := strconv.Atoi(step)
	if err != nil || i < 0 || strconv.Itoa(i) != step {
		return 0, fmt.Errorf("%q is no index of an array", clip(step))
	}
	if i > atMost {
		return 0, fmt.Errorf("there is no index %s in an array of %d", clip(step), n)
	}
	return i, nil
}

// child is the value one step into v.
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

// get is the value at a path.
func (p *patching) get(path pointer) (any, error) {
	v := p.root
	for _, step := range path {
		var err error
		if v, err = child(v, step); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// edit lets change make another of the object or array that holds the last step
// of a path, which is not empty.
func (p *patching) edit(path pointer, change func(holder any, step string) (any, error)) error {
	root, err := edit(p.root, path, change)
	if err == nil {
		p.root = root
	}
	return err
}

func edit(v any, path pointer, change func(any, string) (any, error)) (any, error) {
	step := path[0]
	if len(path) == 1 {
		return change(v, step)
	}
	inner, err := child(v, step)
	if err != nil {
		return nil, err
	}
	if inner, err = edit(inner, path[1:], change); err != nil {
		return nil, err
	}
	// Inserting into an array makes another slice of it: put it back.
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
	if err := fits(path, value); err != nil {
		return err
	}
	if len(path) == 0 {
		p.root = value
		return nil
	}
	return p.edit(path, func(holder any, step string) (any, error) {
		switch holder := holder.(type) {
		case *fhir.Object:
			holder.Set(step, value)
			return holder, nil
		case []any:
			if step == "-" {
				return append(holder, value), nil
			}
			i, err := index(step, len(holder), len(holder))
			if err != nil {
				return nil, err
			}
			return slices.Insert(holder, i, value), nil
		}
		return nil, fmt.Errorf("%s takes no member %q", kind(holder), clip(step))
	})
}

func (p *patching) replace(path pointer, value any) error {
	if _, err := p.get(path); err != nil {
		return err
	}
	if err := fits(path, value); err != nil {
		return err
	}
	if len(path) == 0 {
		p.root = value
		return nil
	}
	return p.edit(path, func(holder any, step string) (any, error) {
		switch holder := holder.(type) {
		case *fhir.Object:
			holder.Set(step, value)
		case []any:
			i, _ := index(step, len(holder), len(holder)-1) // get has checked it
			holder[i] = value
		}
		return holder, nil
	})
}

// remove takes the value at a path out and answers it.
func (p *patching) remove(path pointer) (any, error) {
	value, err := p.get(path)
	if err != nil {
		return nil, err
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("the resource itself cannot be removed; delete it")
	}
	return value, p.edit(path, func(holder any, step string) (any, error) {
		switch holder := holder.(type) {
		case *fhir.Object:
			holder.Delete(step)
		case []any:
			i, _ := index(step, len(holder), len(holder)-1) // get has checked it
			return slices.Delete(holder, i, i+1), nil
		}
		return holder, nil
	})
}

// fits refuses a value that would be nested too deeply at a path.
func fits(path pointer, value any) error {
	if len(path)+depth(value) > fhir.MaxDepth {
		return fmt.Errorf("the resource would be nested deeper than %d levels", fhir.MaxDepth)
	}
	return nil
}

// depth is how many objects and arrays are nested in v, itself included.
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

// wide tells whether v has an object with too many members to compare.
func wide(v any) bool {
	switch v := v.(type) {
	case *fhir.Object:
		return v.Len() > maxPatchMembers || slices.ContainsFunc(v.Names(), func(name string) bool { return wide(v.Get(name)) })
	case []any:
		return slices.ContainsFunc(v, wide)
	}
	return false
}

// same tells whether two values are equal as RFC 6902 (4.6) has it: objects
// whatever the order of their members, numbers by what they are worth.
func same(a, b any) bool {
	switch a := a.(type) {
	case *fhir.Object:
		b, ok := b.(*fhir.Object)
		if !ok || a.Len() != b.Len() {
			return false
		}
		for _, name := range a.Names() {
			if !b.Has(name) || !same(a.Get(name), b.Get(name)) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && normal(string(a)) == normal(string(b))
	}
	switch b.(type) {
	case *fhir.Object, []any: // not comparable by ==
		return false
	}
	return a == b
}

// normal writes equal JSON numbers equally: 1, 1.0 and 10e-1 are all "1e0". It
// calculates with digits, as no exponent may make it run long.
func normal(number string) string {
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
			return number // out of all reason: equal only as text
		}
	}
	significant := strings.TrimRight(digits, "0")
	return sign + significant + "e" + strconv.Itoa(power-len(fraction)+len(digits)-len(significant))
}
