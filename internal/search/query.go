package search

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/suggest"
)

// Query is a search string: conditions that must all hold.
type Query struct{ conditions []*Condition }

// Condition is one parameter with its values, one of which must match.
type Condition struct {
	text string // as written, "status:not=in-progress"
	test test

	// For a plain comparison of references or tokens: the parameter and the keys
	// that a resource must have; see [Condition.Keys].
	indexed *Parameter
	keys    []string
}

// Query parses a search string for a resource type. A leading "/" and "Type?" are
// optional, and so is URL encoding (TOP-13): what decodes is decoded, and "+" is a
// space except before a time zone. What cannot be evaluated is refused, never
// ignored: with 422 not-supported for a parameter, modifier or type of parameter,
// and with 422 value for an invalid value.
func (s Scope) Query(typ, raw string) (*Query, error) {
	text := strings.TrimSpace(raw)
	if !strings.Contains(text, "=") {
		text = decoded(text) // encoded as a whole, including "=" and "&"
	}
	text = strings.TrimPrefix(text, "/")
	if head, rest, ok := strings.Cut(text, "?"); ok && (head == "" || head == typ || s.Release.IsResourceType(head)) {
		if head != "" && head != typ {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "the query %q is about %s, expected one about %s", raw, head, typ)
		}
		text = rest
	}
	q := &Query{}
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		if !strings.Contains(part, "=") {
			part = decoded(part)
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%q is not a search condition; expected parameter=value", part)
		}
		name = decoded(name)
		if !s.takesTime(typ, name) {
			value = strings.ReplaceAll(value, "+", " ")
		}
		c, refused := s.Condition(typ, name, "", decoded(value))
		if refused != nil {
			return nil, refused
		}
		q.conditions = append(q.conditions, c)
	}
	return q, nil
}

// takesTime reports whether a "+" in the value of a parameter is a plus sign: before
// a time zone, or in a number.
func (s Scope) takesTime(typ, name string) bool {
	return slices.ContainsFunc(Named(s.Release, typ, name), func(p *Parameter) bool {
		return p.ordered() || p.Type == "composite" && slices.ContainsFunc(partsOf(p), func(c part) bool { return ordered(c.typ) })
	})
}

// decoded removes percent encoding if it decodes cleanly and otherwise returns text
// unchanged.
func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

func find(r fhir.Release, typ, name string) (*Parameter, error) {
	if p, ok := Lookup(r, typ, name); ok {
		return p, nil
	}
	var names []string
	for _, p := range Parameters(r, typ) {
		if p.Supported() {
			names = append(names, p.Name)
		}
	}
	hint := ";"
	if nearest := suggest.Nearest(name, names); nearest != "" {
		hint = "; did you mean " + nearest + "?"
	}
	return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s has no search parameter %q%s it has %s", typ, name, hint, strings.Join(names, ", "))
}

// Condition makes a condition of a name as written in a search before the "=" (with
// a modifier after ":", chained with ".", or reversed by "_has"), a comparator (a
// search prefix; "" for none or for one inside value) and a value.
func (s Scope) Condition(typ, name, comparator, value string) (*Condition, error) {
	return s.condition(typ, name, comparator, value, madeConditions{})
}

// condition is Condition with the conditions already made for the same comparator
// and value.
func (s Scope) condition(typ, name, comparator, value string, made madeConditions) (*Condition, error) {
	if hops(name) > maxHops {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "%s follows %d references; the limit is %d", name, hops(name), maxHops)
	}
	switch {
	case strings.HasPrefix(name, "_has:"):
		return s.reversed(name, comparator, value, made)
	case strings.Contains(name, "."):
		return s.chained(typ, name, comparator, value, made)
	}
	name, modifier, _ := strings.Cut(name, ":")
	p, refused := find(s.Release, typ, name)
	if refused != nil {
		return nil, refused
	}
	return s.ConditionOn(p, modifier, comparator, value)
}

// maxValues bounds the alternatives of a search value.
const maxValues = 1000

// ConditionOn makes a condition of a parameter, a search modifier ("" for none), a
// comparator and a value with the syntax of a search: a comma separates
// alternatives unless escaped.
func (s Scope) ConditionOn(p *Parameter, modifier, comparator, value string) (*Condition, error) {
	c := &Condition{text: p.Name}
	if modifier != "" {
		c.text += ":" + modifier
	}
	c.text += "=" + comparator + value
	if !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "the search parameter %s of %s cannot be evaluated: %s", p.Name, p.Resource, p.why())
	}
	if comparator != "" && !p.ordered() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s: comparators apply to dates, numbers and quantities only; %s is a %s", c.text, p.Name, p.Type)
	}
	if modifier == "missing" && aboutResource[p.Name] == nil {
		if value != "true" && value != "false" {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: expected true or false", c.text)
		}
		c.test = func(res *fhir.Resource, _ *effort) (bool, []any, error) {
			values, err := p.Values(res)
			if p.Type == "composite" {
				values = slices.DeleteFunc(values, func(v any) bool {
					return slices.ContainsFunc(partsOf(p), func(c part) bool { return len(c.below(res, v)) == 0 })
				})
			}
			return (len(values) == 0) == (value == "true"), values, err
		}
		return c, nil
	}
	alternatives := splitEscaped(value, ',')
	if len(alternatives) > maxValues {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "%s has %d values, and a parameter may have %d; search several times", p.Name, len(alternatives), maxValues)
	}
	var refused error
	switch {
	case aboutResource[p.Name] != nil:
		c.test, refused = s.testResource(p, modifier, alternatives)
	case p.Type == "composite":
		c.test, refused = s.testComposite(p, modifier, alternatives)
	default:
		c.test, refused = s.testValues(p, modifier, comparator, alternatives)
		c.indexed, c.keys = keysOf(p, modifier, alternatives)
	}
	if refused != nil {
		return nil, refused
	}
	return c, nil
}

