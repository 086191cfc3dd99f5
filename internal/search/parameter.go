// Package search knows the search parameters of each release: which ones exist,
// which values of a resource they select, and whether those match a query. One
// matcher serves type search, the queryCriteria of topics and the filterBy of
// subscriptions.
//
// It knows no store: a query is evaluated on one resource at a time.
package search

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"

	"signalfhir/internal/fhir"
)

//go:generate go run ./gen R5 R4B R4

//go:embed tables/*.gz
var tableFiles embed.FS

// Parameter is one search parameter as it applies to one resource type.
type Parameter struct {
	Release  fhir.Release
	Resource string // the type it was looked up for
	Name     string // code
	URL      string
	Type     string   // token, reference, string, date, uri, number, quantity, composite, special
	Target   []string // types a reference may point to

	expression string // the part for Resource
	once       sync.Once
	values     extractor
	failed     error
}

// Supported reports whether this server can evaluate the parameter.
func (p *Parameter) Supported() bool { return p.why() == "" }

// why returns why the parameter cannot be evaluated, or "" if it can.
func (p *Parameter) why() string {
	switch {
	case aboutResource[p.Name] != nil:
		return ""
	case p.Name == "_has":
		return "write it as _has:Type:reference:parameter"
	case p.expression == "":
		return "HL7 defines no expression for " + p.Resource
	case p.Type == "composite" && partsOf(p) == nil, p.Type == "special" && special[p.Name] == nil:
		return "its definition is not in a form this server can evaluate"
	}
	return ""
}

// ordered reports whether comparators apply to the values of the parameter.
func (p *Parameter) ordered() bool { return ordered(p.Type) }

func ordered(typ string) bool { return typ == "date" || typ == "number" || typ == "quantity" }

// catalogue is the table of one release.
type catalogue struct {
	load  func() // unpacks, once
	lines []line
	byURL map[string]line
	types sync.Map // resource type → map[string]*Parameter
}

type line struct {
	url, code, typ, expression string
	bases, targets             []string
}

// catalogues holds the table of every release; each table loads itself on first use.
var catalogues = func() map[fhir.Release]*catalogue {
	all := map[fhir.Release]*catalogue{}
	for _, r := range fhir.Releases {
		c := &catalogue{}
		c.load = sync.OnceFunc(func() { c.unpack(r) })
		all[r] = c
	}
	return all
}()

func (c *catalogue) unpack(r fhir.Release) {
	packed, err := tableFiles.ReadFile("tables/parameters." + string(r) + ".gz")
	if err != nil {
		panic(err) // the program was built without its tables
	}
	unpacker, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(unpacker)
	if err != nil {
		panic(err)
	}
	c.byURL = map[string]line{}
	for row := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		l := line{url: f[0], code: f[1], typ: f[2], bases: strings.Split(f[3], "|"), expression: f[5]}
		if f[4] != "" {
			l.targets = strings.Split(f[4], "|")
		}
		c.lines = append(c.lines, l)
		c.byURL[l.url] = l
	}
}

// forType returns the parameters of a resource type by name. For Resource and
// DomainResource it returns those that every such type has, for an unknown type nil.
func forType(r fhir.Release, typ string) map[string]*Parameter {
	c := catalogues[r]
	if found, ok := c.types.Load(typ); ok {
		return found.(map[string]*Parameter)
	}
	if !r.IsResourceType(typ) && typ != "Resource" && typ != "DomainResource" {
		return nil // do not cache: a client may send any name
	}
	c.load()
	model := r.Model()
	parameters := map[string]*Parameter{}
	for _, l := range c.lines {
		if slices.ContainsFunc(l.bases, func(base string) bool { return model.IsSubtype(typ, base) }) {
			parameters[l.code] = &Parameter{Release: r, Resource: typ, Name: l.code, URL: l.url, Type: l.typ, Target: l.targets, expression: partFor(r, typ, l.expression)}
		}
	}
	found, _ := c.types.LoadOrStore(typ, parameters)
	return found.(map[string]*Parameter)
}

// Lookup returns a parameter of a resource type by its name or canonical URL.
func Lookup(r fhir.Release, typ, name string) (*Parameter, bool) {
	if strings.Contains(name, "/") {
		c := catalogues[r]
		c.load()
		l, ok := c.byURL[strings.Split(name, "|")[0]]
		if !ok {
			return nil, false
		}
		p, ok := forType(r, typ)[l.code]
		if !ok || p.URL != l.url {
			return nil, false // the type's parameter of that name has another definition
		}
		return p, true
	}
	p, ok := forType(r, typ)[name]
	return p, ok
}

// Parameters returns the parameters of a resource type, sorted by name.
func Parameters(r fhir.Release, typ string) []*Parameter {
	var list []*Parameter
	for _, p := range forType(r, typ) {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *Parameter) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// partFor returns the part of a union expression that applies to a resource type.
func partFor(r fhir.Release, typ, expression string) string {
	var parts []string
	for _, part := range splitUnion(expression) {
		head := strings.TrimLeft(part, "(")
		if i := strings.IndexAny(head, ".) "); i >= 0 {
			head = head[:i]
		}
		switch {
		case head == typ, head == "Resource", head == "DomainResource":
		case r.IsResourceType(head) || !mentionsElement(r, typ, part):
			continue
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " | ")
}

// mentionsElement reports whether a part without a type name could select anything
// on typ: the date of Appointment, "(start | requestedPeriod.start).first()", is in
// the union of twenty other types.
func mentionsElement(r fhir.Release, typ, part string) bool {
	model := r.Model()
	names := strings.FieldsFunc(part, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	return slices.ContainsFunc(names, func(name string) bool {
		path := typ + "." + name
		return model.TypeOf(path) != "" || model.ChoiceTypes(path) != nil || model.ResolvePath(path) != path
	})
}

// splitUnion splits an expression at the | outside of all parentheses.
func splitUnion(expression string) []string {
	var parts []string
	depth, from := 0, 0
	for i, c := range expression {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(expression[from:i]))
				from = i + 1
			}
		}
	}
	if rest := strings.TrimSpace(expression[from:]); rest != "" {
		parts = append(parts, rest)
	}
	return parts
}
