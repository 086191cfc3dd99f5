package search

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

// maxTime bounds the time that the expression of a parameter takes on one resource.
const maxTime = time.Second

// extractor returns the values of a resource that a parameter selects.
type extractor func(*fhir.Resource) ([]any, error)

// Values returns the values of a resource that the parameter selects: strings,
// numbers, booleans and objects of its tree. There are none for a parameter that
// applies to the resource as a whole, such as _text.
func (p *Parameter) Values(res *fhir.Resource) ([]any, error) {
	if aboutResource[p.Name] != nil {
		return nil, nil
	}
	p.once.Do(func() { p.values, p.failed = compile(p.Release, p.Resource, p.expression) })
	if p.failed != nil {
		return nil, p.failed
	}
	return p.values(res)
}

// compile makes an extractor of an expression. Most expressions are plain paths,
// which are walked on the tree; the rest goes through the FHIRPath engine.
func compile(r fhir.Release, typ, expression string) (extractor, error) {
	var parts []extractor
	for _, part := range splitUnion(expression) {
		if steps, ok := plainPath(r, typ, part); ok {
			parts = append(parts, func(res *fhir.Resource) ([]any, error) { return walk(res.Object, steps), nil })
			continue
		}
		expr, err := fhirpath.Compile(part, fhirpath.Options{})
		if err != nil {
			return nil, err
		}
		parts = append(parts, func(res *fhir.Resource) ([]any, error) {
			var values []any
			_, err := budget.Within(maxTime, func(ctx context.Context) error {
				result, err := expr.Eval(ctx, res.Release, res.JSON, nil)
				values = fhirpath.Values(result)
				return err
			})
			return values, err
		})
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("the search parameter has no expression for %s", typ)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return func(res *fhir.Resource) ([]any, error) {
		var all []any
		for _, part := range parts {
			values, err := part(res)
			if err != nil {
				return nil, err
			}
			all = append(all, values...)
		}
		return all, nil
	}, nil
}

// step is one step of a plain path.
type step struct {
	names     []string // members to go down to; several for a choice element
	reference string   // keep only references to this type
}

// The forms of a plain path: Type.a.b, the choice of a type, and a reference
// filtered by the type of its target.
var (
	nameForm      = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	ofTypeForm    = regexp.MustCompile(`^ofType\(([A-Za-z0-9]+)\)$`)
	resolveForm   = regexp.MustCompile(`^where\(resolve\(\) is ([A-Za-z]+)\)$`)
	castForm      = regexp.MustCompile(`^\(([A-Za-z.]+) as ([A-Za-z0-9]+)\)$`)
	enclosingForm = regexp.MustCompile(`^\(([A-Za-z.]+(?:\.ofType\([A-Za-z0-9]+\))?)\)$`)
)

// plainPath parses an expression as a path on the tree; ok is false if it is more
// than that.
func plainPath(r fhir.Release, typ, expression string) (steps []step, ok bool) {
	if m := castForm.FindStringSubmatch(expression); m != nil {
		expression = m[1] + ".ofType(" + m[2] + ")"
	} else if m := enclosingForm.FindStringSubmatch(expression); m != nil {
		expression = m[1]
	}
	segments := splitPath(expression)
	if head := segments[0]; head != typ && head != "Resource" && head != "DomainResource" {
		return nil, false
	}
	model := r.Model()
	path := typ
	for i := 1; i < len(segments); i++ {
		segment := segments[i]
		if m := resolveForm.FindStringSubmatch(segment); m != nil {
			steps = append(steps, step{reference: m[1]})
			continue
		}
		if !nameForm.MatchString(segment) {
			return nil, false
		}
		path += "." + segment
		choices := model.ChoiceTypes(path)
		if choices == nil {
			if model.TypeOf(path) == "" && model.ResolvePath(path) == path {
				return nil, false
			}
			steps = append(steps, step{names: []string{segment}})
			continue
		}
		if i+1 < len(segments) {
			if m := ofTypeForm.FindStringSubmatch(segments[i+1]); m != nil {
				if !slices.Contains(choices, m[1]) {
					return nil, false
				}
				choices = []string{m[1]}
				i++
			}
		}
		var names []string
		for _, choice := range choices {
			names = append(names, segment+strings.ToUpper(choice[:1])+choice[1:])
		}
		steps = append(steps, step{names: names})
		if len(choices) == 1 {
			path = choices[0]
		} else if i+1 < len(segments) {
			return nil, false
		}
	}
	return steps, true
}

// splitPath splits a path at the dots outside of parentheses.
func splitPath(expression string) []string {
	var segments []string
	depth, from := 0, 0
	for i, c := range expression {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case '.':
			if depth == 0 {
				segments = append(segments, expression[from:i])
				from = i + 1
			}
		}
	}
	return append(segments, expression[from:])
}

