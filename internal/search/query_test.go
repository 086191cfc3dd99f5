package search_test

import (
	"net/http"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/search/searchtest"
)

// TOP-13: encoded or not, with or without the type.
func TestParseQuery_AcceptsEveryForm(t *testing.T) {
	t.Parallel()
	res := parse(t, "Encounter", `"status":"in-progress","subject":{"reference":"Patient/1"}`)
	for _, query := range []string{
		"status:not=planned&subject=Patient/1",
		"Encounter?status:not=planned&subject=Patient/1",
		"/Encounter?status:not=planned&subject=Patient/1",
		"?status:not=planned&subject=Patient/1",
		"status%3Anot=planned&subject=Patient%2F1",
		"Encounter?status%3anot=planned&subject=Patient%2f1",
		" status:not=planned&&subject=Patient/1& ",
	} {
		if !matches(t, res, query) {
			t.Errorf("%q does not match", query)
		}
	}
	if q, err := r5.Query("Encounter", "Encounter?"); err != nil || !q.Empty() {
		t.Errorf("a query without condition: got %v, %v", q, err)
	}
}

// Queries that cannot be evaluated are refused, never ignored (FLT-23, CF rules of 7.1).
func TestParseQuery_Refuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ query, code, says string }{
		{"colour=red", "not-supported", "it has"},
		{"Patient?status=planned", "value", "Encounter"},
		{"status", "value", "parameter=value"},
		{"status=", "value", "missing"},
		{"status=a,", "value", "missing"},
		{"status:exact=a", "not-supported", ":exact"},
		{"status:missing=maybe", "value", "true or false"},
		{"status=a|b|c", "value", `written as \|`},
		{"subject:identifier=a|b|c", "value", `written as \|`},
		{"subject:Colour=1", "not-supported", ":Colour"},
		{"subject.colour=x", "not-supported", "no search parameter"},
		{"subject:Device.name=x", "value", "not to a Device"},
		{"status.name=x", "not-supported", "only a reference"},
		{"subject:Patient.birthdate=soon", "value", "2026"},
		{"part-of.part-of.part-of.part-of.part-of.part-of.status=planned", "too-costly", "the limit is 5"},
		{"date=yesterday", "value", "2026"},
		{"date=xx2026", "value", "prefix"},
		{"date=2026-13", "value", "date"},
		{"date:contains=2026", "not-supported", ":contains"},
		{"identifier:of-type=7", "value", "system|code|value"},
		{"length=long", "value", "number|system|code"},
		{"length=5|h", "value", "number|system|code"},
		{"length:exact=5", "not-supported", ":exact"},
		{"length=1e999999999", "value", "quantity"},
		{"_has:Observation:code=x", "value", "_has:Type:reference:parameter"},
		{"_has:Colour:subject:code=x", "value", "Colour"},
		{"_has:Observation:code:code=x", "value", "not a reference"},
		{"_has:Observation:encounter:colour=x", "not-supported", "colour"},
		{"_has=x", "not-supported", "_has:Type:reference:parameter"},
		{"_filter=status eq x", "not-supported", "no expression"},
		{"location-period=Location/1", "value", "joined by $"},
		{"location-period=Location/1$soon", "value", "2026"},
		{"location-period:not=Location/1$2026", "not-supported", ":not"},
		{"class:in=http://x/ValueSet/none", "not-supported", "store it first"},
		{"class:below=http://x|a", "not-supported", "store it first"},
		{"class:below=a", "value", "system|code"},
		{"subject:below=1", "value", "Type/id"},
		{"subject:in=Group/none", "not-supported", "store it first"},
		{"_in=Group/none", "not-supported", "store it first"},
		{"_list=none", "not-supported", "store it first"},
		{"_text=", "value", "missing"},
		{"_content:exact=x", "not-supported", ":exact"},
		{"status=a" + strings.Repeat(",a", 1000), "too-costly", "status has 1001 values, and a parameter may have 1000"},
	}
	for _, tt := range tests {
		_, err := r5.Query("Encounter", tt.query)
		if err == nil {
			t.Errorf("%s is accepted", tt.query)
			continue
		}
		if fhir.AsError(err).Status != http.StatusUnprocessableEntity || string(fhir.CodeOf(err)) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %d %s %q, want 422 %s that says %q", tt.query, fhir.AsError(err).Status, fhir.CodeOf(err), err, tt.code, tt.says)
		}
	}
}

func TestNewCondition_Comparator(t *testing.T) { // FLT-9
	t.Parallel()
	born := parse(t, "Patient", `"birthDate":"1950-06-01"`)
	p, _ := search.Lookup(fhir.R5, "Patient", "birthdate")
	c, err := r5.ConditionOn(p, "", "le", "1950,1940")
	if err != nil {
		t.Fatal(err)
	}
	ok, reason := c.Match(born)
	if !ok || !strings.Contains(reason, "1950-06-01") || c.String() != "birthdate=le1950,1940" {
		t.Errorf("%s: got %v, %q", c, ok, reason)
	}
	p, _ = search.Lookup(fhir.R5, "Patient", "gender")
	if _, err := r5.ConditionOn(p, "", "le", "male"); err == nil || fhir.CodeOf(err) != "not-supported" {
		t.Errorf("a comparator on a token: got %v", err)
	}
}

