package search_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/search/searchtest"
)

func TestNumber(t *testing.T) { // FLT-8, FLT-12
	t.Parallel()
	checkMatches(t, []wants{
		{"a decimal stands for its precision", "RiskAssessment", `"prediction":[{"probabilityDecimal":0.754}]`,
			`probability=0.754 probability=0.75 probability=0.8 probability=1 probability=7.5e-1 probability=ne0.7 probability=gt0.75 probability=ge0.754 probability=lt0.755 probability=le0.754 probability=sa0.7 probability=eb0.8 probability=ap0.7 probability=0.1,0.754 probability:missing=false`,
			`probability=0.7540000001 probability=0.755 probability=0.7 probability=ne0.75 probability=gt0.754 probability=lt0.754 probability=ge0.755 probability=le0.753 probability=ap0.6 probability=sa0.754 probability=eb0.754 probability:missing=true`},
		{"the next half is out", "RiskAssessment", `"prediction":[{"probabilityDecimal":100.5}]`, `probability=101 probability=1e2`, `probability=100`},
		{"an exponent", "RiskAssessment", `"prediction":[{"probabilityDecimal":95}]`, `probability=1e2 probability=9.5e1`, `probability=2e2 probability=9e1`},
		{"beyond an exponent", "RiskAssessment", `"prediction":[{"probabilityDecimal":105}]`, `probability=1.05e2`, `probability=1e2`},
		{"any of several", "RiskAssessment", `"prediction":[{"probabilityDecimal":0.1},{"probabilityDecimal":0.9}]`, `probability=0.9 probability=lt0.2&probability=gt0.8`, `probability=0.5`},
		{"negative", "RiskAssessment", `"prediction":[{"probabilityDecimal":-2}]`, `probability=-2 probability=lt-1 probability=ap-2.1`, `probability=2 probability=gt-2`},
		{"absent", "RiskAssessment", ``, `probability:missing=true`, `probability=0 probability=ne0`},
	})
}

func TestQuantity(t *testing.T) { // FLT-8, FLT-12
	t.Parallel()
	const ucum = "http://unitsofmeasure.org"
	checkMatches(t, []wants{
		{"with system and code", "Observation", `"valueQuantity":{"value":5.4,"unit":"milligram","system":"` + ucum + `","code":"mg"}`,
			`value-quantity=5.4 value-quantity=5.4|` + ucum + `|mg value-quantity=5.4||mg value-quantity=5.4||milligram value-quantity=gt5|` + ucum + `|mg value-quantity=5.4|` + ucum + `| value-quantity=5`,
			`value-quantity=5.40|` + ucum + `|g value-quantity=5.4||g value-quantity=5.4|http://other|mg value-quantity=5.5 value-quantity=lt5.4 value-quantity=5.4|` + ucum + `|milligram`},
		{"with a unit only", "Observation", `"valueQuantity":{"value":5.4,"unit":"mg"}`, `value-quantity=5.4||mg`, `value-quantity=5.4|` + ucum + `|mg`},
		{"less than", "Observation", `"valueQuantity":{"value":5,"comparator":"<"}`, `value-quantity=lt5 value-quantity=lt100 value-quantity=le2`, `value-quantity=5 value-quantity=gt5 value-quantity=sa1`},
		{"more than", "Observation", `"valueQuantity":{"value":5,"comparator":">"}`, `value-quantity=gt5 value-quantity=gt100`, `value-quantity=5 value-quantity=lt5 value-quantity=eb9`},
		{"of a component", "Observation", `"component":[{"code":{"text":"a"},"valueQuantity":{"value":80}},{"code":{"text":"b"},"valueQuantity":{"value":120}}]`,
			`component-value-quantity=80 combo-value-quantity=120`, `value-quantity=80 component-value-quantity=100`},
		{"Range", "Condition", `"onsetRange":{"low":{"value":10,"unit":"a"},"high":{"value":20,"unit":"a"}}`,
			`onset-age=gt15 onset-age=lt15 onset-age=ge20 onset-age=le10 onset-age=sa9 onset-age=eb21 onset-age=15||a,gt1||a onset-age=ap18`,
			`onset-age=15 onset-age=gt20 onset-age=lt10 onset-age=sa10 onset-age=gt1||kg onset-age=ap40`},
		{"Money", "Invoice", `"totalNet":{"value":12.5,"currency":"EUR"}`, `totalnet=12.5|urn:iso:std:iso:4217|EUR totalnet=12.5||EUR`, `totalnet=12.5||USD totalnet=12.5|http://x|EUR`},
		{"no value", "Observation", `"valueQuantity":{"unit":"mg"}`, `value-quantity:missing=false`, `value-quantity=0 value-quantity=ne0`},
	})
}

