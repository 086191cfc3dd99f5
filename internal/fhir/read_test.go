package fhir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// found is an issue without its text.
type found struct{ Severity, Code, At string }

func summary(issues []fhir.Issue) []found {
	var list []found
	for _, i := range issues {
		list = append(list, found{i.Severity, string(i.Code), strings.Join(i.Expression, ",")})
	}
	return list
}

// subscription returns a valid one with members added; a member given as null is
// removed.
func subscription(t *testing.T, members string) *fhir.Object {
	t.Helper()
	o := parse(t, `{"resourceType":"Subscription","id":"abc","status":"requested",
		"topic":"http://example.org/SubscriptionTopic/admission",
		"channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"},
		"contentType":"application/fhir+json","content":"id-only"}`)
	return with(t, o, members)
}

func with(t *testing.T, o *fhir.Object, members string) *fhir.Object {
	t.Helper()
	if members == "" {
		return o
	}
	changes := parse(t, "{"+members+"}")
	for _, name := range changes.Names() {
		if v := changes.Get(name); v != nil {
			o.Set(name, v)
		} else {
			o.Delete(name)
		}
	}
	return o
}

func TestReadSubscription_ReadsEveryElement(t *testing.T) {
	t.Parallel()
	got, issues := fhir.R5.ReadSubscription(subscription(t, `
		"topic":"http://example.org/SubscriptionTopic/admission|1.0.0",
		"end":"2026-12-31T12:00:00.5+02:00",
		"filterBy":[
			{"resourceType":"http://hl7.org/fhir/StructureDefinition/Encounter","filterParameter":"patient","value":"Patient/123"},
			{"resourceType":"Encounter","filterParameter":"length","comparator":"gt","value":"5"},
			{"filterParameter":"patient","modifier":"in","value":"List/1"}],
		"endpoint":"wss://example.org/ws",
		"heartbeatPeriod":60,"timeout":10,"maxCount":20,
		"contentType":"application/fhir+json; fhirVersion=5.0","content":"full-resource"`))
	if issues != nil {
		t.Errorf("issues %v", issues)
	}
	want := &fhir.Subscription{
		Release: fhir.R5, ID: "abc", Status: "requested",
		Topic: "http://example.org/SubscriptionTopic/admission|1.0.0",
		End:   time.Date(2026, 12, 31, 10, 0, 0, 500e6, time.UTC),
		Filters: []fhir.Filter{
			{ResourceType: "Encounter", Parameter: "patient", Value: "Patient/123", Expression: "Subscription.filterBy[0]"},
			{ResourceType: "Encounter", Parameter: "length", Comparator: "gt", Value: "5", Expression: "Subscription.filterBy[1]"},
			{Parameter: "patient", Modifier: "in", Value: "List/1", Expression: "Subscription.filterBy[2]"},
		},
		Channel: "websocket", Endpoint: "wss://example.org/ws",
		HeartbeatPeriod: time.Minute, Timeout: 10 * time.Second, MaxCount: 20,
		ContentType: "application/fhir+json; fhirVersion=5.0", Content: fhir.FullResource,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadSubscription_Defaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, members string
		contentType   string
		content       fhir.Content
	}{
		{"neither (SUB-5, SUB-6)", `"content":null,"contentType":null`, "application/fhir+json", fhir.Empty},
		{"contentType only (SUB-5)", `"content":null`, "application/fhir+json", fhir.IDOnly},
		{"content only (SUB-6)", `"contentType":null,"content":"full-resource"`, "application/fhir+json", fhir.FullResource},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, issues := fhir.R5.ReadSubscription(subscription(t, tt.members))
			if got.ContentType != tt.contentType || got.Content != tt.content || issues != nil {
				t.Errorf("got %q %q %v, want %q %q", got.ContentType, got.Content, issues, tt.contentType, tt.content)
			}
			if got.HeartbeatPeriod != 0 || got.Timeout != 0 || got.MaxCount != 0 || !got.End.IsZero() {
				t.Errorf("absent elements read as %+v", got)
			}
		})
	}
	if got, _ := fhir.R5.ReadSubscription(subscription(t, `"heartbeatPeriod":0`)); got.HeartbeatPeriod != 0 {
		t.Errorf("SUB-8: heartbeatPeriod 0 read as %v", got.HeartbeatPeriod)
	}
}

