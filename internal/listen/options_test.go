package listen

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptions_BaseIsTheFHIRBaseOfTheServer(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"http://127.0.0.1:8080":              "http://127.0.0.1:8080/fhir/R5",
		"http://127.0.0.1:8080/":             "http://127.0.0.1:8080/fhir/R5",
		"https://example.org":                "https://example.org/fhir/R5",
		"http://[::1]:8080":                  "http://[::1]:8080/fhir/R5",
		"http://example.org/under/a/path//":  "http://example.org/under/a/path/fhir/R5",
		"http://127.0.0.1:8080/fhir/R5":      "http://127.0.0.1:8080/fhir/R5",
		"http://127.0.0.1:8080/fhir/R5/":     "http://127.0.0.1:8080/fhir/R5",
		"http://127.0.0.1:8080/fhir/R4B":     "http://127.0.0.1:8080/fhir/R4B",
		"https://example.org/hospital/fhir/": "https://example.org/hospital/fhir",
	} {
		got, err := (&Options{Server: server}).base()
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", server, got, err, want)
		}
	}
}

func TestOptions_BaseRefusesInvalidServers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"", "127.0.0.1:8080", "localhost:8080", "ws://127.0.0.1:8080", "http://", "http:///fhir/R5", "http://a b", "file:///tmp", "://"} {
		got, err := (&Options{Server: server}).base()
		if err == nil {
			t.Errorf("%q is accepted as %s", server, got)
			continue
		}
		if text, want := err.Error(), "--server "+server+": expected an http or https URL such as http://127.0.0.1:8080"; text != want {
			t.Errorf("%q: got %q, want %q", server, text, want)
		}
	}
}

func TestOptions_ResourceIsTheSubscriptionToCreate(t *testing.T) {
	t.Parallel()
	const fixed = `"resourceType":"Subscription","status":"requested","topic":"http://example.org/topic","reason":"signalfhir listen",
		"channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"},"contentType":"application/fhir+json"`
	rows := []struct {
		name    string
		options Options
		want    string
	}{
		{"nothing but a topic", Options{}, `{` + fixed + `,"content":"id-only"}`},
		{"a payload level", Options{Content: "full-resource"}, `{` + fixed + `,"content":"full-resource"}`},
		{"a heartbeat", Options{Heartbeat: 20}, `{` + fixed + `,"content":"id-only","heartbeatPeriod":20}`},
		{"filters", Options{Filters: []string{"patient=Patient/1", "status=a,b=c", "code="}}, `{` + fixed + `,"content":"id-only","filterBy":[
			{"filterParameter":"patient","value":"Patient/1"},{"filterParameter":"status","value":"a,b=c"},{"filterParameter":"code","value":""}]}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.options.Topic = "http://example.org/topic"
			resource, err := row.options.resource()
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(resource)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(row.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the subscription differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptions_ResourceRefusesAFilterWithoutValue(t *testing.T) {
	t.Parallel()
	_, err := (&Options{Filters: []string{"patient=Patient/1", "status"}}).resource()
	if err == nil || !strings.Contains(err.Error(), "--filter status: expected PARAM=VALUE") {
		t.Errorf("got %v, want the filter named and what is expected", err)
	}
}

func TestOptions_ResourceOfAnOlderRelease(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"http://x/fhir/R4", "http://x/fhir/r4b/"} {
		o := Options{Server: server, Topic: "http://example.org/t", Content: "empty", Heartbeat: 5, Filters: []string{"patient=Patient/1"}}
		sub, err := o.resource()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(sub)
		want := `{"_criteria":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria","valueString":"patient=Patient/1"}]},` +
			`"channel":{"_payload":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content","valueCode":"empty"}]},` +
			`"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period","valueUnsignedInt":5}],` +
			`"payload":"application/fhir+json","type":"websocket"},"criteria":"http://example.org/t","reason":"signalfhir listen","resourceType":"Subscription","status":"requested"}`
		if string(got) != want {
			t.Errorf("%s: got\n%s, want\n%s", server, got, want)
		}
	}
}
