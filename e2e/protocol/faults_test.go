package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
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
		{`{"name":"a b","on":"frame","action":"drop"}`, "name", "expected 1 to 64 letters"},
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
	s := start(t)
	d := s.described("")
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
	"status", "refused-token", "expired-token", "no-expiration", "text-expiration", "other-url", "old-names"}

// A lost event stays numbered and in $events, and journal and explanation say why it is
// missing.
func TestFaults_Drop(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.faults(`{"name":"lose-second","on":"frame","subscription":"abc","type":"event-notification","number":{"from":2,"to":2},"times":1,"action":"drop"}`)
		ws := s.Bind("abc")
		for _, id := range []string{"a", "b", "c"} {
			s.Must(201, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		}
		if got := numbers(ws, 2); got != "1,3" {
			t.Errorf("got the events %s, want 1,3", got)
		}
		events := s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1&eventsUntilNumber=9", nil)
		if got := strings.Join(events.Notification().Numbers(), ","); got != "1,2,3" {
			t.Errorf("$events has %s, want 1,2,3", got)
		}
		s.wantTold("fault", "event 2 was dropped by fault lose-second")
		s.wantTold("not-sent", "event 2 was dropped by fault lose-second; $events has it")
		told := s.Must(200, "GET", "/mock/explain?resource=Encounter/b&format=text", nil).Raw
		if want := "it got event 2; event 2 was dropped by fault lose-second"; !strings.Contains(string(told), want) {
			t.Errorf("explain says %s, want %s", told, want)
		}
		if got := s.counts(); got != "lose-second 1/1" {
			t.Errorf("got %s", got)
		}
	})
}

func TestFaults_OfNumbers(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		for _, c := range []struct{ fault, want, total string }{
			{`{"on":"frame","action":"skip-number","number":{"from":2},"times":1}`, "1,3,4", "4"},
			{`{"on":"frame","action":"skip-number","number":{"from":2}}`, "1,3,5", "5"},
			{`{"on":"frame","action":"repeat-number","number":{"from":2},"times":1}`, "1,1,2", "2"},
			{`{"on":"frame","action":"set-number","value":9,"number":{"from":2,"to":2}}`, "1,9,3", "3"},
		} {
			t.Run(c.fault, func(t *testing.T) {
				t.Parallel()
				s := vectorServer(t, r)
				s.faults(c.fault)
				ws, other := s.Bind("abc"), s.Bind("abc")
				s.faults(strings.Replace(c.fault, `{`, `{"socket":"s1",`, 1))
				s.events("abc", 3)
				var frames []wiretest.Frame
				for range 3 {
					frames = append(frames, ws.Next())
				}
				got := []string{}
				for _, f := range frames {
					got = append(got, strings.Join(f.Numbers(), "+"))
				}
				if strings.Join(got, ",") != c.want || frames[2].Total() != c.total {
					t.Errorf("got %v and %s in all, want %s and %s", got, frames[2].Total(), c.want, c.total)
				}
				// The frame of the others is another, and the journal has what really went out.
				if got := numbers(other, 3); got != "1,2,3" {
					t.Errorf("the other socket got %s, want 1,2,3", got)
				}
				sent := s.Journal("?kind=sent&socket=s1&text=event-notification&bodies=true")
				if second := sent[1]; second.Frame != string(frames[1].Raw) || second.First != 2 {
					t.Errorf("the journal has %s, want the frame that was sent", second.Frame)
				}
				// A handshake after the fault is gone has the true number.
				s.faults()
				ws.Send("bind-with-token " + s.Token("abc"))
				if f := ws.Next(); f.Total() != "3" {
					t.Errorf("got %s events in all, want 3", f.Total())
				}
			})
		}
	})
}

