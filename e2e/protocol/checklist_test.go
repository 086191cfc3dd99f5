package protocol

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/wiretest"
)

// The checks of Inferno's subscriptions test kit (spec.md appendix A) and of the
// backport guide's list for servers (6.2), on R4 unless they say otherwise.

func TestChecklist_CapabilityStatement(t *testing.T) {
	t.Parallel()
	for r, server := range map[fhir.Release]string{fhir.R4: "backport-subscription-server-r4", fhir.R4B: "backport-subscription-server"} {
		s := vectorServer(t, r)
		statement := s.Must(200, "GET", "metadata", nil).Body
		instantiates := asList(statement["instantiates"])
		if len(instantiates) != 1 || !strings.HasSuffix(instantiates[0].(string), "/CapabilityStatement/"+server) { // 11, CF-4
			t.Errorf("%s: instantiates %v", r, instantiates)
		}
		types := map[string]map[string]any{}
		for _, one := range asList(at(statement, "rest", 0, "resource")) {
			res := one.(map[string]any)
			types[res["type"].(string)] = res
		}
		sub := types["Subscription"]
		if got := fmt.Sprint(sub["supportedProfile"]); got != "["+strings.TrimSuffix(wiretest.Backport, "-")+"-subscription]" { // 12, CF-5
			t.Errorf("%s: supportedProfile %s", r, got)
		}
		var interactions, operations, searches []string
		for _, one := range asList(sub["interaction"]) {
			interactions = append(interactions, text(one, "code"))
		}
		for _, one := range asList(sub["operation"]) {
			op := one.(map[string]any)
			operations = append(operations, op["name"].(string))
			if !strings.HasSuffix(op["definition"].(string), "/OperationDefinition/backport-subscription-"+op["name"].(string)) {
				t.Errorf("%s: operation %v", r, op) // CF-2: without $
			}
		}
		for _, one := range asList(sub["searchParam"]) {
			searches = append(searches, text(one, "name"))
		}
		for _, want := range []string{"read", "create", "update", "delete"} { // 1, 8
			if !slices.Contains(interactions, want) {
				t.Errorf("%s: no %s of Subscription", r, want)
			}
		}
		for _, want := range []string{"status", "events", "get-ws-binding-token"} { // 2, 10
			if !slices.Contains(operations, want) {
				t.Errorf("%s: no operation %s", r, want)
			}
		}
		for _, want := range []string{"url", "status"} { // 9
			if !slices.Contains(searches, want) {
				t.Errorf("%s: no search parameter %s", r, want)
			}
		}
		var topics []any
		for _, one := range asList(sub["extension"]) {
			topics = append(topics, at(one, "valueCanonical"))
		}
		if !slices.Contains(topics, any(admissionURL)) { // 3, CF-9
			t.Errorf("%s: the topics are %v", r, topics)
		}
		if r == fhir.R4B { // 4, 5
			a := s.Must(200, "GET", "SubscriptionTopic?url="+admissionURL, nil)
			if fmt.Sprint(a.Body["total"]) != "1" {
				t.Errorf("topics by url: got %s", a.Raw)
			}
		}
	}
}

// 13 to 17, 20, 21, 27, 28: what cannot be honoured is refused when it is written.
func TestChecklist_RefusesWhatItCannotHonour(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	for name, change := range map[string]func(sub, channel map[string]any){
		"a topic it does not have": func(sub, _ map[string]any) { sub["criteria"] = "http://example.org/unknown" },
		"another channel":          func(_, channel map[string]any) { channel["type"] = "email" },
		"a custom channel": func(_, channel map[string]any) {
			channel["_type"] = map[string]any{"extension": []any{map[string]any{"url": wiretest.Backport + "channel-type", "valueCoding": map[string]any{"code": "pigeon"}}}}
		},
		"a filter the topic does not offer": func(sub, _ map[string]any) {
			sub["_criteria"] = map[string]any{"extension": []any{map[string]any{"url": wiretest.Backport + "filter-criteria", "valueString": "Encounter?length=gt5"}}}
		},
		"a level that is none": func(_, channel map[string]any) {
			channel["_payload"] = map[string]any{"extension": []any{map[string]any{"url": wiretest.Backport + "payload-content", "valueCode": "everything"}}}
		},
		"another FHIR version": func(_, channel map[string]any) { channel["payload"] = "application/fhir+json; fhirVersion=5.0" },
		"XML":                  func(_, channel map[string]any) { channel["payload"] = "application/fhir+xml" },
	} {
		sub := wiretest.BackportSubscription(websocketSubscription("new", admissionURL))
		change(sub, sub["channel"].(map[string]any))
		a := s.Do("PUT", "Subscription/new", compact(sub))
		code, text, expression := a.Issue()
		if a.Status != 422 && a.Status != 400 || code == "" || text == "" || len(expression) == 0 {
			t.Errorf("%s: got %d %s, want a refusal that says where", name, a.Status, a.Raw)
		}
	}
	s.Must(404, "GET", "Subscription/new", nil)
}

// Inferno, and 19, 22 to 26: request and response on every entry, the status
// first with a call of $status, and each level as it has to be.
func TestChecklist_NotificationsByLevel(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		s := vectorServer(t, r)
		for _, level := range []string{"empty", "id-only", "full-resource"} {
			s.Must(201, "PUT", "Subscription/"+level, websocketSubscription(level, admissionURL, "content", level))
			ws := s.Bind(level)
			created := s.Must(201, "POST", "Encounter", encounter("", "in-progress")).Body["id"].(string)
			f := ws.WantEvent("1")
			fhirtest.CheckNotification(t, r, f.Raw)
			entries := asList(f.Body["entry"])
			for i, one := range entries {
				entry := one.(map[string]any)
				if entry["request"] == nil || entry["response"] == nil {
					t.Errorf("%s %s: entry %d lacks request or response", r, level, i)
				}
			}
			if url := text(entries[0], "request", "url"); !strings.HasSuffix(url, "Subscription/"+level+"/$status") {
				t.Errorf("%s %s: the status was requested at %s", r, level, url)
			}
			event := at(f.Status(), "notificationEvent", 0).(map[string]any)
			switch level {
			case "empty":
				if len(entries) != 1 || event["focus"] != nil || strings.Contains(string(f.Raw), created) {
					t.Errorf("%s: an empty notification refers to something: %s", r, f.Raw)
				}
			case "id-only":
				for _, one := range entries[1:] {
					if at(one, "resource") != nil {
						t.Errorf("%s: an id-only notification holds a resource: %s", r, f.Raw)
					}
				}
				if event["focus"] == nil {
					t.Errorf("%s: an id-only notification has no focus: %s", r, f.Raw)
				}
			default:
				focus := text(event, "focus", "reference")
				if !slices.ContainsFunc(entries[1:], func(one any) bool {
					resource, _ := at(one, "resource").(map[string]any)
					return strings.HasSuffix(focus, fmt.Sprint(resource["resourceType"], "/", resource["id"]))
				}) {
					t.Errorf("%s: the focus %s is in no entry: %s", r, focus, f.Raw)
				}
			}
		}
	}
}