func TestComposite(t *testing.T) {
	t.Parallel()
	const pressure = `"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":120,"code":"mm[Hg]"}},
		{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":80,"code":"mm[Hg]"}}]`
	checkMatches(t, []wants{
		{"both in one place", "Observation", pressure,
			`component-code-value-quantity=8480-6$120 component-code-value-quantity=http://loinc.org|8462-4$lt90||mm[Hg] combo-code-value-quantity=8480-6$gt100 component-code-value-quantity=1$1,8462-4$80 component-code-value-quantity:missing=false`,
			`component-code-value-quantity=8480-6$80 component-code-value-quantity=8462-4$gt90 code-value-quantity=8480-6$120`},
		{"of the resource itself", "Observation", `"code":{"coding":[{"code":"a$b"}]},"valueString":"x,y"`,
			`code-value-string=a\$b$x\,y`, `code-value-string=a\$b$z code-value-string=c$x`},
		{"with a date", "Observation", `"code":{"coding":[{"code":"a"}]},"valuePeriod":{"start":"2026-01-01","end":"2026-01-31"}`,
			`code-value-date=a$2026-01 code-value-date=a$2026 code-value-date=a$ge2026-01-10`, `code-value-date=a$2025 code-value-date=b$2026`},
		{"with a reference", "Encounter", `"location":[{"location":{"reference":"Location/1"},"period":{"start":"2026-01-01","end":"2026-01-02"}},{"location":{"reference":"Location/2"},"period":{"start":"2026-05-01","end":"2026-05-02"}}]`,
			`location-period=Location/1$2026-01`, `location-period=Location/1$2026-05`},
		{"of every type that has it", "ValueSet", `"useContext":[{"code":{"code":"age"},"valueRange":{"low":{"value":10},"high":{"value":20}}},{"code":{"code":"focus"},"valueCodeableConcept":{"coding":[{"code":"x"}]}}]`,
			`context-type-quantity=age$gt15 context-type-value=focus$x`, `context-type-quantity=focus$gt15 context-type-value=age$x`},
	})
}

func TestSpecial(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{
		{"near", "Location", `"position":{"latitude":52.3676,"longitude":4.9041}`,
			`near=52.36|4.90 near=52.09|5.12|40|km near=52.09|5.12|25|[mi_us] near=0|0,52.36|4.90|2000|m`, `near=52.09|5.12 near=52.09|5.12|30 near=52.36|4.90|10|m`},
		{"nowhere", "Location", `"position":{"latitude":52}`, `near:missing=false`, `near=52|4`},
		{"text and content", "Patient", `"text":{"status":"generated","div":"<div><b>Ann</b> Müller</div>"},"name":[{"family":"Unseen"}]`,
			`_text=muller%20ann _content=unseen _content=x,unseen _text=ann _type=Patient`, `_text=unseen _text=ann%20bob _content=absent _text=div _type=Encounter`},
		{"section text", "Composition", `"section":[{"code":{"coding":[{"code":"a"}]},"text":{"status":"generated","div":"<div>no pain</div>"}}]`,
			`section-text=pain section-code-text=a$pain`, `section-text=fever section-code-text=b$pain`},
	})
	for _, query := range []string{"near=here", "near=91|0", "near=1|2|3|parsec", "near=1|2|-3", "near=1|2|3|km|5"} {
		if _, err := r5.Query("Location", query); err == nil || fhir.CodeOf(err) != "value" {
			t.Errorf("%s: got %v, want it refused for its value", query, err)
		}
	}
}

