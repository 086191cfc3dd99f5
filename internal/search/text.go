package search

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"signalfhir/internal/fhir"
)

// matchString compares the texts of a value, which is a string or every part of a HumanName
// or Address, with any of texts.
func matchString(modifier string, texts ...string) valueMatcher {
	if modifier == "exact" {
		return func(v any) bool {
			return slices.ContainsFunc(stringsOf(v), func(s string) bool { return slices.Contains(texts, s) })
		}
	}
	is := strings.HasPrefix
	if modifier == "contains" {
		is = strings.Contains
	}
	wanted := make([]string, len(texts))
	for i, text := range texts {
		wanted[i] = fold(text)
	}
	return func(v any) bool {
		return slices.ContainsFunc(stringsOf(v), func(s string) bool {
			s = fold(s) // once, because it may be long
			return slices.ContainsFunc(wanted, func(text string) bool { return is(s, text) })
		})
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
				continue // codes and ids are not part of the text of a name or address
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

// fold removes differences in case, accents, ligatures and white space; ß becomes ss.
func fold(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(strings.Join(strings.Fields(text), " "))
	}
	plain, _, err := transform.String(transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), cases.Fold(), norm.NFC), text)
	if err != nil {
		plain = text
	}
	return strings.ToLower(strings.Join(strings.Fields(plain), " "))
}