func TestFaults_Duplicate(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"on":"frame","action":"duplicate","number":{"from":2,"to":2}}`, `{"on":"frame","action":"duplicate","count":2,"number":{"from":3,"to":3}}`)
	s.events("abc", 4)
	if got := numbers(ws, 7); got != "1,2,2,3,3,3,4" {
		t.Errorf("got %s", got)
	}
	s.wantTold("fault", "event 2 was sent 2 times by fault fault-1")
	if sent := s.Journal("?kind=sent&text=event-notification"); len(sent) != 7 {
		t.Errorf("the journal has %d frames, want 7", len(sent))
	}
	told := s.Must(200, "GET", "/mock/explain?subscription=abc&format=text", nil).Raw
	if want := "event 3 to s1: event 3 was sent 3 times by fault fault-2"; !strings.Contains(string(told), want) {
		t.Errorf("explain says %s, want %s", told, want)
	}
}

func TestFaults_Swap(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	ws := s.Bind("abc", "other")
	s.faults(`{"on":"frame","subscription":"abc","action":"swap"}`)
	s.events("abc", 1)
	s.events("other", 1) // does not wait
	s.events("abc", 4)
	var got []string
	for range 5 {
		f := ws.Next()
		got = append(got, f.Subscription()+" "+strings.Join(f.Numbers(), ","))
	}
	if want := "other 1; abc 2; abc 1; abc 4; abc 3"; strings.Join(got, "; ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	s.faults() // what waits for the next one is sent
	if f := ws.Next(); strings.Join(f.Numbers(), ",") != "5" {
		t.Errorf("got %s, want event 5", f.Raw)
	}
	ws.Nothing()
}

// A delayed frame keeps its place: what is behind it waits, unless it may overtake.
func TestFaults_Delay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, fault, want string }{
		{"in order", `{"on":"frame","action":"delay","by":"720h","number":{"from":2,"to":2}}`, "1"},
		{"overtaken", `{"on":"frame","action":"delay","by":"720h","overtake":true,"number":{"from":2,"to":2}}`, "1,3,4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			ws := s.Bind("abc")
			s.faults(c.fault)
			s.events("abc", 4)
			if got := numbers(ws, strings.Count(c.want, ",")+1); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			s.wantTold("fault", "event 2 was delayed for 720h0m0s by fault fault-1")
			s.faults()
			rest := map[string]string{"1": "2,3,4", "1,3,4": "2"}[c.want]
			if got := numbers(ws, strings.Count(rest, ",")+1); got != rest {
				t.Errorf("afterwards: got %s, want %s", got, rest)
			}
			ws.Nothing()
		})
	}
	t.Run("really", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		ws := s.Bind("abc")
		s.faults(`{"on":"frame","action":"delay","by":"20ms","jitter":"5ms","overtake":true,"number":{"from":1,"to":1}}`)
		s.events("abc", 2)
		if got := numbers(ws, 2); got != "2,1" && got != "1,2" { // the machine may have slept
			t.Errorf("got %s", got)
		}
	})
}

// What a fault holds is not lost silently.
func TestFaults_HeldFramesEndWithTheirSocket(t *testing.T) {
	t.Parallel()
	held := `{"name":"slow","on":"frame","action":"delay","by":"1h","type":"event-notification"}`
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(held)
	s.events("abc", 2)
	_ = ws.Conn.Close(4000, "enough")
	s.AwaitEntry("?kind=closed&socket=s1")
	s.wantTold("not-sent", "event 1 was held by fault slow and then dropped: enough; $events has it")
	s.wantTold("not-sent", "event 2 was held by fault slow and then dropped: enough; $events has it")

	ws = s.Bind("abc")
	s.events("abc", 1)
	s.Must(204, "POST", "/mock/reset", `{"seed":"none"}`)
	s.wantTold("not-sent", "event 3 was held by fault slow and then dropped: the room was reset; $events has it")
	if got := ws.Outcome("deleted"); !strings.Contains(got, "reset") {
		t.Errorf("got %s, want that the binding ended", got)
	}
}

func TestFaults_ReplaceAndTruncate(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
		ws := s.Bind("full")
		whole := ""
		for with, check := range map[string]func(raw string, f wiretest.Frame) bool{
			`"replace","with":"text","text":"hello"`: func(raw string, _ wiretest.Frame) bool { return raw == "hello" },
			`"replace","with":"not-json"`:            func(raw string, _ wiretest.Frame) bool { return !json.Valid([]byte(raw)) },
			`"replace","with":"no-bundle"`:           func(_ string, f wiretest.Frame) bool { return f.Body["resourceType"] == "Patient" },
			`"replace","with":"no-status"`: func(_ string, f wiretest.Frame) bool {
				return f.Body["resourceType"] == "Bundle" && at(f.Body, "entry", 0, "resource", "resourceType") == "Encounter"
			},
			`"replace","with":"wrong-type"`: func(_ string, f wiretest.Frame) bool {
				return f.Body["type"] == "collection" && f.Kind() == "event-notification"
			},
			`"truncate","bytes":40`: func(raw string, _ wiretest.Frame) bool {
				return len(raw) == 40 && strings.HasPrefix(raw, `{"resourceType":"Bundle"`)
			},
		} {
			s.faults(`{"name":"it","on":"frame","action":` + with + `}`)
			s.events("full", 1)
			f := ws.Next()
			if !check(string(f.Raw), f) {
				t.Errorf("%s: got %s", with, f.Raw)
			}
			sent := s.Journal("?kind=sent&limit=1&bodies=true")
			if sent[0].Frame != string(f.Raw) {
				t.Errorf("%s: the journal has %s", with, sent[0].Frame)
			}
			whole = with
		}
		if whole == "" {
			t.Error("nothing was tried")
		}
	})
}

func TestFaults_OfHandshakes(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.faults(`{"on":"frame","action":"no-handshake"}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		s.AwaitEntry("?kind=bound")
		s.events("abc", 1)
		ws.WantEvent("1")
		s.wantTold("fault", "the handshake was dropped by fault fault-1")

		s.faults(`{"on":"frame","action":"heartbeat-first"}`)
		ws.Send("bind-with-token " + s.Token("abc"))
		first, second := ws.Next(), ws.Next()
		if first.Kind() != "heartbeat" || second.Kind() != "handshake" || first.Total() != "1" || first.At("id") == second.At("id") {
			t.Errorf("got %s, then %s; want a heartbeat and a handshake", first.Raw, second.Raw)
		}
	})
}

