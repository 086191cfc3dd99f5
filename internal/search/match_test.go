package search_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestToken(t *testing.T) { // FLT-8, FLT-10, FLT-12
	t.Parallel()
	checkMatches(t, []wants{
		{"code element", "Encounter", `"status":"in-progress"`,
			`status=in-progress status=planned,in-progress status:not=planned status:not=planned,cancelled status:missing=false
			 status=http://hl7.org/fhir/encounter-status|in-progress`,
			`status=planned status=in status:not=in-progress status:not=planned,in-progress status:missing=true status=In-progress`},
		{"absent", "Encounter", `"subject":{"reference":"Patient/1"}`,
			`status:missing=true status:not=planned`,
			`status=planned status:missing=false`},
		{"Coding", "Encounter", `"meta":{"tag":[{"system":"http://s","code":"a","display":"Alpha beta"},{"code":"b"}]}`,
			`_tag=a _tag=http://s|a _tag=http://s| _tag=|b _tag=b _tag:text=alpha _tag:not=c`,
			`_tag=http://other|a _tag=|a _tag=http://s|b _tag=http://other| _tag:text=beta _tag:not=b`},
		{"CodeableConcept", "Observation", `"code":{"coding":[{"system":"http://loinc.org","code":"1-8"},{"system":"http://x","code":"y"}],"text":"Acyclovir test"}`,
			`code=1-8 code=http://loinc.org|1-8 code=http://x|y code=zzz,y code:text=acyclo code:not=z`,
			`code=http://loinc.org|y code=8 code:text=test code:not=y,z`},
		{"CodeableConcept with text only", "Observation", `"code":{"text":"Height"}`,
			`code:text=height code:missing=false code:not=x`, `code=Height code=|`},
		{"list of CodeableConcepts", "Observation", `"category":[{"coding":[{"code":"a"}]},{"coding":[{"code":"b"}]}]`,
			`category=a category=b category=a&category=b`, `category=c category=a&category=c category:not=b`},
		{"CodeableReference", "MedicationRequest", `"medication":{"concept":{"coding":[{"system":"http://s","code":"flu"}]}}`,
			`code=flu code=http://s|flu medication:missing=true`, `code=cold medication=Medication/1`},
		{"Identifier", "Patient", `"identifier":[{"system":"http://mrn","value":"12 3|4,5","type":{"text":"Record number"}},{"value":"plain"}]`,
			`identifier=http://mrn|12%203\|4\,5 identifier=plain identifier=|plain identifier=http://mrn| identifier:text=record`,
			`identifier=http://mrn|plain identifier=12 identifier=|12%203\|4\,5`},
		{"Identifier of a type", "Patient", `"identifier":[{"type":{"coding":[{"system":"http://t","code":"MR"}]},"value":"7"},{"type":{"coding":[{"system":"http://t","code":"SS"}]},"value":"8"}]`,
			`identifier:of-type=http://t|MR|7 identifier:of-type=http://t|SS|7,http://t|SS|8`,
			`identifier:of-type=http://t|MR|8 identifier:of-type=http://u|MR|7`},
		{"boolean", "Patient", `"active":true,"deceasedBoolean":false`,
			`active=true active:not=false deceased=false`, `active=false deceased=true`},
		{"ContactPoint", "Patient", `"telecom":[{"system":"phone","value":"555"},{"system":"email","value":"a@b"}]`,
			`telecom=555 phone=555 email=a@b telecom=phone|555`, `phone=a@b email=555 telecom=email|555`},
		{"id", "Patient", `"active":true`, `_id=1 _id=2,1 _id:not=2`, `_id=2 _id:not=1 _id:missing=true`},
		{"string element", "Patient", `"communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"nl"}]}}]`,
			`language=nl language=urn:ietf:bcp:47|nl`, `language=n language=en`},
	})
}

