package fhir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestValidate_AcceptsTheOfficialExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(fhirtest.Spec(t, "examples", "R5"), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples found: %v", err)
	}
	// What is wrong with an example, where something is.
	wrong := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, refused := fhir.Parse(data)
		if refused != nil {
			t.Errorf("%s: %v", filepath.Base(file), refused)
			continue
		}
		issues := fhir.R5.Validate(o)
		expected, isWrong := wrong[filepath.Base(file)]
		switch {
		case !isWrong && len(issues) > 0:
			t.Errorf("%s: %v", filepath.Base(file), issues)
		case isWrong && (len(issues) == 0 || !strings.Contains(issues[0].Diagnostics, expected)):
			t.Errorf("%s: got %v, want an issue with %q", filepath.Base(file), issues, expected)
		}
	}
	t.Logf("%d examples", len(files))
}

func TestValidate_NamesEachProblemWithItsPlace(t *testing.T) {
	t.Parallel()
	const head = `{"resourceType":"Encounter","status":"planned"`
	tests := map[string]struct{ body, code, expression, says string }{
		"unknown type":                {`{"resourceType":"Encountr"}`, "invalid", "resourceType", `"Encounter"`},
		"abstract type":               {`{"resourceType":"DomainResource"}`, "invalid", "resourceType", ""},
		"no type":                     {`{"id":"1"}`, "invalid", "resourceType", ""},
		"unknown element":             {head + `,"clas":[]}`, "structure", "Encounter.clas", `"class"`},
		"unknown nested element":      {head + `,"participant":[{"actr":{"reference":"Patient/1"}}]}`, "structure", "Encounter.participant[0].actr", `"actor"`},
		"missing required":            {`{"resourceType":"Encounter"}`, "required", "Encounter.status", ""},
		"missing nested required":     {`{"resourceType":"Observation","status":"final","code":{"text":"x"},"component":[{"valueString":"x"}]}`, "required", "Observation.component[0].code", ""},
		"one where many may be":       {head + `,"class":{"text":"x"}}`, "structure", "Encounter.class", "array"},
		"many where one may be":       {head + `,"subject":[{"reference":"Patient/1"}]}`, "structure", "Encounter.subject", "one object"},
		"many primitives":             {`{"resourceType":"Encounter","status":["planned"]}`, "structure", "Encounter.status", "array"},
		"object for a primitive":      {`{"resourceType":"Patient","birthDate":{}}`, "structure", "Patient.birthDate", "object"},
		"primitive for an object":     {head + `,"subject":"Patient/1"}`, "structure", "Encounter.subject", "Patient/1"},
		"null":                        {head + `,"subject":null}`, "structure", "Encounter.subject", "null"},
		"null primitive":              {`{"resourceType":"Patient","birthDate":null}`, "structure", "Patient.birthDate", "null"},
		"empty object":                {head + `,"subject":{}}`, "structure", "Encounter.subject", "empty"},
		"empty array":                 {head + `,"type":[]}`, "structure", "Encounter.type", "empty"},
		"empty string":                {`{"resourceType":"Patient","name":[{"family":""}]}`, "structure", "Patient.name[0].family", "empty"},
		"white space only":            {`{"resourceType":"Patient","name":[{"family":"  "}]}`, "value", "Patient.name[0].family", ""},
		"code not in the value set":   {`{"resourceType":"Encounter","status":"arrived"}`, "code-invalid", "Encounter.status", "planned"},
		"boolean as a string":         {`{"resourceType":"Patient","active":"true"}`, "value", "Patient.active", "boolean"},
		"number as a string":          {`{"resourceType":"Subscription","status":"off","topic":"http://a","channelType":{"code":"x"},"maxCount":"2"}`, "value", "Subscription.maxCount", "number"},
		"positiveInt 0":               {`{"resourceType":"Subscription","status":"off","topic":"http://a","channelType":{"code":"x"},"maxCount":0}`, "value", "Subscription.maxCount", "from 1"},
		"fraction for unsignedInt":    {`{"resourceType":"Subscription","status":"off","topic":"http://a","channelType":{"code":"x"},"timeout":1.5}`, "value", "Subscription.timeout", "whole"},
		"number for a string":         {`{"resourceType":"Patient","name":[{"family":7}]}`, "value", "Patient.name[0].family", "string"},
		"date that is none":           {`{"resourceType":"Patient","birthDate":"2026-02-30"}`, "value", "Patient.birthDate", "2026-02-30"},
		"dateTime without zone":       {head + `,"actualPeriod":{"start":"2026-01-01T10:00:00"}}`, "value", "Encounter.actualPeriod.start", "zone"},
		"instant without seconds":     {`{"resourceType":"Patient","meta":{"lastUpdated":"2026-01-01T10:00Z"}}`, "value", "Patient.meta.lastUpdated", "instant"},
		"id with an underscore":       {`{"resourceType":"Patient","id":"a_b"}`, "value", "Patient.id", "letters"},
		"uri with a space":            {`{"resourceType":"Patient","implicitRules":"http://a b"}`, "value", "Patient.implicitRules", ""},
		"base64 that is none":         {`{"resourceType":"Binary","contentType":"text/plain","data":"***"}`, "value", "Binary.data", "base64"},
		"choice of no such type":      {`{"resourceType":"Patient","deceasedString":"yes"}`, "structure", "Patient.deceasedString", ""},
		"choice made twice":           {`{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2020"}`, "structure", "Patient.deceased", "one type"},
		"sibling of no primitive":     {head + `,"_subject":{"id":"a"}}`, "structure", "Encounter._subject", ""},
		"sibling not an object":       {`{"resourceType":"Patient","birthDate":"2020","_birthDate":"x"}`, "structure", "Patient.birthDate", "_birthDate"},
		"siblings of another length":  {`{"resourceType":"Patient","name":[{"given":["a","b"],"_given":[{"id":"x"}]}]}`, "structure", "Patient.name[0].given", "_given"},
		"null without extension":      {`{"resourceType":"Patient","name":[{"given":["a",null]}]}`, "structure", "Patient.name[0].given[1]", "null"},
		"extension with both":         {`{"resourceType":"Patient","extension":[{"url":"http://a","valueString":"x","extension":[{"url":"b","valueString":"y"}]}]}`, "invariant", "Patient.extension[0]", "ext-1"},
		"extension with neither":      {`{"resourceType":"Patient","extension":[{"url":"http://a"}]}`, "invariant", "Patient.extension[0]", "ext-1"},
		"extension without url":       {`{"resourceType":"Patient","extension":[{"valueString":"x"}]}`, "required", "Patient.extension[0].url", ""},
		"problem in a contained one":  {`{"resourceType":"Encounter","status":"planned","contained":[{"resourceType":"Patient","gender":"x"}]}`, "code-invalid", "Encounter.contained[0].gender", ""},
		"contained in contained":      {`{"resourceType":"Encounter","status":"planned","contained":[{"resourceType":"Patient","contained":[{"resourceType":"Patient","active":true}]}]}`, "structure", "Encounter.contained[0].contained", ""},
		"problem in a bundle":         {`{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","gender":"x"}}]}`, "code-invalid", "Bundle.entry[0].resource.gender", ""},
		"problem in borrowed content": {`{"resourceType":"Bundle","type":"collection","entry":[{"link":[{"relation":"self"}]}]}`, "required", "Bundle.entry[0].link[0].url", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issues := fhir.R5.Validate(parse(t, test.body))
			if len(issues) != 1 {
				t.Fatalf("got %d issues, want one: %v", len(issues), issues)
			}
			got := issues[0]
			if got.Code != test.code || len(got.Expression) != 1 || got.Expression[0] != test.expression {
				t.Errorf("got %s at %v, want %s at %s (%s)", got.Code, got.Expression, test.code, test.expression, got.Diagnostics)
			}
			if !strings.Contains(got.Diagnostics, test.says) {
				t.Errorf("diagnostics: got %q, want something with %q", got.Diagnostics, test.says)
			}
		})
	}
}

