package search

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"signalfhir/internal/fhir"
)

// Query is a search string: conditions that all have to hold.
type Query struct{ conditions []*Condition }

// Condition is one parameter with its values, of which one has to match.
type Condition struct {
	parameter *Parameter
	text      string // as it was written, "status:not=in-progress"
	modifier  string
	missing   bool // of the modifier missing
	values    []valueMatcher
}

// ParseQuery reads a search string about a resource type. A leading "/" and
// "Type?" may be there or not, and it may be URL-encoded or not (TOP-13): what
// decodes is decoded, and "+" is a space except in a date. What cannot be
// evaluated is refused, never ignored: 422 not-supported for a parameter, modifier
// or type of parameter, value for a value that does not fit.
func ParseQuery(r fhir.Release, typ, raw string) (*Query, *fhir.Error) {
	text := strings.TrimPrefix(strings.TrimSpace(raw), "/")
	if head, rest, ok := strings.Cut(text, "?"); ok && (head == "" || head == typ || r.IsResourceType(head)) {
		if head != "" && head != typ {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "the query %q is about %s, expected one about %s", raw, head, typ)
		}
		text = rest
	}
	q := &Query{}
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		if !strings.Contains(part, "=") {
			part = decoded(part) // encoded as a whole, "=" too
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%q is no search condition; expected parameter=value", part)
		}
		name, modifier, _ := strings.Cut(decoded(name), ":")
		p, refused := find(r, typ, name)
		if refused != nil {
			return nil, refused
		}
		if p.Type != "date" {
			value = strings.ReplaceAll(value, "+", " ")
		}
		c, refused := NewCondition(p, modifier, "", decoded(value))
		if refused != nil {
			return nil, refused
		}
		q.conditions = append(q.conditions, c)
	}
	return q, nil
}

// decoded removes percent encoding where it decodes cleanly and leaves the rest
// as it is.
func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

func find(r fhir.Release, typ, name string) (*Parameter, *fhir.Error) {
	if p, ok := Lookup(r, typ, name); ok {
		return p, nil
	}
	if strings.Contains(name, ".") {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "the chained search parameter %q is not supported yet", name)
	}
	var names []string
	for _, p := range Parameters(r, typ) {
		if p.Supported() {
			names = append(names, p.Name)
		}
	}
	hint := ""
	if nearest := nearest(name, names); nearest != "" {
		hint = "; did you mean " + nearest + "?"
	}
	return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "%s has no search parameter %q%s it has %s", typ, name, cmp.Or(hint, ";"), strings.Join(names, ", "))
}

// nearest is the name that takes the fewest changes of a letter to become what
// was written, "" where none takes few.
func nearest(written string, names []string) string {
	best, least := "", 1+len(written)/3
	for _, name := range names {
		if d := distance(strings.ToLower(written), strings.ToLower(name)); d < least || d == least && best == "" {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove or replace to make b of a.
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return max(len(a), len(b)) // not a name; the answer does not matter
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// NewCondition makes a condition of a parameter, a search modifier ("" for
// none), a comparator (a search prefix, "" for none or one inside value) and a
// value as it is legal in a search: a comma separates alternatives unless
// escaped.
func NewCondition(p *Parameter, modifier, comparator, value string) (*Condition, *fhir.Error) {
	c := &Condition{parameter: p, modifier: modifier, text: p.Name}
	if modifier != "" {
		c.text += ":" + modifier
	}
	c.text += "=" + comparator + value
	if !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "the search parameter %s of %s has type %s, which this server does not evaluate yet", p.Name, p.Resource, p.Type)
	}
	if comparator != "" && p.Type != "date" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "%s: a comparator goes with dates, numbers and quantities; %s is a %s", c.text, p.Name, p.Type)
	}
	if modifier == "missing" {
		if value != "true" && value != "false" {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: expected true or false", c.text)
		}
		c.missing = value == "true"
		return c, nil
	}
	for _, alternative := range splitEscaped(value, ',') {
		m, refused := newMatcher(p, modifier, comparator+alternative)
		if refused != nil {
			return nil, refused
		}
		c.values = append(c.values, m)
	}
	return c, nil
}

// splitEscaped splits at a separator that is not escaped with \.
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
func literal(text string) string {
	return strings.NewReplacer(`\\`, `\`, `\,`, `,`, `\|`, `|`, `\$`, `$`).Replace(text)
}

// Match tells whether every condition holds for a resource.
func (q *Query) Match(res *fhir.Resource) (bool, error) {
	for _, c := range q.conditions {
		if ok, _, err := c.match(res); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Explain is Match with how each condition compared.
func (q *Query) Explain(res *fhir.Resource) (bool, []string) {
	all, reasons := true, []string(nil)
	for _, c := range q.conditions {
		ok, reason := c.Match(res)
		all = all && ok
		reasons = append(reasons, reason)
	}
	return all, reasons
}

// Empty tells that the query has no condition.
func (q *Query) Empty() bool { return len(q.conditions) == 0 }

// Match tells whether the condition holds for a resource, and in words what was
// compared. A resource it cannot be evaluated on does not match.
func (c *Condition) Match(res *fhir.Resource) (bool, string) {
	ok, values, err := c.match(res)
	if err != nil {
		return false, c.text + " could not be evaluated: " + err.Error()
	}
	return ok, c.text + " compared with " + describe(values)
}

// String is the condition as it was written.
func (c *Condition) String() string { return c.text }

func (c *Condition) match(res *fhir.Resource) (bool, []any, error) {
	values, err := c.parameter.Values(res)
	if err != nil {
		return false, nil, err
	}
	if c.modifier == "missing" {
		return (len(values) == 0) == c.missing, values, nil
	}
	found := false
	for _, m := range c.values {
		for _, v := range values {
			if m(v) {
				found = true
			}
		}
	}
	// Not is about the whole set: it holds where no value is among those named,
	// also where there is no value at all.
	return found != (c.modifier == "not"), values, nil
}

// describe shows values in a sentence, shortened.
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