func TestString(t *testing.T) { // FLT-8, FLT-12
	t.Parallel()
	checkMatches(t, []wants{
		{"string", "Patient", `"name":[{"family":"Müller-Lüdenscheidt","given":["Zoë","Ann Marie"],"use":"official"}]`,
			`family=mull family=MÜLLER family=Muller-Ludenscheidt family:exact=Müller-Lüdenscheidt family:contains=luden given=zoe given=ann%20%20marie given=x,zoe name=ann name=muller name:contains=marie family:missing=false`,
			`family=luden family:exact=Muller-Ludenscheidt family:exact=müller-lüdenscheidt given=marie name=official family:missing=true name:exact=Ann`},
		{"escapes", "Patient", `"name":[{"family":"a,b|c$d\\e"}]`,
			`family=a\,b family:exact=a\,b\|c\$d\\e family=x,a\,b`,
			`family=a\\,x family:exact=a\,b`},
		{"Address", "Patient", `"address":[{"id":"zz","type":"postal","use":"home","line":["1 High St"],"city":"Leeds","postalCode":"LS1","period":{"start":"2020"}}]`,
			`address=leeds address=1%20high address=ls address-city=lee address:contains=high`,
			`address=postal address=home address=zz address-city=eeds address=2020`},
		{"absent", "Patient", `"active":true`, `family:missing=true`, `family=a family:contains=a`},
	})
}

func TestURI(t *testing.T) { // FLT-12
	t.Parallel()
	checkMatches(t, []wants{
		{"url", "ValueSet", `"url":"http://a.org/fhir/ValueSet/x"`,
			`url=http://a.org/fhir/ValueSet/x url:below=http://a.org/fhir/ url:below=http://a.org/fhir url:above=http://a.org/fhir/ValueSet/x/y url=u,http://a.org/fhir/ValueSet/x url:missing=false url=http%3A%2F%2Fa.org%2Ffhir%2FValueSet%2Fx`,
			`url=http://a.org/fhir/valueset/x url=http://a.org/fhir url:below=http://a.org/fh url:below=http://b.org url:above=http://a.org/fhir url:missing=true`},
		{"absent", "ValueSet", `"status":"draft"`, `url:missing=true`, `url=http://a url:above=http://a url:below=http://a`},
	})
}