// Answers of the server are frames, too.
func TestFaults_OfOtherFrames(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Dial()
	s.faults(`{"on":"frame","type":"pong","times":1,"action":"replace","with":"text","text":"gnop"}`, `{"on":"frame","type":"outcome","action":"truncate","bytes":5}`)
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "gnop" {
		t.Errorf("got %s, want gnop", f.Raw)
	}
	ws.Send("nonsense")
	if f := ws.Next(); string(f.Raw) != `{"res` {
		t.Errorf("got %s, want five bytes", f.Raw)
	}
	ws.Nothing()
}

// Each narrowing lets a fault pass by what it is not about.
func TestFaults_Narrowing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ narrow, want, other string }{
		{`"subscription":"abc"`, "dropped", "2"},
		{`"subscription":"none"`, "1,2", "2"},
		{`"socket":"s1"`, "dropped", "2"},
		{`"socket":"s2"`, "1,2", "dropped"},
		{`"dialect":"ig"`, "dropped", "2"},
		{`"dialect":"ig-colon"`, "1,2", "dropped"},
		{`"release":"R5"`, "dropped", "dropped"},
		{`"release":"R4"`, "1,2", "2"},
		{`"type":"event-notification"`, "dropped", "dropped"},
		{`"type":"heartbeat"`, "1,2", "2"},
		{`"number":{"from":2}`, "1", "dropped"},
		{`"number":{"to":1}`, "2", "2"},
		{`"number":{"from":3,"to":9}`, "1,2", "2"},
		{`"socket":"s1","nth":2`, "1", "2"},
		{`"socket":"s1","times":1`, "2", "2"},
		{`"socket":"s1","nth":2,"times":5`, "1", "2"},
		{`"probability":1`, "dropped", "dropped"},
		{`"probability":1e-12`, "1,2", "2"},
		{`"subscription":"abc","socket":"s2"`, "1,2", "2"},
	} {
		t.Run(c.narrow, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
			ws := s.Bind("abc")
			other := s.Dial()
			other.Send("bind-with-token: " + s.Token("other"))
			other.Next()
			s.events("other", 1)
			other.WantEvent("1")
			s.faults(`{"on":"frame","action":"drop",` + c.narrow + `}`)
			s.events("abc", 2)
			s.events("other", 1)
			s.faults() // the frames up to here are on their way
			for of, want := range map[*socket]string{ws: c.want, other: c.other} {
				if want != "dropped" {
					if got := numbers(of, strings.Count(want, ",")+1); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
				of.Nothing()
			}
		})
	}
}

