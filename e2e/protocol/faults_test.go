package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/testkit"
)

// faults sets the faults of a room.
func (s *server) faults(faults ...string) {
	s.T.Helper()
	s.Must(200, "PUT", "/mock/faults", `{"faults":[`+strings.Join(faults, ",")+`]}`)
}

// counts returns the names of the faults, how often each matched and how often it acted.
func (s *server) counts() string {
	s.T.Helper()
	var body struct{ Faults []testkit.FaultState }
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/faults", nil).Raw, &body); err != nil {
		s.T.Fatal(err)
	}
	var all []string
	for _, f := range body.Faults {
		all = append(all, fmt.Sprintf("%s %d/%d", f.Name, f.Matched, f.Applied))
	}
	return strings.Join(all, ", ")
}

// events makes events of a subscription.
func (s *server) events(subscription string, n int) {
	s.T.Helper()
	s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": subscription, "count": n})
}

// told returns the texts of the journal's entries of a kind.
func (s *server) texts(kind string) (texts []string) {
	s.T.Helper()
	for _, e := range s.Journal("?kind=" + kind) {
		texts = append(texts, e.Text)
	}
	return texts
}

func (s *server) wantTold(kind, text string) {
	s.T.Helper()
	if told := s.texts(kind); !slices.Contains(told, text) {
		s.T.Errorf("the journal has no %s %q; it has %q", kind, text, told)
	}
}

// numbers reads so many frames and returns the numbers of their events.
func numbers(ws *socket, frames int) string {
	ws.T.Helper()
	var all []string
	for range frames {
		f := ws.Next()
		all = append(all, strings.Join(f.Numbers(), "+"))
	}
	return strings.Join(all, ",")
}

func TestFaults_ListOfThem(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.faults(`{"on":"frame","action":"drop"}`, `{"name":"mine","on":"socket","action":"cut","frames":3}`, `{"on":"message","action":"ignore","type":"ping"}`)
	if got := s.counts(); got != "fault-1 0/0, mine 0/0, fault-2 0/0" {
		t.Errorf("got %s", got)
	}
	s.Must(201, "POST", "/mock/faults", `{"on":"message","action":"refuse","type":"bind"}`)
	s.Must(201, "POST", "/mock/faults", `{"faults":[{"name":"list","on":"frame","action":"no-handshake"}]}`)
	if got := s.counts(); got != "fault-1 0/0, mine 0/0, fault-2 0/0, fault-3 0/0, list 0/0" {
		t.Errorf("got %s", got)
	}
	s.Must(204, "DELETE", "/mock/faults/mine", nil)
	s.Must(404, "DELETE", "/mock/faults/mine", nil)
	if got := s.counts(); got != "fault-1 0/0, fault-2 0/0, fault-3 0/0, list 0/0" {
		t.Errorf("got %s", got)
	}
	s.Must(204, "DELETE", "/mock/faults", nil)
	s.Must(204, "DELETE", "/mock/faults", nil)
	if got := s.counts(); got != "" {
		t.Errorf("got %s, want none", got)
	}
	s.faults(`{"on":"frame","action":"drop"}`)
	s.Must(204, "POST", "/mock/reset", nil)
	if got := s.counts(); got != "" {
		t.Errorf("after a reset: got %s, want none", got)
	}
}

