package search_test

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// Every parameter of every type can be evaluated on a resource whose elements have
// wrong types: a resource may be stored before a rule exists, or by a server that
// does not validate.
func TestMatch_OfEveryParameterOnHostileResources(t *testing.T) {
	t.Parallel()
	values := map[string]string{"token": "http://s|a", "reference": "Patient/1", "string": "a", "uri": "http://a", "date": "ge2026", "number": "lt5", "quantity": "gt5||mg"}
	// The type of a choice does not matter: the value is wrong for any.
	const elements = `meta text status code subject patient identifier name telecom address active category period date url version title encounter performer author
		value valueQuantity valueDateTime valueCodeableConcept valueSampledData valueRange effectiveDateTime effectivePeriod effectiveTiming onsetAge onsetDateTime deceasedBoolean deceasedDateTime
		medicationReference medicationCodeableConcept medication component link participant location partOf position section relatesTo relatedArtifact useContext entry parameter extension birthDate
		multipleBirthInteger start requestedPeriod occurrenceDateTime occurrenceTiming supportingInfo content item target entity agent source focus for reason length class characteristic member`
	for _, release := range fhir.Releases {
		scope := search.Scope{Release: release, Source: world(t).Source}
		for _, typ := range release.ResourceTypes() {
			for _, hostile := range []string{`"x"`, `1e99`, `true`, `null`, `[]`, `[null,1,[],{}]`, `{}`, `{"value":{},"code":1,"coding":[1,null,{"code":[]}],"reference":[],"start":1,"low":"x","text":{}}`, `{"reference":{"reference":{"reference":"#"}},"concept":1,"coding":{}}`} {
				text := fmt.Sprintf(`{"resourceType":%q,"id":"1","contained":[null,1,{"id":"a"}]`, typ)
				for name := range strings.FieldsSeq(elements) {
					text += fmt.Sprintf(`,%q:%s`, name, hostile)
				}
				o, err := fhir.Parse([]byte(text + "}"))
				if err != nil {
					t.Fatalf("%v in %s", err, text)
				}
				res := fhir.NewResource(release, o)
				for _, p := range search.Parameters(release, typ) {
					value, known := values[p.Type]
					if !known || !p.Supported() {
						continue
					}
					for _, modifier := range []string{"", "missing"} {
						text := value
						if modifier == "missing" {
							text = "true"
						}
						c, refused := scope.ConditionOn(p, modifier, "", text)
						if refused != nil {
							continue
						}
						if _, why := c.Match(res); strings.Contains(why, "could not be evaluated") {
							t.Errorf("%s of %s: %.300s", p.Name, res.JSON, why)
						}
					}
					if _, err := p.Keys(res); err != nil {
						t.Errorf("%s: %v", p.Name, err)
					}
					if order, refused := scope.Order(typ, p.Name); refused == nil {
						order.Sort([]*fhir.Resource{res, res})
					}
				}
			}
		}
	}
}
