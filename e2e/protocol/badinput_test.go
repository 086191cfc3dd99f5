package protocol

import (
	"context"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// refusal is one row of spec.md section 7: an input and the answer to it.
type refusal struct {
	name       string
	method     string
	path       string
	body       any
	headers    []string
	status     int
	code       string
	expression string // the first issue names it; "" where the row has no place
	says       string // the diagnostics contain it
}

// badInputServer holds one of each thing the rows refer to.
func badInputServer(t *testing.T) *server {
	t.Helper()
	s := vectorServer(t, fhir.R5)
	retired := admissionTopic()
	retired["id"], retired["url"], retired["status"] = "retired", "http://example.org/retired", "retired"
	s.Must(201, "PUT", "SubscriptionTopic/retired", retired)
	s.Must(201, "PUT", "Subscription/off", websocketSubscription("off", admissionURL, "status", "off"))
	s.Must(201, "PUT", "Subscription/gone", websocketSubscription("gone", admissionURL))
	s.Must(204, "DELETE", "Subscription/gone", nil)
	s.Must(201, "PUT", "Encounter/e1", encounter("e1", "planned"))
	return s
}

// refuse runs the rows and proves for each that no state changed.
func refuse(t *testing.T, s *server, rows []refusal) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := s.in(t)
			before := s.state()
			a := s.Do(row.method, row.path, row.body, row.headers...)
			code, text, expression := a.Issue()
			if a.Status != row.status || code != row.code {
				t.Fatalf("got %d %s, want %d %s\n%s", a.Status, code, row.status, row.code, a.Raw)
			}
			if len(text) < 10 {
				t.Errorf("diagnostics %q explain nothing", text)
			}
			if row.expression != "" && (len(expression) == 0 || expression[0] != row.expression) {
				t.Errorf("expression: got %v, want %s", expression, row.expression)
			}
			if !strings.Contains(text, row.says) {
				t.Errorf("diagnostics: got %q, want something with %q", text, row.says)
			}
			if after := s.state(); after != before {
				t.Errorf("a refused request changed state:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

// state is everything a refused request could have changed, as the server
// shows it.
func (s *server) state() string {
	s.T.Helper()
	var all strings.Builder
	for _, path := range []string{
		"Subscription/abc/_history", "Subscription/off/_history", "Subscription?_summary=count", "SubscriptionTopic?_summary=count",
		"Encounter?_summary=count", "Encounter/e1/_history", "Subscription/$status", "/mock/tokens",
	} {
		a := s.Must(200, "GET", path, nil)
		delete(a.Body, "id")
		delete(a.Body, "timestamp")
		for _, e := range asList(a.Body["entry"]) {
			entry := e.(map[string]any)
			delete(entry, "fullUrl")
			if res, ok := entry["resource"].(map[string]any); ok && res["resourceType"] == "SubscriptionStatus" {
				delete(res, "id")
			}
		}
		all.WriteString(path + " ")
		all.WriteString(compact(a.Body) + "\n")
	}
	return all.String()
}

func sub(changes ...any) map[string]any {
	return websocketSubscription("x", admissionURL, changes...)
}

func TestBadInput_Subscription(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	filter := func(members ...any) []any {
		f := map[string]any{}
		for i := 0; i+1 < len(members); i += 2 {
			f[members[i].(string)] = members[i+1]
		}
		return []any{f}
	}
	const put = "Subscription/x"
	rows := []refusal{
		{name: "not JSON", method: "PUT", path: put, body: "hello", status: 400, code: "structure"},
		{name: "truncated JSON", method: "PUT", path: put, body: `{"resourceType":"Subscription"`, status: 400, code: "structure"},
		{name: "trailing data", method: "PUT", path: put, body: `{"resourceType":"Subscription"} {}`, status: 400, code: "structure"},
		{name: "no resourceType", method: "PUT", path: put, body: `{"id":"x"}`, status: 400, code: "invalid"},
		{name: "another type than the address", method: "PUT", path: put, body: encounter("x", "planned"), status: 400, code: "invalid", says: "Encounter"},
		{name: "duplicate key", method: "PUT", path: put, body: `{"resourceType":"Subscription","id":"x","status":"requested","status":"off"}`, status: 400, code: "structure", says: "status"},
		{name: "comment", method: "PUT", path: put, body: `{"resourceType":"Subscription",/* no */"id":"x"}`, status: 400, code: "structure"},
		{name: "empty object", method: "PUT", path: put, body: sub("meta", map[string]any{}), status: 400, code: "structure", expression: "Subscription.meta"},
		{name: "empty array", method: "PUT", path: put, body: sub("identifier", []any{}), status: 400, code: "structure", expression: "Subscription.identifier"},
		{name: "empty string", method: "PUT", path: put, body: sub("reason", ""), status: 400, code: "structure", expression: "Subscription.reason"},
		{name: "null", method: "PUT", path: put, body: `{"resourceType":"Subscription","id":"x","status":"requested","topic":"` + admissionURL + `","channelType":{"code":"websocket"},"reason":null}`, status: 400, code: "structure", expression: "Subscription.reason"},
		{name: "invalid UTF-8", method: "PUT", path: put, body: []byte("{\"resourceType\":\"Subscription\",\"id\":\"\xff\"}"), status: 400, code: "structure", says: "UTF-8"},
		{name: "deep nesting", method: "PUT", path: put, body: `{"resourceType":"Subscription","extension":` + strings.Repeat(`[{"extension":`, 5000) + `1` + strings.Repeat(`}]`, 5000) + `}`, status: 400, code: "structure"},
		{name: "unknown element", method: "PUT", path: put, body: sub("chanelType", "websocket"), status: 400, code: "structure", says: "chanelType"},
		{name: "missing status", method: "PUT", path: put, body: sub("status", nil), status: 400, code: "required", expression: "Subscription.status"},
		{name: "missing topic", method: "PUT", path: put, body: sub("topic", nil), status: 400, code: "required", expression: "Subscription.topic"},
		{name: "missing channelType", method: "PUT", path: put, body: sub("channelType", nil), status: 400, code: "required", expression: "Subscription.channelType"},
		{name: "status not in the value set", method: "PUT", path: put, body: sub("status", "running"), status: 400, code: "code-invalid", expression: "Subscription.status", says: "requested"},
		{name: "status error", method: "PUT", path: put, body: sub("status", "error"), status: 422, code: "business-rule", expression: "Subscription.status"},
		{name: "status entered-in-error on create", method: "PUT", path: put, body: sub("status", "entered-in-error"), status: 422, code: "business-rule", expression: "Subscription.status"},
		{name: "comparator and modifier", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "patient", "comparator", "eq", "modifier", "exact", "value", "Patient/1")), status: 422, code: "invariant", says: "scr-1"},
		{name: "filter without parameter", method: "PUT", path: put, body: sub("filterBy", filter("value", "Patient/1")), status: 400, code: "required", expression: "Subscription.filterBy[0].filterParameter"},
		{name: "filter without value", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "patient")), status: 400, code: "required", expression: "Subscription.filterBy[0].value"},
		{name: "unknown comparator", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "patient", "comparator", "like", "value", "x")), status: 400, code: "code-invalid", expression: "Subscription.filterBy[0].comparator"},
		{name: "unknown modifier", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "patient", "modifier", "like", "value", "x")), status: 400, code: "code-invalid", expression: "Subscription.filterBy[0].modifier"},
		{name: "modifier the topic does not allow", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "patient", "modifier", "missing", "value", "true")), status: 422, code: "not-supported", expression: "Subscription.filterBy[0].modifier"},
		{name: "filter the topic does not offer", method: "PUT", path: put, body: sub("filterBy", filter("filterParameter", "status", "value", "planned")), status: 422, code: "not-supported", expression: "Subscription.filterBy[0].filterParameter", says: "patient"},
		{name: "unknown topic", method: "PUT", path: put, body: sub("topic", "http://example.org/nowhere"), status: 422, code: "not-supported", expression: "Subscription.topic", says: admissionURL},
		{name: "retired topic", method: "PUT", path: put, body: sub("topic", "http://example.org/retired"), status: 422, code: "business-rule", expression: "Subscription.topic"},
		{name: "topic not absolute", method: "PUT", path: put, body: sub("topic", "admission"), status: 422, code: "value", expression: "Subscription.topic"},
		{name: "channel not supported", method: "PUT", path: put, body: sub("channelType", map[string]any{"code": "email"}), status: 422, code: "not-supported", says: "websocket"},
		{name: "content unknown", method: "PUT", path: put, body: sub("content", "all"), status: 400, code: "code-invalid", expression: "Subscription.content"},
		{name: "contentType XML", method: "PUT", path: put, body: sub("contentType", "application/fhir+xml"), status: 422, code: "not-supported", expression: "Subscription.contentType"},
		{name: "contentType of another release", method: "PUT", path: put, body: sub("contentType", "application/fhir+json; fhirVersion=4.0"), status: 422, code: "not-supported", expression: "Subscription.contentType"},
		{name: "negative heartbeatPeriod", method: "PUT", path: put, body: sub("heartbeatPeriod", -1), status: 400, code: "value", expression: "Subscription.heartbeatPeriod"},
		{name: "fractional timeout", method: "PUT", path: put, body: sub("timeout", 1.5), status: 400, code: "value", expression: "Subscription.timeout"},
		{name: "maxCount as a string", method: "PUT", path: put, body: sub("maxCount", "2"), status: 400, code: "value", expression: "Subscription.maxCount"},
		{name: "maxCount 0", method: "PUT", path: put, body: sub("maxCount", 0), status: 400, code: "value", expression: "Subscription.maxCount"},
		{name: "end in the past", method: "PUT", path: put, body: sub("end", "2020-01-01T00:00:00Z"), status: 422, code: "business-rule", expression: "Subscription.end"},
		{name: "end without a zone", method: "PUT", path: put, body: sub("end", "2030-01-01T00:00:00"), status: 400, code: "value", expression: "Subscription.end"},
		{name: "body without id", method: "PUT", path: put, body: sub("id", nil), status: 400, code: "invalid"},
		{name: "body with another id", method: "PUT", path: put, body: sub("id", "y"), status: 400, code: "invalid"},
		{name: "id that is none", method: "PUT", path: "Subscription/a_b", body: sub("id", "a_b"), status: 400, code: "value"},
		{name: "If-Match mismatch", method: "PUT", path: "Subscription/abc", body: websocketSubscription("abc", admissionURL), headers: []string{"If-Match", `W/"7"`}, status: 412, code: "conflict"},
		{name: "patch of another kind", method: "PATCH", path: "Subscription/abc", body: `{}`, headers: []string{"Content-Type", "application/merge-patch+json"}, status: 415, code: "not-supported"},
		{name: "patch that is not a patch", method: "PATCH", path: "Subscription/abc", body: `{"op":"add"}`, headers: []string{"Content-Type", "application/json-patch+json"}, status: 400, code: "structure"},
		{name: "patch to an invalid resource", method: "PATCH", path: "Subscription/abc", body: `[{"op":"remove","path":"/topic"}]`, headers: []string{"Content-Type", "application/json-patch+json"}, status: 422, code: "required", expression: "Subscription.topic"},
		{name: "no Content-Type and no JSON", method: "PUT", path: put, body: "<x/>", headers: []string{"Content-Type", ""}, status: 415, code: "structure"},
		{name: "Content-Type XML", method: "PUT", path: put, body: "<x/>", headers: []string{"Content-Type", "application/fhir+xml"}, status: 415, code: "not-supported"},
		{name: "body too large", method: "PUT", path: put, body: sub("reason", strings.Repeat("x", 3<<20)), status: 413, code: "too-long"},
		{name: "endpoint of another scheme, strict", method: "PUT", path: put, body: sub("endpoint", "mailto:me@example.org"), headers: []string{"Prefer", "handling=strict"}, status: 422, code: "value", expression: "Subscription.endpoint"},
		{name: "read deleted", method: "GET", path: "Subscription/gone", status: 410, code: "deleted"},
		{name: "read unknown", method: "GET", path: "Subscription/nobody", status: 404, code: "not-found"},
		{name: "delete unknown, strict", method: "DELETE", path: "Subscription/nobody", headers: []string{"Prefer", "handling=strict"}, status: 404, code: "not-found"},
	}
	refuse(t, s, rows)
}

