package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
