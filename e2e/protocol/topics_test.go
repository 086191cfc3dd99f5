package protocol

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// told asks, as text, what a change would do.
func (s *server) told(previous, current any) string {
	s.T.Helper()
	body := map[string]any{}
	if previous != nil {
		body["previous"] = previous
	}
	if current != nil {
		body["current"] = current
	}
	return string(s.Must(200, "POST", "/mock/explain?format=text", compact(body)).Raw)
}

// topicOf is the admission topic with another trigger.
func topicOf(trigger map[string]any, pairs ...any) map[string]any {
	topic := admissionTopic()
	trigger["resource"] = "Encounter"
	topic["resourceTrigger"] = []any{trigger}
	for i := 0; i < len(pairs); i += 2 {
		topic[pairs[i].(string)] = pairs[i+1]
	}
	return topic
}

// Each row of the truth table of 1.3.5 and each trap around it, as the server
// explains it.
func TestTopics_TruthTableAndTraps(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	planned, admitted, done := encounter("e", "planned"), encounter("e", "in-progress"), encounter("e", "completed")
	query := func(pairs ...any) m {
		q := m{}
		for i := 0; i < len(pairs); i += 2 {
			q[pairs[i].(string)] = pairs[i+1]
		}
		return m{"queryCriteria": q}
	}
	tests := []struct {
		name              string
		trigger           m
		previous, current any
	}{}
	add := func(name string, trigger m, previous, current any) {
		tests = append(tests, struct {
			name              string
			trigger           m
			previous, current any
		}{name, trigger, previous, current})
	}
	for _, both := range []bool{true, false} {
		for _, p := range []bool{true, false} {
			for _, c := range []bool{true, false} {
				state := map[bool]m{true: admitted, false: planned}
				result := map[bool]string{true: "test-passes", false: "test-fails"}
				trigger := func() m {
					return query("previous", "status=in-progress", "resultForCreate", result[p], "current", "status=in-progress", "resultForDelete", result[c], "requireBoth", both)
				}
				row := fmt.Sprintf("P %v, C %v, both %v", p, c, both)
				add("1.3.5 create: "+row, trigger(), nil, state[c])
				add("1.3.5 update: "+row, trigger(), state[p], state[c])
				add("1.3.5 delete: "+row, trigger(), state[p], nil)
			}
		}
	}
	add("TOP-3 an interaction that is not supported", m{"supportedInteraction": []any{"delete"}}, nil, planned)
	add("TOP-4 no criteria", m{"supportedInteraction": []any{"update"}}, planned, planned)
	add("TOP-8 both kinds of criteria", with(query("current", "status=planned"), "fhirPathCriteria", "false"), nil, planned)
	add("TOP-9 %previous is empty on a create", m{"fhirPathCriteria": "%previous.empty() and %current.exists()"}, nil, planned)
	add("TOP-9 %current is empty on a delete", m{"fhirPathCriteria": "%previous.exists() and %current.empty()"}, planned, nil)
	add("TOP-10 nothing is not true", m{"fhirPathCriteria": "%current.status.where($this = 'x')"}, nil, planned)
	add("TOP-10 a string is not true", m{"fhirPathCriteria": "%current.status"}, nil, planned)
	add("TOP-10 a resource is not true", m{"fhirPathCriteria": "%current"}, nil, planned)
	add("TOP-10 several things are not true", m{"fhirPathCriteria": "%current | %current.status"}, nil, planned)
	add("TOP-10 an error is not true", m{"fhirPathCriteria": "%current.status + 1"}, nil, planned)
	add("TOP-11 boolean | is read as or where the strict reading is no condition", m{"fhirPathCriteria": "(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')"}, planned, done)
	add("TOP-11 … which may be false too", m{"fhirPathCriteria": "(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')"}, done, done)
	add("TOP-12 a comparison with nothing is nothing", m{"fhirPathCriteria": "%previous.status!='in-progress' and %current.status='in-progress'"}, nil, admitted)
	add("TOP-13 a query with its type and encoded", query("current", "Encounter?status%3Anot=in-progress"), nil, planned)
	add("TOP-14 test-passes without requireBoth fires on every create", query("resultForCreate", "test-passes", "current", "status=in-progress"), nil, planned)
	add("TOP-14 test-fails with requireBoth never fires on a create", query("resultForCreate", "test-fails", "current", "status=in-progress", "requireBoth", true), nil, admitted)
	add("TOP-15 no resultForCreate leaves that test out", query("previous", "status=planned", "current", "status=in-progress", "requireBoth", true), nil, admitted)
	add("TOP-15 no resultForDelete leaves that test out", query("previous", "status=planned", "current", "status=in-progress", "requireBoth", true), planned, nil)
	add("TOP-16 no previous leaves that test out", query("current", "status=in-progress"), planned, admitted)
	add("TOP-16 no query on an update is no criteria", query("resultForCreate", "test-passes"), planned, planned)
	add("a search parameter of each kind", query("current", "length=gt1||h&patient.gender:missing=true&date=ge2026&_has:Observation:encounter:status=final", "requireBoth", true), planned,
		encounter("e", "planned", "length", m{"value": 2, "unit": "h"}, "actualPeriod", m{"start": "2026-02-01"}))

	s := start(t)
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	var all strings.Builder
	for _, tt := range tests {
		s.Must(200, "PUT", "SubscriptionTopic/admission", topicOf(tt.trigger))
		fmt.Fprintf(&all, "%s\n%s\n", tt.name, s.told(tt.previous, tt.current))
	}
	golden(t, "topics.golden", all.String())
}