// A seeded room decides the same each time.
func TestFaults_ProbabilityIsOfTheRoom(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	run := func(room string, seed int) string {
		s.Must(201, "PUT", "/rooms/"+room, fmt.Sprintf(`{"seed":"none","random":%d}`, seed))
		in := &server{wiretest.New(t, s.URL+"/rooms/"+room), s.log}
		in.Admission()
		ws := in.Bind("abc")
		in.faults(`{"on":"frame","type":"event-notification","action":"drop","probability":0.5}`)
		in.events("abc", 40)
		in.faults()
		in.events("abc", 1)
		var got []string
		for {
			f := ws.Next()
			got = append(got, f.Numbers()...)
			if got[len(got)-1] == "41" {
				return strings.Join(got, ",")
			}
		}
	}
	a, b, c := run("a", 7), run("b", 7), run("c", 8)
	if a != b || a == c || strings.Count(a, ",") < 5 || strings.Count(a, ",") > 35 {
		t.Errorf("got %s, %s and, of another seed, %s", a, b, c)
	}
}

func TestFaults_OnMessages(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"name":"deaf","on":"message","action":"ignore","type":"ping","times":1}`, `{"name":"no","on":"message","action":"refuse","type":"bind","times":1,"text":"not today"}`)
	ws := s.Dial()
	ws.Send("ping")
	ws.Send("bind-with-token " + s.Token("abc"))
	if got := ws.Outcome("transient"); got != "not today" {
		t.Errorf("got %s", got)
	}
	s.wantTold("fault", "the message ping was ignored by fault deaf")
	s.wantTold("fault", "the message bind was refused by fault no")
	ws.Nothing()
	ws.Send("bind-with-token " + s.Token("abc"))
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Errorf("got %s, want a handshake", f.Raw)
	}

	// Messages behind a delayed one wait.
	s.faults(`{"name":"late","on":"message","action":"delay","by":"1h","type":"bind"}`)
	ws.Send("bind-with-token " + s.Token("abc"))
	ws.Send(`{"type":"ping"}`)
	s.AwaitEntry("?kind=received&text=type") // of which there was none before
	s.events("abc", 1)
	ws.WantEvent("1")
	s.wantTold("fault", "the message bind was delayed for 1h0m0s by fault late")
	s.Must(204, "DELETE", "/mock/faults/late", nil)
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Errorf("got %s, want a handshake", f.Raw)
	}
	if f := ws.Next(); string(f.Raw) != `{"type":"pong"}` {
		t.Errorf("got %s, want a pong", f.Raw)
	}

	s.faults(`{"on":"message","action":"delay","by":"10ms","type":"ping"}`)
	ws.Nothing() // answered late, but answered
}

// A token in the address is a bind message of the dialect url.
func TestFaults_OnATokenInTheAddress(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"message","action":"ignore","dialect":"url"}`)
	ws := s.Dial("?token=" + s.Token("abc"))
	ws.Nothing()
	s.faults(`{"on":"message","action":"refuse","dialect":"url"}`)
	ws = s.Dial("?token=" + s.Token("abc"))
	ws.Outcome("transient")
	if code, _ := ws.Closed(); code != 1008 {
		t.Errorf("got %d, want 1008", code)
	}
}

func TestFaults_OnSockets(t *testing.T) {
	t.Parallel()
	t.Run("refuse", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		s.faults(`{"name":"full","on":"socket","action":"refuse","status":429,"retryAfter":7,"times":1,"path":"*/ws"}`)
		_, res, err := websocket.Dial(context.Background(), s.WS, nil)
		if err == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") != "7" {
			t.Fatalf("got %v, %v; want 429", res, err)
		}
		body, _ := io.ReadAll(res.Body)
		if !strings.Contains(string(body), `"refused by fault full"`) || !strings.Contains(string(body), "OperationOutcome") {
			t.Errorf("got %s", body)
		}
		s.Dial().Nothing()
		s.wantTold("fault", "the upgrade of the socket was refused with 429 by fault full")
	})
	t.Run("another path", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		s.faults(`{"on":"socket","action":"refuse","path":"/websocket"}`)
		s.Dial().Nothing()
		if got := s.counts(); got != "fault-1 0/0" {
			t.Errorf("got %s", got)
		}
		if a := s.Do("GET", "/websocket", nil, "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); a.Status != 503 {
			t.Errorf("got %d, want 503", a.Status)
		}
	})
	t.Run("close", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		ws := s.Bind("abc")
		s.faults(`{"name":"bye","on":"socket","action":"close","code":4001,"reason":"so long","frames":2,"type":"event-notification"}`)
		ws.Nothing() // a pong does not count
		s.events("abc", 3)
		if got := numbers(ws, 2); got != "1,2" {
			t.Errorf("got %s, want 1,2", got)
		}
		if code, reason := ws.Closed(); code != 4001 || reason != "so long" {
			t.Errorf("got %d %s", code, reason)
		}
		s.AwaitEntry("?kind=closed&text=long")
		s.wantTold("fault", "the socket was closed with 4001 by fault bye")
	})
	t.Run("close at once", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		before := s.Dial()
		s.faults(`{"on":"socket","action":"close","times":1}`)
		if code, reason := s.Dial().Closed(); code != 1011 || reason != "fault fault-1" {
			t.Errorf("got %d %s", code, reason)
		}
		s.Dial().Nothing()
		before.Nothing()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		s.faults(`{"name":"snip","on":"socket","action":"cut","frames":3,"times":1}`)
		ws := s.Bind("abc")
		s.events("abc", 5)
		if got := numbers(ws, 2); got != "1,2" {
			t.Errorf("got %s, want 1,2", got)
		}
		wantCut(t, ws)
		s.AwaitEntry("?kind=closed")
		s.wantTold("closed", "the connection was cut by fault snip (by server)")
		ws = s.Bind("abc")
		s.events("abc", 2)
		if got := numbers(ws, 2); got != "6,7" {
			t.Errorf("got %s, want 6,7", got)
		}
	})
	t.Run("cut all", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		a, b := s.Bind("abc"), s.Bind("abc")
		s.faults(`{"on":"socket","action":"cut","after":"0s"}`)
		wantCut(t, a)
		wantCut(t, b)
		if got := s.counts(); got != "fault-1 2/2" {
			t.Errorf("got %s", got)
		}
	})
}