func TestBadInput_TokenOperation(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	const op = "$get-ws-binding-token"
	parameters := func(parameter string) string {
		return `{"resourceType":"Parameters","parameter":[` + parameter + `]}`
	}
	rows := []refusal{
		{name: "instance: unknown", method: "POST", path: "Subscription/nobody/" + op, status: 404, code: "not-found"},
		{name: "instance: deleted", method: "POST", path: "Subscription/gone/" + op, status: 410, code: "deleted"},
		{name: "type: unknown id", method: "POST", path: "Subscription/" + op + "?id=abc&id=nobody", status: 404, code: "not-found", says: "nobody"},
		{name: "type: id that is none", method: "POST", path: "Subscription/" + op + "?id=a_b", status: 400, code: "value"},
		{name: "type: empty id", method: "POST", path: "Subscription/" + op + "?id=", status: 400, code: "value"},
		{name: "off", method: "POST", path: "Subscription/off/" + op, status: 422, code: "business-rule"},
		{name: "body not JSON", method: "POST", path: "Subscription/" + op, body: "x", status: 400, code: "structure"},
		{name: "body not Parameters", method: "POST", path: "Subscription/" + op, body: encounter("", "planned"), status: 400, code: "invalid"},
		{name: "id without value", method: "POST", path: "Subscription/" + op, body: parameters(`{"name":"id"}`), status: 400, code: "required"},
		{name: "id with a complex value", method: "POST", path: "Subscription/" + op, body: parameters(`{"name":"id","valueReference":{"reference":"Subscription/abc"}}`), status: 400, code: "value"},
		{name: "value and part", method: "POST", path: "Subscription/" + op, body: parameters(`{"name":"id","valueId":"abc","part":[{"name":"x","valueString":"y"}]}`), status: 400, code: "invariant"},
		{name: "PUT", method: "PUT", path: "Subscription/" + op, body: parameters(`{"name":"id","valueId":"abc"}`), status: 405, code: "not-supported"},
		{name: "DELETE", method: "DELETE", path: "Subscription/" + op, status: 405, code: "not-supported"},
		{name: "PATCH on an instance", method: "PATCH", path: "Subscription/abc/" + op, body: "[]", status: 405, code: "not-supported"},
		{name: "system level", method: "POST", path: op, status: 404, code: "not-supported"},
		{name: "another type", method: "POST", path: "Patient/" + op, status: 404, code: "not-supported"},
		{name: "another type, GET", method: "GET", path: "Patient/" + op, status: 404, code: "not-supported"},
		{name: "body XML", method: "POST", path: "Subscription/" + op, body: "<x/>", headers: []string{"Content-Type", "application/xml"}, status: 415, code: "not-supported"},
		{name: "XML wanted", method: "POST", path: "Subscription/abc/" + op, headers: []string{"Accept", "application/fhir+xml"}, status: 406, code: "not-supported"},
		{name: "XML wanted by _format", method: "POST", path: "Subscription/abc/" + op + "?_format=xml", status: 406, code: "not-supported"},
		{name: "unknown parameter, strict", method: "POST", path: "Subscription/abc/" + op + "?ids=abc", headers: []string{"Prefer", "handling=strict"}, status: 400, code: "not-supported"},
	}
	refuse(t, s, rows)

	a := s.Do("PUT", "Subscription/"+op, "{}")
	if got := a.Header.Get("Allow"); got != "GET, HEAD, POST, OPTIONS" {
		t.Errorf("Allow: got %q, want GET, HEAD, POST, OPTIONS", got)
	}
	empty := start(t)
	if a := empty.Do("POST", "Subscription/"+op, nil); a.Status != 404 {
		t.Errorf("no subscription at all: got %d, want 404 (OPW-8)\n%s", a.Status, a.Raw)
	}
	both := s.Do("POST", "Subscription/"+op+"?id=nobody&id=gone&id=off", nil)
	if issues := asList(both.Body["issue"]); len(issues) != 3 {
		t.Errorf("three bad ids: got %d issues, want one each (OPW-10)\n%s", len(issues), both.Raw)
	}
}