// Each rule of filters that decides, FLT-1 to FLT-16, as the server explains it;
// and each that refuses, as it is refused.
func TestFilters_Rules(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	s := start(t)
	s.Must(201, "PUT", "Patient/123", with(with(patient("123", "A"), "gender", "male"), "birthDate", "1950-06-01"))
	s.Must(201, "PUT", "Group/ward", m{"resourceType": "Group", "id": "ward", "type": "person", "membership": "enumerated", "member": []any{m{"entity": reference("Patient/123")}}})
	offered := []any{
		m{"resource": "Encounter", "filterParameter": "patient", "modifier": []any{"in", "not-in"}},
		m{"resource": "Encounter", "filterParameter": "status", "modifier": []any{"not", "missing"}},
		m{"resource": "Encounter", "filterParameter": "date", "comparator": []any{"ge", "lt"}},
		m{"resource": "Encounter", "filterParameter": "who", "filterDefinition": "http://hl7.org/fhir/SearchParameter/clinical-patient"},
		m{"resource": "Encounter", "filterParameter": "mood"},
		m{"resource": "Encounter", "filterParameter": "patient.gender"},
		m{"resource": "Encounter", "filterParameter": "length", "comparator": []any{"gt"}},
		m{"resource": "Encounter", "filterParameter": "subject", "modifier": []any{"type"}},
		m{"resource": "Patient", "filterParameter": "family"},
		m{"filterParameter": "_id"},
	}
	topic := with(admissionTopic(), "resourceTrigger", []any{m{"resource": "Encounter"}, m{"resource": "Patient"}})
	s.Must(201, "PUT", "SubscriptionTopic/admission", with(topic, "canFilterBy", offered))
	focus := encounter("e", "in-progress", "subject", reference("Patient/123"), "actualPeriod", m{"start": "2026-01-10", "end": "2026-01-12"}, "length", m{"value": 90, "unit": "min"})
	filter := func(pairs ...string) m {
		f := m{}
		for i := 0; i < len(pairs); i += 2 {
			f[pairs[i]] = pairs[i+1]
		}
		return f
	}
	by := func(name, value string, more ...string) m {
		return filter(append([]string{"filterParameter", name, "value", value}, more...)...)
	}
	var all strings.Builder
	for _, tt := range []struct {
		name    string
		filters []any
	}{
		{"FLT-1 all have to hold", []any{by("patient", "Patient/123"), by("status", "planned")}},
		{"FLT-1 all do", []any{by("patient", "Patient/123"), by("status", "in-progress")}},
		{"FLT-2 a resourceType limits it to that type", []any{by("_id", "other", "resourceType", "Patient")}},
		{"FLT-2 without one it is about every type that has it", []any{by("_id", "other")}},
		{"FLT-3 not applicable passes", []any{by("family", "B")}},
		{"FLT-4 not offered", []any{by("class", "AMB")}},
		{"FLT-5 a label with a definition", []any{by("who", "Patient/9")}},
		{"FLT-6 a label without", []any{by("mood", "sad")}},
		{"FLT-7 a chain", []any{by("patient.gender", "male")}},
		{"FLT-7 a chain that does not hold", []any{by("patient.gender", "female")}},
		{"FLT-8 a comma is or", []any{by("status", "planned,in-progress")}},
		{"FLT-8 a value that does not fit", []any{by("date", "yesterday", "comparator", "ge")}},
		{"FLT-9 a comparator", []any{by("date", "2026-01-11", "comparator", "ge")}},
		{"FLT-9 a comparator as a prefix", []any{by("length", "gt60||min")}},
		{"FLT-9 both", []any{by("date", "ge2026", "comparator", "ge")}},
		{"FLT-10 a modifier", []any{by("status", "in-progress", "modifier", "not")}},
		{"FLT-10 type", []any{by("subject", "Patient/1", "modifier", "type")}},
		{"FLT-11 a comparator that is not offered", []any{by("date", "2026", "comparator", "le")}},
		{"FLT-11 a modifier that is not offered", []any{by("status", "x", "modifier", "in")}},
		{"FLT-12 in a group", []any{by("patient", "Group/ward", "modifier", "in")}},
		{"FLT-13 a bare id", []any{by("patient", "123")}},
		{"FLT-13 an absolute URL", []any{by("patient", "http://any.name.of.ours/fhir/R5/Patient/123")}},
		{"FLT-13 a URL of another server", []any{by("patient", "http://elsewhere.example/fhir/Patient/123")}},
		{"FLT-13 another patient", []any{by("patient", "Patient/1234")}},
	} {
		a := s.Do("PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "filterBy", tt.filters))
		fmt.Fprintf(&all, "%s\n", tt.name)
		if a.Status >= 400 {
			code, diagnostics, at := a.Issue()
			fmt.Fprintf(&all, "refused %d %s at %s: %s\n\n", a.Status, code, strings.Join(at, ", "), diagnostics)
			continue
		}
		told := s.told(nil, focus)
		_, subscription, _ := strings.Cut(told, "    subscription")
		fmt.Fprintf(&all, "    subscription%s\n", subscription)
	}
	golden(t, "filters.golden", all.String())
}

// Before R5 a filter is one string: what is wrong with it is said of that string,
// and what is none is malformed (FLT-24).
func TestFilters_RefusedAsOneStringBeforeR5(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	const class = "http://hl7.org/fhir/SearchParameter/Encounter-class"
	for _, r := range []fhir.Release{fhir.R4B, fhir.R4} {
		s := start(t).on(r)
		s.Must(201, "PUT", "SubscriptionTopic/admission", with(admissionTopic(), "canFilterBy", []any{
			m{"resource": "Encounter", "filterParameter": "patient"},
			m{"resource": "Encounter", "filterParameter": "length", "modifier": []any{"gt"}},
			m{"resource": "Encounter", "filterParameter": class, "modifier": []any{"in"}},
		}))
		for _, tt := range []struct {
			criteria string
			status   int
			code     string
		}{
			{"patient", 400, "value"},
			{"Encounter?patient=", 400, "value"},
			{"Foo?patient=Patient/1", 422, "not-supported"},
			{"mood=sad", 422, "not-supported"},
			{"patient:in=Group/1", 422, "not-supported"},
			{"length=lt1", 422, "not-supported"},
			{"length=long", 422, "value"},
			{class + ":not=IMP", 422, "not-supported"},
			{class + "=IMP", 201, ""}, // a parameter named by its URL (FLT-5)
		} {
			sub := wiretest.BackportSubscription(websocketSubscription("abc", admissionURL))
			sub["_criteria"] = m{"extension": []any{m{"url": wiretest.Backport + "filter-criteria", "valueString": tt.criteria}}}
			a := s.Must(tt.status, "PUT", "Subscription/abc", compact(sub))
			if a.Status == 201 {
				continue
			}
			if code, diagnostics, at := a.Issue(); code != tt.code || strings.Join(at, ", ") != "Subscription.criteria.extension[0].value" {
				t.Errorf("%s %s: got %s at %q: %s", r, tt.criteria, code, at, diagnostics)
			}
		}
	}
}

// FLT-14 to FLT-16 need events, not explanations: a filter looks at the state
// after an update and before a delete, raises nothing, and what it holds back has
// no number.
func TestFilters_DecideWhatIsNumbered(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		topic := topicOf(map[string]any{"supportedInteraction": []any{"create", "update", "delete"}, "queryCriteria": map[string]any{"previous": "status:not=cancelled", "current": "status:not=cancelled"}})
		s.Must(201, "PUT", "SubscriptionTopic/admission", topic)
		s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/1"}}))
		ws := s.Bind("abc")
		of := func(patient string) map[string]any {
			return encounter("e", "planned", "subject", reference("Patient/"+patient))
		}
		s.Must(201, "PUT", "Encounter/e", of("2"))
		ws.Nothing() // FLT-16: not counted
		s.Must(200, "PUT", "Encounter/e", of("1"))
		ws.WantEvent("1") // FLT-14: the state after the update
		s.Must(200, "PUT", "Encounter/e", of("2"))
		ws.Nothing()
		s.Must(200, "PUT", "Encounter/e", of("1"))
		ws.WantEvent("2")
		s.Must(204, "DELETE", "Encounter/e", nil)
		ws.WantEvent("3") // FLT-14: the state before the delete
		s.Must(201, "PUT", "Encounter/f", encounter("f", "cancelled", "subject", reference("Patient/1")))
		ws.Nothing() // FLT-15: the filter would let it pass, but nothing fired
		// TOP-7: what failed is not a change.
		s.Must(400, "PUT", "Encounter/e", `{"resourceType":"Encounter","id":"e","colour":"red"}`)
		ws.Nothing()
	})
}

