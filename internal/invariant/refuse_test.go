package invariant

import (
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

const (
	observation = `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"1"}]}`
	question    = `{"resourceType":"Questionnaire","status":"active","item":[`
	structure   = `{"resourceType":"StructureDefinition","url":"http://x.org/a","name":"A","status":"active","kind":"resource","abstract":false,"type":"Patient","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient","derivation":"constraint","differential":`
)

// brokenCases are resources that break one invariant, and none after old is replaced
// by new.
var brokenCases = []struct {
	release          fhir.Release
	key, place       string
	old, new, broken string
}{
	// Datatypes.
	{"R5", "per-1", "Encounter.actualPeriod", `"end":"2026-01-01`, `"end":"2026-01-02`,
		`{"resourceType":"Encounter","status":"completed","actualPeriod":{"start":"2026-01-02","end":"2026-01-01"}}`},
	{"R4", "per-1", "Encounter.period", `09:00:00Z`, `09:00:00-05:00`,
		`{"resourceType":"Encounter","status":"finished","class":{"code":"AMB"},"period":{"start":"2026-01-01T10:00:00.000Z","end":"2026-01-01T09:00:00Z"}}`},
	{"R5", "per-1", "Patient.identifier[1].period", `"2025"`, `"2026"`,
		`{"resourceType":"Patient","identifier":[{"value":"1"},{"period":{"start":"2026-03-01","end":"2025"}}]}`},
	{"R5", "ref-1", "Patient.managingOrganization", `"#x"`, `"Organization/x"`,
		`{"resourceType":"Patient","managingOrganization":{"reference":"#x"}}`},
	{"R4", "ref-1", "Patient.managingOrganization", `"#x"`, `"#o"`,
		`{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"O","partOf":{"reference":"#"}}],"managingOrganization":{"reference":"#x"}}`},
	{"R4B", "ref-1", "Patient.extension[0].valueReference", `"#x"`, `"Organization/x"`,
		`{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueReference":{"reference":"#x"}}]}`},
	{"R5", "ref-1", "Patient.birthDate.extension[0].valueReference", `"#x"`, `"Organization/x"`,
		`{"resourceType":"Patient","birthDate":"2000","_birthDate":{"extension":[{"url":"http://x.org/a","valueReference":{"reference":"#x"}}]}}`},
	{"R5", "ref-2", "Observation.subject", `"type"`, `"display"`, observation + `,"subject":{"type":"Patient"}}`},
	{"R5", "qty-3", "Observation.valueQuantity", `"code":"kg"}`, `"code":"kg","system":"http://unitsofmeasure.org"}`,
		observation + `,"valueQuantity":{"value":1,"code":"kg"}}`},
	{"R5", "cpt-2", "Patient.telecom[0]", `"value"`, `"system":"phone","value"`, `{"resourceType":"Patient","telecom":[{"value":"1"}]}`},
	{"R5", "att-1", "Patient.photo[0]", `"data"`, `"contentType":"image/png","data"`, `{"resourceType":"Patient","photo":[{"data":"AAAA"}]}`},
	{"R4", "rng-2", "Observation.valueRange", `"value":3`, `"value":5.0`, observation + `,"valueRange":{"low":{"value":5},"high":{"value":3}}}`},
	{"R5", "rng-2", "Observation.valueRange", `"value":4.8`, `"value":4.9`, observation + `,"valueRange":{"low":{"value":5.0},"high":{"value":4.8}}}`},
	{"R5", "rat-1", "Observation.valueRatio", `{"numerator":{"value":1}}`, `{"numerator":{"value":1},"denominator":{"value":1}}`,
		observation + `,"valueRatio":{"numerator":{"value":1}}}`},
	{"R5", "age-1", "Patient.extension[0].valueAge", `-1`, `1`,
		`{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueAge":{"value":-1,"code":"a","system":"http://unitsofmeasure.org"}}]}`},
	{"R4", "tim-2", "Patient.extension[0].valueTiming.repeat", `"period":1`, `"period":1,"periodUnit":"d"`,
		`{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueTiming":{"repeat":{"period":1}}}]}`},
	{"R4", "tim-5", "Patient.extension[0].valueTiming.repeat", `-1`, `1`,
		`{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueTiming":{"repeat":{"period":-1,"periodUnit":"d"}}}]}`},
	{"R5", "eld-3", "StructureDefinition.differential.element[0].max", `"x"`, `"2"`,
		structure + `{"element":[{"id":"Patient","path":"Patient","max":"x"}]}}`},
	{"R5", "eld-16", "StructureDefinition.differential.element[1]", `"a b"`, `"a"`,
		structure + `{"element":[{"id":"Patient","path":"Patient"},{"id":"Patient.name:x","path":"Patient.name","sliceName":"a b"}]}}`},

	// Every element and every resource.
	{"R5", "ele-1", "Patient.name[0]", `"id":"a"`, `"text":"a"`, `{"resourceType":"Patient","name":[{"id":"a"}]}`},
	{"R5", "ele-1", "Patient.birthDate", `"_birthDate"`, `"birthDate":"2000","_birthDate"`, `{"resourceType":"Patient","_birthDate":{"id":"a"}}`},
	{"R4", "ele-1", "Patient.name[0].given[1]", `null]`, `"B"]`, `{"resourceType":"Patient","name":[{"given":["A",null],"_given":[null,{"id":"a"}]}]}`},
	{"R5", "dom-3", "Patient", `"Organization/o"`, `"#o"`,
		`{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"O"}],"managingOrganization":{"reference":"Organization/o"}}`},
	{"R4", "dom-4", "Patient", `"versionId":"1"`, `"source":"a"`,
		`{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","meta":{"versionId":"1"},"name":"O"}],"managingOrganization":{"reference":"#o"}}`},
	{"R4B", "dom-5", "Bundle.entry[0].resource", `"security"`, `"tag"`,
		`{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","meta":{"security":[{"code":"R"}]},"name":"O"}],"managingOrganization":{"reference":"#o"}}}]}`},

	// Resources, contained ones, and those in others.
	{"R5", "obs-6", "Observation", `,"dataAbsentReason":{"text":"y"}`, ``, observation + `,"valueString":"x","dataAbsentReason":{"text":"y"}}`},
	{"R4", "obs-7", "Observation", `"code":"1"}]}}]`, `"code":"2"}]}}]`,
		observation + `,"valueString":"x","component":[{"code":{"coding":[{"system":"http://loinc.org","code":"1"}]}}]}`},
	{"R4", "obs-3", "Observation.referenceRange[0]", `"age":{`, `"text":"t","age":{`, observation + `,"referenceRange":[{"age":{"low":{"value":1}}}]}`},
	{"R5", "pat-1", "Patient.contact[1]", `"gender":"male"`, `"name":{"text":"x"}`, `{"resourceType":"Patient","contact":[{"name":{"text":"y"}},{"gender":"male"}]}`},
	{"R4", "pat-1", "Patient.contact[0]", `"gender":"male"`, `"organization":{"display":"x"}`, `{"resourceType":"Patient","contact":[{"gender":"male"}]}`},
	{"R5", "org-1", "Patient.contained[0]", `"active":true`, `"name":"O"`,
		`{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","active":true}],"managingOrganization":{"reference":"#o"}}`},
	{"R4", "org-1", "Parameters.parameter[0].part[0].resource", `"active":true`, `"name":"O"`,
		`{"resourceType":"Parameters","parameter":[{"name":"a","part":[{"name":"b","resource":{"resourceType":"Organization","active":true}}]}]}`},
	{"R4", "org-2", "Organization.address[1]", `"home"`, `"work"`, `{"resourceType":"Organization","name":"O","address":[{"city":"C"},{"use":"home","city":"C"}]}`},
	{"R4", "org-3", "Organization.telecom[0]", `"home"`, `"work"`, `{"resourceType":"Organization","name":"O","telecom":[{"use":"home","system":"phone","value":"1"}]}`},
	{"R5", "org-3", "Organization.contact[0]", `"home"`, `"work"`, `{"resourceType":"Organization","name":"O","contact":[{"telecom":[{"use":"home","system":"phone","value":"1"}]}]}`},
	{"R5", "enc-1", "Encounter.participant[0]", `"period":{"start":"2026"}`, `"type":[{"text":"x"}]`,
		`{"resourceType":"Encounter","status":"completed","participant":[{"period":{"start":"2026"}}]}`},
	{"R5", "enc-2", "Encounter.participant[0]", `"Patient/1"`, `"Practitioner/1"`,
		`{"resourceType":"Encounter","status":"completed","participant":[{"type":[{"text":"x"}],"actor":{"reference":"Patient/1"}}]}`},
	{"R5", "con-3", "Condition", `"active"`, `"resolved"`,
		`{"resourceType":"Condition","clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]},"subject":{"reference":"Patient/1"},"abatementDateTime":"2026"}`},
	{"R4", "con-5", "Condition", `"clinicalStatus"`, `"category":[{"text":"x"}],"code"`,
		`{"resourceType":"Condition","clinicalStatus":{"text":"x"},"verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-ver-status","code":"entered-in-error"}]},"subject":{"reference":"Patient/1"}}`},
	{"R5", "app-2", "Appointment", `,"end":`, `,"start":"2026-01-01T09:00:00Z","end":`,
		`{"resourceType":"Appointment","status":"proposed","participant":[{"status":"accepted","actor":{"display":"x"}}],"end":"2026-01-01T10:00:00Z"}`},
	{"R5", "app-3", "Appointment", `"status":"booked"`, `"status":"proposed"`,
		`{"resourceType":"Appointment","status":"booked","participant":[{"status":"accepted","actor":{"display":"x"}}]}`},
	{"R5", "app-5", "Appointment", `T00:30:00.000Z`, `T00:30:00.000+02:00`,
		`{"resourceType":"Appointment","status":"booked","start":"2026-01-02T00:30:00.000Z","end":"2026-01-01T23:00:00Z","participant":[{"status":"accepted","actor":{"display":"x"}}]}`},
	{"R4", "inv-1", "Task", `"2026-01-01"`, `"2026-01-03"`,
		`{"resourceType":"Task","status":"draft","intent":"order","authoredOn":"2026-01-02","lastModified":"2026-01-01"}`},
	{"R4", "ras-2", "RiskAssessment.prediction[0]", `101`, `99`,
		`{"resourceType":"RiskAssessment","status":"final","subject":{"reference":"Patient/1"},"prediction":[{"probabilityDecimal":101}]}`},
	{"R5", "ras-1", "RiskAssessment.prediction[0].probabilityRange", `"code":"kg"`, `"code":"%"`,
		`{"resourceType":"RiskAssessment","status":"final","subject":{"reference":"Patient/1"},"prediction":[{"probabilityRange":{"low":{"value":1,"system":"http://unitsofmeasure.org","code":"kg"}}}]}`},
	{"R5", "sst-1", "SubscriptionStatus", `"event-notification"`, `"heartbeat"`,
		`{"resourceType":"SubscriptionStatus","status":"active","type":"event-notification","subscription":{"reference":"Subscription/1"}}`},
	{"R5", "scr-1", "Subscription.filterBy[0]", `"modifier":"exact",`, ``,
		`{"resourceType":"Subscription","status":"requested","topic":"http://x.org/t","channelType":{"code":"websocket"},"filterBy":[{"filterParameter":"a","comparator":"eq","modifier":"exact","value":"1"}]}`},
	{"R5", "inv-1", "Parameters.parameter[0]", `"name":"a"`, `"name":"a","valueString":"b"`, `{"resourceType":"Parameters","parameter":[{"name":"a"}]}`},
	{"R5", "cmp-1", "Composition.section[0].section[0]", `[{"title":"t"}]`, `[{"title":"t","entry":[{"display":"x"}]}]`,
		`{"resourceType":"Composition","status":"final","type":{"text":"x"},"date":"2026","author":[{"display":"x"}],"title":"t","section":[{"section":[{"title":"t"}]}]}`},
	{"R4", "vsd-1", "ValueSet.compose.exclude[0]", `"version":"1"`, `"system":"http://x.org"`,
		`{"resourceType":"ValueSet","status":"active","compose":{"include":[{"system":"http://x.org"}],"exclude":[{"version":"1"}]}}`},

	// Bundles.
	{"R5", "bdl-1", "Bundle", `"collection"`, `"history"`, `{"resourceType":"Bundle","type":"collection","total":1}`},
	{"R5", "bdl-2", "Bundle", `"search":{"mode":"match"},`, ``,
		`{"resourceType":"Bundle","type":"collection","entry":[{"search":{"mode":"match"},"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"}}]}`},
	{"R5", "bdl-3a", "Bundle", `,"request":{"method":"GET","url":"Patient"}`, ``,
		`{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"},"request":{"method":"GET","url":"Patient"}}]}`},
	{"R4", "bdl-3", "Bundle", `"resource":`, `"request":{"method":"GET","url":"Patient"},"resource":`,
		`{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Patient"}}]}`},
	{"R4", "bdl-4", "Bundle", `"response":{"status":"200"},`, ``,
		`{"resourceType":"Bundle","type":"collection","entry":[{"response":{"status":"200"},"resource":{"resourceType":"Patient"}}]}`},
	{"R4", "bdl-5", "Bundle.entry[0]", `"fullUrl":"urn:uuid:1"`, `"resource":{"resourceType":"Patient"}`,
		`{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1"}]}`},
	{"R4", "bdl-7", "Bundle", `urn:uuid:2`, `urn:uuid:3`,
		`{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient"}},{"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient"}}]}`},
	{"R5", "bdl-8", "Bundle.entry[0]", `/_history/1`, ``,
		`{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"http://x.org/Patient/1/_history/1","resource":{"resourceType":"Patient"}}]}`},
	{"R4", "bdl-8", "Bundle.entry[1]", `/_history/1`, ``,
		`{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}},{"fullUrl":"http://x.org/Patient/1/_history/1","resource":{"resourceType":"Patient"}}]}`},
	{"R4", "bdl-9", "Bundle", `"identifier":{"value":"1"}`, `"identifier":{"system":"urn:x","value":"1"}`,
		`{"resourceType":"Bundle","identifier":{"value":"1"},"type":"document","timestamp":"2026-01-01T10:00:00Z","entry":[{"resource":{"resourceType":"Composition","status":"final","type":{"text":"x"},"date":"2026","author":[{"display":"x"}],"title":"t"}}]}`},
	{"R5", "bdl-10", "Bundle", `"type":"document",`, `"type":"document","timestamp":"2026-01-01T10:00:00Z",`,
		`{"resourceType":"Bundle","identifier":{"system":"urn:x","value":"1"},"type":"document","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Composition","status":"final","type":{"text":"x"},"date":"2026","author":[{"display":"x"}],"title":"t"}}]}`},
	{"R4", "bdl-11", "Bundle", `"document"`, `"collection"`,
		`{"resourceType":"Bundle","identifier":{"system":"urn:x","value":"1"},"type":"document","timestamp":"2026-01-01T10:00:00Z","entry":[{"resource":{"resourceType":"Patient"}}]}`},
	{"R5", "pat-1", "Bundle.entry[0].resource.contact[0]", `"gender":"male"`, `"name":{"text":"x"}`,
		`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient","contact":[{"gender":"male"}]}}]}`},

	// Questionnaires.
	{"R4", "que-1", "Questionnaire.item[0]", `"type":"group"`, `"type":"string"`, question + `{"linkId":"1","type":"group"}]}`},
	{"R5", "que-1c", "Questionnaire.item[0].item[0]", `"type":"display"`, `"type":"string"`,
		question + `{"linkId":"1","type":"group","item":[{"linkId":"2","type":"display","item":[{"linkId":"3","type":"string"}]}]}]}`},
	{"R5", "que-2", "Questionnaire", `"linkId":"2"`, `"linkId":"3"`,
		question + `{"linkId":"2","type":"string"},{"linkId":"1","type":"group","item":[{"linkId":"4","type":"group","item":[{"linkId":"2","type":"string"}]}]}]}`},
	{"R4", "que-4", "Questionnaire.item[0]", `"answerValueSet":"http://x.org/v",`, ``,
		question + `{"linkId":"1","type":"choice","answerValueSet":"http://x.org/v","answerOption":[{"valueString":"a"}]}]}`},
	{"R5", "que-7", "Questionnaire.item[0].enableWhen[0]", `"answerString":"a"`, `"answerBoolean":true`,
		question + `{"linkId":"1","type":"string","enableWhen":[{"question":"2","operator":"exists","answerString":"a"}]},{"linkId":"2","type":"string"}]}`},
	{"R5", "que-12", "Questionnaire.item[0]", `"type":"string","enableWhen"`, `"type":"string","enableBehavior":"all","enableWhen"`,
		question + `{"linkId":"1","type":"string","enableWhen":[{"question":"2","operator":"exists","answerBoolean":true},{"question":"2","operator":"=","answerString":"a"}]},{"linkId":"2","type":"string"}]}`},
	{"R5", "que-13", "Questionnaire.item[0]", `"type":"string"`, `"type":"string","repeats":true`,
		question + `{"linkId":"1","type":"string","initial":[{"valueString":"a"},{"valueString":"b"}]}]}`},
}

// A disabled check fails for the broken resource, and one that refuses everything fails for
// the correct one.
func TestCheck_NamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, c := range brokenCases {
		t.Run(string(c.release)+" "+c.key+" "+c.place, func(t *testing.T) {
			t.Parallel()
			sound := strings.Replace(c.broken, c.old, c.new, 1)
			if sound == c.broken {
				t.Fatal("the change has no effect")
			}
			if issues := Check(c.release, accepted(t, c.release, sound), unlimited()); len(issues) != 0 {
				t.Errorf("refuses a valid resource: %v\n%s", issues, sound)
			}
			issues := Check(c.release, accepted(t, c.release, c.broken), unlimited())
			if len(issues) != 1 {
				t.Fatalf("got %d issues, want one of %s: %v", len(issues), c.key, issues)
			}
			i := issues[0]
			if i.Severity != "error" || i.Code != "invariant" || !i.Rule || !slices.Equal(i.Expression, []string{c.place}) {
				t.Errorf("got %+v, want an error of code invariant, about a rule, at %s", i, c.place)
			}
			key, expression, _ := strings.Cut(i.Diagnostics, " does not hold: ")
			if key != c.key || len(expression) < 10 {
				t.Errorf("got %q, want the key %s and the expression", i.Diagnostics, c.key)
			}
		})
	}
}

