package protocol

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// awaits waits for a condition and returns the seq of the response. since is that of an
// earlier one; below zero, none is given.
func (s *server) awaits(since int, condition string) int {
	s.T.Helper()
	a := s.Must(200, "POST", "/mock/await", awaitBody(since, condition, "30s"))
	if a.Body["met"] != true {
		s.T.Errorf("got %s, want a condition that is met", a.Raw)
	}
	return int(a.Body["seq"].(float64))
}

// inVain waits for a condition that is not met and returns what the refusal says.
func (s *server) inVain(since int, condition string) string {
	s.T.Helper()
	return fmt.Sprint(s.Must(408, "POST", "/mock/await", awaitBody(since, condition, "1ms")).Body["detail"])
}

func awaitBody(since int, condition, timeout string) string {
	body := "{" + condition + `,"timeout":"` + timeout + `"`
	if since >= 0 {
		body += fmt.Sprintf(`,"since":%d`, since)
	}
	return body + "}"
}

// Whatever a client does can be awaited, and with since only once.
func TestAwait_CountsEachEntryOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		condition string
		do        func(s *server, ws *socket) *socket
		first     string // what the entry that was needed is, "kind type"
	}{
		"connected": {`"connected":{}`, func(s *server, _ *socket) *socket { return s.Dial() }, "opened "},
		"nobody connected": {`"connected":{"count":0}`, func(s *server, ws *socket) *socket {
			ws.Conn.CloseNow()
			s.awaits(-1, `"connected":{"count":0}`)
			return s.Bind("abc") // so that the next one closes, too
		}, "closed "},
		"bound": {`"bound":{"subscription":"abc"}`, func(s *server, _ *socket) *socket { return s.Bind("abc") }, "bound "},
		"unbound": {`"unbound":{"subscription":"abc"}`, func(s *server, ws *socket) *socket {
			ws.Conn.CloseNow()
			return s.Bind("abc")
		}, "unbound "},
		"nobody bound": {`"bound":{"subscription":"abc","count":0}`, func(s *server, ws *socket) *socket {
			ws.Conn.CloseNow()
			s.awaits(-1, `"bound":{"subscription":"abc","count":0}`)
			return s.Bind("abc")
		}, "unbound "},
		"bound again": {`"boundAgain":{"subscription":"abc"}`, func(s *server, ws *socket) *socket {
			ws.Conn.CloseNow()
			s.awaits(-1, `"connected":{"count":0}`)
			return s.Bind("abc")
		}, "bound "},
		"sent": {`"sent":{"subscription":"abc"}`, func(s *server, ws *socket) *socket {
			s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc"}`)
			return ws
		}, "sent event-notification"},
		"handshake": {`"sent":{"subscription":"abc","type":"handshake"}`, func(s *server, _ *socket) *socket { return s.Bind("abc") }, "sent handshake"},
		"events": {`"eventsCalled":{"subscription":"abc","eventsSinceNumber":1}`, func(s *server, ws *socket) *socket {
			s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1", nil)
			return ws
		}, "events "},
		"token": {`"tokenTaken":{"subscription":"abc"}`, func(s *server, ws *socket) *socket {
			s.Token("abc")
			return ws
		}, "token issued"},
		"renewed": {`"renewed":{"subscription":"abc"}`, func(s *server, ws *socket) *socket {
			ws.Send("bind-with-token " + s.Token("abc"))
			ws.Next()
			return ws
		}, "token renewed"},
		"closed by the client": {`"closedByClient":{"code":4001}`, func(s *server, ws *socket) *socket {
			_ = ws.Conn.Close(4001, "enough")
			return s.Bind("abc")
		}, "closed "},
		"journal": {`"journal":{"kind":"received,refused","type":"ping","text":"PING"}`, func(_ *server, ws *socket) *socket {
			ws.Nothing()
			return ws
		}, "received ping"},
		"exchange": {`"journal":{"kind":"http","text":"/$status"}`, func(s *server, ws *socket) *socket {
			s.Must(200, "GET", "Subscription/abc/$status", nil)
			return ws
		}, "http "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			ws := s.Bind("abc")
			begun := s.awaits(-1, `"journal":{"kind":"sent","type":"handshake"}`)
			s.inVain(begun, c.condition)
			ws = c.do(s, ws)
			first := s.awaits(begun, c.condition)
			e := s.Journal(fmt.Sprintf("?since=%d", first-1))[0]
			if got := e.Kind + " " + e.Type; first <= begun || int(e.Seq) != first || got != c.first {
				t.Errorf("got entry %d, %q; want %q after %d", first, got, c.first, begun)
			}
			if again := s.awaits(begun, c.condition); again != first {
				t.Errorf("the same await returned %d, then %d", first, again)
			}
			s.inVain(s.last(), c.condition)
			c.do(s, ws)
			if second := s.awaits(first, c.condition); second <= first {
				t.Errorf("the second one returned %d after %d", second, first)
			}
		})
	}
}

