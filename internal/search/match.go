package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"signalfhir/internal/fhir"
)

// valueMatcher tells whether one value of a resource is what is searched for.
type valueMatcher func(value any) bool

// newMatcher makes the matcher of one alternative of a search value.
func newMatcher(p *Parameter, modifier, text string) (valueMatcher, *fhir.Error) {
	if text == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: a value is missing", p.Name)
	}
	switch p.Type {
	case "token":
		switch modifier {
		case "", "not":
			return matchToken(text), nil
		case "text":
			return matchTokenText(text), nil
		case "of-type":
			return matchOfType(p, text)
		}
	case "reference":
		switch {
		case modifier == "":
			return matchReference(p, text), nil
		case modifier == "identifier":
			return matchIdentifier(text), nil
		case p.Release.IsResourceType(modifier):
			return matchReference(p, modifier+"/"+text), nil
		}
	case "string":
		switch modifier {
		case "", "exact", "contains":
			return matchString(modifier, literal(text)), nil
		}
	case "uri":
		switch modifier {
		case "":
			return func(v any) bool { return v == literal(text) }, nil
		case "below":
			return func(v any) bool { s, _ := v.(string); return isBelow(s, literal(text)) }, nil
		case "above":
			return func(v any) bool { s, _ := v.(string); return s != "" && isBelow(literal(text), s) }, nil
		}
	case "date":
		if modifier == "" {
			return matchDate(p, text)
		}
	}
	return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "the modifier :%s is not supported for %s, a %s parameter, which takes %s", modifier, p.Name, p.Type, modifiers[p.Type])
}

// modifiers are those each type of parameter takes, for people.
var modifiers = map[string]string{
	"token":     ":missing, :not, :text and :of-type",
	"reference": ":missing, :identifier and a type such as :Patient",
	"string":    ":missing, :exact and :contains",
	"uri":       ":missing, :below and :above",
	"date":      ":missing",
}

// isBelow tells whether a URI is another or lies below it, by whole segments.
func isBelow(uri, base string) bool {
	rest, ok := strings.CutPrefix(uri, base)
	return ok && (rest == "" || strings.HasSuffix(base, "/") || rest[0] == '/')
}

// token is a code with its system; known tells whether there is a system.
type token struct {
	system, code string
	texts        []string
}

// tokensOf reads the tokens of a value: of a code, boolean or string, a Coding,
// CodeableConcept, CodeableReference, Identifier or ContactPoint.
func tokensOf(v any) []token {
	switch v := v.(type) {
	case string:
		return []token{{code: v}}
	case bool:
		return []token{{code: fmt.Sprint(v)}}
	case json.Number:
		return []token{{code: string(v)}}
	case *fhir.Object:
		switch {
		case v.Has("coding"):
			var tokens []token
			for _, c := range v.Array("coding") {
				tokens = append(tokens, tokensOf(c)...)
			}
			if text := v.Text("text"); text != "" {
				tokens = append(tokens, token{texts: []string{text}})
			}
			return tokens
		case v.Object("concept") != nil:
			return tokensOf(v.Object("concept"))
		case v.Has("code") || v.Has("display"):
			return []token{{system: v.Text("system"), code: v.Text("code"), texts: []string{v.Text("display")}}}
		case v.Has("value"):
			// A ContactPoint's system is a code (phone), an Identifier's a URI;
			// searches name the former as system too.
			t := token{system: v.Text("system"), code: v.Text("value")}
			if kind := v.Object("type"); kind != nil {
				t.texts = []string{kind.Text("text")}
			}
			return []token{t}
		case v.Has("text"):
			return []token{{texts: []string{v.Text("text")}}}
		}
	}
	return nil
}

// matchToken reads "code", "system|code", "|code" and "system|".
func matchToken(text string) valueMatcher {
	parts := splitEscaped(text, '|')
	code := literal(parts[len(parts)-1])
	system, hasSystem := "", len(parts) > 1
	if hasSystem {
		system = literal(parts[0])
	}
	return func(v any) bool {
		for _, t := range tokensOf(v) {
			// A plain code has no system in the instance, though the element
			// implies one: it is not held against the search.
			_, plain := v.(string)
			if code != "" && t.code != code || t.code == "" && (code == "" && system == "") {
				continue
			}
			if !hasSystem || t.system == system || plain && t.system == "" && system != "" {
				return true
			}
		}
		return false
	}
}