// wantCut reads until the connection ends, which must be without a close frame.
func wantCut(t *testing.T, ws *socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	for {
		_, _, err := ws.Conn.Read(ctx)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || websocket.CloseStatus(err) != -1 || !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the end of the connection without a close frame", err)
		}
		return
	}
}

// A stalled socket is read but not written. Afterwards everything comes, in order.
func TestFaults_Stall(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"name":"stuck","on":"socket","action":"stall","frames":1,"type":"event-notification"}`)
	s.events("abc", 3)
	ws.WantEvent("1")
	ws.Send("ping")
	s.AwaitEntry("?kind=received&text=ping") // it is read
	s.events("abc", 1)
	if got := s.Must(200, "GET", "/mock/sockets", nil).At("sockets", 0, "queued"); got.(float64) < 3 {
		t.Errorf("got %v frames that wait, want events 2 to 4", got)
	}
	s.Must(204, "DELETE", "/mock/faults/stuck", nil)
	var got []string
	for range 4 {
		f := ws.Next()
		got = append(got, strings.Join(f.Numbers(), "")+strings.TrimPrefix(string(f.Raw[:4]), `{"re`))
	}
	// Nothing says when the pong was ready to be sent.
	if all := strings.Join(got, ","); all != "2,3,pong,4" && all != "2,3,4,pong" {
		t.Errorf("got %s, want 2,3,4 and a pong", all)
	}
}

// A half-open socket is neither read nor written, and its connection stays.
func TestFaults_HalfOpen(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"on":"socket","action":"half-open","after":"0s","socket":"s1"}`)
	ws.Send("bind-with-token nonsense") // not read
	s.events("abc", 2)
	s.wantTold("fault", "the socket was neither read nor written any more by fault fault-1")
	other := s.Bind("abc")
	other.Send("ping")
	s.AwaitEntry("?kind=received&socket=s2&text=ping")
	if got := s.Journal("?kind=received&socket=s1&text=nonsense"); len(got) != 0 {
		t.Errorf("got %v, want that nothing was read", got)
	}
	s.faults()
	if got := numbers(ws, 2); got != "1,2" {
		t.Errorf("got %s, want 1,2", got)
	}
	ws.Outcome("unknown")
}

func TestFaults_HalfOpenEndsByItself(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"on":"socket","action":"half-open","after":"0s","for":"20ms"}`)
	s.events("abc", 1)
	ws.WantEvent("1")
	ws.Nothing()
}

// What keeps a socket still does not keep its room, or the server, from ending.
func TestFaults_StillSocketsEndWithTheRoom(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"stall", "half-open"} {
		s := startProcess(t)
		s.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
		in := &server{wiretest.New(t, s.URL+"/rooms/demo"), s.log}
		in.Admission()
		ws := in.Bind("abc")
		in.faults(`{"on":"socket","action":"` + action + `","after":"0s"}`)
		in.events("abc", 1)
		s.Must(204, "DELETE", "/rooms/demo", nil)
		if code, reason := ws.Closed(); code != 1001 || !strings.Contains(reason, "demo") {
			t.Errorf("%s: got %d %s, want 1001", action, code, reason)
		}
	}
}