func TestBadInput_StatusAndEvents(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	refuse(t, s, []refusal{
		{name: "$status: unknown", method: "GET", path: "Subscription/nobody/$status", status: 404, code: "not-found"},
		{name: "$status: deleted", method: "GET", path: "Subscription/gone/$status", status: 410, code: "deleted"},
		{name: "$status: unknown code", method: "GET", path: "Subscription/$status?status=running", status: 400, code: "code-invalid"},
		{name: "$status: body not Parameters", method: "POST", path: "Subscription/$status", body: encounter("", "planned"), status: 400, code: "invalid"},
		{name: "$status: wrong method", method: "DELETE", path: "Subscription/$status", status: 405, code: "not-supported"},
		{name: "$events: unknown", method: "GET", path: "Subscription/nobody/$events", status: 404, code: "not-found"},
		{name: "$events: deleted", method: "GET", path: "Subscription/gone/$events", status: 410, code: "deleted"},
		{name: "$events: type level", method: "GET", path: "Subscription/$events", status: 404, code: "not-supported"},
		{name: "$events: type level by POST", method: "POST", path: "Subscription/$events", status: 404, code: "not-supported"},
		{name: "$events: not a number", method: "GET", path: "Subscription/abc/$events?eventsSinceNumber=x", status: 400, code: "value"},
		{name: "$events: negative", method: "GET", path: "Subscription/abc/$events?eventsUntilNumber=-1", status: 400, code: "value"},
		{name: "$events: over 64 bits", method: "GET", path: "Subscription/abc/$events?eventsSinceNumber=9223372036854775808", status: 400, code: "value"},
		{name: "$events: since above until", method: "GET", path: "Subscription/abc/$events?eventsSinceNumber=3&eventsUntilNumber=2", status: 400, code: "value"},
		{name: "$events: bound given twice", method: "GET", path: "Subscription/abc/$events?eventsSinceNumber=1&eventsSinceNumber=2", status: 400, code: "invalid"},
		{name: "$events: unknown content", method: "GET", path: "Subscription/abc/$events?content=all", status: 400, code: "code-invalid"},
	})
	none := s.Must(200, "GET", "Subscription/$status?id=nobody", nil)
	if _, has := none.Body["entry"]; has || compact(none.Body["total"]) != "0" {
		t.Errorf("nothing found: got %s, want an empty searchset with total 0 and no entry", none.Raw)
	}
	// OPE-5: in R5 a query-event without events would break sst-1.
	empty := s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1", nil).Notification()
	if empty.Kind() != "query-status" || len(empty.Numbers()) != 0 {
		t.Errorf("an empty range: got %s with events %v, want query-status without any", empty.Kind(), empty.Numbers())
	}
	ignored := s.Must(200, "GET", "Subscription/abc/$status?id=nobody&status=off", nil)
	if compact(ignored.Body["total"]) != "1" {
		t.Errorf("$status on an instance took its parameters: %s", ignored.Raw)
	}
}

