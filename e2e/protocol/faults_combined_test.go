package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// Faults that act on one frame count, and are told, as what came of them.
func TestFaults_CombinedOnFrames(t *testing.T) {
	t.Parallel()
	frame := func(members string) string { return `{"on":"frame",` + members + `}` }
	for _, c := range []struct {
		name   string
		faults []string
		want   string // what the client gets of a bind and three events
		counts string
		told   string // entries of the journal
	}{
		{"a heartbeat for a handshake", []string{frame(`"action":"heartbeat-first"`), frame(`"action":"no-handshake"`)},
			"heartbeat 1 2 3", "1/1 1/1", "the handshake came after a heartbeat by fault fault-1; the handshake was dropped by fault fault-2"},
		{"a dropped handshake has no heartbeat", []string{frame(`"action":"no-handshake"`), frame(`"action":"heartbeat-first"`)},
			"1 2 3", "1/1 0/0", "the handshake was dropped by fault fault-1"},
		{"a handshake that is swapped", []string{frame(`"action":"swap","type":"handshake"`), frame(`"action":"heartbeat-first"`)},
			"heartbeat 1 handshake 2 3", "1/1 1/1", "the handshake was held until the next frame of its subscription was sent by fault fault-1; the handshake came after a heartbeat by fault fault-2"},
		{"swapped copies", []string{frame(`"action":"swap","type":"event-notification"`), frame(`"action":"duplicate","number":{"to":2}`)},
			"handshake 2 2 1 1", "3/2 2/2", "event 1 was held until the next frame of its subscription was sent by fault fault-1; event 1 was sent 2 times by fault fault-2; event 2 was sent 2 times by fault fault-2; event 3 was held until the next frame of its subscription was sent by fault fault-1"},
		{"copied twice", []string{frame(`"action":"duplicate","number":{"to":1}`), frame(`"action":"duplicate","count":2,"number":{"to":1}`)},
			"handshake 1 1 1 1 2 3", "1/1 1/1", "event 1 was sent 2 times by fault fault-1; event 1 was sent 4 times by fault fault-2"},
		{"dropped in the end", []string{frame(`"action":"delay","by":"1h","number":{"from":2,"to":2}`), frame(`"action":"duplicate","number":{"from":2,"to":2},"times":1`), frame(`"action":"drop","number":{"from":2,"to":2}`)},
			"handshake 1 3", "1/0 1/0 1/1", "event 2 was dropped by fault fault-3"},
		{"a dropped frame shifts what follows", []string{frame(`"action":"skip-number","number":{"from":2,"to":2}`), frame(`"action":"drop","number":{"from":2,"to":2}`)},
			"handshake 1 4", "1/1 1/1", "event 2 got a number changed by +1, as what follows does, by fault fault-1; event 2 was dropped by fault fault-2"},
		{"numbers stay exact", []string{frame(`"action":"set-number","value":9007199254740991,"number":{"from":3,"to":3}`), frame(`"action":"skip-number","number":{"from":3,"to":3}`)},
			"handshake 1 2 9007199254740991", "1/1 1/1", "event 3 got the number 9007199254740991 by fault fault-1; event 3 got a number changed by +1, as what follows does, by fault fault-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			s.faults(c.faults...)
			ws := s.Dial()
			ws.Send("bind-with-token " + s.Token("abc"))
			s.AwaitEntry("?kind=bound")
			s.events("abc", 3)
			var got, counts []string
			for range strings.Fields(c.want) {
				f := ws.Next()
				got = append(got, strings.TrimPrefix(f.Kind(), "event-notification")+strings.Join(f.Numbers(), "+"))
			}
			ws.Nothing()
			if all := strings.Join(got, " "); all != c.want {
				t.Errorf("got %s, want %s", all, c.want)
			}
			for one := range strings.SplitSeq(s.counts(), ", ") {
				counts = append(counts, one[strings.IndexByte(one, ' ')+1:])
			}
			if all := strings.Join(counts, " "); all != c.counts {
				t.Errorf("got the counts %s, want %s", all, c.counts)
			}
			if told := strings.Join(s.texts("fault"), "; "); told != c.told {
				t.Errorf("the journal says %q, want %q", told, c.told)
			}
		})
	}
}

// The heartbeat that a fault makes is not the next frame of a subscription.
func TestFaults_SwapWithAHandshake(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"on":"frame","action":"swap","type":"event-notification"}`, `{"on":"frame","action":"heartbeat-first"}`)
	s.events("abc", 1)
	ws.Send("bind-with-token " + s.Token("abc"))
	for _, want := range []string{"heartbeat", "handshake", "event-notification"} {
		if f := ws.Next(); f.Kind() != want {
			t.Errorf("got %s, want a %s", f.Raw, want)
		}
	}
}

func TestFaults_CombinedOnMessages(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"message","action":"refuse"}`, `{"on":"message","action":"delay","by":"1h"}`, `{"on":"message","action":"ignore"}`)
	ws := s.Dial()
	ws.Send("bind-with-token " + s.Token("abc"))
	s.AwaitEntry("?kind=fault")
	if told, got := strings.Join(s.texts("fault"), "; "), s.counts(); told != "the message bind was ignored by fault fault-3" || got != "fault-1 1/0, fault-2 1/0, fault-3 1/1" {
		t.Errorf("the journal says %q, and the counts are %s", told, got)
	}
	s.faults()
	ws.Nothing()
}