// A token that expires, or whatever closes a socket, is not told while it is kept still.
func TestFaults_ClosingWaitsUntilTheSocketIsWell(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + token)
	ws.Next()
	s.faults(`{"name":"stuck","on":"socket","action":"stall","after":"0s"}`)
	s.Must(204, "DELETE", "/mock/tokens/"+token, nil)
	s.events("abc", 1)
	s.faults()
	if code, reason := ws.Closed(); code != 1008 || !strings.Contains(reason, "revoked") {
		t.Errorf("got %d %s, want 1008", code, reason)
	}
}

// What cannot be done with a frame is said, and the frame is sent as it is.
func TestFaults_WhatCannotBeApplied(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.Must(201, "PUT", "Subscription/c", `{"resourceType":"Subscription","id":"c","status":"active","reason":"x","criteria":"Encounter?status=in-progress","channel":{"type":"websocket"}}`)
	s.faults(`{"on":"frame","action":"skip-number"}`, `{"on":"frame","action":"heartbeat-first"}`, `{"on":"frame","action":"truncate","bytes":500}`)
	ws := s.Dial()
	ws.Send("bind c")
	if f := ws.Next(); string(f.Raw) != "bound c" {
		t.Fatalf("got %s", f.Raw)
	}
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	if f := ws.Next(); string(f.Raw) != "ping c" {
		t.Fatalf("got %s", f.Raw)
	}
	s.wantTold("fault", "fault fault-1 (skip-number) could not be applied to event 1: it is not a notification bundle, so it has no such part")
	s.wantTold("fault", "fault fault-2 (heartbeat-first) could not be applied to the handshake: it is not a notification bundle, so it has no such part")
	s.wantTold("fault", "fault fault-3 (truncate) could not be applied to event 1: it has only 6 bytes")
	if got := s.counts(); got != "fault-1 1/0, fault-2 1/0, fault-3 2/0" {
		t.Errorf("got %s", got)
	}
	// What needs no bundle is possible in the old protocol too.
	s.faults(`{"on":"frame","dialect":"legacy","action":"duplicate"}`)
	s.Must(201, "PUT", "Encounter/f", encounter("f", "in-progress"))
	for range 2 {
		if f := ws.Next(); string(f.Raw) != "ping c" {
			t.Fatalf("got %s", f.Raw)
		}
	}
}

// Medplum's client gets frames of its own form on R4.
func TestFaults_OfNumbersForMedplum(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	ws := s.Dial()
	ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
	ws.Next()
	s.faults(`{"on":"frame","dialect":"medplum","action":"skip-number","times":1}`)
	s.events("abc", 2)
	for _, want := range []string{"2", "3"} {
		f := ws.WantEvent(want)
		if f.Status()["resourceType"] != "SubscriptionStatus" || f.Total() != want {
			t.Errorf("got %s", f.Raw)
		}
	}
}