func TestLookup_ByNameAndURL(t *testing.T) { // FLT-5
	t.Parallel()
	for name, want := range map[string]string{
		"patient": "patient",
		"http://hl7.org/fhir/SearchParameter/clinical-patient":       "patient",
		"http://hl7.org/fhir/SearchParameter/clinical-patient|5.0.0": "patient",
		"_id": "_id",
		"http://hl7.org/fhir/SearchParameter/nothing": "",
		"Patient": "",
	} {
		p, ok := search.Lookup(fhir.R5, "Encounter", name)
		if ok != (want != "") || ok && p.Name != want {
			t.Errorf("%s: got %v, want %q", name, p, want)
		}
	}
}

func TestReferences_AreRelative(t *testing.T) {
	t.Parallel()
	res := parse(t, "Encounter", `"participant":[{"actor":{"reference":"Practitioner/1/_history/2"}},{"actor":{"reference":"http://h/Practitioner/1"}},
		{"actor":{"reference":"#inside"}},{"actor":{"reference":"urn:uuid:1"}},{"actor":{"display":"nobody"}},{"actor":{"reference":"Device/2"}}]`)
	p, _ := search.Lookup(fhir.R5, "Encounter", "participant")
	if got := strings.Join(p.References(res), " "); got != "Practitioner/1 Device/2" {
		t.Errorf("got %s, want Practitioner/1 Device/2", got)
	}
	status, _ := search.Lookup(fhir.R5, "Encounter", "status")
	if got := status.References(res); got != nil {
		t.Errorf("of a token: got %v", got)
	}
}

// Queries on resources of several types in a world they can look up: none panics or
// stalls, and refusals are proper refusals.
func FuzzParseQuery(f *testing.F) {
	for _, seed := range []string{
		"status=in-progress", "Encounter?status:not=a,b", "date=ge2026-01-01T10:00:00Z&date=lt2027", `class=a\,b|c`, "subject:Patient=1",
		"subject=http://h/Patient/1/_history/2", "%zz=%", "/?&&=", "date=ap", "_lastUpdated=sa2026-02-30", "location-period=9999", "status:missing=true", "identifier=|",
		"patient.organization.name=acme", "_has:Observation:patient:_has:Observation:subject:code=x", "subject.subject.subject.name=x", "patient:in=g1", "location:below=Location/ward",
		"code:in=http://v/loop", "code:not-in=v1", "code:below=http://cs|animal", "value-quantity=ap1e99||mg", "value-quantity=lt-0.0e-99", "code-value-quantity=8480-6$gt140", "near=1|2|3|km",
		"identifier:of-type=a|b|c", "_list=l1", "_in=g1", "_content=x", "url:below=http://x", "questionnaire.title=in", "name:contains=\u0130", "code-value-quantity:missing=true",
	} {
		f.Add(seed)
	}
	scope := world(f)
	for _, typ := range []string{"Encounter", "Observation", "Patient", "Location", "ValueSet", "QuestionnaireResponse"} {
		if len(scope.Source.List(typ)) == 0 {
			scope.Source = append(scope.Source.(searchtest.Source), parse(f, typ, `"questionnaire":"http://x/q|2"`))
		}
	}
	asked := append(scope.Source.(searchtest.Source),
		parse(f, "Encounter", `"status":"in-progress","subject":{"reference":"Patient/1"},"actualPeriod":{"start":"2026-01-01"},"identifier":[{"system":"http://s","value":"v"}],"type":[{"coding":[{"code":"c"}],"text":"t"}]`),
		parse(f, "Observation", `"subject":{"reference":"#p"},"contained":[{"resourceType":"Patient","id":"p"},1,null],"valueQuantity":{"value":-1e-99,"comparator":">","unit":"mg"},"code":{"coding":[{"code":"c"},1,[]]},"effectiveTiming":{"event":["2026",3]}`),
		parse(f, "Location", `"position":{"latitude":{"value":1,"comparator":"<"},"longitude":[]},"partOf":{"reference":"Location/1"}`))
	f.Fuzz(func(t *testing.T, text string) {
		for _, res := range asked {
			q, refused := scope.Query(res.Type, text)
			if refused != nil {
				if fhir.AsError(refused).Status/100 != 4 || refused.Error() == "" {
					t.Fatalf("%q is refused with %d %q", text, fhir.AsError(refused).Status, refused)
				}
				continue
			}
			ok, err := q.Match(res)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if explained, _ := q.Explain(res); explained != ok {
				t.Fatalf("%q: Match says %v, Explain %v", text, ok, explained)
			}
		}
	})
}
