package invariant

import (
	"encoding/json"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

// focus is an element with rules to evaluate.
type focus struct {
	rules []*rule
	at    location
	typ   string
	scope *scope

	object     *fhir.Object // nil for a primitive value
	start, end int          // its text
}

// location is the position of an element: a member of an object, the n-th of its values,
// or the object itself if name is "". Its path is only computed when there is something
// to report (place.go).
type location struct {
	object *fhir.Object
	name   string
	index  int
}

// scope is a resource: the value of %resource for the elements in it.
type scope struct {
	object     *fhir.Object
	start, end int
	root       *scope // the resource this one is contained in; itself for any other

	engine *fhirpath.Scope // of a root; nil before the first evaluation
}

// walk walks a resource once. It collects the elements that have rules, in document
// order, and writes the text that FHIRPath reads. Each of them is a slice of that text,
// so no element is encoded or parsed twice.
//
// The text differs from the resource in two ways. FHIR puts the extensions of a primitive
// beside it, and the engine only looks at the value: a start with only an extension, such
// as the reason why it is unknown, would not exist, and start.exists() would be wrong. So
// if there is no value, the object with the extensions takes its place. And a narrative
// is left out: it is often the longest part, no evaluated rule uses it, and the engine
// reads the text again for every member it looks up.
type walk struct {
	table *table
	text  []byte
	foci  []*focus
}

func walkOf(r fhir.Release, o *fhir.Object) *walk {
	w := &walk{table: tableOf(r)}
	w.resource(o, nil)
	return w
}

func (w *walk) resource(o *fhir.Object, container *scope) {
	s := &scope{object: o}
	if s.root = s; container != nil {
		s.root = container.root
	}
	s.start = len(w.text)
	typ := o.Text("resourceType")
	shape := w.table.shape(typ)
	w.object(o, shape, shape.rules, s, false)
	s.end = len(w.text)
	w.resourceRules(o, s)
}

// resourceRules adds the rules of DomainResource.
func (w *walk) resourceRules(o *fhir.Object, s *scope) {
	if !o.Has("contained") {
		return
	}
	w.foci = append(w.foci, &focus{rules: domainRules, typ: o.Text("resourceType"), at: location{object: o}, object: o, scope: s, start: s.start, end: s.end})
}

// object walks the members of an object. valued means that it is beside a value, which
// is content enough (ele-1).
func (w *walk) object(o *fhir.Object, shape *shape, rules []*rule, s *scope, valued bool) {
	var f *focus
	if len(rules) > 0 {
		f = &focus{rules: rules, at: location{object: o}, typ: shape.typ, scope: s, object: o, start: len(w.text)}
		w.foci = append(w.foci, f)
	}
	if o.Len() == 1 && !valued && o.Has("id") {
		w.foci = append(w.foci, &focus{rules: elementRules, at: location{object: o}, typ: shape.typ, scope: s, object: o})
	}
	w.text = append(w.text, '{')
	for i, name := range o.Names() {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		w.member(o, name, shape, s)
	}
	w.text = append(w.text, '}')
	if f != nil {
		f.end = len(w.text)
	}
}

func (w *walk) member(o *fhir.Object, name string, shape *shape, s *scope) {
	value := o.Get(name)
	if base, isSibling := strings.CutPrefix(name, "_"); isSibling {
		w.beside(o, base, value, s)
		return
	}
	if siblings := o.Array("_" + name); siblings != nil {
		value = merged(o.Array(name), siblings, false)
	}
	w.string(name)
	w.text = append(w.text, ':')
	w.values(value, location{o, name, 0}, w.table.member(shape, name), s)
}

// beside writes the sibling of a primitive, under the primitive's name if there is no
// value.
func (w *walk) beside(o *fhir.Object, base string, value any, s *scope) {
	m := &member{shape: w.table.shape("Element")}
	switch values := o.Get(base).(type) {
	case nil:
		w.string(base)
	case []any:
		siblings, _ := value.([]any)
		value, m.valued = merged(values, siblings, true), true
		w.string("_" + base)
	default:
		m.valued = true
		w.string("_" + base)
	}
	w.text = append(w.text, ':')
	w.values(value, location{o, base, 0}, m, s)
}

// merged returns the values of a list of primitives with siblings in place of missing
// values or, if beside is set, the siblings of the present values.
func merged(values, siblings []any, beside bool) []any {
	all := make([]any, len(values))
	for i, value := range values {
		var sibling any
		if i < len(siblings) {
			sibling = siblings[i]
		}
		switch {
		case beside && value != nil:
			all[i] = sibling
		case !beside && value == nil:
			all[i] = sibling
		case !beside:
			all[i] = value
		}
	}
	return all
}

func (w *walk) values(value any, at location, m *member, s *scope) {
	list, isList := value.([]any)
	if !isList {
		w.value(value, at, m, s)
		return
	}
	w.text = append(w.text, '[')
	for i, item := range list {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		at.index = i
		w.value(item, at, m, s)
	}
	w.text = append(w.text, ']')
}

func (w *walk) value(value any, at location, m *member, s *scope) {
	o, isObject := value.(*fhir.Object)
	switch {
	case !isObject:
		if len(m.rules) > 0 && value != nil {
			w.foci = append(w.foci, &focus{rules: m.rules, at: at, typ: m.typ, scope: s})
		}
		if m.typ == "xhtml" {
			value = "<div/>"
		}
		w.primitive(value)
	case m.shape != nil:
		w.object(o, m.shape, m.rules, s, m.valued)
	case w.table.release.IsResourceType(o.Text("resourceType")):
		var container *scope
		if at.name == "contained" {
			container = s
		}
		w.resource(o, container)
	default: // in place of a primitive
		w.object(o, w.table.shape("Element"), nil, s, false)
	}
}

func (w *walk) primitive(value any) {
	switch v := value.(type) {
	case string:
		w.string(v)
	case json.Number:
		w.number(string(v))
	case bool:
		w.text = strconv.AppendBool(w.text, v)
	default:
		w.text = append(w.text, "null"...)
	}
}

// number writes a JSON number. The engine compares decimals digit by digit, and
// 1e999999999 has a gigabyte of digits: such a number becomes a string, which compares
// with nothing.
func (w *walk) number(text string) {
	const most = 400 // no decimal of FHIR needs more
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(exponent); err != nil || n < -most || n > most {
			w.string(text)
			return
		}
	}
	w.text = append(w.text, text...)
}

// string writes a JSON string. Nearly all strings need no escape.
func (w *walk) string(s string) {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				quoted = []byte(`""`) // no string fails to encode
			}
			w.text = append(w.text, quoted...)
			return
		}
	}
	w.text = append(append(append(w.text, '"'), s...), '"')
}