func TestURIContains(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{{"contains", "ValueSet", `"url":"http://a.org/fhir/ValueSet/x"`, `url:contains=/FHIR/`, `url:contains=b.org`}})
}

func TestTextsOfCodesAndReferences(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{{"both", "Encounter", `"type":[{"coding":[{"code":"ABC-1"}]}],"subject":{"reference":"Patient/1","display":"Ann Müller"}`,
		`type:code-text=abc subject:text=ann%20mul`, `type:code-text=bc subject:text=bob`}})
}

// world holds the resources that the queries below can look up.
func world(t testing.TB) search.Scope {
	t.Helper()
	var all searchtest.Source
	for _, row := range []struct{ typ, members string }{
		{"Organization", `"id":"o1","name":"Acme"`},
		{"Patient", `"id":"p1","gender":"male","birthDate":"1950-06-01","name":[{"family":"Smith"}],"managingOrganization":{"reference":"Organization/o1"}`},
		{"Patient", `"id":"p2","gender":"female"`},
		{"Device", `"id":"d1","displayName":"Scale"`},
		{"Location", `"id":"house"`},
		{"Location", `"id":"ward","partOf":{"reference":"Location/house"}`},
		{"Location", `"id":"bed","partOf":{"reference":"Location/ward"}`},
		{"Encounter", `"id":"e2","location":[{"location":{"reference":"Location/bed"}}]`},
		{"Encounter", `"id":"e1","status":"in-progress","subject":{"reference":"Patient/p1"}`},
		{"Observation", `"id":"b1","subject":{"reference":"Patient/p1"},"encounter":{"reference":"http://h/fhir/R5/Encounter/e1"},"code":{"coding":[{"code":"8480-6"}]},"valueQuantity":{"value":150}`},
		{"Observation", `"id":"b2","subject":{"reference":"Patient/p2"},"code":{"coding":[{"code":"8480-6"}]},"valueQuantity":{"value":110}`},
		{"Questionnaire", `"id":"q1","url":"http://x/q","version":"2","title":"Intake"`},
		{"Group", `"id":"g1","member":[{"entity":{"reference":"Patient/p1"}},{"entity":{"reference":"Patient/p2"},"inactive":true}]`},
		{"CareTeam", `"id":"c1","participant":[{"member":{"reference":"Patient/p2"}}]`},
		{"List", `"id":"l1","entry":[{"item":{"reference":"Encounter/e1"}},{"item":{"reference":"Patient/p2"},"deleted":true}]`},
		{"CodeSystem", `"id":"cs","url":"http://cs","concept":[{"code":"animal","concept":[{"code":"dog","concept":[{"code":"poodle"}]}]},{"code":"plant"}]`},
		{"ValueSet", `"id":"v1","url":"http://v/pets","compose":{"include":[{"system":"http://cs","concept":[{"code":"dog"},{"code":"cat"}]},{"valueSet":["http://v/fish"]}],"exclude":[{"system":"http://cs","concept":[{"code":"cat"}]}]}`},
		{"ValueSet", `"id":"v2","url":"http://v/fish","expansion":{"timestamp":"2026-01-01","contains":[{"system":"http://f","code":"group","abstract":true,"contains":[{"system":"http://f","code":"cod"}]}]}`},
		{"ValueSet", `"id":"v3","url":"http://v/filtered","compose":{"include":[{"system":"http://cs","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}`},
		{"ValueSet", `"id":"v4","url":"http://v/loop","compose":{"include":[{"valueSet":["http://v/loop"]}]}`},
	} {
		o, err := fhir.Parse([]byte(`{"resourceType":"` + row.typ + `",` + row.members + `}`))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fhir.NewResource(fhir.R5, o))
	}
	return search.Scope{Release: fhir.R5, Source: all}
}

