package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// token is a code with its system. The system of a plain code is implied by its
// element and not known here.
type token struct {
	system, code string
	implied      bool
	texts        []string
}

// tokensOf returns the tokens of a value: a code, boolean or string, a Coding,
// CodeableConcept, CodeableReference, Identifier or ContactPoint.
func tokensOf(v any) []token {
	switch v := v.(type) {
	case string:
		return []token{{code: v, implied: true}}
	case bool:
		return []token{{code: fmt.Sprint(v), implied: true}}
	case json.Number:
		return []token{{code: string(v), implied: true}}
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
		case v.Has("value") || v.Has("system"):
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

// checkToken refuses a token of three parts: it is ambiguous which are the system
// and which the code.
func checkToken(p *Parameter, text string) error {
	if len(splitEscaped(text, '|')) > 2 {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %q has more than one |; expected system|code, with a | inside of either written as \\|", p.Name, text)
	}
	return nil
}

// matchToken parses "code", "system|code", "|code" and "system|".
func matchToken(text string) valueMatcher {
	parts := splitEscaped(text, '|')
	code := literal(parts[len(parts)-1])
	system, hasSystem := "", len(parts) > 1
	if hasSystem {
		system = literal(parts[0])
	}
	return func(v any) bool {
		for _, t := range tokensOf(v) {
			if code != "" && t.code != code || t.code == "" && (code == "" && system == "") {
				continue
			}
			if !hasSystem || sameSystem(system, t) {
				return true
			}
		}
		return false
	}
}

// matchOfType parses "system|code|value" of an Identifier and its type.
func matchOfType(p *Parameter, text string) (valueMatcher, error) {
	parts := splitEscaped(text, '|')
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s:of-type: expected system|code|value with the system and code of the type of an Identifier, got %q", p.Name, text)
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

// matchCodeText compares with the beginning of the code itself.
func matchCodeText(text string) valueMatcher {
	wanted := fold(literal(text))
	return func(v any) bool {
		return slices.ContainsFunc(tokensOf(v), func(t token) bool { return t.code != "" && strings.HasPrefix(fold(t.code), wanted) })
	}
}