// What is wrong is refused when it is written, with its place and what would be right, and
// changes nothing.
func TestFaults_Refusals(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.faults(`{"name":"kept","on":"frame","action":"drop"}`)
	for _, c := range []struct{ body, at, says string }{
		{`{}`, "on", `got "", expected one of frame, message, socket`},
		{`{"on":"cloud","action":"drop"}`, "on", `got "cloud"`},
		{`{"on":"frame"}`, "action", "expected what is possible on frame: drop, delay, duplicate"},
		{`{"on":"frame","action":"cut"}`, "action", "expected what is possible on frame"},
		{`{"on":"operation","action":"drop"}`, "action", "expected what is possible on operation: status, delay, refused-token"},
		{`{"on":"operation","action":"status","operation":"events"}`, "operation", "expected one of get-ws-binding-token"},
		{`{"on":"operation","action":"status","method":"FETCH"}`, "method", "expected one of GET"},
		{`{"on":"operation","action":"other-url","url":"http://x"}`, "url", "expected an address of a socket"},
		{`{"on":"operation","action":"status","dialect":"ig"}`, "dialect", "narrowed by operation, subscription, release, method"},
		{`{"on":"request","action":"content-type"}`, "contentType", "needs it"},
		{`{"on":"request","action":"content-type","contentType":"text/html\nx: y"}`, "contentType", "expected a media type"},
		{`{"on":"request","action":"stall"}`, "action", "expected what is possible on request: status, delay, cut, content-type, empty"},
		{`{"on":"message","action":"drop"}`, "action", "expected what is possible on message: ignore, delay, refuse"},
		{`{"on":"socket","action":"drop"}`, "action", "expected what is possible on socket: refuse, close, cut, half-open, stall"},
		{`{"on":"frame","action":"drop","bytes":3}`, "bytes", "the action takes nothing, and a fault on frame is narrowed by subscription"},
		{`{"on":"frame","action":"delay","by":"1s","bytes":3}`, "bytes", "the action takes by, jitter, overtake"},
		{`{"on":"message","action":"ignore","subscription":"abc"}`, "subscription", "narrowed by socket, dialect, type"},
		{`{"on":"frame","action":"drop","path":"/ws"}`, "path", "has no such member"},
		{`{"on":"frame","action":"drop","frames":1}`, "frames", "has no such member"},
		{`{"on":"frame","action":"delay"}`, "by", "the action delay needs it"},
		{`{"on":"frame","action":"delay","by":"soon"}`, "by", `got "soon", expected a time`},
		{`{"on":"frame","action":"delay","by":"0s"}`, "by", `got "0s", expected a time`},
		{`{"on":"frame","action":"delay","by":"8000h"}`, "by", "to 720h"},
		{`{"on":"frame","action":"delay","by":"1s","jitter":"-1s"}`, "jitter", "expected a time"},
		{`{"on":"frame","action":"truncate"}`, "bytes", "needs it"},
		{`{"on":"frame","action":"truncate","bytes":0}`, "bytes", "expected a whole number from 1"},
		{`{"on":"frame","action":"set-number","value":-1}`, "value", "expected a whole number from 0"},
		{`{"on":"frame","action":"duplicate","count":101}`, "count", "expected a whole number from 1 to 100"},
		{`{"on":"frame","action":"replace","with":"love"}`, "with", "expected one of text, not-json, no-bundle, no-status, wrong-type"},
		{`{"on":"frame","action":"replace","with":"text"}`, "text", "is what is sent instead"},
		{`{"on":"frame","action":"replace","with":"not-json","text":"x"}`, "text", "and only then"},
		{`{"on":"frame","action":"no-handshake","type":"heartbeat"}`, "type", "acts on a handshake only"},
		{`{"on":"frame","action":"drop","type":"bind"}`, "type", "expected one of handshake, heartbeat, event-notification, outcome, pong"},
		{`{"on":"message","action":"ignore","type":"handshake"}`, "type", "expected one of bind, unbind, ping, unknown"},
		{`{"on":"frame","action":"drop","dialect":"latin"}`, "dialect", "expected one of ig, ig-colon, medplum, legacy, url"},
		{`{"on":"frame","action":"drop","release":"R3"}`, "release", "expected one of R5, R4B, R4"},
		{`{"on":"frame","action":"drop","number":{"from":3,"to":2}}`, "number", "expected from not above to"},
		{`{"on":"frame","action":"drop","number":{"to":0}}`, "number.to", "expected a whole number from 1"},
		{`{"on":"request","action":"status","method":"OPTIONS"}`, "method", "expected one of GET, HEAD, POST, PUT, PATCH, DELETE"},
		{`{"on":"frame","action":"drop","number":{"from":-1}}`, "number.from", "expected a whole number"},
		{`{"on":"frame","action":"drop","number":{"from":1},"type":"heartbeat"}`, "number", "a heartbeat carries no events"},
		{`{"on":"frame","action":"drop","nth":0}`, "nth", "expected a whole number from 1"},
		{`{"on":"frame","action":"drop","times":0}`, "times", "expected a whole number from 1"},
		{`{"on":"frame","action":"drop","probability":0}`, "probability", "above 0 and at most 1"},
		{`{"on":"frame","action":"drop","probability":1.5}`, "probability", "above 0 and at most 1"},
		{`{"on":"socket","action":"close","code":1005}`, "code", "expected a code that a close frame may have"},
		{`{"on":"socket","action":"close","reason":"` + strings.Repeat("x", 124) + `"}`, "reason", "at most 123"},
		{`{"on":"socket","action":"refuse","status":200}`, "status", "from 400 to 599"},
		{`{"on":"socket","action":"refuse","frames":2}`, "action", "use close or cut"},
		{`{"on":"socket","action":"cut","frames":2,"after":"1s"}`, "after", "name one of frames and after"},
		{`{"on":"socket","action":"cut","subscription":"abc"}`, "subscription", "frames is needed"},
		{`{"on":"socket","action":"cut","path":"ws"}`, "path", "a star stands for any characters"},
		{`{"name":"..","on":"frame","action":"drop"}`, "name", "a letter or digit first"},
		{`{"on":"` + strings.Repeat("x", 1000) + `","action":"drop"}`, "on", "x…"},
		{`{"name":"a b","on":"frame","action":"drop"}`, "name", "expected 1 to 160 letters"},
		{`{"on":"frame","action":"drop","subscription":"` + strings.Repeat("x", 201) + `"}`, "subscription", "at most 200"},
		{`{"on":"frame","action":"drop","chance":0.5}`, "chance", "unknown member"},
	} {
		for prefix, body := range map[string]string{"": c.body, "faults[1].": `{"faults":[{"on":"frame","action":"drop"},` + c.body + `]}`} {
			problem := s.Must(400, "POST", "/mock/faults", body).Body
			place, _ := at(problem, "issues", 0, "expression", 0).(string)
			if detail := text(problem, "issues", 0, "detail"); place != prefix+c.at || !strings.Contains(detail, c.says) {
				t.Errorf("%s: got %q at %q, want %q at %q", body, detail, place, c.says, prefix+c.at)
			}
		}
	}
	s.Must(400, "PUT", "/mock/faults", `{}`)
	s.Must(400, "PUT", "/mock/faults", `{"on":"frame","action":"drop"}`)
	s.Must(400, "POST", "/mock/faults", `{"on":"frame","action":"drop","faults":[]}`)
	s.Must(409, "POST", "/mock/faults", `{"name":"kept","on":"frame","action":"drop"}`)
	s.Must(409, "PUT", "/mock/faults", `{"faults":[{"name":"a","on":"frame","action":"drop"},{"name":"a","on":"frame","action":"drop"}]}`)
	s.Must(422, "POST", "/mock/faults", `{"faults":[`+strings.Repeat(`{"on":"frame","action":"drop"},`, 99)+`{"on":"frame","action":"drop"}]}`)
	if got := s.counts(); got != "kept 0/0" {
		t.Errorf("got %s, want that refusals change nothing", got)
	}
}

