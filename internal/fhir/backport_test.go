package fhir_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

const guide = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"

// backportSubscription has every element (1.2.2); each edit replaces a text.
func backportSubscription(edits ...string) string {
	text := `{"resourceType":"Subscription","id":"abc","status":"requested","reason":"test","end":"2030-01-01T00:00:00Z",
		"criteria":"http://example.org/FHIR/SubscriptionTopic/admission",
		"_criteria":{"extension":[
			{"url":"` + guide + `backport-filter-criteria","valueString":"Encounter?patient=Patient/123"},
			{"url":"` + guide + `backport-filter-criteria","valueString":"Encounter.status:not=planned"}]},
		"channel":{
			"extension":[
				{"url":"` + guide + `backport-heartbeat-period","valueUnsignedInt":60},
				{"url":"` + guide + `backport-timeout","valueUnsignedInt":10},
				{"url":"` + guide + `backport-max-count","valuePositiveInt":20}],
			"type":"websocket",
			"payload":"application/fhir+json",
			"_payload":{"extension":[{"url":"` + guide + `backport-payload-content","valueCode":"full-resource"}]}}}`
	return strings.NewReplacer(edits...).Replace(text)
}

func TestReadSubscription_OfTheBackportGuide(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		o := parse(t, backportSubscription())
		if issues := r.Validate(o); len(issues) > 0 {
			t.Errorf("%s: the example is not valid: %v", r, issues)
		}
		got, issues := r.ReadSubscription(o)
		want := &fhir.Subscription{
			Release: r, ID: "abc", Status: "requested",
			Topic:           "http://example.org/FHIR/SubscriptionTopic/admission",
			End:             time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
			Channel:         "websocket",
			HeartbeatPeriod: time.Minute, Timeout: 10 * time.Second, MaxCount: 20,
			ContentType: "application/fhir+json", Content: fhir.FullResource,
			Filters: []fhir.Filter{
				{ResourceType: "Encounter", Parameter: "patient", Value: "Patient/123", Expression: "Subscription.criteria.extension[0].value", OneText: true},
				{ResourceType: "Encounter", Parameter: "status", Modifier: "not", Value: "planned", Expression: "Subscription.criteria.extension[1].value", OneText: true},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" || len(issues) > 0 {
			t.Errorf("%s: issues %v (-want +got):\n%s", r, issues, diff)
		}
	}
}