// What queries match in a world, and how they explain it.
func TestQueries_ThatLookUpOthers(t *testing.T) { // FLT-7, FLT-12
	t.Parallel()
	scope := world(t)
	tests := []struct{ typ, id, yes, no string }{
		{"Encounter", "e1", // chains
			`subject:Patient.gender=male patient.gender=male,female subject.name=smi patient.family:exact=Smith patient.birthdate=lt1951 patient.organization.name=acme
			 patient.organization:missing=false patient.gender:not=female patient._id=p1 patient:Patient.organization:Organization.name=acme`,
			`patient.gender=female subject.name=jones patient.birthdate=gt1951 patient.organization.name=other`},
		{"Patient", "p2", `general-practitioner:missing=true`, `organization.name=acme`},
		{"Observation", "b1", `encounter.status=in-progress encounter.patient.gender=male subject:Patient.name=smith patient.gender=male`, `encounter.status=planned subject:Device.device-name=scale`},
		{"Patient", "p1", // reverse chains
			`_has:Observation:patient:code=8480-6 _has:Observation:subject:value-quantity=gt140 _has:Observation:patient:encounter.status=in-progress
			 _has:Encounter:patient:_has:Observation:encounter:code=8480-6`,
			`_has:Observation:patient:code=other _has:Observation:subject:value-quantity=lt140 _has:Procedure:patient:status=completed`},
		{"Patient", "p2", `_has:Observation:subject:value-quantity=110`, `_has:Encounter:patient:status=in-progress`},
		{"Encounter", "e1", // groups
			`patient:in=Group/g1 patient:in=g1 subject:not-in=CareTeam/c1 _list=l1 _in=List/l1`, `patient:not-in=Group/g1 patient:in=c1`},
		{"Encounter", "e2", // hierarchies
			`location:below=Location/house location:below=Location/ward location:below=Location/bed location:above=Location/bed location:above=Location/nowhere,Location/bed`,
			`location:below=Location/other location:above=Location/house location:above=Location/ward location=Location/house`},
		{"Patient", "p1", `_in=Group/g1 _in=g1,c1`, `_in=CareTeam/c1 _list=l1`},
		{"Patient", "p2", `_in=CareTeam/c1`, `_in=Group/g1 _list=l1`},
		{"Organization", "o1", ``, `_has:Patient:organization:gender=female`},
	}
	for _, tt := range tests {
		res := scope.Source.Lookup(tt.typ + "/" + tt.id)
		for want, queries := range map[bool]string{true: tt.yes, false: tt.no} {
			for _, query := range strings.Fields(queries) {
				q, refused := scope.Query(tt.typ, query)
				if refused != nil {
					t.Errorf("%s?%s is refused: %v", tt.typ, query, refused)
					continue
				}
				got, err := q.Match(res)
				if _, why := q.Explain(res); got != want || err != nil {
					t.Errorf("%s?%s: got %v, %v, want %v: %q", tt.typ, query, got, err, want, why)
				}
			}
		}
	}
}

func TestChain_GoesIntoContainedResources(t *testing.T) {
	t.Parallel()
	res := parse(t, "Encounter", `"contained":[{"resourceType":"Patient","id":"x","gender":"other"}],"subject":{"reference":"#x"}`)
	if !matches(t, res, "patient.gender=other") || matches(t, res, "patient.gender=male") {
		t.Error("the contained patient is not evaluated")
	}
}