// The example of every action is accepted by one that names it, so that no action of the
// table goes without a test here.
func TestFaults_EveryActionHasATest(t *testing.T) {
	t.Parallel()
	for _, action := range fault.Actions() {
		if !slices.Contains(triedActions, action) {
			t.Errorf("the action %s is not tried", action)
		}
	}
}

// The description has the actions and bounds of the code.
func TestFaults_AreDescribed(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	d := s.described("")
	d.close(t)
	s.faults(`{"on":"frame","action":"drop","type":"event-notification"}`)
	s.Bind("abc")
	s.events("abc", 1)
	s.try(d, exchange{"listFaults", nil, "", nil, 200})
	s.try(d, exchange{"journal", nil, "?kind=fault", nil, 200})
	if a := s.try(d, exchange{"explainHappened", nil, "?subscription=abc", nil, 200}); !strings.Contains(string(a.Raw), `"kind":"fault"`) {
		t.Errorf("got %s, want the fault among the steps", a.Raw)
	}
	properties := d.doc.Components.Schemas["Fault"].Value.Properties
	for member, want := range map[string][]string{"on": fault.Places(), "action": fault.Actions()} {
		if got := properties[member].Value.Enum; fmt.Sprint(got...) != fmt.Sprint(anys(want)...) {
			t.Errorf("%s: got %v, want %v", member, got, want)
		}
	}
	with := map[string]string{"value": "set-number", "bytes": "truncate", "count": "duplicate"}
	bounds := at(d.raw, "components", "schemas", "Fault", "properties").(map[string]any)
	for member, value := range bounds {
		schema := value.(map[string]any)
		if schema["type"] != "integer" {
			continue
		}
		on, action := "frame", with[member]
		switch member {
		case "frames":
			on, action = "socket", "cut"
		case "status", "retryAfter":
			on, action = "operation", "status"
		case "code":
			on, action = "socket", "close"
		case "nth", "times":
			action = "drop"
		}
		least, most := schema["minimum"].(json.Number), schema["maximum"].(json.Number)
		for _, n := range []string{bigger(t, least, -1).String(), bigger(t, most, 1).String()} {
			body := fmt.Sprintf(`{"on":%q,"action":%q,%q:%s}`, on, action, member, n)
			if a := s.Do("POST", "/mock/faults", body); a.Status != 400 || !strings.HasPrefix(fmt.Sprint(a.Body["detail"]), member+": ") {
				t.Errorf("%s: got %d %s, want a refusal that names %s", body, a.Status, a.Raw, member)
			}
		}
		for _, n := range []json.Number{least, most} {
			s.Must(201, "POST", "/mock/faults", fmt.Sprintf(`{"on":%q,"action":%q,%q:%s}`, on, action, member, n))
		}
	}
}