func walk(root *fhir.Object, steps []step) []any {
	values := []any{root}
	for _, s := range steps {
		var next []any
		for _, v := range values {
			o, isObject := v.(*fhir.Object)
			if !isObject {
				continue
			}
			if s.reference != "" {
				if targetOf(root, o) == s.reference {
					next = append(next, o)
				}
				continue
			}
			for _, name := range s.names {
				switch found := o.Get(name).(type) {
				case nil:
				case []any:
					for _, item := range found {
						if item != nil {
							next = append(next, item)
						}
					}
				default:
					next = append(next, found)
				}
			}
		}
		values = next
	}
	return values
}

// targetOf returns the type a Reference inside root points to, or "" if it does not
// say.
func targetOf(root, o *fhir.Object) string {
	reference := o.Text("reference")
	if id, contained := strings.CutPrefix(reference, "#"); contained {
		for _, item := range root.Array("contained") {
			if inner, isObject := item.(*fhir.Object); isObject && id != "" && inner.Text("id") == id {
				return inner.Text("resourceType")
			}
		}
	}
	if typ, _ := splitReference(reference); typ != "" {
		return typ
	}
	typ := o.Text("type")
	return typ[strings.LastIndexByte(typ, '/')+1:]
}

// splitReference splits a literal reference: relative, absolute or with a version.
func splitReference(reference string) (typ, id string) {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	if len(parts) < 2 {
		return "", ""
	}
	return parts[len(parts)-2], parts[len(parts)-1]
}

// References returns what a reference parameter points to on this server, as
// relative references ("Patient/1").
func (p *Parameter) References(res *fhir.Resource) []string {
	return slices.DeleteFunc(p.links(res), func(link string) bool { return strings.Contains(link, ":") })
}

// links returns what a reference parameter points to, each once: relative
// references, and canonicals as written.
func (p *Parameter) links(res *fhir.Resource) []string {
	values, err := p.Values(res)
	if err != nil || p.Type != "reference" {
		return nil
	}
	var links []string
	seen := map[string]bool{} // a List may have very many entries
	for _, v := range values {
		link, _ := v.(string)
		if o, isObject := v.(*fhir.Object); isObject {
			if inner := o.Object("reference"); inner != nil {
				o = inner // a CodeableReference
			}
			if to := takeApart(res.Release, o.Text("reference")); to.typ != "" && to.base == "" {
				link = to.typ + "/" + to.id
			}
		}
		if link != "" && !seen[link] {
			seen[link] = true
			links = append(links, link)
		}
	}
	return links
}

// namesOf returns the references by which others may point to a resource: its
// relative reference, and its canonical with and without version.
func namesOf(res *fhir.Resource) []string {
	names := []string{res.Reference()}
	if url := res.Object.Text("url"); url != "" {
		names = append(names, url)
		if version := res.Object.Text("version"); version != "" {
			names = append(names, url+"|"+version)
		}
	}
	return names
}