func TestReadSubscription_Rules(t *testing.T) { // 7.1
	t.Parallel()
	broken := func(code, at string) []found { return []found{{"error", code, at}} }
	channel := func(members string) string { return `"channelType":{` + members + `}` }
	tests := []struct {
		name, members string
		want          []found
	}{
		{"comparator and modifier (SUB-2)", `"filterBy":[{"filterParameter":"a","value":"b"},{"filterParameter":"a","value":"b","comparator":"eq","modifier":"not"}]`,
			broken("invariant", "Subscription.filterBy[1].comparator")},
		{"topic that is a path", `"topic":"SubscriptionTopic/admission"`, broken("value", "Subscription.topic")},
		{"topic that is a word", `"topic":"admission|1"`, broken("value", "Subscription.topic")},
		{"topic without host", `"topic":"http:///admission"`, broken("value", "Subscription.topic")},
		{"topic only by extension", `"topic":null`, broken("value", "Subscription.topic")},
		{"topic as urn", `"topic":"urn:uuid:231e7f38-2dd1-45ac-9161-d7bd87c403bd"`, nil},
		{"system absent (SUB-4)", channel(`"code":"websocket"`), nil},
		{"system of R4 (SUB-4)", channel(`"system":"http://hl7.org/fhir/subscription-channel-type","code":"websocket"`), nil},
		{"another system (SUB-4)", channel(`"system":"http://example.org","code":"websocket"`), broken("not-supported", "Subscription.channelType.system")},
		{"another channel", channel(`"code":"rest-hook"`), broken("not-supported", "Subscription.channelType.code")},
		{"no channel code", channel(`"display":"websocket"`), broken("not-supported", "Subscription.channelType.code")},
		{"endpoint ws (LC-6)", `"endpoint":"ws://example.org"`, nil},
		{"endpoint https (LC-6)", `"endpoint":"https://example.org/hook"`, nil},
		{"endpoint mailto (LC-6)", `"endpoint":"mailto:me@example.org"`, []found{{"warning", "value", "Subscription.endpoint"}}},
		{"endpoint relative (LC-6)", `"endpoint":"ws"`, []found{{"warning", "value", "Subscription.endpoint"}}},
		{"endpoint nonsense (LC-6)", `"endpoint":"ws://[::1"`, []found{{"warning", "value", "Subscription.endpoint"}}},
		{"contentType application/json", `"contentType":"application/json"`, nil},
		{"contentType json", `"contentType":"json"`, nil},
		{"contentType with the full version", `"contentType":"application/fhir+json;fhirVersion=5.0.0"`, nil},
		{"contentType with charset", `"contentType":"application/fhir+json; charset=UTF-8"`, nil},
		{"contentType xml", `"contentType":"application/fhir+xml"`, broken("not-supported", "Subscription.contentType")},
		{"contentType text", `"contentType":"text/plain"`, broken("not-supported", "Subscription.contentType")},
		{"contentType nonsense", `"contentType":"application/fhir+json; ="`, broken("not-supported", "Subscription.contentType")},
		{"contentType of another version", `"contentType":"application/fhir+json; fhirVersion=4.0"`, broken("not-supported", "Subscription.contentType")},
		{"contentType of a part of the version", `"contentType":"application/fhir+json; fhirVersion=5"`, broken("not-supported", "Subscription.contentType")},
		{"all at once", `"topic":"x","contentType":"text/plain","channelType":{"code":"email"}`, []found{
			{"error", "value", "Subscription.topic"}, {"error", "not-supported", "Subscription.channelType.code"}, {"error", "not-supported", "Subscription.contentType"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, issues := fhir.R5.ReadSubscription(subscription(t, tt.members))
			if diff := cmp.Diff(tt.want, summary(issues)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := fhir.RefuseAll(issues); err != nil && fhir.AsError(err).Status != 422 {
				t.Errorf("status %d, want 422", fhir.AsError(err).Status)
			}
		})
	}
}

func TestWithStatus_LeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	o := subscription(t, "")
	before := string(o.AppendJSON(nil))
	got := fhir.R5.WithStatus(o, fhir.StatusActive, "")
	if after := string(o.AppendJSON(nil)); after != before {
		t.Errorf("the original became %s", after)
	}
	if want := strings.Replace(before, `"requested"`, `"active"`, 1); string(got.AppendJSON(nil)) != want {
		t.Errorf("got %s, want %s", got.AppendJSON(nil), want)
	}
}

func TestReadTopic_ReadsEveryElement(t *testing.T) {
	t.Parallel()
	got, issues := fhir.R5.ReadTopic(parse(t, `{"resourceType":"SubscriptionTopic","url":"http://example.org/t","version":"1.0.0","title":"admission","status":"active",
		"resourceTrigger":[
			{"resource":"http://hl7.org/fhir/StructureDefinition/Encounter","supportedInteraction":["create","update"],
			 "queryCriteria":{"previous":"status:not=in-progress","resultForCreate":"test-passes","current":"status=in-progress","resultForDelete":"test-fails","requireBoth":true}},
			{"resource":"Resource","fhirPathCriteria":"%current.exists()"}],
		"eventTrigger":[{"resource":"Patient","event":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0003","code":"A01"}]}},
			{"resource":"Patient","event":{"text":"admitted"}}],
		"canFilterBy":[{"resource":"Encounter","filterParameter":"patient","filterDefinition":"http://hl7.org/fhir/SearchParameter/clinical-patient","comparator":["eq"],"modifier":["in","not-in"]},
			{"filterParameter":"_id"}],
		"notificationShape":[{"resource":"Encounter","include":["Encounter:patient"],"revInclude":["Observation:encounter"]}]}`))
	if issues != nil {
		t.Errorf("issues %v", issues)
	}
	want := &fhir.Topic{
		URL: "http://example.org/t", Version: "1.0.0", Title: "admission", Status: "active",
		Triggers: []fhir.Trigger{
			{Resource: "Encounter", Interactions: []string{"create", "update"}, Expression: "SubscriptionTopic.resourceTrigger[0]",
				Query: &fhir.QueryCriteria{Previous: "status:not=in-progress", Current: "status=in-progress", ResultForCreate: "test-passes", ResultForDelete: "test-fails", RequireBoth: true}},
			{Resource: "Resource", FHIRPath: "%current.exists()", Expression: "SubscriptionTopic.resourceTrigger[1]"},
		},
		EventTriggers: []fhir.EventTrigger{
			{Code: "A01", System: "http://terminology.hl7.org/CodeSystem/v2-0003", Resource: "Patient"},
			{Code: "admitted", Resource: "Patient"},
		},
		CanFilterBy: []fhir.CanFilterBy{
			{Resource: "Encounter", Parameter: "patient", Definition: "http://hl7.org/fhir/SearchParameter/clinical-patient",
				Comparators: []string{"eq"}, Modifiers: []string{"in", "not-in"}, Expression: "SubscriptionTopic.canFilterBy[0]"},
			{Parameter: "_id", Expression: "SubscriptionTopic.canFilterBy[1]"},
		},
		Shapes: []fhir.Shape{{Resource: "Encounter", Include: []string{"Encounter:patient"}, RevInclude: []string{"Observation:encounter"}, Expression: "SubscriptionTopic.notificationShape[0]"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadTopic_Rules(t *testing.T) { // 7.5
	t.Parallel()
	tests := []struct {
		name, members string
		want          []found
	}{
		{"a profile's URL", `"resourceTrigger":[{"resource":"Encounter"},{"resource":"http://example.org/StructureDefinition/Encounter"}]`,
			[]found{{"error", "not-supported", "SubscriptionTopic.resourceTrigger[1].resource"}}},
		{"a data type", `"resourceTrigger":[{"resource":"HumanName"}]`, []found{{"error", "not-supported", "SubscriptionTopic.resourceTrigger[0].resource"}}},
		{"an abstract type", `"resourceTrigger":[{"resource":"DomainResource"}]`, nil},
		{"a filter on no type", `"canFilterBy":[{"resource":"Nothing","filterParameter":"x"}]`, []found{{"error", "not-supported", "SubscriptionTopic.canFilterBy[0].resource"}}},
		{"a shape of no type", `"notificationShape":[{"resource":"Nothing"}]`, []found{{"error", "not-supported", "SubscriptionTopic.notificationShape[0].resource"}}},
		{"an event on no type", `"eventTrigger":[{"resource":"Nothing","event":{"text":"x"}}]`, []found{{"error", "not-supported", "SubscriptionTopic.eventTrigger[0].resource"}}},
		{"nothing that fires (TOP-19)", `"resourceTrigger":null`, []found{{"warning", "business-rule", "SubscriptionTopic.resourceTrigger"}}},
		{"a url that no subscription can name", `"url":"http://example.org/t|1"`, []found{{"warning", "value", "SubscriptionTopic.url"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := parse(t, `{"resourceType":"SubscriptionTopic","url":"http://example.org/t","status":"active","resourceTrigger":[{"resource":"Encounter"}]}`)
			_, issues := fhir.R5.ReadTopic(with(t, o, tt.members))
			if diff := cmp.Diff(tt.want, summary(issues)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := fhir.RefuseAll(issues); err != nil && fhir.AsError(err).Status != 422 {
				t.Errorf("status %d, want 422", fhir.AsError(err).Status)
			}
		})
	}
}

// The official examples are all rest-hook, which this server refuses, and otherwise
// valid.
func TestRead_OfficialExamples(t *testing.T) {
	t.Parallel()
	folder := fhirtest.Spec(t, "examples", "R5")
	files, _ := filepath.Glob(filepath.Join(folder, "subscription*.json"))
	if len(files) < 4 {
		t.Fatalf("found only %q", files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o := parse(t, string(data))
			switch o.Text("resourceType") {
			case "Subscription":
				s, issues := fhir.R5.ReadSubscription(o)
				if diff := cmp.Diff([]found{{"error", "not-supported", "Subscription.channelType.code"}}, summary(issues)); diff != "" {
					t.Error(diff)
				}
				if s.Channel != "rest-hook" || len(s.Filters) != 1 || s.Filters[0].Value != "Patient/123" {
					t.Errorf("read %+v", s)
				}
			case "SubscriptionTopic":
				topic, issues := fhir.R5.ReadTopic(o)
				if issues != nil {
					t.Errorf("issues %v", issues)
				}
				if len(topic.Triggers) != 1 || topic.Triggers[0].Resource != "Encounter" || topic.Triggers[0].Query == nil || !topic.Triggers[0].Query.RequireBoth {
					t.Errorf("read %+v", topic)
				}
			}
		})
	}
}
