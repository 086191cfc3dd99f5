package protocol

import (
	"fmt"
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
