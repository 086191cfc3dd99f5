package search_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// Details that FHIR's search pages mention in passing; each was once wrong here.
func TestSearch_FollowsTheDetailsOfTheSpecification(t *testing.T) { // FLT-8
	t.Parallel()
	checkMatches(t, []wants{
		{"a system without code", "Encounter", `"meta":{"tag":[{"system":"http://s"}]},"identifier":[{"system":"http://mrn"}]`,
			`_tag=http://s| identifier=http://mrn| _tag:not=x`, `_tag=http://other| _tag=x _tag=http://s|x _tag=|x identifier=http://other|`},
		{"the implied system of a boolean", "Patient", `"active":true`,
			`active=http://terminology.hl7.org/CodeSystem/special-values|true active=|true`, `active=http://terminology.hl7.org/CodeSystem/special-values|false`},
		{"more than a millisecond", "Observation", `"effectiveDateTime":"2026-01-01T10:00:00.123456Z"`,
			`date=2026-01-01T10:00:00.123Z date=2026-01-01T10:00:00.123456Z date=2026-01-01T10:00:00Z date=ge2026-01-01T10:00:00.123456Z`,
			`date=2026-01-01T10:00:00.124Z date=2026-01-01T10:00:00.123457Z date=gt2026-01-01T10:00:00.123456Z`},
		{"a tenth of a second", "Observation", `"effectiveDateTime":"2026-01-01T10:00:00.5Z"`,
			`date=2026-01-01T10:00:00.500Z date=2026-01-01T10:00:00.5Z`, `date=2026-01-01T10:00:00.6Z`},
		{"the first day there is", "Patient", `"birthDate":"0001-01-01"`,
			`birthdate=0001-01-01 birthdate=le0001-01-01 birthdate=0001 birthdate=eb2026`, `birthdate=lt0001-01-01 birthdate=gt0001-01-01 birthdate=ne0001-01-01`},
		{"the last day there is", "Patient", `"birthDate":"9999-12-31"`, `birthdate=9999-12-31 birthdate=ge9999-12-31 birthdate=sa2026`, `birthdate=gt9999-12-31 birthdate=ne9999`},
		{"a limit that is not reached", "Observation", `"valueQuantity":{"value":5,"comparator":"<"}`,
			`value-quantity=lt5 value-quantity=le5 value-quantity=eb5 value-quantity=gt4`, `value-quantity=ge5 value-quantity=gt5 value-quantity=5 value-quantity=sa4`},
		{"a limit that may be reached", "Observation", `"valueQuantity":{"value":5,"comparator":"<="}`,
			`value-quantity=lt5 value-quantity=le5 value-quantity=ge5`, `value-quantity=eb5 value-quantity=gt5`},
		{"beyond a limit", "Observation", `"valueQuantity":{"value":5,"comparator":">"}`,
			`value-quantity=gt5 value-quantity=ge5 value-quantity=sa5 value-quantity=lt6`, `value-quantity=le5 value-quantity=lt5 value-quantity=eb6`},
		{"zeros", "Observation", `"valueQuantity":{"value":-0.0}`,
			`value-quantity=0 value-quantity=-0 value-quantity=00 value-quantity=0e5 value-quantity=ge0 value-quantity=ap0`, `value-quantity=gt0 value-quantity=lt0 value-quantity=1`},
		{"leading zeros are no octal", "Observation", `"valueQuantity":{"value":10}`,
			`value-quantity=010 value-quantity=1.0e1 value-quantity=100e-1 value-quantity=+10`, `value-quantity=8 value-quantity=-10`},
		{"negative", "Observation", `"valueQuantity":{"value":-5.4}`,
			`value-quantity=-5.4 value-quantity=-5 value-quantity=gt-6 value-quantity=lt-5 value-quantity=ap-5.5 value-quantity=ge-5.4`, `value-quantity=5.4 value-quantity=gt-5 value-quantity=-6`},
		{"letters of one case only", "Patient", `"name":[{"family":"Straße","given":["ΟΔΥΣΣΕΥΣ","ﬁona","İpek","Ǆemal"]}]`,
			`family=strasse family=STRASSE family=straß given=οδυσσευς given=fiona given=ipek given=Fi`, `family=strase`},
		{"Münch two ways", "Patient", `"name":[{"family":"Mu\u0308nch"}]`, `family=M%C3%BCnch family=munch family=MU%CC%88NCH family:contains=%C3%BCn`, `family:exact=M%C3%BCnch`},
		{"no part of a composite", "Observation", `"code":{"coding":[{"code":"a"}]}`, `code-value-quantity:missing=true code-value-string:missing=true`, `code-value-quantity:missing=false`},
		{"all parts of a composite", "Observation", `"code":{"coding":[{"code":"a"}]},"valueString":"x"`, `code-value-quantity:missing=true code-value-string:missing=false`, `code-value-string:missing=true`},
		{"separators in a composite", "Observation", `"code":{"coding":[{"system":"http://s","code":"a$b|c,d\\e"}]},"valueString":"5$, or so"`,
			`code-value-string=x$y,http://s|a\$b\|c\,d\\e$5\$\,+or code=http://s|a$b\|c\,d\\e`, `code-value-string=http://s|a\$b\|c\,d\\e$or`},
		{"CodeableReference by identifier", "MedicationRequest", `"medication":{"reference":{"identifier":{"system":"http://i","value":"9"}}}`, `medication:identifier=http://i|9`, `medication:identifier=8`},
		{"URIs that are no paths", "ValueSet", `"url":"urn:oid:1.2.3"`, `url=urn:oid:1.2.3 url:below=urn:oid:1.2.3 url:above=urn:oid:1.2.3`, `url:below=urn:oid:1.2 url:above=urn:oid:1.2.3.4`},
		{"the type said twice", "Encounter", `"subject":{"reference":"Patient/1"}`,
			`subject:Patient=Patient/1 subject:Patient=http://h/fhir/R5/Patient/1 subject:Patient=1`, `subject:Group=Patient/1 subject:Patient=Group/1 subject:Patient=http://other/Patient/1`},
		{"several names for not", "Patient", `"gender":"other"`, `gender:not=male,female`, `gender:not=male,other`},
		{"encoded as a whole", "Encounter", `"status":"planned","subject":{"reference":"Patient/1"}`,
			`status%3Dplanned%26subject%3DPatient%2F1 Encounter%3Fstatus%3Dplanned`, `status%3Dplanned%26subject%3DPatient%2F2 Encounter%3Fstatus%3Dcancelled`},
	})
}