// last returns the number of the last entry.
func (s *server) last() int {
	s.T.Helper()
	all := s.Journal("?limit=1")
	return int(all[0].Seq)
}

// A refusal after the timeout says what there was instead.
func TestAwait_SaysWhatWasSeenInstead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	ws := s.Bind("abc")
	bound := s.awaits(-1, `"bound":{"subscription":"abc"}`)
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":2}`)
	ws.WantEvent("1")
	ws.WantEvent("2")
	s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=2", nil)
	s.Must(200, "GET", "Subscription/other/$events", nil)
	second := s.awaits(-1, `"sent":{"subscription":"abc","number":2}`)
	for _, c := range []struct {
		since     int
		condition string
		want      []string
	}{
		{-1, `"eventsCalled":{"subscription":"abc","eventsSinceNumber":1}`, []string{
			"waited 1ms for 1 call of $events with eventsSinceNumber=1 of Subscription/abc; seen instead: 0 of 1; ",
			" events Subscription/abc (asked for from 2 on, got 1)", " events Subscription/other (asked for all, got 0)",
			"; Subscription/abc has 1 bound socket and was sent 2 event-notifications, 1 handshake; ",
			"; open sockets: s1 bound to abc; last frames: entry ", fmt.Sprintf("entry %d sent event-notification event 2 Subscription/abc s1", second)}},
		{second, `"sent":{"subscription":"abc","number":2}`, []string{
			fmt.Sprintf("for 1 notification of type event-notification on Subscription/abc with event 2 after entry %d; ", second),
			fmt.Sprintf("; 1 up to since %d, which do not count, the last is entry %d sent ", second, second), "; similar entries: none; "}},
		{-1, `"sent":{"subscription":"abc","number":3}`, []string{"; similar entries: entry ", " handshake Subscription/abc s1"}},
		{-1, `"connected":{"count":2}`, []string{"for 2 open sockets; seen instead: open sockets: s1 bound to abc; "}},
		{bound, `"bound":{"subscription":"abc","count":1}`, []string{" 0 of 1; 1 up to since ", "has 1 bound socket"}},
		{-1, `"tokenTaken":{"subscription":"other"}`, []string{" token issued (for abc until "}},
		{-1, `"journal":{"kind":"http","text":"nowhere"}`, []string{`for 1 journal entry with kind "http", text "nowhere"; `, "GET /", "/$events 200 Subscription/other", ", and "}},
		{-1, `"sent":{"subscription":"abc","count":3}`, []string{"was sent 2 event-notifications, 1 handshake"}},
	} {
		got := s.inVain(c.since, c.condition)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q\nwant in it %q", c.condition, got, want)
			}
		}
	}
}