// A refusal is a response, too: what spoils responses spoils it, and what spoils tokens does
// not act on it.
func TestFaults_CombinedOnRequests(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"name":"type","on":"request","action":"content-type","contentType":"text/html","times":1}`, `{"name":"no","on":"request","action":"status","status":500,"retryAfter":3}`)
	a := s.Must(500, "GET", "Subscription/abc", nil)
	if a.Header.Get("Content-Type") != "text/html" || a.Header.Get("Retry-After") != "3" || !strings.Contains(string(a.Raw), "refused by fault no") {
		t.Errorf("got %v %s", a.Header, a.Raw)
	}
	path := "GET " + s.Path() + "/fhir/R5/Subscription/abc "
	s.wantTold("fault", path+"was refused with 500 by fault no")
	s.wantTold("fault", path+"got a response of type text/html by fault type")
	if a := s.Must(500, "GET", "Subscription/abc", nil); a.Header.Get("Content-Type") == "text/html" {
		t.Errorf("got %v, want the type of a refusal", a.Header)
	}
	if got := s.counts(); got != "type 2/1, no 2/2" {
		t.Errorf("got %s", got)
	}

	s.faults(`{"name":"bare","on":"operation","action":"no-expiration","times":1}`, `{"name":"text","on":"operation","action":"text-expiration"}`,
		`{"name":"old","on":"operation","action":"old-names"}`, `{"name":"older","on":"operation","action":"old-names"}`, `{"name":"no","on":"operation","action":"status","times":1}`)
	s.Must(503, "POST", "Subscription/abc/$get-ws-binding-token", nil)
	s.Must(404, "POST", "Subscription/none/$get-ws-binding-token", nil)
	if got := s.counts(); got != "bare 0/0, text 0/0, old 0/0, older 0/0, no 2/1" {
		t.Errorf("got %s, want that nothing spoiled a token", got)
	}
	a = s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil)
	if len(a.Parameters("expiration")) != 0 || a.Parameters("subscriptions")[0] != "abc" || a.Parameters("websocket-url")[0] == "" {
		t.Errorf("got %s", a.Raw)
	}
	if got := s.counts(); got != "bare 1/1, text 1/0, old 1/1, older 1/0, no 3/1" {
		t.Errorf("got %s", got)
	}
	s.wantTold("fault", "fault text (text-expiration) could not be applied to $get-ws-binding-token: the response has no such part left")
}

// The dialect of a frame is that of its binding, whatever the client says later.
func TestFaults_DialectOfTheBinding(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	ws := s.Bind("abc")
	s.faults(`{"on":"frame","dialect":"ig","subscription":"abc","action":"drop"}`)
	ws.Send("bind-with-token: " + s.Token("other"))
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s", f.Raw)
	}
	ws.Send("unbind nothing")
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "pong" {
		t.Fatalf("got %s", f.Raw)
	}
	s.events("abc", 2)
	s.faults(`{"on":"frame","dialect":"ig-colon","type":"event-notification","action":"drop"}`)
	s.events("abc", 1)
	s.events("other", 1)
	ws.WantEvent("3")
	ws.Nothing()
}

// A token that has expired says the same time wherever it says one.
func TestFaults_ExpiredTokenSaysOneTime(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"operation","action":"expired-token"}`)
	a := s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil)
	ws := s.Dial()
	ws.Send("bind-with-token " + a.Parameters("token")[0])
	says := strings.TrimSuffix(a.Parameters("expiration")[0][:19], "Z")
	if got := ws.Outcome("expired"); !strings.Contains(got, says) {
		t.Errorf("got %q, want the expiration %s", got, says)
	}
}

// Explanations name the fault behind what an event has come to.
func TestFaults_AreExplained(t *testing.T) {
	t.Parallel()
	const number = `"type":"event-notification"`
	for _, c := range []struct {
		name   string
		faults string
		gone   bool // the socket
		want   string
	}{
		{"stall", `{"name":"st","on":"socket","action":"stall","frames":1,` + number + `}`, false, "it got event 2; event 2 was held by fault st on s1"},
		{"half-open", `{"name":"ho","on":"socket","action":"half-open","frames":1,` + number + `}`, false, "it got event 2; event 2 was held by fault ho on s1"},
		{"behind", `{"name":"slow","on":"frame","action":"delay","by":"1h","number":{"to":1}}`, false, "it got event 2; event 2 was held behind event 1 by fault slow on s1"},
		{"cut", `{"name":"snip","on":"socket","action":"cut","frames":1,` + number + `}`, true,
			"it got event 2; no socket is bound; $events has the event; the connection was cut by fault snip on s1"},
		{"close", `{"name":"bye","on":"socket","action":"close","code":4000,"reason":"x","frames":1,` + number + `}`, true,
			"it got event 2; no socket is bound; $events has the event; the socket was closed with 4000 by fault bye on s1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			s.Bind("abc")
			s.faults(c.faults)
			s.events("abc", 1)
			if c.gone {
				s.AwaitEntry("?kind=closed")
			}
			s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
			s.Must(200, "PUT", "Encounter/e", encounter("e", "in-progress"))
			if told := string(s.Must(200, "GET", "/mock/explain?resource=Encounter/e&format=text", nil).Raw); !strings.Contains(told, c.want) {
				t.Errorf("explain says %s, want %s", told, c.want)
			}
		})
	}
}