// A value of only spaces or marks would be a prefix of every text.
func TestQuery_RefusesBlankValues(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"family=%20", "family=a,%20", "family=%CC%81", "family:contains=%20", "_text=%20", "_content=%20", "language:text=+", "general-practitioner:text=+"} {
		if _, refused := r5.Query("Patient", query); refused == nil || fhir.CodeOf(refused) != "value" {
			t.Errorf("%s: got %v, want it refused for its value", query, refused)
		}
	}
}

// A client may store anything that JSON can express.
func TestMatch_OnHostileValues(t *testing.T) {
	t.Parallel()
	for _, position := range []string{
		`{"latitude":{"value":1,"comparator":"<"},"longitude":{"value":1,"comparator":">"}}`, `{"latitude":{"low":{"value":1}},"longitude":1}`,
		`{"latitude":{"lowerLimit":1},"longitude":{"upperLimit":1}}`, `{"latitude":"x","longitude":[]}`, `[]`, `1`, `{"latitude":1e99,"longitude":-1e99}`,
	} {
		if res := parse(t, "Location", `"position":`+position); matches(t, res, "near=1|1|1|km") {
			t.Errorf("%s is near", position)
		}
	}
	for _, query := range []string{"near=NaN|1", "near=1|NaN", "near=1|1|NaN", "near=1|1|Inf", "near=0x1p1|1"} {
		if _, refused := r5.Query("Location", query); refused == nil || fhir.CodeOf(refused) != "value" {
			t.Errorf("%s: got %v, want it refused for its value", query, refused)
		}
	}
}