// What is waited for may be due on a clock that stands still.
func TestAwait_SaysThatTheClockStandsStill(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	const standing = "the clock is manual and shows 2026-01-01T08:00:00Z"
	s.Must(200, "PUT", "/mock/clock", `{"mode":"manual","now":"2026-01-01T08:00:00Z"}`)
	if got := s.inVain(-1, `"journal":{"kind":"token"}`); strings.Contains(got, standing) {
		t.Errorf("got %q, although nothing is due", got)
	}
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":2,"interval":"10m"}`)
	want := standing + "; due next: trigger abc at 2026-01-01T08:10:00Z, once POST /mock/clock/advance lets that time pass"
	if got := s.inVain(-1, `"sent":{"subscription":"abc"}`); !strings.Contains(got, want) {
		t.Errorf("got %q, want in it %q", got, want)
	}
}

// A binding is one again only if it replaces that of a socket that has closed.
func TestAwait_BoundAgainIsNotASecondClient(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	first, second := s.Bind("abc"), s.Bind("abc")
	s.inVain(-1, `"boundAgain":{"subscription":"abc"}`)
	first.Conn.CloseNow()
	gone := s.awaits(-1, `"journal":{"kind":"closed"}`)
	s.inVain(-1, `"boundAgain":{"subscription":"abc"}`)
	second.Send("bind-with-token " + s.Token("abc")) // it had a binding all the time
	second.Next()
	s.inVain(-1, `"boundAgain":{"subscription":"abc"}`)
	s.Bind("abc")
	again := s.awaits(gone, `"boundAgain":{"subscription":"abc"}`)
	s.Bind("abc")
	s.inVain(-1, `"boundAgain":{"subscription":"abc","count":2}`)
	s.inVain(again, `"boundAgain":{"subscription":"abc"}`)

	// The binding may end before the socket does, as with a token that ends.
	for _, token := range asList(s.Must(200, "GET", "/mock/tokens", nil).Body["tokens"]) {
		s.Must(204, "DELETE", "/mock/tokens/"+text(token, "token"), nil)
	}
	s.awaits(-1, `"connected":{"count":0}`)
	s.Bind("abc")
	s.awaits(again, `"boundAgain":{"subscription":"abc"}`)
}

// Without since, an await counts from the last reset.
func TestAwait_CountsFromTheLastReset(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc")
	s.awaits(-1, `"tokenTaken":{"subscription":"abc"}`)
	s.Must(204, "POST", "/mock/reset", nil)
	s.Admission()
	s.inVain(-1, `"tokenTaken":{"subscription":"abc"}`)
	s.inVain(-1, `"bound":{"subscription":"abc"}`)
	s.awaits(0, `"tokenTaken":{"subscription":"abc"}`)
	s.awaits(0, `"unbound":{"subscription":"abc"}`)
	s.awaits(-1, `"connected":{}`) // a reset closes no sockets
	s.awaits(-1, `"bound":{"subscription":"abc","count":0}`)
}

// A subscription that was deleted can be awaited as long as the journal knows of it.
func TestAwait_KnowsDeletedSubscriptions(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc")
	s.Must(204, "DELETE", "Subscription/abc", nil)
	s.awaits(-1, `"unbound":{"subscription":"abc"}`)
	if got := s.Must(404, "POST", "/mock/await", `{"unbound":{"subscription":"abd"}}`).Body["detail"]; got != "unbound.subscription: there is no Subscription/abd; the room has none" {
		t.Errorf("got %q", got)
	}
}

// An id that was never known is a mistake, also where waiting for nothing would be met.
func TestAwait_SuggestsIDs(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc")
	for condition, want := range map[string]string{
		`"renewed":{"subscription":"abd"}`:                    "renewed.subscription: there is no Subscription/abd; did you mean abc?",
		`"quiet":{"for":"1ms","subscription":"other"}`:        "quiet.subscription: there is no Subscription/other; the room has abc",
		`"quiet":{"for":"1ms","socket":"t1"}`:                 "quiet.socket: there is no socket t1; did you mean s1?",
		`"quiet":{"for":"1ms","socket":"another-of-my-kind"}`: "quiet.socket: there is no socket another-of-my-kind; the room has s1",
	} {
		if got := s.Must(404, "POST", "/mock/await", "{"+condition+"}").Body["detail"]; got != want {
			t.Errorf("%s: got %q, want %q", condition, got, want)
		}
	}
	for i := range 11 {
		id := fmt.Sprintf("many-%d", i)
		s.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL))
	}
	if got := fmt.Sprint(s.Must(404, "POST", "/mock/await", `{"renewed":{"subscription":"x"}}`).Body["detail"]); !strings.HasSuffix(got, " and 2 more") {
		t.Errorf("got %q, want ten ids and that there are two more", got)
	}
	s.awaits(-1, `"quiet":{"for":"1ms","socket":"s1"}`)
}