func TestReadSubscription_BackportVariants(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edits []string
		check func(*fhir.Subscription) bool
		says  string // of an issue; "" for none
	}{
		"SUB4-2 no payload level":       {edits: []string{`"valueCode":"full-resource"`, `"valueCode":"id-only"`}, check: func(s *fhir.Subscription) bool { return s.Content == fhir.IDOnly }},
		"SUB4-3 unknown payload level":  {edits: []string{`"full-resource"`, `"everything"`}, says: `got "everything"`},
		"SUB4-4 the extension wins":     {edits: []string{`"type":"websocket"`, `"type":"rest-hook","_type":{"extension":[{"url":"` + guide + `backport-channel-type","valueCoding":{"code":"websocket"}}]}`}, check: func(s *fhir.Subscription) bool { return s.Channel == "websocket" }},
		"SUB4-3 unknown channel":        {edits: []string{`"type":"websocket"`, `"type":"websocket","_type":{"extension":[{"url":"` + guide + `backport-channel-type","valueCoding":{"code":"pigeon"}}]}`}, says: `got "pigeon"`},
		"channel without a socket":      {edits: []string{`"type":"websocket"`, `"type":"email"`}, says: `got "email"`},
		"SUB4-6 valueInteger":           {edits: []string{`"valueUnsignedInt":60`, `"valueInteger":60`}, check: func(s *fhir.Subscription) bool { return s.HeartbeatPeriod == time.Minute }},
		"SUB4-9 fhirVersion of another": {edits: []string{`"application/fhir+json"`, `"application/fhir+json; fhirVersion=5.0"`}, says: "fhirVersion"},
		"SUB4-9 fhirVersion of this":    {edits: []string{`"application/fhir+json"`, `"application/fhir+json; fhirVersion=4.0"`}, check: func(s *fhir.Subscription) bool { return s.Content == fhir.FullResource }},
		"payload XML":                   {edits: []string{`"application/fhir+json"`, `"application/fhir+xml"`}, says: "only application/fhir+json"},
		"FLT-18 parameter alone": {edits: []string{"Encounter?patient=", "patient="}, check: func(s *fhir.Subscription) bool {
			return s.Filters[0].ResourceType == "" && s.Filters[0].Parameter == "patient"
		}},
		"FLT-19 leading slash, joined":        {edits: []string{"Encounter?patient=Patient/123", "/Encounter?patient=Patient/123&status=planned"}, check: func(s *fhir.Subscription) bool { return len(s.Filters) == 3 && s.Filters[1].Parameter == "status" }},
		"FLT-19 a chain is no type":           {edits: []string{"Encounter?patient=Patient/123", "patient.gender=male"}, check: func(s *fhir.Subscription) bool { return s.Filters[0].Parameter == "patient.gender" }},
		"FLT-20 percent":                      {edits: []string{"Encounter?patient=Patient/123", "code=http%3A%2F%2Floinc.org%7C1234-5"}, check: func(s *fhir.Subscription) bool { return s.Filters[0].Value == "http://loinc.org|1234-5" }},
		"FLT-24 no value":                     {edits: []string{"Encounter?patient=Patient/123", "patient"}, says: "expected parameter=value"},
		"FLT-23 an unknown type":              {edits: []string{"Encounter?patient=Patient/123", "Encountr?patient=Patient/123"}, says: `"Encountr" is not a resource type`},
		"SUB4-1 criteria that is not a topic": {edits: []string{`"http://example.org/FHIR/SubscriptionTopic/admission"`, `"admission"`}, says: "canonical URL"},
	} {
		got, issues := fhir.R4.ReadSubscription(parse(t, backportSubscription(test.edits...)))
		var said []string
		for _, issue := range issues {
			said = append(said, issue.Diagnostics)
		}
		switch {
		case test.says == "" && len(issues) > 0, test.says != "" && !strings.Contains(strings.Join(said, "; "), test.says):
			t.Errorf("%s: got issues %q, want %q", name, said, test.says)
		case test.check != nil && !test.check(got):
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// SUB4-7: a Subscription whose criteria is not a canonical, and that has nothing
// of the guide, is a search (5.3).
func TestReadSubscription_Classic(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		o := parse(t, `{"resourceType":"Subscription","status":"active","reason":"x","criteria":"/Observation?code=1234","channel":{"type":"websocket"}}`)
		got, issues := r.ReadSubscription(o)
		if len(issues) > 0 || got.Topic != "" || got.Criteria != "Observation?code=1234" || got.Content != fhir.FullResource {
			t.Errorf("%s: got %+v %v", r, got, issues)
		}
	}
}

func TestWithStatus_ShowsTheErrorIfTheReleaseCan(t *testing.T) {
	t.Parallel()
	o := parse(t, backportSubscription())
	broken := fhir.R4.WithStatus(o, fhir.StatusError, "the topic is gone")
	if broken.Text("status") != "error" || broken.Text("error") != "the topic is gone" || o.Has("error") {
		t.Errorf("got %s %q, want error and why, in a copy", broken.Text("status"), broken.Text("error"))
	}
	if mended := fhir.R4.WithStatus(broken, fhir.StatusActive, ""); mended.Has("error") {
		t.Error("SST-5: the error outlives its cause")
	}
	if r5 := fhir.R5.WithStatus(parse(t, `{"resourceType":"Subscription","status":"active"}`), fhir.StatusError, "why"); r5.Has("error") {
		t.Error("R5 has no element error")
	}
}

// TOP-2: a topic as a Basic, with either prefix.
func TestTopicOf_Basic(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"5.0", "4.3"} {
		x := "http://hl7.org/fhir/" + prefix + "/StructureDefinition/extension-SubscriptionTopic."
		o := parse(t, `{"resourceType":"Basic","id":"admission","code":{"coding":[{"system":"http://hl7.org/fhir/fhir-types","code":"SubscriptionTopic"}]},
			"extension":[
				{"url":"`+x+`url","valueUri":"http://example.org/FHIR/SubscriptionTopic/admission"},
				{"url":"`+x+`version","valueString":"1.0.0"},
				{"url":"`+x+`title","valueString":"Admission"},
				{"url":"`+x+`resourceTrigger","extension":[
					{"url":"resource","valueUri":"http://hl7.org/fhir/StructureDefinition/Encounter"},
					{"url":"supportedInteraction","valueCode":"create"},
					{"url":"supportedInteraction","valueCode":"update"},
					{"url":"queryCriteria","extension":[
						{"url":"previous","valueString":"status:not=in-progress"},
						{"url":"current","valueString":"status=in-progress"},
						{"url":"requireBoth","valueBoolean":true}]}]},
				{"url":"`+x+`canFilterBy","extension":[{"url":"resource","valueUri":"Encounter"},{"url":"filterParameter","valueString":"patient"}]},
				{"url":"`+x+`notificationShape","extension":[{"url":"resource","valueUri":"Encounter"},{"url":"include","valueString":"Encounter:patient"}]}],
			"modifierExtension":[{"url":"`+x+`status","valueCode":"active"}]}`)
		if issues := fhir.R4.Validate(o); len(issues) > 0 {
			t.Errorf("the example is not valid: %v", issues)
		}
		topic, ok := fhir.R4.TopicOf(o)
		if !ok {
			t.Fatal("a Basic with the code SubscriptionTopic is a topic")
		}
		got, issues := fhir.R4.ReadTopic(topic)
		if len(issues) > 0 {
			t.Errorf("%s: %v", prefix, issues)
		}
		if got.URL != "http://example.org/FHIR/SubscriptionTopic/admission" || got.Version != "1.0.0" || got.Title != "Admission" || got.Status != "active" ||
			len(got.Triggers) != 1 || got.Triggers[0].Resource != "Encounter" || !slices.Equal(got.Triggers[0].Interactions, []string{"create", "update"}) ||
			got.Triggers[0].Query == nil || got.Triggers[0].Query.Current != "status=in-progress" || !got.Triggers[0].Query.RequireBoth ||
			len(got.CanFilterBy) != 1 || got.CanFilterBy[0].Parameter != "patient" || len(got.Shapes) != 1 || !slices.Equal(got.Shapes[0].Include, []string{"Encounter:patient"}) {
			t.Errorf("%s: got %+v", prefix, got)
		}
	}
	if _, ok := fhir.R4.TopicOf(parse(t, `{"resourceType":"Basic","code":{"text":"note"}}`)); ok {
		t.Error("any Basic is a topic")
	}
}