// A topic that is written as a Basic is held to the form of a topic (7.5), but may
// have the modifiers of R4B.
func TestTopics_AsBasicAreChecked(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	s := start(t).on(fhir.R4)
	triggered := func(pairs ...any) m {
		trigger := m{"resource": "Encounter"}
		for i := 0; i < len(pairs); i += 2 {
			trigger[pairs[i].(string)] = pairs[i+1]
		}
		return with(admissionTopic(), "resourceTrigger", []any{trigger})
	}
	for name, tt := range map[string]struct {
		topic    m
		code, at string // "": accepted
	}{
		"no url":           {with(admissionTopic(), "url", nil), "required", "SubscriptionTopic.url"},
		"no status":        {with(admissionTopic(), "status", nil), "required", "SubscriptionTopic.status"},
		"status":           {with(admissionTopic(), "status", "on"), "code-invalid", "SubscriptionTopic.status"},
		"trigger is text":  {with(admissionTopic(), "resourceTrigger", []any{"Encounter"}), "structure", "SubscriptionTopic.resourceTrigger[0]"},
		"trigger on none":  {with(admissionTopic(), "resourceTrigger", []any{m{"supportedInteraction": []any{"create"}}}), "required", "SubscriptionTopic.resourceTrigger[0].resource"},
		"interaction":      {triggered("supportedInteraction", []any{"created"}), "code-invalid", "SubscriptionTopic.resourceTrigger[0].supportedInteraction[0]"},
		"result":           {triggered("queryCriteria", m{"resultForCreate": "passes"}), "code-invalid", "SubscriptionTopic.resourceTrigger[0].queryCriteria.resultForCreate"},
		"requireBoth":      {triggered("queryCriteria", m{"requireBoth": "true"}), "value", "SubscriptionTopic.resourceTrigger[0].queryCriteria.requireBoth"},
		"filter of none":   {with(admissionTopic(), "canFilterBy", []any{m{"resource": "Encounter"}}), "required", "SubscriptionTopic.canFilterBy[0].filterParameter"},
		"modifiers of R4B": {with(admissionTopic(), "canFilterBy", []any{m{"filterParameter": "date", "modifier": []any{"=", "gt"}}}), "", ""},
		"modifiers of R5":  {with(admissionTopic(), "canFilterBy", []any{m{"filterParameter": "date", "comparator": []any{"gt"}, "modifier": []any{"missing"}}}), "", ""},
		"more elements":    {with(admissionTopic(), "contact", m{"name": "Ann"}), "", ""},
	} {
		for element, value := range tt.topic {
			if value == nil {
				delete(tt.topic, element)
			}
		}
		a := s.Do("PUT", "SubscriptionTopic/admission", tt.topic)
		code, diagnostics, at := a.Issue()
		if tt.code == "" && a.Status >= 300 || tt.code != "" && (a.Status != 400 || code != tt.code || strings.Join(at, ", ") != tt.at) {
			t.Errorf("%s: got %d %s at %q: %s", name, a.Status, code, at, diagnostics)
		}
	}
}