// matchOfType reads "system|code|value" of an Identifier and its type.
func matchOfType(p *Parameter, text string) (valueMatcher, *fhir.Error) {
	parts := splitEscaped(text, '|')
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s:of-type: expected system|code|value with the system and code of the type of an Identifier, got %q", p.Name, text)
	}
	isType, value := matchToken(parts[0]+"|"+parts[1]), literal(parts[2])
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		return o != nil && o.Text("value") == value && o.Object("type") != nil && isType(o.Object("type"))
	}, nil
}

func matchTokenText(text string) valueMatcher {
	wanted := fold(literal(text))
	return func(v any) bool {
		for _, t := range tokensOf(v) {
			for _, shown := range t.texts {
				if shown != "" && strings.HasPrefix(fold(shown), wanted) {
					return true
				}
			}
		}
		return false
	}
}

// matchReference compares references however they are written (FLT-13): a bare
// id matches every type, a type and id a relative, absolute or versioned
// reference, anything else the text as it is.
func matchReference(p *Parameter, text string) valueMatcher {
	text = literal(text)
	typ, id := splitReference(text)
	absolute := strings.Contains(text, "://") || strings.HasPrefix(text, "urn:")
	return func(v any) bool {
		var reference string
		switch v := v.(type) {
		case string:
			reference = v // a canonical, or an id
		case *fhir.Object:
			if inner := v.Object("reference"); inner != nil {
				v = inner // a CodeableReference
			}
			reference = v.Text("reference")
		}
		if reference == "" {
			return false
		}
		if reference == text || strings.SplitN(reference, "|", 2)[0] == text {
			return true
		}
		gotType, gotID := splitReference(reference)
		switch {
		case absolute && strings.Contains(reference, "://"):
			before, _, _ := strings.Cut(reference, "/_history/")
			return before == text
		case typ != "":
			return gotType == typ && gotID == id
		default:
			return gotID == text && (len(p.Target) == 0 || slices.Contains(p.Target, gotType))
		}
	}
}

func matchIdentifier(text string) valueMatcher {
	matches := matchToken(text)
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		if identifier := o.Object("identifier"); identifier != nil {
			return matches(identifier)
		}
		return false
	}
}

// matchString compares the texts of a value: a string, or every part of a
// HumanName or Address.
func matchString(modifier, text string) valueMatcher {
	wanted := fold(text)
	return func(v any) bool {
		for _, s := range stringsOf(v) {
			switch {
			case modifier == "exact":
				if s == text {
					return true
				}
			case modifier == "contains":
				if strings.Contains(fold(s), wanted) {
					return true
				}
			case strings.HasPrefix(fold(s), wanted):
				return true
			}
		}
		return false
	}
}

func stringsOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case *fhir.Object:
		var all []string
		for _, name := range v.Names() {
			if name == "use" || name == "type" || name == "id" || strings.HasPrefix(name, "_") {
				continue // codes and ids are no text of a name or address
			}
			switch inner := v.Get(name).(type) {
			case string:
				all = append(all, inner)
			case []any:
				for _, item := range inner {
					if s, isString := item.(string); isString {
						all = append(all, s)
					}
				}
			}
		}
		return all
	}
	return nil
}

// fold makes texts equal that differ in case, accents or white space only.
func fold(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(strings.Join(strings.Fields(text), " "))
	}
	plain, _, err := transform.String(transform.Chain(norm.NFD, runes.Remove(runes.In(unicode.Mn)), norm.NFC), text)
	if err != nil {
		plain = text
	}
	return strings.ToLower(strings.Join(strings.Fields(plain), " "))
}

// span is a stretch of time: from is in it, to is not. A zero end is open.
type span struct{ from, to time.Time }

