package search

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
)

// valueMatcher reports whether one value of a resource matches.
type valueMatcher func(value any) bool

// newMatcher returns the matcher of one alternative of a search value.
func (s Scope) newMatcher(p *Parameter, modifier, text string) (valueMatcher, error) {
	if fold(text) == "" { // also if it is only spaces and marks, which every text would begin with
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: a value is missing", p.Name)
	}
	switch p.Type {
	case "token":
		switch modifier {
		case "", "not":
			if refused := checkToken(p, text); refused != nil {
				return nil, refused
			}
			return matchToken(text), nil
		case "text":
			return matchTokenText(text), nil
		case "code-text":
			return matchCodeText(text), nil
		case "of-type":
			return matchOfType(p, text)
		case "in", "not-in":
			return s.matchInValueSet(p, text)
		case "above", "below":
			return s.matchHierarchy(p, modifier, text)
		}
	case "reference":
		switch {
		case modifier == "":
			return matchReference(p, text), nil
		case modifier == "identifier":
			if refused := checkToken(p, text); refused != nil {
				return nil, refused
			}
			return matchIdentifier(text), nil
		case modifier == "text":
			return matchDisplay(text), nil
		case modifier == "in", modifier == "not-in":
			return s.matchInGroup(p, text)
		case modifier == "above", modifier == "below":
			return s.matchPartOf(p, modifier, text)
		case p.Release.IsResourceType(modifier):
			return matchReference(p, p.typed(modifier, text)), nil
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
		case "contains":
			wanted := strings.ToLower(literal(text))
			return func(v any) bool { got, _ := v.(string); return strings.Contains(strings.ToLower(got), wanted) }, nil
		case "below":
			return func(v any) bool { got, _ := v.(string); return isBelow(got, literal(text)) }, nil
		case "above":
			return func(v any) bool { got, _ := v.(string); return got != "" && isBelow(literal(text), got) }, nil
		}
	case "date":
		if modifier == "" {
			return matchDate(p, text)
		}
	case "number":
		if modifier == "" {
			return matchNumber(p, text)
		}
	case "quantity":
		if modifier == "" {
			return matchQuantity(p, text)
		}
	case "special":
		if modifier == "" {
			return matchSpecial(p, text)
		}
	}
	return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "the modifier :%s is not supported for %s, a %s parameter, which takes %s", modifier, p.Name, p.Type, modifiers[p.Type])
}

// modifiers describes the modifiers that each type of parameter takes.
var modifiers = map[string]string{
	"token":     ":missing, :not, :text, :code-text, :in, :not-in, :above, :below and :of-type",
	"reference": ":missing, :identifier, :text, :in, :not-in, :above, :below and a type such as :Patient",
	"string":    ":missing, :exact and :contains",
	"uri":       ":missing, :contains, :below and :above",
	"date":      ":missing",
	"number":    ":missing",
	"quantity":  ":missing",
	"composite": ":missing",
	"special":   ":missing",
}

// isBelow reports whether a URI is base or below it, by whole segments.
func isBelow(uri, base string) bool {
	rest, ok := strings.CutPrefix(uri, base)
	return ok && (rest == "" || strings.HasSuffix(base, "/") || rest[0] == '/')
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
		if v.Has("value") {
			return strings.TrimSpace(fmt.Sprint(v.Text("comparator"), v.Get("value"), " ", cmp.Or(v.Text("unit"), v.Text("code"), v.Text("currency"))))
		}
		text := string(v.AppendJSON(nil))
		return text[:min(len(text), 80)]
	case string:
		return v
	}
	return fmt.Sprint(v)
}
