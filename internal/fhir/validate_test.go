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
	for _, r := range fhir.Releases {
		t.Run(string(r), func(t *testing.T) { acceptsTheOfficialExamples(t, r) })
	}
}

func acceptsTheOfficialExamples(t *testing.T, r fhir.Release) {
	fhirtest.Spec(t)
	files := fhirtest.Examples(t, r)
	// The problems of the examples that have one.
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
		issues := r.Validate(o)
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
		"invalid date":                {`{"resourceType":"Patient","birthDate":"2026-02-30"}`, "value", "Patient.birthDate", "2026-02-30"},
		"dateTime without zone":       {head + `,"actualPeriod":{"start":"2026-01-01T10:00:00"}}`, "value", "Encounter.actualPeriod.start", "zone"},
		"instant without seconds":     {`{"resourceType":"Patient","meta":{"lastUpdated":"2026-01-01T10:00Z"}}`, "value", "Patient.meta.lastUpdated", "instant"},
		"id with an underscore":       {`{"resourceType":"Patient","id":"a_b"}`, "value", "Patient.id", "letters"},
		"uri with a space":            {`{"resourceType":"Patient","implicitRules":"http://a b"}`, "value", "Patient.implicitRules", ""},
		"invalid base64":              {`{"resourceType":"Binary","contentType":"text/plain","data":"***"}`, "value", "Binary.data", "base64"},
		"choice of no such type":      {`{"resourceType":"Patient","deceasedString":"yes"}`, "structure", "Patient.deceasedString", ""},
		"choice made twice":           {`{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2020"}`, "structure", "Patient.deceased", "one type"},
		"sibling of no primitive":     {head + `,"_subject":{"id":"a"}}`, "structure", "Encounter._subject", ""},
		"sibling not an object":       {`{"resourceType":"Patient","birthDate":"2020","_birthDate":"x"}`, "structure", "Patient.birthDate", "_birthDate"},
		"siblings of another length":  {`{"resourceType":"Patient","name":[{"given":["a","b"],"_given":[{"id":"x"}]}]}`, "structure", "Patient.name[0].given", "_given"},
		"null without extension":      {`{"resourceType":"Patient","name":[{"given":["a",null]}]}`, "structure", "Patient.name[0].given[1]", "null"},
		"null for a sibling":          {`{"resourceType":"Patient","birthDate":"2020","_birthDate":null}`, "structure", "Patient.birthDate", "null"},
		"null for a lone sibling":     {`{"resourceType":"Patient","_birthDate":null}`, "structure", "Patient.birthDate", "null"},
		"null for siblings":           {`{"resourceType":"Patient","name":[{"given":["a"],"_given":null}]}`, "structure", "Patient.name[0].given", "null"},
		"no siblings":                 {`{"resourceType":"Patient","name":[{"given":["a"],"_given":[]}]}`, "structure", "Patient.name[0].given", "_given"},
		"empty sibling":               {`{"resourceType":"Patient","birthDate":"2020","_birthDate":{}}`, "structure", "Patient.birthDate", "empty"},
		"sibling of no value":         {`{"resourceType":"Patient","name":[{"_given":[null]}]}`, "structure", "Patient.name[0].given[0]", "no value"},
		"nulls on both sides":         {`{"resourceType":"Patient","name":[{"given":[null],"_given":[null]}]}`, "structure", "Patient.name[0].given[0]", "null"},
		"sibling with a value":        {`{"resourceType":"Patient","birthDate":"2020","_birthDate":{"value":"x"}}`, "structure", "Patient.birthDate.value", ""},
		"sibling of a choice":         {`{"resourceType":"Patient","deceasedBoolean":true,"_deceasedBoolean":7}`, "structure", "Patient.deceasedBoolean", "_deceasedBoolean"},
		"choices, one by extension":   {`{"resourceType":"Patient","_deceasedBoolean":{"id":"a"},"deceasedDateTime":"2020"}`, "structure", "Patient.deceased", "one type"},
		"choice without a type":       {`{"resourceType":"Patient","deceased":true}`, "structure", "Patient.deceased", "deceasedBoolean, deceasedDateTime"},
		"choice not made":             {`{"resourceType":"MedicationAdministration","status":"completed","medication":{"concept":{"text":"a"}},"subject":{"reference":"Patient/1"}}`, "required", "MedicationAdministration.occurence", "occurence[x]"},
		"comments of DSTU 2":          {`{"resourceType":"Patient","fhir_comments":["a"]}`, "structure", "Patient.fhir_comments", ""},
		"type of a data type":         {`{"resourceType":"Patient","name":[{"resourceType":"HumanName"}]}`, "structure", "Patient.name[0].resourceType", ""},
		"type that is not a string":   {`{"resourceType":7}`, "invalid", "resourceType", "number 7"},
		"contained data type":         {`{"resourceType":"Patient","contained":[{"resourceType":"HumanName"}]}`, "invalid", "Patient.contained[0].resourceType", "HumanName"},
		"problem in a parameter":      {`{"resourceType":"Parameters","parameter":[{"name":"a","part":[{"name":"b","resource":{"resourceType":"Patient","gender":"x"}}]}]}`, "code-invalid", "Parameters.parameter[0].part[0].resource.gender", "male"},
		"sibling's extension":         {`{"resourceType":"Patient","_birthDate":{"extension":[{"valueString":"x"}]}}`, "required", "Patient.birthDate.extension[0].url", ""},
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
			if string(got.Code) != test.code || len(got.Expression) != 1 || got.Expression[0] != test.expression {
				t.Errorf("got %s at %v, want %s at %s (%s)", got.Code, got.Expression, test.code, test.expression, got.Diagnostics)
			}
			if !strings.Contains(got.Diagnostics, test.says) {
				t.Errorf("diagnostics: got %q, want something with %q", got.Diagnostics, test.says)
			}
		})
	}
}