// Heartbeats can be kept away or come late.
func TestFaults_OfHeartbeats(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"frame","action":"no-heartbeat"}`)
	s.Must(201, "PUT", "Subscription/beats", websocketSubscription("beats", admissionURL, "heartbeatPeriod", 1))
	ws := s.Bind("beats")
	s.AwaitEntry("?kind=fault&text=heartbeat")
	s.wantTold("fault", "the heartbeat was dropped by fault fault-1")
	s.faults()
	if f := ws.Next(); f.Kind() != "heartbeat" {
		t.Errorf("got %s, want a heartbeat", f.Raw)
	}
}

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

func TestFaults_OnTheOperation(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		const path = "Subscription/$get-ws-binding-token?id=abc"
		s := vectorServer(t, r)
		s.faults(`{"name":"busy","on":"operation","operation":"get-ws-binding-token","times":2,"action":"status","status":503,"retryAfter":2}`)
		for range 2 {
			a := s.Must(503, "POST", path, nil)
			if code, diagnostics, _ := a.Issue(); code != "transient" || diagnostics != "refused by fault busy" || a.Header.Get("Retry-After") != "2" {
				t.Errorf("got %s %v", a.Raw, a.Header)
			}
		}
		s.Bind("abc")
		s.wantTold("fault", "$get-ws-binding-token was refused with 503 by fault busy")

		for _, c := range []struct{ action, code string }{{"refused-token", "forbidden"}, {"expired-token", "expired"}} {
			s.faults(`{"on":"operation","action":"` + c.action + `"}`)
			a := s.Must(200, "POST", path, nil)
			ws := s.Dial()
			ws.Send("bind-with-token " + a.Parameters("token")[0])
			ws.Outcome(c.code)
			past := a.Parameters("expiration")[0] < s.now().Format("2006-01-02T15:04:05Z")
			if past != (c.action == "expired-token") {
				t.Errorf("%s: got the expiration %s", c.action, a.Parameters("expiration")[0])
			}
		}

		expiration := func(p map[string]any) any { return p["valueDateTime"] }
		for action, check := range map[string]func(a response) bool{
			"no-expiration": func(a response) bool { return len(a.Parameters("expiration")) == 0 },
			"text-expiration": func(a response) bool {
				p := at(a.Body, "parameter", 1).(map[string]any)
				return p["name"] == "expiration" && expiration(p) == nil && p["valueString"] != nil
			},
			`other-url","url":"wss://other.example/ws`: func(a response) bool { return a.Parameters("websocket-url")[0] == "wss://other.example/ws" },
			"other-url": func(a response) bool { return a.Parameters("websocket-url")[0] == "ws://127.0.0.1:9/ws" },
			"old-names": func(a response) bool {
				return len(a.Parameters("subscription")) == 0 && a.Parameters("subscriptions")[0] == "abc,other" && at(a.Body, "parameter", 3, "valueString") != nil
			},
		} {
			s.Do("PUT", "Subscription/other", websocketSubscription("other", admissionURL))
			s.faults(`{"on":"operation","action":"` + action + `"}`)
			a := s.Must(200, "POST", path+"&id=other", nil)
			if !check(a) {
				t.Errorf("%s: got %s", action, a.Raw)
			}
			s.faults()
			ws := s.Dial()
			ws.Send("bind-with-token " + a.Parameters("token")[0])
			if f := ws.Next(); f.Kind() != "handshake" {
				t.Errorf("%s: got %s, want that the token is good", action, f.Raw)
			}
		}
	})
}

func TestFaults_NarrowedOnTheOperation(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	for narrow, want := range map[string][4]int{
		`"subscription":"abc"`:  {503, 503, 200, 503},
		`"method":"GET"`:        {200, 200, 200, 503},
		`"release":"R4"`:        {200, 200, 200, 200},
		`"release":"R5"`:        {503, 503, 503, 503},
		`"nth":2`:               {200, 503, 503, 503},
		`"nth":2,"times":1`:     {200, 503, 200, 200},
		`"probability":0.00001`: {200, 200, 200, 200},
	} {
		s.faults(`{"on":"operation","action":"status",` + narrow + `}`)
		got := [4]int{
			s.Do("POST", "Subscription/abc/$get-ws-binding-token", nil).Status,
			s.Do("POST", "Subscription/$get-ws-binding-token?id=other&id=abc", nil).Status,
			s.Do("POST", "Subscription/other/$get-ws-binding-token", nil).Status,
			s.Do("GET", "Subscription/$get-ws-binding-token?id=abc", nil).Status,
		}
		if got != want {
			t.Errorf("%s: got %v, want %v", narrow, got, want)
		}
	}
}

// A delay holds the request, until the fault is removed or the room closes.
func TestFaults_DelayOfTheOperation(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
	in := &server{wiretest.New(t, s.URL+"/rooms/demo"), s.log}
	in.Admission()
	in.faults(`{"name":"slow","on":"operation","action":"delay","by":"1h"}`)
	came := in.Begin("POST", "Subscription/abc/$get-ws-binding-token", nil)
	in.AwaitEntry("?kind=fault&text=delayed")
	in.faults()
	if a := <-came; a.Status != 200 {
		t.Errorf("got %d, want 200", a.Status)
	}
	in.faults(`{"name":"slower","on":"operation","action":"delay","by":"1h"}`)
	came = in.Begin("POST", "Subscription/abc/$get-ws-binding-token", nil)
	in.AwaitEntry("?kind=fault&text=slower")
	s.Must(204, "DELETE", "/rooms/demo", nil)
	if a := <-came; a.Status != 503 {
		t.Errorf("got %d %s, want 503", a.Status, a.Raw)
	}
}