// FLT-13: references in any form.
func TestReference(t *testing.T) {
	t.Parallel()
	written := map[string]string{
		"relative":               "Patient/123",
		"versioned":              "Patient/123/_history/4",
		"absolute":               "http://localhost:8080/fhir/R5/Patient/123",
		"absolute and versioned": "http://localhost:8080/fhir/R5/Patient/123/_history/4",
	}
	for name, reference := range written {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := parse(t, "Encounter", `"subject":{"reference":"`+reference+`"}`)
			for query, want := range map[string]bool{
				"subject=Patient/123": true,
				"subject=123":         true,
				"subject=http://localhost:8080/fhir/R5/Patient/123": true,
				"subject:Patient=123":                               true,
				"patient=Patient/123":                               true,
				"patient=123":                                       true,
				"subject=9,Patient/123":                             true,
				"subject:missing=false":                             true,
				"subject=" + reference:                              true,

				"subject=Patient/12":  false,
				"subject=Group/123":   false,
				"subject:Group=123":   false,
				"subject=23":          false,
				"subject=Patient/9":   false,
				"patient=9":           false,
				"subject=_history/4":  false,
				"subject=4":           false,
				"subject=patient/123": false,
			} {
				if got := matches(t, res, query); got != want {
					t.Errorf("%s on %s: got %v, want %v", query, reference, got, want)
				}
			}
		})
	}
	checkMatches(t, []wants{
		{"another server's", "Encounter", `"subject":{"reference":"http://other/fhir/Patient/123"}`,
			`subject=http://other/fhir/Patient/123`, `subject=http://localhost:8080/fhir/R5/Patient/123`},
		{"a type the parameter leaves out", "Encounter", `"subject":{"reference":"Group/123"}`,
			`subject=Group/123 subject=123`, `patient=Group/123 patient=123`},
		{"urn", "Encounter", `"subject":{"reference":"urn:uuid:0b5b1b0e"}`,
			`subject=urn:uuid:0b5b1b0e`, `subject=0b5b1b0e subject=Patient/0b5b1b0e`},
		{"logical", "Encounter", `"subject":{"type":"Patient","identifier":{"system":"http://mrn","value":"7"}}`,
			`subject:identifier=http://mrn|7 subject:identifier=7 subject:missing=false patient:missing=false patient:identifier=7`,
			`subject=7 subject:identifier=8 subject:identifier=http://x|7`},
		{"CodeableReference", "MedicationRequest", `"medication":{"reference":{"reference":"Medication/5","identifier":{"value":"9"}}}`,
			`medication=Medication/5 medication=5 medication:identifier=9`, `medication=Medication/6`},
		{"contained", "Encounter", `"contained":[{"resourceType":"Patient","id":"p"}],"subject":{"reference":"#p"}`,
			`patient:missing=false subject:missing=false`, `patient=p patient=Patient/p`},
		{"canonical", "QuestionnaireResponse", `"questionnaire":"http://a.org/Questionnaire/q|2.0"`,
			`questionnaire=http://a.org/Questionnaire/q questionnaire=http://a.org/Questionnaire/q|2.0`,
			`questionnaire=http://a.org/Questionnaire/q|3.0 questionnaire=http://a.org/Questionnaire/r`},
		{"canonical and its versions", "QuestionnaireResponse", `"questionnaire":"http://a.org/Questionnaire/q|1.5.2"`,
			`questionnaire:below=http://a.org/Questionnaire/q questionnaire:below=http://a.org/Questionnaire/q|1 questionnaire:below=http://a.org/Questionnaire/q|1.5 questionnaire:below=http://a.org/Questionnaire/q|1.5.2 questionnaire:above=http://a.org/Questionnaire/q|1.5.2.1 questionnaire:above=http://a.org/Questionnaire/q|1.5.2`,
			`questionnaire:below=http://a.org/Questionnaire/q|1.50 questionnaire:below=http://a.org/Questionnaire/q|1.5.2.1 questionnaire:below=http://a.org/Questionnaire/r questionnaire:above=http://a.org/Questionnaire/q|1.5 questionnaire:above=http://a.org/Questionnaire/q`},
		{"absent", "Encounter", `"status":"planned"`, `subject:missing=true`, `subject=1 subject:identifier=1`},
	})
}

// Every prefix against each position of a value relative to "2026-03", by how far its
// beginning and end are from those of March.
func TestDate_PrefixesAndPrecisions(t *testing.T) { // FLT-8, FLT-9
	t.Parallel()
	prefixes := []string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", ""}
	tests := []struct {
		date string // of Observation.effective: a dateTime, or start/end of a Period
		yes  string
	}{
		{"2026-03", "eq ge le ap "},
		{"2026-03-15", "eq ge le ap "},
		{"2026-03-01T00:00:00Z", "eq ge le ap "},
		{"2026-03-31T23:59:59.999Z", "eq ge le ap "},
		{"2026-03-31T23:59:59Z", "eq ge le ap "},
		{"2026-04-01T00:00:00Z", "ne gt ge sa ap"},
		{"2026-04-01T00:00:00+01:00", "eq ge le ap "},
		{"2026-02-28T23:59:59.999Z", "ne lt le eb ap"},
		{"2026-05", "ne gt ge sa"},
		{"2026-01", "ne lt le eb"},
		{"2026", "ne gt lt ge le ap"},
		{"2025", "ne lt le eb"},
		{"2027", "ne gt ge sa"},
		{"2026-03-02/2026-03-20", "eq ge le ap "},
		{"2026-02-20/2026-03-20", "ne lt le ap"},
		{"2026-03-20/2026-04-20", "ne gt ge ap"},
		{"2026-02-20/2026-04-20", "ne gt lt ge le ap"},
		{"2026-03-20/", "ne gt ge ap"},
		{"/2026-03-20", "ne lt le ap"},
		{"2026-06-01/", "ne gt ge sa"},
		{"/2026-01-31", "ne lt le eb"},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.date, "/", " to "), func(t *testing.T) {
			t.Parallel()
			members := `"effectiveDateTime":"` + tt.date + `"`
			if from, to, isPeriod := strings.Cut(tt.date, "/"); isPeriod {
				var ends []string
				if from != "" {
					ends = append(ends, `"start":"`+from+`"`)
				}
				if to != "" {
					ends = append(ends, `"end":"`+to+`"`)
				}
				members = `"effectivePeriod":{` + strings.Join(ends, ",") + `}`
			}
			res := parse(t, "Observation", members)
			wanted := map[string]bool{}
			for _, prefix := range strings.Fields(tt.yes) {
				wanted[prefix] = true
			}
			wanted[""] = wanted["eq"]
			for _, prefix := range prefixes {
				if got := matches(t, res, "date="+prefix+"2026-03"); got != wanted[prefix] {
					t.Errorf("date=%s2026-03: got %v, want %v", prefix, got, wanted[prefix])
				}
			}
		})
	}
}