func TestReadTopic_OfR4BSplitsComparatorsFromModifiers(t *testing.T) {
	t.Parallel()
	got, _ := fhir.R4B.ReadTopic(parse(t, `{"resourceType":"SubscriptionTopic","url":"http://example.org/t","status":"active",
		"resourceTrigger":[{"resource":"Observation"}],"canFilterBy":[{"filterParameter":"date","modifier":["=","ge","not-in"]}]}`))
	if can := got.CanFilterBy[0]; !slices.Equal(can.Comparators, []string{"ge"}) || !slices.Equal(can.Modifiers, []string{"not-in"}) {
		t.Errorf("FLT-22: got comparators %q, modifiers %q", can.Comparators, can.Modifiers)
	}
}

// The CapabilityStatement and OperationDefinitions are valid on every release.
func TestConformance_OfEveryReleaseIsValid(t *testing.T) {
	t.Parallel()
	for _, r := range fhir.Releases {
		c := &fhir.Capability{
			Base: base, WebsocketURL: "ws://localhost:8080/ws", Software: "signalfhir", SoftwareVersion: "1", Date: at("10:00:00"),
			Resources: []fhir.CapabilityResource{{Type: "Patient"}, {Type: "Subscription"}},
			Topics:    []string{"http://example.org/FHIR/SubscriptionTopic/admission"},
		}
		statement := r.CapabilityStatement(c)
		fhirtest.Valid(t, r, statement)
		if r != fhir.R5 {
			golden(t, string(r)+"/capability", statement)
		}
		for _, id := range r.OperationDefinitions() {
			definition, _ := r.OperationDefinition(id)
			fhirtest.Valid(t, r, definition)
		}
		fhirtest.Valid(t, r, r.EncodeBindingToken(&fhir.BindingToken{Token: "t", Expiration: at("10:00:00"), Subscriptions: []string{"a"}, WebsocketURL: "ws://x/ws"}))
		status := notification(fhir.QueryStatus, fhir.IDOnly, 3)
		fhirtest.Valid(t, r, r.EncodeStatusBundle("231e7f38-2dd1-45ac-9161-d7bd87c403bd", at("10:00:00"), base+"/Subscription/$status", []*fhir.Notification{status}))
	}
}