// accepted parses a resource with a valid structure; without one the check would never
// run.
func accepted(t testing.TB, r fhir.Release, text string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if issues := r.Validate(o); len(issues) > 0 {
		t.Fatalf("the structure is wrong: %v\n%s", issues, text)
	}
	return o
}

// An element with only an extension exists, although it has no value.
func TestCheck_SeesElementsWithoutAValue(t *testing.T) {
	t.Parallel()
	const absent = `{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}`
	for _, text := range []string{
		`{"resourceType":"Appointment","status":"booked","_start":` + absent + `,"end":"2026-01-01T10:00:00Z","participant":[{"status":"accepted","actor":{"display":"x"}}]}`,
		`{"resourceType":"Organization","_name":` + absent + `}`,
		`{"resourceType":"Patient","telecom":[{"_system":` + absent + `,"value":"1"}]}`,
		`{"resourceType":"Patient","contact":[{"period":{"_start":` + absent + `,"end":"2026"},"name":{"given":[null,"x"],"_given":[` + absent + `,null]}}]}`,
	} {
		if issues := Check(fhir.R5, accepted(t, fhir.R5, text), unlimited()); len(issues) != 0 {
			t.Errorf("%s: %v", text, issues)
		}
	}
}

// Valid resources that an expression would refuse if taken literally.
func TestCheck_HoldsIfAnExpressionIsSilent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		release fhir.Release
		text    string
	}{
		{"R4", `{"resourceType":"Patient","managingOrganization":{"identifier":{"value":"1"}}}`},
		{"R4", `{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}}]}`},
		{"R5", `{"resourceType":"Bundle","type":"history"}`},
		{"R5", `{"resourceType":"CareTeam","participant":[{"member":{"reference":"urn:uuid:5f1b1a52-0000-0000-0000-000000000000"},"onBehalfOf":{"display":"x"}}]}`},
		{"R4", `{"resourceType":"RiskAssessment","status":"final","subject":{"reference":"Patient/1"},"prediction":[{"outcome":{"text":"x"}}]}`},
		{"R4", `{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueTiming":{"repeat":{"offset":10,"when":["ACM","ACD"]}}}]}`},
		{"R4B", `{"resourceType":"MessageDefinition","status":"active","date":"2026","eventUri":"http://x.org/e","focus":[{"code":"Patient","min":0}]}`},
		{"R5", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueRange":{"low":{"value":5,"unit":"cm"},"high":{"value":3,"unit":"m"}}}`},
	} {
		if issues := Check(c.release, accepted(t, c.release, c.text), unlimited()); len(issues) != 0 {
			t.Errorf("%s %s: %v", c.release, c.text, issues)
		}
	}
}
