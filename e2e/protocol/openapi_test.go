package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/synth"
	"signalfhir/testkit"
)

// description is /mock/openapi.json as it was served.
type description struct {
	doc *openapi3.T
	raw map[string]any // with numbers as written
}

// textBodies lets the library read bodies of these types as text.
var textBodies = sync.OnceFunc(func() {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
})

// described reads and validates the description of a room.
func (s *server) described(room string) *description {
	s.T.Helper()
	textBodies()
	a := s.Must(200, "GET", room+"/mock/openapi.json", nil)
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
		s.T.Errorf("got %v, want JSON that nothing caches", a.Header)
	}
	d := &description{}
	decoder := json.NewDecoder(bytes.NewReader(a.Raw))
	decoder.UseNumber()
	if err := decoder.Decode(&d.raw); err != nil {
		s.T.Fatal(err)
	}
	var err error
	if d.doc, err = openapi3.NewLoader().LoadFromData(a.Raw); err != nil {
		s.T.Fatal(err)
	}
	if err := d.doc.Validate(context.Background()); err != nil {
		s.T.Fatal(err)
	}
	return d
}

// close allows objects no members but those that are described, so that a test sees those
// that are not. Clients must accept them: a newer server may have more.
func (d *description) close(t *testing.T) {
	t.Helper()
	walk(d.raw, "", func(_ string, schema map[string]any) {
		if schema["properties"] != nil && schema["additionalProperties"] == nil && schema["type"] != nil {
			schema["additionalProperties"] = false
		}
	})
	data, err := json.Marshal(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if d.doc, err = openapi3.NewLoader().LoadFromData(data); err != nil {
		t.Fatal(err)
	}
}

// walk calls f for every object in a JSON value.
func walk(v any, path string, f func(path string, object map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(path, v)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			walk(v[name], path+"/"+name, f)
		}
	case []any:
		for i := range v {
			walk(v[i], fmt.Sprintf("%s/%d", path, i), f)
		}
	}
}

// route finds an operation.
func (d *description) route(t testing.TB, id string) *routers.Route {
	t.Helper()
	for path, item := range d.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.OperationID == id {
				return &routers.Route{Spec: d.doc, Path: path, PathItem: item, Method: method, Operation: operation}
			}
		}
	}
	t.Fatalf("there is no operation %q", id)
	return nil
}

// versionOfProgram returns what the program prints as its version.
func versionOfProgram(t *testing.T) string {
	t.Helper()
	program, err := testkit.Program()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// The document has the addresses of its room; /rooms is not in a room.
func TestOpenAPI_LeadsIntoItsRoom(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	version := versionOfProgram(t)
	s.Must(201, "PUT", "/rooms/demo", nil)
	for _, room := range []string{"", "/rooms/demo"} {
		doc := s.described(room).doc
		if got := doc.Servers[0].URL; got != s.URL+room {
			t.Errorf("%s: got %s, want %s", room, got, s.URL+room)
		}
		if has := doc.Paths.Value("/rooms") != nil && doc.Paths.Value("/rooms/{name}") != nil; has != (room == "") {
			t.Errorf("%s: /rooms is described: %v", room, has)
		}
		if doc.Info.Version != version {
			t.Errorf("got version %s, want %s", doc.Info.Version, version)
		}
		index := s.Must(200, "GET", room+"/mock", nil).Body
		if index["openapi"] != s.URL+room+"/mock/openapi.json" || index["url"] != s.URL+room {
			t.Errorf("got %v, want addresses in %s%s", index, s.URL, room)
		}
		for _, r := range asList(index["routes"]) {
			r := r.(map[string]any)
			if a := s.Do("OPTIONS", r["url"].(string), nil); !strings.Contains(a.Header.Get("Allow"), r["method"].(string)) {
				t.Errorf("%v is not there: %d, allowed are %s", r, a.Status, a.Header.Get("Allow"))
			}
		}
	}
	forwarded := s.Must(200, "GET", "/mock/openapi.json", nil, "X-Forwarded-Host", `a"},{"b`)
	if !json.Valid(forwarded.Raw) {
		t.Error("a host with a quote breaks the document")
	}
	if a := s.Must(405, "POST", "/mock", nil); a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s, want a problem", a.Raw)
	}
}