// ValueSets follow the specification and do not stall on sets that include each other.
func TestValueSets_FollowTheDetailsOfTheSpecification(t *testing.T) {
	t.Parallel()
	texts := []string{
		`{"resourceType":"ValueSet","id":"filtered","url":"http://v/filtered","compose":{"include":[{"system":"http://cs","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}}`,
		`{"resourceType":"ValueSet","id":"outer","url":"http://v/outer","compose":{"include":[{"valueSet":["http://v/filtered"]}]}}`,
		`{"resourceType":"ValueSet","id":"absent","url":"http://v/absent","compose":{"include":[{"valueSet":["http://v/nowhere"]}]}}`,
		`{"resourceType":"ValueSet","id":"dogs","url":"http://v/dogs","compose":{"include":[{"system":"http://cs","concept":[{"code":"dog"}]}]}}`,
		`{"resourceType":"ValueSet","id":"w0","url":"http://v/w0","compose":{"include":[{"system":"http://cs","concept":[{"code":"dog"}]}]}}`,
		`{"resourceType":"Group","id":"g","member":[{"entity":{"reference":"http://other/fhir/Patient/1"}}]}`,
		`{"resourceType":"Patient","id":"1"}`,
	}
	for i := 1; i <= 40; i++ { // each includes the one before twice
		before, this := "w"+string(rune('0'+i-1)), "w"+string(rune('0'+i))
		texts = append(texts, `{"resourceType":"ValueSet","id":"`+this+`","url":"http://v/`+this+`","compose":{"include":[{"valueSet":["http://v/`+before+`"]},{"valueSet":["http://v/`+before+`"]}]}}`)
	}
	scope := stored(t, texts...)
	match := func(query string, res *fhir.Resource) bool {
		t.Helper()
		q, refused := scope.Query(res.Type, query)
		if refused != nil {
			t.Errorf("%s: %v", query, refused)
			return false
		}
		ok, err := q.Match(res)
		return ok && err == nil
	}
	dog, cat := parse(t, "Observation", `"code":{"coding":[{"system":"http://cs","code":"dog"}]}`), parse(t, "Observation", `"code":{"coding":[{"system":"http://cs","code":"cat"}]}`)
	last := "http://v/w" + string(rune('0'+40))
	if !match("code:in="+last, dog) || match("code:in="+last, cat) {
		t.Error("a code that many sets include twice is not found")
	}
	if match("code:in=http://v/dogs", parse(t, "Observation", `"code":{"coding":[{"code":"dog"}]}`)) {
		t.Error("a Coding without system is in a set whose codes have a system")
	}
	for query, says := range map[string]string{"code:in=http://v/outer": "filter", "code:in=http://v/absent": "http://v/nowhere"} {
		if _, refused := scope.Query("Observation", query); refused == nil || !strings.Contains(refused.Error(), says) {
			t.Errorf("%s: got %v, want it refused for %s", query, refused, says)
		}
	}
	if match("patient:in=Group/g", parse(t, "Encounter", `"subject":{"reference":"Patient/1"}`)) {
		t.Error("the patient of another server counts as a patient of this server")
	}
	if !match("patient:in=Group/g", parse(t, "Encounter", `"subject":{"reference":"http://other/fhir/Patient/1"}`)) {
		t.Error("the patient of another server is not found in a group that has it")
	}
	if _, refused := scope.Query("Encounter", "patient:in=Patient/1"); refused == nil {
		t.Error("a Patient is taken for a group")
	}
}

// A contained resource may refer to another contained one.
func TestChain_GoesFromContainedToContained(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{{"twice", "Encounter", `"contained":[{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"#o"}},{"resourceType":"Organization","id":"o","name":"Acme"}],"subject":{"reference":"#p"}`,
		`patient.organization.name=acme patient.organization:missing=false`, `patient.organization.name=other`}})
}