// A journal that keeps nothing still counts.
func TestAwait_WithoutEntries(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--journal-size", "0")
	s.Admission()
	s.Bind("abc")
	for _, condition := range []string{`"connected":{}`, `"bound":{"subscription":"abc"}`, `"sent":{"subscription":"abc","type":"handshake"}`} {
		s.awaits(-1, condition)
		if got := s.Must(409, "POST", "/mock/await", awaitBody(0, condition, "1s")).Body["detail"]; !strings.Contains(fmt.Sprint(got), "--journal-size 0") {
			t.Errorf("got %q", got)
		}
	}
	s.Must(409, "POST", "/mock/await", `{"tokenTaken":{}}`)
	s.Must(409, "POST", "/mock/await", `{"quiet":{"for":"1ms"}}`)
}

func TestAwait_Refuses(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for body, want := range map[string]string{
		`{}`:                            "name one condition: connected, bound, unbound, boundAgain, tokenTaken, renewed, sent, eventsCalled, caughtUp, closedByClient, quiet, journal",
		`{"connected":{},"quiet":{}}`:   "an await has one condition, got connected and quiet; send a request for each",
		`{"journal":{}}`:                "journal: say what to wait for: a kind, subscription, socket, type, resource, code or text",
		`{"journal":{"kind":"bond"}}`:   `journal.kind: got "bond", which is no kind of journal entry; did you mean "bound"?`,
		`{"journal":{"kind":"sent,x"}}`: `journal.kind: got "x", which is no kind of journal entry; expected one of http, opened, `,
		`{"quiet":{}}`:                  "quiet.for: say for how long, such as 200ms",
		`{"quiet":{"for":"soon"}}`:      `quiet.for: got "soon", expected a time such as 250ms or 5s`,
		`{"quiet":{"for":"10s"}}`:       `quiet.for: got "10s", expected less than the timeout, which is 10s`,
		`{"quiet":{"for":"-1s"}}`:       `quiet.for: got "-1s", expected a time from 1ms to 5m`,
		`{"quiet":{"for":"1s","kinds":["received","sennt"]}}`:                `quiet.kinds: got "sennt", which is no kind of journal entry; did you mean "sent"?`,
		`{"connected":{},"timeout":"6m"}`:                                    `timeout: got "6m", expected a time from 1ms to 5m`,
		`{"connected":{},"since":1000}`:                                      "since: got 1000, but the last entry of this journal is ",
		`{"bound":{}}`:                                                       "bound.subscription: name the subscription, by its id",
		`{"renewed":{"count":1}}`:                                            "renewed.subscription: name the subscription, by its id",
		`{"sent":{"subscription":"abc","type":"handshake","number":1}}`:      "sent.number: a handshake has no event; leave out number, or await an event-notification",
		`{"closedByClient":{"code":999}}`:                                    "closedByClient.code: got 999, expected a close code, from 1000 to 4999, or none for any",
		`{"eventsCalled":{"subscription":"abc","eventsSinceNumber":"four"}}`: "eventsCalled.eventsSinceNumber: got a JSON string, expected a whole number",
		`{"boundagain":{"subscription":"abc"}}`:                              `boundagain: unknown member "boundagain"; did you mean "boundAgain"?`,
	} {
		if got := s.Must(400, "POST", "/mock/await", body).Body["detail"]; !strings.HasPrefix(fmt.Sprint(got), want) {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}