// parseSpan reads a date of any precision as the time it covers.
func parseSpan(text string) (span, bool) {
	for _, form := range []struct {
		layout string
		next   func(time.Time) time.Time
	}{
		{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
		{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
		{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
		{"2006-01-02T15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
		{"2006-01-02T15:04Z07:00", func(t time.Time) time.Time { return t.Add(time.Minute) }},
		{"2006-01-02T15:04:05", func(t time.Time) time.Time { return t.Add(time.Second) }},
	} {
		if t, err := time.Parse(form.layout, text); err == nil {
			// time.Parse takes a fraction of a second wherever seconds stand.
			if strings.Contains(text, ".") {
				return span{t, t.Add(time.Millisecond)}, true
			}
			return span{t, form.next(t)}, true
		}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return span{}, false
	}
	if strings.Contains(text, ".") {
		return span{t, t.Add(time.Millisecond)}, true
	}
	return span{t, t.Add(time.Second)}, true
}

// spanOf is the time a value covers: of a date, dateTime, instant, Period or
// Timing, of which the bounds or else the events count.
func spanOf(v any) (span, bool) {
	switch v := v.(type) {
	case string:
		return parseSpan(v)
	case *fhir.Object:
		var s span
		if text := v.Text("start"); text != "" {
			start, ok := parseSpan(text)
			if !ok {
				return span{}, false
			}
			s.from = start.from
		}
		if text := v.Text("end"); text != "" {
			end, ok := parseSpan(text)
			if !ok {
				return span{}, false
			}
			s.to = end.to
		}
		if v.Has("start") || v.Has("end") {
			return s, true
		}
		if bounds := v.Object("repeat").Object("boundsPeriod"); bounds != nil {
			return spanOf(bounds) // of a schedule only the outer limits count
		}
		for _, event := range v.Array("event") {
			if at, ok := spanOf(event); ok {
				if s.from.IsZero() || at.from.Before(s.from) {
					s.from = at.from
				}
				if at.to.After(s.to) {
					s.to = at.to
				}
			}
		}
		return s, !s.from.IsZero()
	}
	return span{}, false
}

// prefixes are the comparators of dates, numbers and quantities.
var prefixes = []string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}

// Prefixes lists the comparators a search value of the parameter has written
// before its alternatives, as in "ge2020,lt2010"; none for a parameter whose
// values have no order.
func (p *Parameter) Prefixes(value string) []string {
	var found []string
	if p.Type != "date" && p.Type != "number" && p.Type != "quantity" {
		return nil
	}
	for _, alternative := range splitEscaped(value, ',') {
		if len(alternative) >= 2 && slices.Contains(prefixes, alternative[:2]) {
			found = append(found, alternative[:2])
		}
	}
	return found
}

// matchDate reads a date with a prefix and compares it as a stretch of time:
// "2026" equals every date inside that year.
func matchDate(p *Parameter, text string) (valueMatcher, *fhir.Error) {
	prefix, written := "eq", text
	if len(text) > 2 && text[0] >= 'a' && text[0] <= 'z' {
		prefix, text = text[:2], text[2:]
	}
	wanted, ok := parseSpan(literal(text))
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: %q is no date; expected one such as 2026, 2026-01-31 or 2026-01-31T10:00:00Z, with a prefix eq, ne, gt, lt, ge, le, sa, eb or ap before it", p.Name, written)
	}
	compare, ok := map[string]func(got span) bool{
		"eq": func(got span) bool { return within(got, wanted) },
		"ne": func(got span) bool { return !within(got, wanted) },
		"gt": func(got span) bool { return got.to.IsZero() || got.to.After(wanted.to) },
		"lt": func(got span) bool { return got.from.IsZero() || got.from.Before(wanted.from) },
		"ge": func(got span) bool { return within(got, wanted) || got.to.IsZero() || got.to.After(wanted.to) },
		"le": func(got span) bool { return within(got, wanted) || got.from.IsZero() || got.from.Before(wanted.from) },
		"sa": func(got span) bool { return !got.from.IsZero() && !got.from.Before(wanted.to) },
		"eb": func(got span) bool { return !got.to.IsZero() && !got.to.After(wanted.from) },
		"ap": func(got span) bool { return overlaps(got, widened(wanted)) },
	}[prefix]
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: %q begins with no prefix of a date; expected eq, ne, gt, lt, ge, le, sa, eb or ap", p.Name, written)
	}
	return func(v any) bool {
		got, ok := spanOf(v)
		return ok && compare(got)
	}, nil
}

func within(got, wanted span) bool {
	return !got.from.IsZero() && !got.to.IsZero() && !got.from.Before(wanted.from) && !got.to.After(wanted.to)
}

func overlaps(a, b span) bool {
	return (a.from.IsZero() || a.from.Before(b.to)) && (a.to.IsZero() || a.to.After(b.from))
}

// widened makes a span approximate: a day longer at both ends, or a tenth of its
// own length where that is more.
func widened(s span) span {
	by := max(24*time.Hour, s.to.Sub(s.from)/10)
	return span{s.from.Add(-by), s.to.Add(by)}
}

// describeOne shows one value in a sentence.
func describeOne(v any) string {
	switch v := v.(type) {
	case *fhir.Object:
		if reference := v.Text("reference"); reference != "" {
			return reference
		}
		for _, t := range tokensOf(v) {
			if t.code != "" {
				if t.system != "" {
					return t.system + "|" + t.code
				}
				return t.code
			}
		}
		if v.Has("start") || v.Has("end") {
			return v.Text("start") + " to " + v.Text("end")
		}
		text := string(v.AppendJSON(nil))
		return text[:min(len(text), 80)]
	case string:
		return v
	}
	return fmt.Sprint(v)
}
