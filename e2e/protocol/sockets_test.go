package protocol

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// socketPaths are the addresses a socket can be opened at.
var socketPaths = []string{"/ws", "/ws/subscriptions-r4", "/websocket"}

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
		{"binary that is no text", func(ws *socket) { write(ws, websocket.MessageBinary, []byte{0xff, 0xfe}) }, 1003},
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

// A socket is no request: it does not count as one when it ends. The request of
// /metrics is counted after its answer, so the first one must see no GET at all.
func TestSocket_IsNotLoggedAsARequest(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	for range 10 {
		ws := s.Bind("abc")
		if err := ws.Conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Fatal(err)
		}
		s.Must(200, "POST", "/mock/await", `{"bound":{"subscription":"abc","count":0}}`)
	}
	text := string(s.Must(200, "GET", "/metrics", nil).Raw)
	if strings.Contains(text, `signalfhir_http_requests_total{method="GET"`) {
		t.Errorf("a socket counts as a request:\n%s", text)
	}
	if !strings.Contains(text, `signalfhir_http_requests_total{method="POST",status="200"}`) {
		t.Errorf("requests are not counted:\n%s", text)
	}
}

func TestBind_InEveryDialect(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for name, send := range map[string]func(*server) *socket{
		"space": func(s *server) *socket {
			ws := s.Dial()
			ws.Send("bind-with-token " + s.Token("abc"))
			return ws
		},
		"colon": func(s *server) *socket {
			ws := s.Dial()
			ws.Send("BIND-WITH-TOKEN: " + s.Token("abc"))
			return ws
		},
		"quotes": func(s *server) *socket {
			ws := s.Dial()
			ws.Send(`bind-with-token "` + s.Token("abc") + `"`)
			return ws
		},
		"JSON": func(s *server) *socket {
			ws := s.Dial()
			ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
			return ws
		},
		"URL": func(s *server) *socket { return s.Dial("?token=" + s.Token("abc")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if f := send(s).Next(); f.Kind() != "handshake" || f.Subscription() != "abc" {
				t.Errorf("got %s, want the handshake of abc", f.Raw)
			}
		})
	}
	bad := s.Dial("?token=nonsense")
	bad.Outcome("unknown")
	if code, _ := bad.Closed(); code != 1008 {
		t.Errorf("a bad token on the URL: closed with %d, want 1008 (WS-10)", code)
	}
}

func TestPing_IsAnsweredInItsDialect(t *testing.T) {
	t.Parallel()
	ws := start(t).Dial()
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "pong" {
		t.Errorf("got %s, want pong", f.Raw)
	}
	ws.Send(`{"type":"ping"}`)
	if f := ws.Next(); f.Body["type"] != "pong" {
		t.Errorf("got %s, want a JSON pong (WS-16)", f.Raw)
	}
}

func TestUnbind_StopsEventsOnThisSocketOnly(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	one, two := s.Dial(), s.Dial()
	for _, ws := range []*socket{one, two} {
		ws.Send("bind-with-token " + token)
		ws.Next()
	}
	one.Send("unbind-from-token " + token)
	one.Nothing()
	var open struct {
		Sockets []struct{ Bindings []string }
	}
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/sockets", nil).Raw, &open); err != nil || len(open.Sockets) != 2 || len(open.Sockets[0].Bindings) != 0 || len(open.Sockets[1].Bindings) != 1 {
		t.Errorf("the sockets are %v (%v), want the first without a binding", open, err)
	}
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	two.WantEvent("1")
	one.Nothing()
}

func TestDelete_EndsBindingsAndTellsTheSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(204, "DELETE", "Subscription/abc", nil)
	ws.Outcome("deleted")
	ws.Nothing()
}

func TestToken_IsNotForASubscriptionCreatedAnewUnderItsID(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	old := s.Token("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	s.Must(204, "DELETE", "Subscription/abc", nil)
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	ws := s.Dial()
	ws.Send("bind-with-token " + old)
	ws.Outcome("deleted")
	ws.Send("bind-with-token " + s.Token("abc"))
	if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "0" {
		t.Errorf("got %s with total %s, want a handshake that counts from 0 again (LC-13)", f.Kind(), f.Total())
	}
}
