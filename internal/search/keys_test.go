package search_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// written lists forms of references and codes, including odd ones. Searched and
// stored texts are drawn from the same words, so that they often match.
var (
	words      = rapid.SampledFrom([]string{"1", "A", "a", "a|b", "a,b", `a\b`, "a$b", "a b", "é", "", "|", "%41", "x/y", "1/_history/2", "#p", "-", "urn:uuid:7", "_history"})
	bases      = rapid.SampledFrom([]string{"", "", "", "http://h/fhir/R5/", "http://h/fhir/r5/", "http://other/fhir/", "http://a|b/fhir/R5/", "/fhir/R5/", "/", "fhir/R5/"})
	endings    = rapid.SampledFrom([]string{"", "", "", "/_history/2", "/_history/", "|2", "|", "/", "/_history/1|2"})
	types      = rapid.SampledFrom([]string{"Patient", "Group", "Questionnaire", "patient", ""})
	systems    = rapid.SampledFrom([]string{"", "http://s", "s|t", "a,b", "phone"})
	references = rapid.Custom(func(t *rapid.T) string {
		text := bases.Draw(t, "base")
		if typ := types.Draw(t, "type"); typ != "" {
			text += typ + "/"
		}
		return text + words.Draw(t, "id") + endings.Draw(t, "ending")
	})
	escape = strings.NewReplacer(`\`, `\\`, ",", `\,`, "|", `\|`, "$", `\$`)
)

// searched returns a text as written in a search: usually escaped correctly.
func searched(t *rapid.T, text string) string {
	if rapid.IntRange(0, 3).Draw(t, "raw") == 0 {
		return text
	}
	return escape.Replace(text)
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// A resource for which a condition holds has one of the condition's keys; otherwise
// an event would be lost (see [Condition.Keys]).
func TestKeys_AreInWhateverMatches(t *testing.T) {
	t.Parallel()
	held := 0
	rapid.Check(t, func(r *rapid.T) {
		reference := quoted(references.Draw(r, "reference"))
		coding := `{"system":` + quoted(systems.Draw(r, "system")) + `,"code":` + quoted(words.Draw(r, "code")) + `}`
		identifier := `{"system":` + quoted(systems.Draw(r, "system")) + `,"value":` + quoted(words.Draw(r, "value")) + `}`
		value := rapid.OneOf(references, rapid.Custom(func(r *rapid.T) string {
			text := searched(r, words.Draw(r, "word"))
			if system := systems.Draw(r, "of"); system != "" {
				text = searched(r, system) + "|" + text
			}
			return text
		})).Draw(r, "value")
		if rapid.Bool().Draw(r, "or") {
			value += "," + searched(r, words.Draw(r, "other"))
		}
		for _, one := range []struct{ typ, members, names string }{
			{"Encounter", `"subject":{"reference":` + reference + `},"type":[{"coding":[` + coding + `]}],"class":[{"coding":[` + coding + `],"text":"t"}],"identifier":[` + identifier + `],"reason":[{"value":[{"reference":{"reference":` + reference + `}}]}]`,
				"subject patient subject:Patient subject:Group class type identifier reason-reference reason-code status"},
			{"MedicationRequest", `"medicationReference":{"reference":` + reference + `},"medicationCodeableConcept":{"coding":[` + coding + `]},"medication":{"reference":{"reference":` + reference + `},"concept":{"coding":[` + coding + `]}}`, "medication code"},
			{"QuestionnaireResponse", `"questionnaire":` + reference, "questionnaire questionnaire:Questionnaire"},
			{"Patient", `"active":true,"telecom":[` + identifier + `],"link":[{"other":{"reference":` + reference + `}}],"communication":[{"language":{"coding":[` + coding + `]}}]`,
				"active telecom phone link link:Patient language _id"},
			{"Group", `"type":"person","characteristic":[{"code":{"coding":[` + coding + `]},"valueReference":{"reference":` + reference + `}}]`, "characteristic characteristic-reference value"},
			{"ValueSet", `"jurisdiction":[{"coding":[` + coding + `]}],"version":` + quoted(words.Draw(r, "version")), "jurisdiction version"},
		} {
			release := rapid.SampledFrom(fhir.Releases).Draw(r, "release")
			o, err := fhir.Parse([]byte(`{"resourceType":"` + one.typ + `","id":"1",` + one.members + `}`))
			if err != nil {
				r.Fatal(err)
			}
			res := fhir.NewResource(release, o)
			for name := range strings.FieldsSeq(one.names) {
				c, refused := search.Scope{Release: release}.Condition(one.typ, name, "", value)
				if refused != nil {
					continue
				}
				p, keys, ok := c.Keys()
				if !ok {
					continue
				}
				holds, why := c.Match(res)
				if !holds {
					continue
				}
				held++
				has, err := p.Keys(res)
				if err != nil {
					r.Fatal(err)
				}
				if !slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(has, key) }) {
					r.Fatalf("%s: holds for %s (%s), which has the keys %q; it is searched by %q", c, res.JSON, why, has, keys)
				}
			}
		}
	})
	if held == 0 {
		t.Error("nothing matched, so nothing was tested")
	}
}