func TestDate_OfEachType(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{
		{"date", "Patient", `"birthDate":"1950-06-01"`,
			`birthdate=1950-06-01 birthdate=1950 birthdate=le1950 birthdate=lt1960 birthdate=1940,1950 birthdate:missing=false birthdate=ge1950&birthdate=lt1951`,
			`birthdate=1951 birthdate=gt1950-06-01 birthdate=ge1950&birthdate=lt1950-06-01 birthdate=ne1950-06`},
		{"instant", "Observation", `"issued":"2026-01-01T10:00:00.500+01:00","meta":{"lastUpdated":"2026-01-01T09:00:00.500Z"}`,
			`_lastUpdated=2026-01-01T09:00:00Z _lastUpdated=2026-01-01T09:00:00.500Z _lastUpdated=2026-01-01T10:00:00%2B01:00 _lastUpdated=2026-01-01T10:00:00+01:00 _lastUpdated=2026-01-01T09:00Z _lastUpdated=gt2026-01-01T08:59:59Z`,
			`_lastUpdated=2026-01-01T09:00:00.501Z _lastUpdated=2026-01-01T10:00:00Z _lastUpdated=2026-01-02`},
		{"Timing with events", "Observation", `"effectiveTiming":{"event":["2026-01-05","2026-01-20"]}`,
			`date=2026-01 date=gt2026-01-10 date=lt2026-01-10`, `date=2026-01-05 date=sa2026-01-10`},
		{"Timing with bounds", "Observation", `"effectiveTiming":{"repeat":{"boundsPeriod":{"start":"2026-01-05","end":"2026-01-20"}}}`,
			`date=2026-01 date=ge2026-01-10`, `date=2026-02 date=sa2026-01-20`},
		{"absent", "Patient", `"active":true`, `birthdate:missing=true`, `birthdate=1950 birthdate=ne1950 birthdate=lt2020`},
		{"data absent reason", "Patient", `"_birthDate":{"extension":[{"url":"u","valueString":"x"}]}`, ``, `birthdate=1950`},
	})
}

func TestDate_ApproximateByADayOrATenth(t *testing.T) {
	t.Parallel()
	for date, want := range map[string]bool{
		"2026-03-16": true, "2026-03-14": true, "2026-03-18": false, "2026-03-12": false,
	} {
		res := parse(t, "Observation", fmt.Sprintf(`"effectiveDateTime":%q`, date))
		if got := matches(t, res, "date=ap2026-03-15"); got != want {
			t.Errorf("%s is about 2026-03-15: got %v, want %v", date, got, want)
		}
	}
}