func TestChain_FollowsCanonicals(t *testing.T) {
	t.Parallel()
	scope := world(t)
	for canonical, want := range map[string]bool{"http://x/q": true, "http://x/q|2": true, "http://x/q|3": false, "http://x/other": false} {
		q, refused := scope.Query("QuestionnaireResponse", "questionnaire.title=intake")
		if refused != nil {
			t.Fatal(refused)
		}
		if got, _ := q.Match(parse(t, "QuestionnaireResponse", `"questionnaire":"`+canonical+`"`)); got != want {
			t.Errorf("%s: got %v, want %v", canonical, got, want)
		}
	}
}

func TestChain_SaysWhatItSaw(t *testing.T) {
	t.Parallel()
	scope := world(t)
	q, refused := scope.Query("Encounter", "patient.gender=female")
	if refused != nil {
		t.Fatal(refused)
	}
	for reference, says := range map[string]string{
		"Patient/p1":   "patient.gender=female compared with Patient/p1 with male",
		"Patient/none": "Patient/none (which is not stored here)",
	} {
		_, why := q.Explain(parse(t, "Encounter", `"subject":{"reference":"`+reference+`"}`))
		if len(why) != 1 || !strings.Contains(why[0], says) {
			t.Errorf("%s: got %q, want it to say %q", reference, why, says)
		}
	}
}

func TestValueSetsAndHierarchies(t *testing.T) { // FLT-12
	t.Parallel()
	scope := world(t)
	of := func(system, code string) *fhir.Resource {
		return parse(t, "Observation", `"code":{"coding":[{"system":"`+system+`","code":"`+code+`"}]}`)
	}
	tests := []struct {
		query string
		res   *fhir.Resource
		want  bool
	}{
		{"code:in=http://v/pets", of("http://cs", "dog"), true},
		{"code:in=ValueSet/v1", of("http://cs", "dog"), true},
		{"code:in=v1", of("http://cs", "dog"), true},
		{"code:in=http://v/pets", of("http://other", "dog"), false},
		{"code:in=http://v/pets", of("http://cs", "cat"), false},
		{"code:in=http://v/pets", of("http://cs", "poodle"), false},
		{"code:not-in=http://v/pets", of("http://cs", "poodle"), true},
		{"code:in=http://v/pets", of("http://f", "cod"), true},
		{"code:in=http://v/pets", of("http://f", "group"), false},
		{"code:in=http://v/loop", of("http://f", "cod"), false},
		{"code:below=http://cs|animal", of("http://cs", "poodle"), true},
		{"code:below=http://cs|dog", of("http://cs", "dog"), true},
		{"code:below=http://cs|poodle", of("http://cs", "dog"), false},
		{"code:below=http://cs|plant", of("http://cs", "dog"), false},
		{"code:below=http://cs|animal", of("http://other", "dog"), false},
		{"code:above=http://cs|poodle", of("http://cs", "animal"), true},
		{"code:above=http://cs|animal", of("http://cs", "poodle"), false},
	}
	for _, tt := range tests {
		q, refused := scope.Query("Observation", tt.query)
		if refused != nil {
			t.Errorf("%s: %v", tt.query, refused)
			continue
		}
		if got, _ := q.Match(tt.res); got != tt.want {
			t.Errorf("%s of %s: got %v, want %v", tt.query, tt.res.JSON, got, tt.want)
		}
	}
	if _, refused := scope.Query("Observation", "code:in=http://v/filtered"); refused == nil || !strings.Contains(refused.Error(), "filter") {
		t.Errorf("a ValueSet that needs a terminology server: got %v", refused)
	}
}