// test evaluates a condition on a resource: whether it holds, and which values were
// compared.
type test = func(*fhir.Resource, *effort) (holds bool, compared []any, err error)

func (s Scope) testValues(p *Parameter, modifier, comparator string, alternatives []string) (test, error) {
	var matchers []valueMatcher
	for _, alternative := range alternatives {
		m, refused := s.newMatcher(p, modifier, comparator+alternative)
		if refused != nil {
			return nil, refused
		}
		matchers = append(matchers, m)
	}
	if p.Type == "string" {
		texts := make([]string, len(alternatives))
		for i, alternative := range alternatives {
			texts[i] = literal(alternative)
		}
		matchers = []valueMatcher{matchString(modifier, texts...)}
	}
	// :not applies to the whole set: it holds if none of the values is named, even
	// if there is no value at all.
	negated := modifier == "not" || modifier == "not-in"
	return func(res *fhir.Resource, _ *effort) (bool, []any, error) {
		values, err := p.Values(res)
		return err == nil && anyMatches(matchers, values) != negated, values, err
	}, nil
}

func anyMatches(matchers []valueMatcher, values []any) bool {
	for _, m := range matchers {
		if slices.ContainsFunc(values, m) {
			return true
		}
	}
	return false
}

func (s Scope) testComposite(p *Parameter, modifier string, alternatives []string) (test, error) {
	if modifier != "" {
		_, refused := s.newMatcher(p, modifier, alternatives[0]+" ")
		return nil, refused
	}
	var matchers []func(*fhir.Resource, any) bool
	for _, alternative := range alternatives {
		m, refused := s.matchComposite(p, alternative)
		if refused != nil {
			return nil, refused
		}
		matchers = append(matchers, m)
	}
	return func(res *fhir.Resource, _ *effort) (bool, []any, error) {
		values, err := p.Values(res)
		return err == nil && slices.ContainsFunc(values, func(v any) bool {
			return slices.ContainsFunc(matchers, func(m func(*fhir.Resource, any) bool) bool { return m(res, v) })
		}), values, err
	}, nil
}

func (s Scope) testResource(p *Parameter, modifier string, alternatives []string) (test, error) {
	if modifier != "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "the modifier :%s is not supported for %s, which takes no modifier", modifier, p.Name)
	}
	var tests []func(*fhir.Resource) bool
	for _, alternative := range alternatives {
		if fold(alternative) == "" {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: a value is missing", p.Name)
		}
		one, refused := aboutResource[p.Name](s, p, literal(alternative))
		if refused != nil {
			return nil, refused
		}
		tests = append(tests, one)
	}
	return func(res *fhir.Resource, _ *effort) (bool, []any, error) {
		return slices.ContainsFunc(tests, func(one func(*fhir.Resource) bool) bool { return one(res) }), []any{res.Reference()}, nil
	}, nil
}

// splitEscaped splits at separators that are not escaped with \.
func splitEscaped(text string, separator byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:])
}

// literal removes the escapes of a search value.
func literal(text string) string { return escapes.Replace(text) }

var escapes = strings.NewReplacer(`\\`, `\`, `\,`, `,`, `\|`, `|`, `\$`, `$`)

// Match reports whether every condition holds for a resource.
func (q *Query) Match(res *fhir.Resource) (bool, error) {
	for _, c := range q.conditions {
		if ok, _, err := c.test(res, &effort{}); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Explain is Match and also returns how each condition compared.
func (q *Query) Explain(res *fhir.Resource) (bool, []string) {
	all, reasons := true, []string(nil)
	for _, c := range q.conditions {
		ok, reason := c.Match(res)
		all = all && ok
		reasons = append(reasons, reason)
	}
	return all, reasons
}

// Empty reports whether the query has no condition.
func (q *Query) Empty() bool { return len(q.conditions) == 0 }

// Match reports whether the condition holds for a resource and describes what was
// compared. A condition that cannot be evaluated on a resource does not match.
func (c *Condition) Match(res *fhir.Resource) (bool, string) {
	ok, values, err := c.test(res, &effort{})
	if err != nil {
		return false, c.text + " could not be evaluated: " + err.Error()
	}
	return ok, c.text + " compared with " + describe(values)
}

// String returns the condition as written.
func (c *Condition) String() string { return c.text }

// describe shows values in a sentence, at most a few.
func describe(values []any) string {
	if len(values) == 0 {
		return "nothing"
	}
	const most = 3
	var shown []string
	for i, v := range values {
		if i == most {
			shown = append(shown, "…")
			break
		}
		shown = append(shown, describeOne(v))
	}
	return strings.Join(shown, ", ")
}
