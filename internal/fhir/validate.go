package fhir

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxIssues bounds the reported problems of one resource.
const maxIssues = 200

// Validate checks a resource against the element tables of the release: names,
// JSON types, forms of primitives, codes of required bindings, cardinalities,
// choices, siblings of primitives, contained resources. It returns every problem
// it finds, each with its place; none means that the structure is right.
func (r Release) Validate(o *Object) []Issue {
	v := &validator{tables: r.tables(), release: r}
	v.resource(o, "", false)
	if v.more > 0 {
		v.issues = append(v.issues, Issue{Severity: "error", Code: CodeTooCostly, Diagnostics: fmt.Sprintf("and %d more problems", v.more)})
	}
	return v.issues
}

type validator struct {
	tables  *tables
	release Release
	issues  []Issue // at most maxIssues
	more    int     // number of problems beyond issues
}

func (v *validator) report(code IssueCode, place, format string, args ...any) {
	if len(v.issues) == maxIssues {
		v.more++
		return
	}
	issue := Issue{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...)}
	if place != "" {
		issue.Expression = []string{place}
	}
	v.issues = append(v.issues, issue)
}

// resource checks a whole resource. place is its place in another one, "" at the
// top; contained means that it must not contain resources itself.
func (v *validator) resource(o *Object, place string, contained bool) {
	name := o.Text("resourceType")
	t := v.tables.typ(name)
	if t == nil || t.kind != "resource" || t.abstract {
		at := join(place, "resourceType")
		switch _, isText := o.Get("resourceType").(string); {
		case !o.Has("resourceType"):
			v.report(CodeInvalid, at, "a resource needs a resourceType")
		case !isText || name == "":
			v.report(CodeInvalid, at, "expected the name of a resource type such as Patient, got %s", describe(o.Get("resourceType")))
		default:
			v.report(CodeInvalid, at, "%s is not a resource type of FHIR %s%s", quote(name), v.release, v.nearest(name, v.tables.names))
		}
		return
	}
	if place == "" {
		place = name
	}
	if contained && o.Has("contained") {
		v.report(CodeStructure, place+".contained", "a contained resource may not contain resources itself")
	}
	v.object(o, t.elements[""], place, true)
}

func join(place, name string) string {
	if place == "" {
		return name
	}
	return place + "." + name
}

// object checks the members of an object against an element with children.
func (v *validator) object(o *Object, e *element, place string, isResource bool) {
	if o.Len() == 0 {
		v.report(CodeStructure, place, "an object may not be empty; omit the element")
		return
	}
	present := map[*element]string{} // the name under which an element is present
	for _, m := range o.members {
		if isResource && m.name == "resourceType" {
			continue
		}
		base, isSibling := strings.CutPrefix(m.name, "_")
		p, known := e.members[base]
		at := place + "." + base
		if !known || isSibling && !v.isPrimitive(p.typ) {
			v.unknown(m.name, e, place)
			continue
		}
		if other, twice := present[p.element]; twice && other != base {
			v.report(CodeStructure, place+"."+p.element.name, "both %s and %s are present; %s takes only one type", other, base, p.element.name)
		}
		present[p.element] = base
		switch {
		case isSibling:
			if !o.Has(base) { // otherwise it was checked with its value
				v.sibling(nil, m.value, p, at)
			}
		case v.isPrimitive(p.typ):
			v.primitive(m.value, o, p, at)
		default:
			v.complex(m.value, p, at)
		}
	}
	for _, child := range e.children {
		if child.min > 0 && present[child] == "" {
			name := child.name
			if child.choice {
				name += "[x]"
			}
			v.report(CodeRequired, place+"."+child.name, "the element %s is missing; it is required", name)
		}
	}
	v.extension(o, e, place)
}

// extension checks ext-1: an extension has either a value or extensions.
func (v *validator) extension(o *Object, e *element, place string) {
	if e.path != "Extension" {
		return
	}
	hasValue := slices.ContainsFunc(o.members, func(m member) bool { return strings.HasPrefix(strings.TrimPrefix(m.name, "_"), "value") })
	if hasValue == o.Has("extension") {
		v.report(CodeInvariant, place, "ext-1: an extension has either a value[x] or extensions, never both")
	}
}

func (v *validator) unknown(name string, e *element, place string) {
	if len(v.issues) == maxIssues {
		v.more++
		return
	}
	shown := name
	if len(shown) > 64 {
		shown = strings.ToValidUTF8(shown[:64], "") + "…"
	}
	for _, child := range e.children {
		typ, isChoice := strings.CutPrefix(strings.TrimPrefix(name, "_"), child.name)
		if child.choice && isChoice && (typ == "" || typ[0] >= 'A' && typ[0] <= 'Z') {
			v.report(CodeStructure, place+"."+shown, "%s has no element %s; the name of %s[x] ends in its type: %s",
				e.path, quote(name), child.name, child.choices())
			return
		}
	}
	v.report(CodeStructure, place+"."+shown, "%s has no element %s%s", e.path, quote(name), v.nearest(name, slices.Sorted(maps.Keys(e.members))))
}

// choices names the members of a choice, or the first few of many.
func (e *element) choices() string {
	const few = 8
	var names []string
	for _, typ := range e.types[:min(few, len(e.types))] {
		names = append(names, e.member(typ))
	}
	if len(e.types) > few {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// nearest suggests which of the sorted names a misspelt one was meant to be. It
// is costly, so an unreported problem gets no suggestion.
func (v *validator) nearest(name string, names []string) string {
	if len(v.issues) == maxIssues {
		return ""
	}
	best, least := "", 3
	for _, candidate := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate), least); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + strconv.Quote(best) + "?"
}