func TestBadInput_TopicsAndOtherAddresses(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	topic := func(edit func(topic, trigger map[string]any)) map[string]any {
		trigger := map[string]any{"resource": "Encounter"}
		topic := map[string]any{"resourceType": "SubscriptionTopic", "id": "t", "url": "http://example.org/t", "status": "active", "resourceTrigger": []any{trigger}}
		edit(topic, trigger)
		return topic
	}
	query := func(member, value string) map[string]any {
		return topic(func(_, trigger map[string]any) { trigger["queryCriteria"] = map[string]any{member: value} })
	}
	const put = "SubscriptionTopic/t"
	refuse(t, s, []refusal{
		{name: "no url", method: "PUT", path: put, body: topic(func(topic, _ map[string]any) { delete(topic, "url") }), status: 400, code: "required", expression: "SubscriptionTopic.url"},
		{name: "no status", method: "PUT", path: put, body: topic(func(topic, _ map[string]any) { delete(topic, "status") }), status: 400, code: "required", expression: "SubscriptionTopic.status"},
		{name: "trigger without resource", method: "PUT", path: put, body: topic(func(_, trigger map[string]any) { delete(trigger, "resource"); trigger["description"] = "x" }), status: 400, code: "required", expression: "SubscriptionTopic.resourceTrigger[0].resource"},
		{name: "FHIRPath that does not compile", method: "PUT", path: put, body: topic(func(_, trigger map[string]any) { trigger["fhirPathCriteria"] = "%current.status = = 'x'" }), status: 422, code: "value", expression: "SubscriptionTopic.resourceTrigger[0].fhirPathCriteria"},
		{name: "query with an unknown parameter", method: "PUT", path: put, body: query("current", "colour=red"), status: 422, code: "not-supported", expression: "SubscriptionTopic.resourceTrigger[0].queryCriteria.current"},
		{name: "query whose value does not fit", method: "PUT", path: put, body: query("previous", "length=gt5|h"), status: 422, code: "value", expression: "SubscriptionTopic.resourceTrigger[0].queryCriteria.previous"},
		{name: "resultForCreate unknown", method: "PUT", path: put, body: query("resultForCreate", "maybe"), status: 400, code: "code-invalid", expression: "SubscriptionTopic.resourceTrigger[0].queryCriteria.resultForCreate"},
		{name: "url that is taken", method: "PUT", path: put, body: topic(func(topic, _ map[string]any) { topic["url"] = admissionURL }), status: 422, code: "duplicate", expression: "SubscriptionTopic.url"},
		{name: "SubscriptionStatus", method: "GET", path: "SubscriptionStatus", status: 404, code: "not-supported"},
		{name: "SubscriptionStatus by id", method: "GET", path: "SubscriptionStatus/1", status: 404, code: "not-supported"},
		{name: "SubscriptionStatus created", method: "POST", path: "SubscriptionStatus", body: "{}", status: 404, code: "not-supported"},
		{name: "unknown operation", method: "GET", path: "Subscription/$foo", status: 404, code: "not-supported", says: "$foo"},
		{name: "unknown operation on an instance", method: "POST", path: "Subscription/abc/$foo", status: 404, code: "not-supported", says: "$foo"},
		{name: "$topic-list (OPT-1)", method: "GET", path: "Subscription/$topic-list", status: 404, code: "not-supported"},
		{name: "unknown type", method: "GET", path: "Klingon/1", status: 404, code: "not-supported", says: "Klingon"},
		{name: "unknown release", method: "GET", path: "/fhir/R2/Patient/1", status: 404, code: "not-supported"},
		{name: "unknown address", method: "GET", path: "/nowhere", status: 404, code: "not-found"},
		{name: "unknown search parameter, strict", method: "GET", path: "Subscription?colour=red", headers: []string{"Prefer", "handling=strict"}, status: 400, code: "not-supported", says: "colour"},
		{name: "search value that is none", method: "GET", path: "Encounter?date=yesterday", status: 400, code: "value", says: "yesterday"},
		{name: "update of a type", method: "PUT", path: "Patient", body: "{}", status: 405, code: "not-supported", says: "POST"},
		{name: "create on an instance", method: "POST", path: "Patient/1", body: "{}", status: 405, code: "not-supported", says: "PUT"},
		{name: "foreign Host", method: "GET", path: "metadata", headers: []string{"Host", "evil.example"}, status: 403, code: "forbidden", says: "--allow-host"},
	})
	if a := s.Must(200, "GET", "Subscription?colour=red", nil); compact(a.Body["total"]) != "2" || !strings.Contains(string(a.Raw), "colour") {
		t.Errorf("an unknown search parameter is to be ignored and told of: %s", a.Raw)
	}
}