func TestOpenAPI_BoundsEveryNumber(t *testing.T) {
	t.Parallel()
	d := start(t).described("")
	numbers := 0
	walk(d.raw, "", func(path string, schema map[string]any) {
		if kind := compact(schema["type"]); !strings.Contains(kind, `"integer"`) && !strings.Contains(kind, `"number"`) {
			return
		}
		numbers++
		least, ok1 := schema["minimum"].(json.Number)
		most, ok2 := schema["maximum"].(json.Number)
		if !ok1 || !ok2 || bigger(t, least, 0).Cmp(bigger(t, most, 0)) > 0 {
			t.Errorf("%s has no bounds: %s", path, compact(schema))
		}
	})
	if numbers < 50 {
		t.Errorf("found %d numbers, want more: the walk is broken", numbers)
	}
}

func bigger(t *testing.T, n json.Number, by int64) *big.Int {
	t.Helper()
	i, ok := new(big.Int).SetString(n.String(), 10)
	if !ok {
		t.Fatalf("%s is not a whole number", n)
	}
	return i.Add(i, big.NewInt(by))
}

// The lists in the document are those of the code.
func TestOpenAPI_ListsWhatThereIs(t *testing.T) {
	t.Parallel()
	d := start(t).described("").doc
	for name, want := range map[string][]string{"JournalEntry.kind": journal.Kinds(), "GeneratorSpec.scenario": synth.Scenarios(), "ClockCall.kind": clock.Kinds()} {
		schema, member, _ := strings.Cut(name, ".")
		if got := d.Components.Schemas[schema].Value.Properties[member].Value.Enum; fmt.Sprint(got...) != fmt.Sprint(anys(want)...) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func anys(list []string) []any {
	all := make([]any, len(list))
	for i := range list {
		all[i] = list[i]
	}
	return all
}

// exchange is one request for an operation and the status it must return.
type exchange struct {
	operation string
	path      map[string]string // parameters
	query     string
	body      any
	status    int
}

// try sends a request and validates what comes back; of a request that succeeds also the
// request itself.
func (s *server) try(d *description, x exchange, headers ...string) response {
	s.T.Helper()
	route := d.route(s.T, x.operation)
	path := route.Path
	for name, value := range x.path {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	url := s.URL + path + x.query
	headers = append(headers, "Content-Type", "application/json")
	a := s.Do(route.Method, url, x.body, headers...)
	if a.Status != x.status {
		s.T.Errorf("%s %s %s: got %d, want %d\n%s", x.operation, x.query, compact(x.body), a.Status, x.status, a.Raw)
		return a
	}
	var body io.Reader
	switch b := x.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		body = strings.NewReader(compact(b))
	}
	request, err := http.NewRequest(route.Method, url, body)
	if err != nil {
		s.T.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	in := &openapi3filter.RequestValidationInput{Request: request, PathParams: x.path, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if x.status < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			s.T.Errorf("%s %s %s: the request is not as described: %v", x.operation, x.query, compact(x.body), err)
		}
	}
	if route.Operation.Responses.Status(a.Status) == nil && a.Status != 403 {
		s.T.Errorf("%s: the status %d is not described", x.operation, a.Status)
	}
	if a.Status != 204 && a.Header.Get("Cache-Control") != "no-store" {
		s.T.Errorf("%s %s: got Cache-Control %q, want no-store", x.operation, x.query, a.Header.Get("Cache-Control"))
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.Status, Header: a.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateResponse(context.Background(), out.SetBodyBytes(a.Raw)); err != nil {
		s.T.Errorf("%s %s: the response %d is not as described: %v", x.operation, x.query, a.Status, err)
	}
	return a
}

// Each operation is tried, with success and with a refusal.
func TestOpenAPI_IsWhatTheServerDoes(t *testing.T) {
	t.Parallel()
	s := startSeeded(t, "--max-rooms", "2")
	d := s.described("")
	d.close(t)
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "content", "full-resource", "heartbeatPeriod", 60))
	s.Must(201, "PUT", "SubscriptionTopic/lonely", map[string]any{"resourceType": "SubscriptionTopic", "id": "lonely", "url": "http://example.org/lonely", "status": "active", "resourceTrigger": []any{map[string]any{"resource": "Patient"}}})
	s.Must(201, "PUT", "SubscriptionTopic/events", map[string]any{"resourceType": "SubscriptionTopic", "id": "events", "url": "http://example.org/events", "status": "active",
		"eventTrigger": []any{map[string]any{"event": map[string]any{"text": "x"}, "resource": "Patient"}}})
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	s.Must(200, "PUT", "Encounter/e", encounter("e", "completed"))
	s.Must(201, "PUT", "Encounter/gone", encounter("gone", "in-progress"))
	s.Must(204, "DELETE", "Encounter/gone", nil)
	ws := s.Bind("abc")
	admitted, finished := encounter("e", "in-progress"), encounter("e", "completed")
	ward, none := map[string]string{"name": "ward2"}, map[string]string{"name": "none"}
	abc, own := map[string]string{"id": "abc"}, map[string]string{"name": "own"}
	demo, never := map[string]string{"name": "demo"}, map[string]string{"name": "never"}
	change := s.Journal("?kind=change&limit=1")[0].Seq

	tried := map[string][2]bool{}
	note := func(x exchange) {
		was := tried[x.operation]
		was[min(1, x.status/400)] = true
		tried[x.operation] = was
	}
	for _, x := range []exchange{
		{"index", nil, "", nil, 200},
		{"openapi", nil, "", nil, 200},
		{"trigger", nil, "", map[string]any{"subscription": "abc", "count": 2}, 200},
		{"trigger", nil, "", map[string]any{"subscription": "abc", "count": 2, "interval": "1s", "focus": admitted, "interaction": "update"}, 200},
		{"trigger", nil, "", map[string]any{"topic": "http://example.org/lonely"}, 200},
		{"trigger", nil, "", map[string]any{"topic": admissionURL, "release": "R5", "reference": "Encounter/e", "interaction": "delete", "count": 1}, 200},
		{"trigger", nil, "", map[string]any{}, 400},
		{"trigger", nil, "", map[string]any{"topic": "http://example.org/none"}, 404},
		{"trigger", nil, "", map[string]any{"subscription": "none"}, 404},
		{"await", nil, "", map[string]any{"bound": map[string]any{"subscription": "abc", "count": 1}, "timeout": "5s"}, 200},
		{"await", nil, "", map[string]any{"sent": map[string]any{"subscription": "abc", "type": "handshake"}}, 200},
		{"await", nil, "", map[string]any{"connected": map[string]any{"count": 1}}, 200},
		{"await", nil, "", map[string]any{"tokenTaken": map[string]any{}}, 200},
		{"await", nil, "", map[string]any{"journal": map[string]any{"kind": "bound,http", "count": 1}, "since": 0}, 200},
		{"await", nil, "", map[string]any{"quiet": map[string]any{"for": "1ms", "kinds": []any{"sent"}}}, 200},
		{"await", nil, "", map[string]any{"eventsCalled": map[string]any{"subscription": "abc", "eventsSinceNumber": 1}, "timeout": "1ms"}, 408},
		{"await", nil, "", map[string]any{}, 400},
		{"await", nil, "", map[string]any{"bound": map[string]any{"subscription": "none"}}, 404},
		{"await", nil, "", map[string]any{"sent": map[string]any{"subscription": "abc", "count": 1000}, "timeout": "1ms"}, 408},
		{"getClock", nil, "", nil, 200},
		{"advanceClock", nil, "", map[string]any{"by": "1s"}, 409},
		{"setClock", nil, "", map[string]any{"mode": "manual"}, 200},
		{"setClock", nil, "", map[string]any{"mode": "wrong"}, 400},
		{"advanceClock", nil, "", map[string]any{"by": "2m", "timeout": "1m"}, 200},
		{"advanceClock", nil, "", map[string]any{"by": "1s", "to": "2026-01-01T08:00:00Z"}, 400},
		{"getClock", nil, "", nil, 200},
		{"setClock", nil, "", map[string]any{"mode": "manual", "now": "2026-01-01T08:00:00Z"}, 200},
		{"advanceClock", nil, "", map[string]any{"to": "2026-01-01T08:00:00Z"}, 200},
		{"setClock", nil, "", map[string]any{"mode": "real"}, 200},
		{"listGenerators", nil, "", nil, 200},
		{"addGenerator", nil, "", map[string]any{"name": "ward2", "scenario": "lab-results", "rate": "2/s", "patients": 4, "seed": json.Number("18446744073709551615"), "releases": []string{"R5"}}, 201},
		{"addGenerator", nil, "", map[string]any{"name": "ward3", "scenario": "tasks"}, 201},
		{"addGenerator", nil, "", map[string]any{"name": "-", "scenario": "none", "patients": -1}, 400},
		{"addGenerator", nil, "", map[string]any{"name": "ward2", "scenario": "tasks"}, 409},
		{"changeGenerator", ward, "", map[string]any{"rate": "30/min"}, 200},
		{"changeGenerator", ward, "", map[string]any{"rate": "often"}, 400},
		{"changeGenerator", none, "", map[string]any{"rate": "30/min"}, 404},
		{"startGenerator", ward, "", nil, 200},
		{"startGenerator", none, "", nil, 404},
		{"stopGenerator", ward, "", nil, 200},
		{"stopGenerator", none, "", nil, 404},
		{"stepGenerator", ward, "", map[string]any{"count": 5}, 200},
		{"stepGenerator", ward, "", nil, 200},
		{"stepGenerator", ward, "", map[string]any{"count": 0}, 400},
		{"stepGenerator", none, "", nil, 404},
		{"listGenerators", nil, "", nil, 200},
		{"removeGenerator", ward, "", nil, 204},
		{"removeGenerator", ward, "", nil, 404},
		{"setFaults", nil, "", map[string]any{"faults": []any{map[string]any{"name": "a", "on": "frame", "action": "drop", "number": map[string]any{"from": 900}, "probability": 0.5}}}, 200},
		{"setFaults", nil, "", map[string]any{}, 400},
		{"addFaults", nil, "", map[string]any{"on": "socket", "action": "close", "code": 4000, "reason": "bye", "frames": 900, "nth": 2, "times": 1}, 201},
		{"addFaults", nil, "", map[string]any{"faults": []any{map[string]any{"on": "frame", "action": "delay", "by": "1s", "jitter": "1s", "overtake": true, "release": "R4"}}}, 201},
		{"addFaults", nil, "", map[string]any{"on": "frame", "action": "dance"}, 400},
		{"addFaults", nil, "", map[string]any{"name": "a", "on": "frame", "action": "drop"}, 409},
		{"listFaults", nil, "", nil, 200},
		{"removeFault", map[string]string{"name": "a"}, "", nil, 204},
		{"removeFault", map[string]string{"name": "a"}, "", nil, 404},
		{"clearFaults", nil, "", nil, 204},
		{"listSockets", nil, "", nil, 200},
		{"listSubscriptions", nil, "", nil, 200},
		{"listTokens", nil, "", nil, 200},
		{"explainHappened", nil, "?resource=Encounter/e", nil, 200},
		{"explainHappened", nil, fmt.Sprintf("?seq=%d", change), nil, 200},
		{"explainHappened", nil, "?subscription=abc", nil, 200},
		{"explainHappened", nil, "?subscription=abc&format=text", nil, 200},
		{"explainHappened", nil, "", nil, 400},
		{"explainHappened", nil, "?seq=x", nil, 400},
		{"explainChange", nil, "", map[string]any{"previous": finished, "current": admitted}, 200},
		{"explainChange", nil, "", map[string]any{"previous": nil, "current": admitted, "subscription": "abc", "release": "R5"}, 200},
		{"explainChange", nil, "?format=text", map[string]any{"previous": finished}, 200},
		{"explainChange", nil, "", map[string]any{}, 400},
		{"explainChange", nil, "?format=xml", map[string]any{"previous": finished}, 400},
		{"explainChange", nil, "", map[string]any{"previous": finished, "subscription": "none"}, 404},
		{"findResources", nil, "?type=Encounter", nil, 200},
		{"findResources", nil, "?type=Encounter&release=R5&text=gone&offset=0&limit=1000", nil, 200},
		{"findResources", nil, "?type=Encounter&limit=0", nil, 400},
		{"findResources", nil, "?type=Meal", nil, 404},
		{"state", nil, "", nil, 200},
		{"journal", nil, "", nil, 200},
		{"journal", nil, "?bodies=true&limit=100", nil, 200},
		{"journal", nil, "?kind=sent,http&since=1&subscription=abc&socket=s1&text=event", nil, 200},
		{"journal", nil, "?since=2026-01-01T00:00:00Z&format=har", nil, 200},
		{"journal", nil, "?format=ndjson", nil, 200},
		{"journal", nil, "?limit=0", nil, 400},
		{"journalEntry", map[string]string{"seq": "1"}, "", nil, 200},
		{"journalEntry", map[string]string{"seq": "first"}, "", nil, 400},
		{"journalEntry", map[string]string{"seq": "9007199254740991"}, "", nil, 404},
		{"journalStream", nil, "?most=0", nil, 400},
		{"changeSubscription", abc, "", map[string]any{"status": "error", "error": map[string]any{"code": "no-response", "text": "x"}, "counter": 7}, 200},
		{"changeSubscription", abc, "", map[string]any{"status": "active"}, 200},
		{"changeSubscription", abc, "", map[string]any{}, 400},
		{"changeSubscription", map[string]string{"id": "none"}, "", map[string]any{"counter": 1}, 404},
		{"notify", abc, "", map[string]any{"type": "heartbeat", "socket": "s1"}, 200},
		{"notify", abc, "", map[string]any{"bundle": map[string]any{}}, 200},
		{"notify", abc, "", map[string]any{"type": "x"}, 400},
		{"notify", abc, "", map[string]any{"type": "heartbeat", "socket": "s9"}, 404},
		{"sendFrames", map[string]string{"socket": "s1"}, "", map[string]any{"texts": []string{"a", ""}}, 204},
		{"sendFrames", map[string]string{"socket": "s1"}, "", map[string]any{}, 400},
		{"sendFrames", map[string]string{"socket": "s9"}, "", map[string]any{"text": "a"}, 404},
		{"closeSocket", map[string]string{"socket": "s1"}, "?code=4000&reason=x", nil, 204},
		{"closeSocket", map[string]string{"socket": "s9"}, "?cut=true", nil, 404},
		{"closeSocket", map[string]string{"socket": "s9"}, "?code=1006", nil, 404},
		{"changeSubscription", abc, "", map[string]any{"replay": "last:3"}, 200},
		{"listSubscriptions", nil, "", nil, 200},
		{"changeSubscription", abc, "", map[string]any{"replay": nil}, 200},
		{"settings", nil, "", nil, 200},
		{"setSettings", nil, "", map[string]any{"replay": "missed", "activation": "never", "activations": []any{
			map[string]any{"subscription": "a*", "activation": map[string]any{"after": "5s"}}, map[string]any{"topic": admissionURL, "activation": map[string]any{"drop-filters": []string{"patient"}}},
			map[string]any{"subscription": "b", "topic": admissionURL, "activation": map[string]any{"error": "x"}}, map[string]any{"subscription": "c", "activation": map[string]any{"refuse": "x"}}}}, 200},
		{"setSettings", nil, "", map[string]any{}, 200},
		{"setSettings", nil, "", map[string]any{"replay": "some"}, 400},
		{"manners", nil, "", nil, 200},
		{"setManners", nil, "", map[string]any{"name": "medplum", "heartbeat": "notification", "sharedHeartbeat": false}, 200},
		{"setManners", nil, "", map[string]any{}, 200},
		{"setManners", nil, "", map[string]any{"name": "epic"}, 400},
		{"listUsers", nil, "", nil, 200},
		{"setUsers", nil, "", map[string]any{"users": []any{map[string]any{"clientId": "a", "profile": "Practitioner/a", "name": "Ada"}}}, 200},
		{"setUsers", nil, "", map[string]any{}, 400},
		{"expireToken", map[string]string{"token": s.Token("abc")}, "", nil, 204},
		{"expireToken", map[string]string{"token": "none"}, "", nil, 404},
		{"revokeToken", map[string]string{"token": s.Token("abc")}, "", nil, 204},
		{"revokeToken", map[string]string{"token": "none"}, "", nil, 404},
		{"restart", nil, "", map[string]any{"numbers": "anew"}, 200},
		{"restart", nil, "", map[string]any{}, 400},
		{"putScenario", own, "", map[string]any{"keep": true, "parameters": []any{map[string]any{"name": "subscription"}, map[string]any{"name": "n", "default": 2, "description": "x"}}, "steps": []any{
			map[string]any{"repeat": "{{n}}", "steps": []any{map[string]any{"method": "POST", "path": "/mock/trigger", "body": map[string]any{"subscription": "{{subscription}}"}, "note": "x"}}},
			map[string]any{"advance": "0s"}, map[string]any{"await": map[string]any{"journal": map[string]any{"kind": "appended", "count": "{{n}}"}}}}}, 201},
		{"putScenario", own, "", map[string]any{"steps": []any{map[string]any{"advance": "24h"}}}, 200},
		{"putScenario", own, "", map[string]any{}, 400},
		{"putScenario", map[string]string{"name": "flaky-wifi"}, "", map[string]any{"steps": []any{map[string]any{"advance": "24h"}}}, 409},
		{"listScenarios", nil, "", nil, 200},
		{"startScenario", own, "", nil, 202},
		{"startScenario", own, "", nil, 409},
		{"getScenario", own, "", nil, 200},
		{"stopScenario", own, "", nil, 204},
		{"startScenario", own, "", map[string]any{"parameters": map[string]any{}, "wait": true, "timeout": "1ms"}, 408},
		{"getScenario", none, "", nil, 404},
		{"startScenario", none, "", nil, 404},
		{"startScenario", map[string]string{"name": "half-open"}, "", nil, 422},
		{"startScenario", own, "", map[string]any{"parameters": map[string]any{"x": 1}}, 400},
		{"startScenario", map[string]string{"name": "half-open"}, "", map[string]any{"parameters": map[string]any{"subscription": "abc", "patience": "1ms"}, "wait": true}, 200},
		{"stopScenario", none, "", nil, 404},
		{"listScenarios", nil, "", nil, 200},
		{"deleteTopic", map[string]string{"id": "nobody"}, "", nil, 404},
		{"deleteTopic", abc, "", nil, 204},
		{"reset", nil, "", nil, 204},
		{"reset", nil, "", map[string]any{"to": "seed"}, 400},
		{"reset", nil, "", map[string]any{"seed": "none"}, 204},
		{"reset", nil, "", map[string]any{"seed": "builtin"}, 400},
		{"openRoom", demo, "", map[string]any{"seed": "builtin", "random": 1}, 201},
		{"openRoom", demo, "", map[string]any{"seed": "builtin", "random": 1}, 200},
		{"openRoom", demo, "", map[string]any{"seed": "none"}, 409},
		{"openRoom", demo, "", map[string]any{"seed": "builtin", "random": 1, "settings": map[string]any{"replay": "all"}}, 409},
		{"openRoom", map[string]string{"name": "bad"}, "", map[string]any{"settings": map[string]any{"replay": "some"}}, 400},
		{"openRoom", map[string]string{"name": "bad"}, "", map[string]any{"manners": map[string]any{"name": "epic"}}, 400},
		{"openRoom", map[string]string{"name": "bad"}, "", map[string]any{"clock": "today"}, 400},
		{"openRoom", map[string]string{"name": "empty"}, "", map[string]any{"seed": map[string]any{"resources": []any{}}, "clock": "2026-01-01T08:00:00Z"}, 201},
		{"openRoom", map[string]string{"name": "more"}, "", nil, 409},
		{"openRoom", map[string]string{"name": "a b"}, "", nil, 400},
		{"listRooms", nil, "", nil, 200},
		{"getRoom", demo, "", nil, 200},
		{"getRoom", map[string]string{"name": "default"}, "", nil, 200},
		{"getRoom", never, "", nil, 404},
		{"deleteRoom", demo, "", nil, 204},
		{"deleteRoom", never, "", nil, 404},
		{"deleteRoom", map[string]string{"name": "default"}, "", nil, 409},
	} {
		s.try(d, x)
		note(x)
	}
	ws.Conn.CloseNow()

	for path, item := range d.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			// A page of another origin may not use any, and no parameter is ignored.
			s.try(d, exchange{operation.OperationID, anyPath(operation, item), "", nil, 403}, "Origin", "https://evil.example")
			a := s.Do(method, strings.NewReplacer("{name}", "x", "{token}", "x", "{seq}", "1").Replace(path)+"?no-such=1", nil)
			if a.Status != 400 || !strings.HasPrefix(fmt.Sprint(a.Body["detail"]), "no-such: ") {
				t.Errorf("%s ignores an unknown parameter: %d %s", operation.OperationID, a.Status, a.Raw)
			}
			success, refusal := tried[operation.OperationID][0], tried[operation.OperationID][1]
			if !success && operation.OperationID != "journalStream" { // which has a test of its own
				t.Errorf("%s is not tried with success", operation.OperationID)
			}
			if !refusal && len(operation.Responses.Map()) > 2 {
				t.Errorf("%s is not tried with a refusal", operation.OperationID)
			}
		}
	}
}