// TOP-6: an update that changes nothing is a new version, and fires.
// TOP-17, TOP-19: a topic with event triggers is stored; only /mock/trigger fires it.
func TestTopics_UpdatesWithoutChangeAndEventTriggers(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "SubscriptionTopic/admission", topicOf(map[string]any{"supportedInteraction": []any{"update"}}))
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
	ws.Nothing()
	for n := 1; n <= 2; n++ {
		s.Must(200, "PUT", "Encounter/e", encounter("e", "planned"))
		ws.WantEvent(fmt.Sprint(n))
	}

	const url = "http://example.org/topic/a01"
	event := map[string]any{"resourceType": "SubscriptionTopic", "id": "a01", "url": url, "status": "active",
		"eventTrigger": []any{map[string]any{"event": map[string]any{"coding": []any{map[string]any{"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A01"}}}, "resource": "Encounter"}}}
	a := s.Must(201, "PUT", "SubscriptionTopic/a01", event, "Prefer", "return=OperationOutcome")
	if !strings.Contains(string(a.Raw), "only the control API can") {
		t.Errorf("nobody says that only /mock/trigger fires it: %s", a.Raw)
	}
	s.Must(201, "PUT", "Subscription/event", websocketSubscription("event", url))
	other := s.Bind("event")
	s.Must(201, "PUT", "Encounter/f", encounter("f", "planned"))
	other.Nothing()
	s.Must(200, "POST", "/mock/trigger", map[string]any{"topic": url, "reference": "Encounter/f"})
	if f := other.WantEvent("1"); !strings.Contains(string(f.Raw), "Encounter/f") {
		t.Errorf("got %s", f.Raw)
	}
}