func TestBadInput_Frames(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL))
	s.Must(201, "PUT", "Subscription/two", websocketSubscription("two", admissionURL))
	halfGone := s.Token("one", "abc")
	turnedOff := s.Token("two")
	revoked := s.Token("abc")
	s.Must(204, "DELETE", "Subscription/one", nil)
	s.Must(200, "PUT", "Subscription/two", websocketSubscription("two", admissionURL, "status", "off"))
	s.Must(204, "DELETE", "/mock/tokens/"+revoked, nil)

	rows := []struct{ name, frame, code, says string }{
		{"unknown token", "bind-with-token nonsense", "unknown", ""},
		{"revoked token", "bind-with-token " + revoked, "forbidden", ""},
		{"subscription off", "bind-with-token " + turnedOff, "business-rule", "off"},
		{"no token", "bind-with-token", "required", ""},
		{"two tokens", "bind-with-token a b", "structure", ""},
		{"unknown verb", "subscribe me", "not-supported", "bind-with-token"},
		{"JSON that is none", "{oops", "structure", ""},
		{"JSON without type", `{"payload":{}}`, "not-supported", ""},
		{"JSON of an unknown type", `{"type":"hello"}`, "not-supported", "hello"},
		{"JSON bind without token", `{"type":"bind-with-token","payload":{}}`, "required", ""},
		{"legacy bind of a topic-based subscription", "bind abc", "business-rule", "token"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := s.in(t)
			ws := s.Dial()
			ws.Send(row.frame)
			if text := ws.Outcome(row.code); !strings.Contains(text, row.says) {
				t.Errorf("diagnostics: got %q, want something with %q", text, row.says)
			}
			ws.Nothing() // the socket stays usable
		})
	}

	ws := s.Dial()
	ws.Send(" \n ")
	ws.Nothing()
	ws.Send("bind-with-token " + halfGone)
	kinds := map[string]bool{ws.Next().Kind(): true, ws.Next().Kind(): true}
	if !kinds["handshake"] || !kinds["OperationOutcome"] {
		t.Errorf("a token with one deleted subscription: got %v, want a handshake and an OperationOutcome", kinds)
	}
}