// anyPath returns a value for each parameter of a path.
func anyPath(operation *openapi3.Operation, item *openapi3.PathItem) map[string]string {
	values := map[string]string{}
	for _, p := range slices.Concat(item.Parameters, operation.Parameters) {
		if p.Value.In == "path" {
			values[p.Value.Name] = "1"
		}
	}
	return values
}

// What the stream sends is as described, too.
func TestOpenAPI_DescribesTheStream(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	d := s.described("")
	d.close(t)
	st := s.Follow("?since=0&most=1", "")
	for _, want := range [][2]string{{"hello", "StreamHello"}, {"gap", "StreamGap"}, {"message", "JournalEntry"}} {
		name, _, data := st.Next()
		var value any
		if err := json.Unmarshal([]byte(data), &value); err != nil || name != want[0] {
			t.Fatalf("got event %s %s, want %s", name, data, want[0])
		}
		if err := d.doc.Components.Schemas[want[1]].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	head := s.Must(200, "HEAD", "/mock/journal/stream", nil)
	if d.route(t, "journalStream").Operation.Responses.Status(200).Value.Content.Get(head.Header.Get("Content-Type")) == nil {
		t.Errorf("the type %s is not described", head.Header.Get("Content-Type"))
	}
}

// A number beyond the bounds that the document states for it is refused, and the refusal
// names it.
func TestOpenAPI_BoundsAreEnforced(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	d := s.described("")
	checked := 0
	check := func(name string, schema any, refuse func(n string) response) {
		bounds := schema.(map[string]any)
		for _, n := range []*big.Int{bigger(t, bounds["minimum"].(json.Number), -1), bigger(t, bounds["maximum"].(json.Number), 1)} {
			checked++
			if a := refuse(n.String()); a.Status != 400 || !strings.HasPrefix(fmt.Sprint(a.Body["detail"]), name+": ") {
				t.Errorf("%s = %s: got %d %s, want a refusal that names it", name, n, a.Status, a.Raw)
			}
		}
	}
	paths := d.raw["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		walk(paths[path], path, func(at string, p map[string]any) {
			name, _ := p["name"].(string)
			schema, _ := p["schema"].(map[string]any)
			if either := asList(schema["anyOf"]); len(either) > 0 && p["in"] != nil {
				schema, _ = either[0].(map[string]any)
			}
			if p["in"] == nil || schema["type"] != "integer" {
				return
			}
			check(name, schema, func(n string) response {
				if p["in"] == "path" {
					return s.Do("GET", strings.ReplaceAll(path, "{"+name+"}", n), nil)
				}
				query := "?" + name + "=" + n
				if method := strings.ToUpper(strings.Split(strings.TrimPrefix(at, path), "/")[1]); method != http.MethodGet {
					return s.Do(method, path+query, nil)
				}
				if path == "/mock/resources" {
					query += "&type=Encounter"
				}
				return s.Do("GET", path+query, nil)
			})
		})
	}
	schemas := at(d.raw, "components", "schemas").(map[string]any)
	for _, body := range []struct{ schema, member, method, path, format string }{
		{"Trigger", "count", "POST", "/mock/trigger", `{"subscription":"abc","count":%s}`},
		{"Await", "bound.count", "POST", "/mock/await", `{"bound":{"subscription":"abc","count":%s}}`},
		{"Await", "sent.count", "POST", "/mock/await", `{"sent":{"subscription":"abc","count":%s}}`},
		{"Await", "sent.number", "POST", "/mock/await", `{"sent":{"subscription":"abc","number":%s}}`},
		{"Await", "connected.count", "POST", "/mock/await", `{"connected":{"count":%s}}`},
		{"Await", "unbound.count", "POST", "/mock/await", `{"unbound":{"subscription":"abc","count":%s}}`},
		{"Await", "boundAgain.count", "POST", "/mock/await", `{"boundAgain":{"subscription":"abc","count":%s}}`},
		{"Await", "renewed.count", "POST", "/mock/await", `{"renewed":{"subscription":"abc","count":%s}}`},
		{"Await", "tokenTaken.count", "POST", "/mock/await", `{"tokenTaken":{"count":%s}}`},
		{"Await", "caughtUp.count", "POST", "/mock/await", `{"caughtUp":{"subscription":"abc","count":%s}}`},
		{"Await", "eventsCalled.count", "POST", "/mock/await", `{"eventsCalled":{"subscription":"abc","count":%s}}`},
		{"Await", "eventsCalled.eventsSinceNumber", "POST", "/mock/await", `{"eventsCalled":{"subscription":"abc","eventsSinceNumber":%s}}`},
		{"Await", "eventsCalled.eventsUntilNumber", "POST", "/mock/await", `{"eventsCalled":{"subscription":"abc","eventsUntilNumber":%s}}`},
		{"Await", "closedByClient.code", "POST", "/mock/await", `{"closedByClient":{"code":%s}}`},
		{"Await", "closedByClient.count", "POST", "/mock/await", `{"closedByClient":{"count":%s}}`},
		{"Await", "journal.code", "POST", "/mock/await", `{"journal":{"kind":"closed","code":%s}}`},
		{"Await", "journal.count", "POST", "/mock/await", `{"journal":{"kind":"closed","count":%s}}`},
		{"Await", "since", "POST", "/mock/await", `{"connected":{},"since":%s}`},
		{"GeneratorSpec", "patients", "POST", "/mock/generators", `{"name":"w","scenario":"tasks","patients":%s}`},
		{"GeneratorSpec", "seed", "POST", "/mock/generators", `{"name":"w","scenario":"tasks","seed":%s}`},
		{"GeneratorStep", "count", "POST", "/mock/generators/ward/step", `{"count":%s}`},
		{"SubscriptionChange", "counter", "PATCH", "/mock/subscriptions/abc", `{"counter":%s}`},
		{"RoomSettings", "random", "PUT", "/rooms/x", `{"random":%s}`},
	} {
		schema := schemas[body.schema]
		for name := range strings.SplitSeq(body.member, ".") {
			properties := at(schema, "properties").(map[string]any)
			schema = properties[name]
		}
		check(body.member, schema, func(n string) response { return s.Do(body.method, body.path, fmt.Sprintf(body.format, n)) })
	}
	if checked < 2*15 {
		t.Errorf("checked %d bounds, want more: the walk is broken", checked)
	}
}