// distance returns the edit distance of two words, at most limit.
func distance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit || len(a) > 64 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return min(row[len(b)], limit)
}

func abs(n int) int { return max(n, -n) }

func (v *validator) isPrimitive(typ string) bool {
	return typ != "" && typ[0] >= 'a' && typ[0] <= 'z'
}

// primitive checks a value, or an array of them, with its sibling in o.
func (v *validator) primitive(value any, o *Object, p property, place string) {
	name := place[strings.LastIndexByte(place, '.')+1:]
	sibling, hasSibling := o.lookup("_" + name)
	if !p.element.many {
		if value == nil {
			v.report(CodeStructure, place, "null is not a value; omit the element")
			return
		}
		if list, isList := value.([]any); isList {
			v.report(CodeStructure, place, "expected one %s, got an array of %d", p.typ, len(list))
			return
		}
		v.value(value, p, place)
		if hasSibling {
			v.sibling(value, sibling, p, place)
		}
		return
	}
	list, isList := value.([]any)
	if !isList {
		v.report(CodeStructure, place, "expected an array of %s, got %s", p.typ, describe(value))
		return
	}
	if len(list) == 0 {
		v.report(CodeStructure, place, "an array may not be empty; omit the element")
		return
	}
	siblings, _ := sibling.([]any)
	for i, item := range list {
		at := place + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			if i >= len(siblings) || siblings[i] == nil {
				v.report(CodeStructure, at, "null is allowed only if _%s has an object at the same index", name)
			}
			continue
		}
		v.value(item, p, at)
	}
	if hasSibling {
		v.sibling(value, sibling, p, place)
	}
}

// value checks one value of a primitive type.
func (v *validator) value(value any, p property, place string) {
	typ := p.typ
	if p.element.name == "id" {
		typ = v.idType(p)
	}
	if code, problem := checkPrimitive(typ, value); problem != "" {
		v.report(code, place, "%s", problem)
		return
	}
	if p.element.binding == "" {
		return
	}
	codes := v.tables.codes[p.element.binding]
	if text, _ := value.(string); !slices.Contains(codes, text) {
		const few = 40
		expected := "one of " + strings.Join(codes, ", ")
		if len(codes) > few {
			expected = "a code of " + p.element.binding + v.nearest(text, codes)
		}
		v.report(CodeCodeInvalid, place, "got %s, expected %s", quote(text), expected)
	}
}

// idType returns the type of an element named id. The releases declare it
// differently but mean the same: the id of a resource has the form of an id, the
// id of an element is any string.
func (v *validator) idType(p property) string {
	owner, rest, _ := strings.Cut(p.element.path, ".")
	switch {
	case rest != "id":
		return p.typ
	case v.isResource(owner):
		return "id"
	}
	return "string"
}

// sibling checks the id and extensions of a primitive, in the member _name.
func (v *validator) sibling(value, sibling any, p property, place string) {
	name := place[strings.LastIndexByte(place, '.')+1:]
	if !p.element.many {
		if o, isObject := sibling.(*Object); isObject {
			v.object(o, v.tables.typ("Element").elements[""], place, false)
		} else {
			v.report(CodeStructure, place, "expected an object with id or extension under _%s, got %s", name, describe(sibling))
		}
		return
	}
	list, isList := sibling.([]any)
	if !isList || len(list) == 0 {
		v.report(CodeStructure, place, "expected an array of objects under _%s, got %s", name, describe(sibling))
		return
	}
	if values, _ := value.([]any); value != nil && len(values) != len(list) {
		v.report(CodeStructure, place, "%s has %d items and _%[1]s has %d; both need one item per value", name, len(values), len(list))
	}
	for i, item := range list {
		at := place + "[" + strconv.Itoa(i) + "]"
		switch o, isObject := item.(*Object); {
		case isObject:
			v.object(o, v.tables.typ("Element").elements[""], at, false)
		case item != nil:
			v.report(CodeStructure, at, "expected an object or null under _%s, got %s", name, describe(item))
		case value == nil:
			v.report(CodeStructure, at, "null under _%s means a value without extensions, but there is no value", name)
		}
	}
}

// complex checks an object, or an array of them.
func (v *validator) complex(value any, p property, place string) {
	if !p.element.many {
		if list, isList := value.([]any); isList {
			v.report(CodeStructure, place, "expected one object, got an array of %d", len(list))
			return
		}
		v.item(value, p, place)
		return
	}
	list, isList := value.([]any)
	if !isList {
		v.report(CodeStructure, place, "expected an array of objects, got %s", describe(value))
		return
	}
	if len(list) == 0 {
		v.report(CodeStructure, place, "an array may not be empty; omit the element")
	}
	for i, item := range list {
		v.item(item, p, place+"["+strconv.Itoa(i)+"]")
	}
}

// item checks one object against the definition of its element.
func (v *validator) item(value any, p property, place string) {
	o, isObject := value.(*Object)
	if !isObject {
		v.report(CodeStructure, place, "expected an object, got %s", describe(value))
		return
	}
	e := p.element
	switch {
	case e.ref != "":
		v.object(o, v.tables.find(e.ref), place, false)
	case len(e.children) > 0:
		v.object(o, e, place, false)
	case v.isResource(p.typ):
		v.resource(o, place, e.name == "contained")
	default:
		if t := v.tables.typ(p.typ); t != nil {
			v.object(o, t.elements[""], place, false)
		}
	}
}

func (v *validator) isResource(typ string) bool {
	t := v.tables.typ(typ)
	return t != nil && t.kind == "resource"
}