func TestBadInput_ClosesWithCodeAndReason(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	write := func(ws *socket, kind websocket.MessageType, data []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
		defer cancel()
		// The server may close before it has read all of it.
		_ = ws.Conn.Write(ctx, kind, data)
	}
	rows := []struct {
		name string
		do   func(*socket)
		code websocket.StatusCode
	}{
		{"invalid UTF-8", func(ws *socket) { write(ws, websocket.MessageText, []byte("bind-with-token \xff")) }, 1007},
		{"frame over the limit", func(ws *socket) { write(ws, websocket.MessageText, []byte(strings.Repeat("x", 70_000))) }, 1009},
		{"binary that is not text", func(ws *socket) { write(ws, websocket.MessageBinary, []byte{0xff, 0xfe}) }, 1003},
		{"ten errors in a row", func(ws *socket) {
			for range 10 {
				ws.Send("what?")
			}
		}, 1008},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := s.in(t)
			ws := s.Dial()
			row.do(ws)
			if code, reason := ws.Closed(); code != row.code || code != 1009 && reason == "" {
				t.Errorf("got %d %q, want %d with a reason", code, reason, row.code)
			}
		})
	}
}

func TestBadInput_Upgrade(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	refuse(t, s, []refusal{
		{name: "no upgrade", method: "GET", path: "/ws", status: 426, code: "invalid"},
		{name: "another version", method: "GET", path: "/ws", headers: append(upgrade, "Sec-WebSocket-Version", "8"), status: 426, code: "not-supported"},
		{name: "upgrade elsewhere", method: "GET", path: "/elsewhere", headers: append(upgrade, "Sec-WebSocket-Version", "13"), status: 404, code: "not-found"},
		{name: "foreign origin", method: "GET", path: "/ws", headers: append(upgrade, "Sec-WebSocket-Version", "13", "Origin", "https://evil.example"), status: 403, code: "forbidden", says: "--allow-origin"},
	})
	if a := s.Do("GET", "/ws", nil); a.Header.Get("Upgrade") != "websocket" {
		t.Errorf("Upgrade: got %q, want websocket (WS-9)", a.Header.Get("Upgrade"))
	}
}