// The rows of spec.md 7.1 about structure.
func TestValidate_SubscriptionsOfTheTableOfBadInput(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, new, code, place string }{
		"no status":                  {`"status":"requested",`, ``, "required", "Subscription.status"},
		"no topic":                   {`"topic":"http://example.org/t",`, ``, "required", "Subscription.topic"},
		"no channelType":             {`"channelType":{"code":"websocket"},`, ``, "required", "Subscription.channelType"},
		"unknown status":             {`"requested"`, `"on"`, "code-invalid", "Subscription.status"},
		"unknown content":            {`"id-only"`, `"everything"`, "code-invalid", "Subscription.content"},
		"unknown comparator":         {`"comparator":"eq"`, `"comparator":"=="`, "code-invalid", "Subscription.filterBy[0].comparator"},
		"unknown modifier":           {`"comparator":"eq"`, `"modifier":"maybe"`, "code-invalid", "Subscription.filterBy[0].modifier"},
		"no filterParameter":         {`"filterParameter":"patient",`, ``, "required", "Subscription.filterBy[0].filterParameter"},
		"no value":                   {`,"value":"Patient/1"`, ``, "required", "Subscription.filterBy[0].value"},
		"heartbeatPeriod negative":   {`"heartbeatPeriod":60`, `"heartbeatPeriod":-1`, "value", "Subscription.heartbeatPeriod"},
		"heartbeatPeriod a fraction": {`"heartbeatPeriod":60`, `"heartbeatPeriod":0.5`, "value", "Subscription.heartbeatPeriod"},
		"heartbeatPeriod a string":   {`"heartbeatPeriod":60`, `"heartbeatPeriod":"60"`, "value", "Subscription.heartbeatPeriod"},
		"timeout negative":           {`"timeout":10`, `"timeout":-10`, "value", "Subscription.timeout"},
		"maxCount 0":                 {`"maxCount":5`, `"maxCount":0`, "value", "Subscription.maxCount"},
		"end without zone":           {`"2030-01-01T00:00:00Z"`, `"2030-01-01T00:00:00"`, "value", "Subscription.end"},
		"end a date":                 {`"2030-01-01T00:00:00Z"`, `"2030-01-01"`, "value", "Subscription.end"},
		"bad id":                     {`"id":"a"`, `"id":"a/b"`, "value", "Subscription.id"},
		"unknown member":             {`"id":"a"`, `"id":"a","heartbeat":60`, "structure", "Subscription.heartbeat"},
		"member of R4":               {`"id":"a"`, `"id":"a","criteria":"Encounter?"`, "structure", "Subscription.criteria"},
		"null":                       {`"timeout":10`, `"timeout":null`, "structure", "Subscription.timeout"},
		"empty list":                 {`"timeout":10`, `"header":[]`, "structure", "Subscription.header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const good = `{"resourceType":"Subscription","id":"a","status":"requested","topic":"http://example.org/t","end":"2030-01-01T00:00:00Z",` +
				`"filterBy":[{"filterParameter":"patient","comparator":"eq","value":"Patient/1"}],"channelType":{"code":"websocket"},` +
				`"heartbeatPeriod":60,"timeout":10,"content":"id-only","maxCount":5}`
			if issues := fhir.R5.Validate(parse(t, good)); len(issues) > 0 {
				t.Fatal(issues)
			}
			bad := strings.Replace(good, test.old, test.new, 1)
			issues := fhir.R5.Validate(parse(t, bad))
			if len(issues) != 1 || string(issues[0].Code) != test.code || issues[0].Expression[0] != test.place {
				t.Fatalf("got %v, want one %s at %s", issues, test.code, test.place)
			}
			if err := fhir.RefuseAll(issues); fhir.AsError(err).Status != 400 {
				t.Errorf("refused by %d, want 400", fhir.AsError(err).Status)
			}
		})
	}
}

func TestValidate_AcceptsWhatFHIRsJSONAllows(t *testing.T) {
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

func TestValidate_LimitsProblemsOfAnyKind(t *testing.T) {
	t.Parallel()
	for _, item := range []string{`7`, `{"zzzz":1}`, `{}`, `null`} {
		issues := fhir.R5.Validate(parse(t, `{"resourceType":"Patient","name":[`+strings.Repeat(item+",", 999)+item+`]}`))
		if last := issues[len(issues)-1]; len(issues) != 201 || last.Code != "too-costly" || !strings.Contains(last.Diagnostics, "800 more") {
			t.Errorf("%s: got %d issues, the last %v; want 200 and a note of 800 more", item, len(issues), last)
		}
	}
}

func TestValidate_ShortensWhatItShows(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 50_000)
	for _, issue := range fhir.R5.Validate(parse(t, `{"resourceType":"Patient","`+long+`":1,"birthDate":"`+long+`","gender":"`+long+`","id":"`+long+`"}`)) {
		if len(issue.Diagnostics) > 1000 || len(issue.Expression[0]) > 200 {
			t.Errorf("%s: %d bytes at a place of %d", issue.Code, len(issue.Diagnostics), len(issue.Expression[0]))
		}
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