func TestInclude(t *testing.T) {
	t.Parallel()
	scope := world(t)
	names := func(found []*fhir.Resource) string {
		var all []string
		for _, res := range found {
			all = append(all, res.Reference())
		}
		return strings.Join(all, " ")
	}
	for _, tt := range []struct{ include, of, included, including string }{
		{"Observation:patient", "Observation/b1", "Patient/p1", ""},
		{"Observation:encounter", "Observation/b1", "Encounter/e1", ""},
		{"Observation:subject:Patient", "Observation/b1", "Patient/p1", ""},
		{"Observation:subject:Device", "Observation/b1", "", ""},
		{"Patient:organization", "Observation/b1", "", ""},
		{"Observation:patient", "Patient/p1", "", "Observation/b1"},
		{"Observation:patient:Device", "Patient/p1", "", ""},
		{"Patient:*", "Patient/p1", "Organization/o1", ""},
	} {
		include, refused := scope.ParseInclude(tt.include)
		if refused != nil {
			t.Errorf("%s: %v", tt.include, refused)
			continue
		}
		res := scope.Source.Lookup(tt.of)
		if got := names(scope.Included(include, res)); got != tt.included {
			t.Errorf("%s of %s: includes %q, want %q", tt.include, tt.of, got, tt.included)
		}
		if got := names(scope.Including(include, res)); got != tt.including {
			t.Errorf("%s of %s: included by %q, want %q", tt.include, tt.of, got, tt.including)
		}
	}
	for _, text := range []string{"", "Observation", "Colour:patient", "Observation:colour", "Observation:code", "Observation:subject:Colour", "a:b:c:d"} {
		if _, refused := scope.ParseInclude(text); refused == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// A condition with keys never holds for a resource that has none of them.
func TestKeys_FindEverythingThatMatches(t *testing.T) {
	t.Parallel()
	resources := []*fhir.Resource{
		parse(t, "Encounter", `"status":"planned","subject":{"reference":"Patient/1"},"class":[{"coding":[{"system":"http://s","code":"AMB"}]}],"identifier":[{"system":"http://i","value":"a|b"}]`),
		parse(t, "Encounter", `"subject":{"reference":"http://h/fhir/Patient/1/_history/3"}`),
		parse(t, "Encounter", `"subject":{"reference":"urn:uuid:7"}`),
		parse(t, "QuestionnaireResponse", `"questionnaire":"http://x/q|2"`),
		parse(t, "Patient", `"active":true,"link":[{"other":{"reference":"Patient/1"}}]`),
	}
	queries := strings.Fields(`status=planned status=planned,cancelled patient=1 patient=Patient/1 subject:Patient=1 patient=Patient/1/_history/2 subject=http://h/fhir/Patient/1
		subject=urn:uuid:7 class=AMB class=http://s|AMB class=|AMB class=http://s| identifier=a\|b identifier=http://i|a\|b questionnaire=http://x/q questionnaire=http://x/q|2
		active=true link=Patient/1 _id=1 status:not=planned subject:missing=true subject=other`)
	found, indexed := 0, 0
	for _, res := range resources {
		for _, query := range queries {
			name, value, _ := strings.Cut(query, "=")
			c, refused := r5.Condition(res.Type, name, "", value)
			if refused != nil {
				continue
			}
			p, keys, ok := c.Keys()
			if !ok {
				continue
			}
			indexed++
			has, err := p.Keys(res)
			if err != nil {
				t.Fatal(err)
			}
			holds, why := c.Match(res)
			if !holds {
				continue
			}
			found++
			if !strings.Contains(" "+strings.Join(has, " ")+" ", " "+keys[0]+" ") && (len(keys) == 1 || !strings.Contains(strings.Join(has, " "), keys[1])) {
				t.Errorf("%s: has the keys %q, is searched by %q", why, has, keys)
			}
		}
	}
	if found < 15 || indexed < 25 {
		t.Errorf("only %d of %d conditions matched: too few to test anything", found, indexed)
	}
	for _, query := range []string{"class=http://s|", "status:not=planned", "subject:missing=true", "patient.gender=male"} {
		name, value, _ := strings.Cut(query, "=")
		c, refused := r5.Condition("Encounter", name, "", value)
		if refused != nil {
			t.Fatal(refused)
		}
		if _, keys, ok := c.Keys(); ok {
			t.Errorf("%s has the keys %q, but holds without", query, keys)
		}
	}
}