var triedActions = []string{"drop", "delay", "duplicate", "swap", "skip-number", "repeat-number", "set-number", "truncate", "replace",
	"heartbeat-first", "no-handshake", "no-heartbeat", "ignore", "refuse", "close", "cut", "half-open", "stall",
	"status", "refused-token", "expired-token", "no-expiration", "text-expiration", "other-url", "old-names", "content-type", "empty"}

func TestFaults_Testkit(t *testing.T) {
	t.Parallel()
	k := testkit.Start(t)
	if name := k.AddFault(testkit.Fault{On: "frame", Action: "drop", Number: &testkit.EventNumbers{From: 2, To: 2}}); name != "fault-1" {
		t.Errorf("got %s", name)
	}
	zero := int64(0)
	k.SetFaults(testkit.Fault{Name: "a", On: "frame", Action: "set-number", Value: &zero, Release: testkit.R4}, testkit.Fault{On: "socket", Action: "close", Code: 4000, Frames: 2})
	if got := k.Faults(); len(got) != 2 || got[0].Name != "a" || *got[0].Value != 0 || got[1].Code != 4000 {
		t.Errorf("got %+v", got)
	}
	k.RemoveFault("a")
	k.ClearFaults()
	k.SetFaults()
	if got := k.Faults(); len(got) != 0 {
		t.Errorf("got %+v, want none", got)
	}
}