// TOP-18, TOP-20, TOP-21: versions of a topic live side by side; a draft can be
// subscribed to, a retired one cannot.
func TestTopics_VersionsAndStatus(t *testing.T) {
	t.Parallel()
	s := start(t)
	version := func(id, version, status, query string) map[string]any {
		topic := topicOf(map[string]any{"queryCriteria": map[string]any{"current": query}}, "id", id, "version", version)
		topic["status"] = status
		return topic
	}
	s.Must(201, "PUT", "SubscriptionTopic/v1", version("v1", "1.0.0", "active", "status=planned"))
	s.Must(201, "PUT", "SubscriptionTopic/v2", version("v2", "1.10.0", "draft", "status=in-progress"))
	s.Must(422, "PUT", "SubscriptionTopic/again", version("again", "1.0.0", "active", "status=planned"))
	s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL+"|1.0.0"))
	s.Must(201, "PUT", "Subscription/latest", websocketSubscription("latest", admissionURL))
	s.Must(422, "PUT", "Subscription/none", websocketSubscription("none", admissionURL+"|3"))
	one, latest := s.Bind("one"), s.Bind("latest")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
	one.WantEvent("1")
	latest.Nothing()
	s.Must(200, "PUT", "Encounter/e", encounter("e", "in-progress"))
	latest.WantEvent("1")
	one.Nothing()
	// A later version takes over those that name none.
	s.Must(201, "PUT", "SubscriptionTopic/v3", version("v3", "2.0.0", "active", "status=completed"))
	s.Must(200, "PUT", "Encounter/e", encounter("e", "completed"))
	latest.WantEvent("2")
	// Retired, it refuses new ones, and those there are say so.
	s.Must(200, "PUT", "SubscriptionTopic/v1", version("v1", "1.0.0", "retired", "status=planned"))
	if a := s.Must(422, "PUT", "Subscription/new", websocketSubscription("new", admissionURL+"|1.0.0")); !strings.Contains(string(a.Raw), "retired") {
		t.Errorf("got %s", a.Raw)
	}
	if a := s.Must(200, "GET", "Subscription/one", nil); a.Body["status"] != "error" {
		t.Errorf("the subscription on the retired topic is %v, want error", a.Body["status"])
	}
}

// TOP-8: --prefer-query; FLT-4: --any-filter.
func TestTopics_Options(t *testing.T) {
	t.Parallel()
	s := start(t, "--prefer-query", "--any-filter")
	s.Must(201, "PUT", "SubscriptionTopic/admission", topicOf(map[string]any{"queryCriteria": map[string]any{"current": "status=planned"}, "fhirPathCriteria": "false"}))
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "filterBy", []any{map[string]any{"filterParameter": "class", "value": "AMB"}}))
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
	ws.Nothing()
	s.Must(201, "PUT", "Encounter/f", encounter("f", "planned", "class", []any{map[string]any{"coding": []any{map[string]any{"code": "AMB"}}}}))
	ws.WantEvent("1")
}

func TestTopic_ChangesReachItsSubscriptions(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	topic := admissionTopic()
	topic["resourceTrigger"] = []any{map[string]any{"resource": "Patient"}}
	s.Must(200, "PUT", "SubscriptionTopic/admission", topic)
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.Nothing()
	s.Must(201, "PUT", "Patient/p", patient("p", "A"))
	ws.WantEvent("1")

	s.Must(204, "DELETE", "SubscriptionTopic/admission", nil)
	status := s.Must(200, "GET", "Subscription/abc/$status", nil).Notification().Status()
	if status["status"] != "error" || status["error"] == nil {
		t.Fatalf("got %v, want status error that says the topic is gone (TOP-22)", status)
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil); a.Body["status"] != "error" {
		t.Errorf("the resource says %v, want error (LC-15)", a.Body["status"])
	}
	// LC-7: it goes on counting, though nothing is delivered.
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","reference":"Patient/p"}`)
	ws.Nothing()
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("3")
}