func TestValidate_AcceptsWhatJSONOfFHIRAllows(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"sibling instead of a required value": `{"resourceType":"Encounter","_status":{"extension":[{"url":"http://a","valueCode":"unknown"}]}}`,
		"null in an array with an extension":  `{"resourceType":"Patient","name":[{"given":[null,"b"],"_given":[{"extension":[{"url":"http://a","valueString":"x"}]},null]}]}`,
		"choice":                              `{"resourceType":"Patient","deceasedBoolean":false}`,
		"partial dates":                       `{"resourceType":"Patient","birthDate":"1970-06"}`,
		"integer64 as a string":               `{"resourceType":"Parameters","parameter":[{"name":"a","valueInteger64":"9007199254740993"}]}`,
		"leap second":                         `{"resourceType":"Patient","meta":{"lastUpdated":"2016-12-31T23:59:60Z"}}`,
	} {
		if issues := fhir.R5.Validate(parse(t, body)); len(issues) > 0 {
			t.Errorf("%s: %v", name, issues)
		}
	}
}

func TestValidate_ReportsAllProblemsUpToALimit(t *testing.T) {
	t.Parallel()
	two := fhir.R5.Validate(parse(t, `{"resourceType":"Encounter","status":"x","subject":7}`))
	if len(two) != 2 {
		t.Errorf("got %d issues, want both: %v", len(two), two)
	}
	var many strings.Builder
	many.WriteString(`{"resourceType":"Patient","active":true`)
	for i := range 1000 {
		many.WriteString(`,"x` + strings.Repeat("y", i%7) + string(rune('a'+i%26)) + strings.Repeat("z", i/26) + `":1`)
	}
	many.WriteString("}")
	issues := fhir.R5.Validate(parse(t, many.String()))
	if last := issues[len(issues)-1]; len(issues) != 201 || last.Code != "too-costly" {
		t.Errorf("got %d issues, the last %v; want 200 and a note of the rest", len(issues), last)
	}
}

func BenchmarkParseAndValidate(b *testing.B) {
	data := []byte(`{"resourceType":"Observation","id":"o1","status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"718-7"}],"text":"Hemoglobin"},"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-01-01T10:00:00Z","valueQuantity":{"value":14.1,"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		o, err := fhir.Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		if issues := fhir.R5.Validate(o); len(issues) > 0 {
			b.Fatal(issues)
		}
	}
}