// A bind that a fault kept away explains why no socket is bound, for its subscription only.
func TestFaults_KeptBindsAreExplained(t *testing.T) {
	t.Parallel()
	for _, action := range []string{`"ignore"`, `"refuse"`, `"delay","by":"1h"`} {
		s := vectorServer(t, fhir.R5)
		s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
		s.faults(`{"name":"deaf","on":"message","type":"bind","action":` + action + `}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		s.AwaitEntry("?kind=fault")
		explained := func(subscription string) string {
			s.events(subscription, 1)
			return string(s.Must(200, "GET", "/mock/explain?format=text&subscription="+subscription, nil).Raw)
		}
		if got := explained("abc"); !strings.Contains(got, "the message bind was ") || !strings.Contains(got, "by fault deaf") {
			t.Errorf("%s: got %s, want the fault", action, got)
		}
		if got := explained("other"); strings.Contains(got, "deaf") {
			t.Errorf("%s: got %s, want no fault", action, got)
		}
		s.faults()
		again := s.Bind("abc")
		_ = again.Conn.Close(1000, "")
		s.AwaitEntry("?kind=unbound")
		if got := explained("abc"); strings.Count(got, "deaf") != 1 { // of the first event
			t.Errorf("%s: got %s, want no fault for the second event", action, got)
		}
	}
}

// A socket that closes says why it takes no event.
func TestFaults_ClosingSocketsSayWhy(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc")
	s.faults(`{"on":"socket","action":"stall","after":"0s"}`) // its close waits
	s.Must(204, "DELETE", "/mock/sockets/s1?code=4000&reason=enough", nil)
	s.events("abc", 1)
	s.wantTold("not-sent", "socket s1 closes: enough; $events has what it misses")
}

// Events that overtook a held one were got, so they do not come again.
func TestFaults_MissedAfterOvertaking(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Must(201, "PUT", "/rooms/demo", `{"seed":"none","settings":{"replay":"missed"}}`)
	in := &server{wiretest.New(t, s.URL+"/rooms/demo"), s.log}
	in.Admission()
	ws := in.Bind("abc")
	in.faults(`{"on":"frame","action":"delay","by":"1h","overtake":true,"number":{"from":3,"to":3}}`, `{"on":"frame","action":"delay","by":"1h","number":{"from":6,"to":6}}`)
	in.events("abc", 7)
	if got := numbers(ws, 4); got != "1,2,4,5" {
		t.Fatalf("got %s", got)
	}
	_ = ws.Conn.Close(1000, "")
	in.AwaitEntry("?kind=closed")
	in.faults()
	ws = in.Bind("abc")
	if got := numbers(ws, 2); got != "6,7" {
		t.Errorf("got %s, want what no socket got after event 5", got)
	}
	ws.Nothing()
}

// What a stalled socket holds when its room closes is given up, not sent.
func TestFaults_HeldFramesEndWithTheRoom(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{`{"on":"socket","action":"stall","after":"0s"}`, `{"on":"frame","action":"delay","by":"1h"}`} {
		s := startProcess(t)
		s.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
		in := &server{wiretest.New(t, s.URL+"/rooms/demo"), s.log}
		in.Admission()
		ws := in.Bind("abc")
		in.faults(fault)
		in.events("abc", 2)
		s.Must(204, "DELETE", "/rooms/demo", nil)
		if _, frame, err := ws.Conn.Read(t.Context()); websocket.CloseStatus(err) != 1001 {
			t.Errorf("%s: got %s, %v; want 1001 and nothing before", fault, frame, err)
		}
	}
}

// The number of the last event leaves room for numbers that JSON has exactly.
func TestControl_CounterLeavesRoom(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, n := range []string{"9000000000000001", "9007199254740990"} {
		problem := s.Must(400, "PATCH", "/mock/subscriptions/abc", `{"counter":`+n+`}`).Body
		if detail := fmt.Sprint(problem["detail"]); !strings.Contains(detail, "from 0 to 9000000000000000") || !strings.Contains(detail, "exact in JSON") {
			t.Errorf("got %s", detail)
		}
	}
	ws := s.Bind("abc")
	s.Must(200, "PATCH", "/mock/subscriptions/abc", `{"counter":9000000000000000}`)
	s.events("abc", 1)
	ws.WantEvent("9000000000000001")
}
