package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
)

// socketPaths are the addresses a socket can be opened at.
var socketPaths = []string{"/ws", "/ws/subscriptions-r4", "/websocket"}

// outcome reads the next frame, which has to be an OperationOutcome with code.
func (ws *testSocket) outcome(code string) string {
	ws.t.Helper()
	f := ws.next()
	got, text, _ := (answered{body: f.body}).issue()
	if got != code {
		ws.t.Fatalf("got %s, want an OperationOutcome with %s", f.raw, code)
	}
	return text
}

func TestBadInput_Frames(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	s.must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL))
	s.must(201, "PUT", "Subscription/two", websocketSubscription("two", admissionURL))
	halfGone := s.token("one", "abc")
	turnedOff := s.token("two")
	revoked := s.token("abc")
	s.must(204, "DELETE", "Subscription/one", nil)
	s.must(200, "PUT", "Subscription/two", websocketSubscription("two", admissionURL, "status", "off"))
	s.must(204, "DELETE", "/mock/tokens/"+revoked, nil)

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
			s := &testServer{t: t, url: s.url, fhir: s.fhir, ws: s.ws, clock: s.clock}
			ws := s.dial()
			ws.send(row.frame)
			if text := ws.outcome(row.code); !strings.Contains(text, row.says) {
				t.Errorf("diagnostics: got %q, want something with %q", text, row.says)
			}
			ws.nothing() // the socket stays usable
		})
	}

	ws := s.dial()
	ws.send(" \n ")
	ws.nothing()
	ws.send("bind-with-token " + halfGone)
	kinds := map[string]bool{ws.next().kind(): true, ws.next().kind(): true}
	if !kinds["handshake"] || !kinds["OperationOutcome"] {
		t.Errorf("a token with one deleted subscription: got %v, want a handshake and an OperationOutcome", kinds)
	}
}

func TestBadInput_ClosesWithCodeAndReason(t *testing.T) {
	t.Parallel()
	s := badInputServer(t)
	write := func(ws *testSocket, kind websocket.MessageType, data []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// The server may close before it has read all of it.
		_ = ws.conn.Write(ctx, kind, data)
	}
	rows := []struct {
		name string
		do   func(*testSocket)
		code websocket.StatusCode
	}{
		{"invalid UTF-8", func(ws *testSocket) { write(ws, websocket.MessageText, []byte("bind-with-token \xff")) }, 1007},
		{"frame over the limit", func(ws *testSocket) { write(ws, websocket.MessageText, []byte(strings.Repeat("x", 70_000))) }, 1009},
		{"binary that is no text", func(ws *testSocket) { write(ws, websocket.MessageBinary, []byte{0xff, 0xfe}) }, 1003},
		{"ten errors in a row", func(ws *testSocket) {
			for range 10 {
				ws.send("what?")
			}
		}, 1008},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := &testServer{t: t, url: s.url, fhir: s.fhir, ws: s.ws, clock: s.clock}
			ws := s.dial()
			row.do(ws)
			if code, reason := ws.closed(); code != row.code || code != 1009 && reason == "" {
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
	if a := s.do("GET", "/ws", nil); a.header.Get("Upgrade") != "websocket" {
		t.Errorf("Upgrade: got %q, want websocket (WS-9)", a.header.Get("Upgrade"))
	}
}

// A socket is counted as the upgrade it is, and not as a request with 200. The request of
// /metrics is counted after its answer, so the first one must see no GET with 200 at all.
func TestSocket_IsNotLoggedAsARequest(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 10 {
		ws := s.bind("abc")
		if err := ws.conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Fatal(err)
		}
		s.must(200, "POST", "/mock/await", `{"bound":{"subscription":"abc","count":0}}`)
	}
	text := string(s.must(200, "GET", "/metrics", nil).raw)
	if strings.Contains(text, `signalfhir_http_requests_total{method="GET",status="200"`) {
		t.Errorf("a socket counts as a request:\n%s", text)
	}
	if !strings.Contains(text, `signalfhir_http_requests_total{method="POST",status="200"}`) {
		t.Errorf("requests are not counted:\n%s", text)
	}
}

func TestBind_InEveryDialect(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for name, send := range map[string]func(*testServer) *testSocket{
		"space": func(s *testServer) *testSocket {
			ws := s.dial()
			ws.send("bind-with-token " + s.token("abc"))
			return ws
		},
		"colon": func(s *testServer) *testSocket {
			ws := s.dial()
			ws.send("BIND-WITH-TOKEN: " + s.token("abc"))
			return ws
		},
		"quotes": func(s *testServer) *testSocket {
			ws := s.dial()
			ws.send(`bind-with-token "` + s.token("abc") + `"`)
			return ws
		},
		"JSON": func(s *testServer) *testSocket {
			ws := s.dial()
			ws.send(`{"type":"bind-with-token","payload":{"token":"` + s.token("abc") + `"}}`)
			return ws
		},
		"URL": func(s *testServer) *testSocket { return s.dial("?token=" + s.token("abc")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &testServer{t: t, url: s.url, fhir: s.fhir, ws: s.ws, clock: s.clock}
			if f := send(s).next(); f.kind() != "handshake" || f.subscription() != "abc" {
				t.Errorf("got %s, want the handshake of abc", f.raw)
			}
		})
	}
	bad := s.dial("?token=nonsense")
	bad.outcome("unknown")
	if code, _ := bad.closed(); code != 1008 {
		t.Errorf("a bad token on the URL: closed with %d, want 1008 (WS-10)", code)
	}
}

func TestPing_IsAnsweredInItsDialect(t *testing.T) {
	t.Parallel()
	ws := start(t).dial()
	ws.send("ping")
	if f := ws.next(); string(f.raw) != "pong" {
		t.Errorf("got %s, want pong", f.raw)
	}
	ws.send(`{"type":"ping"}`)
	if f := ws.next(); f.body["type"] != "pong" {
		t.Errorf("got %s, want a JSON pong (WS-16)", f.raw)
	}
}

func TestRenewal_KeepsTheBindingWithoutDoublingEvents(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.bind("abc")
	s.clock.Advance(25 * time.Minute)
	ws.send("bind-with-token " + s.token("abc"))
	if f := ws.next(); f.kind() != "handshake" {
		t.Fatalf("got %s, want a handshake after renewal (WS-25)", f.raw)
	}
	s.clock.Advance(20 * time.Minute) // beyond the first token, within the second
	s.must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.wantEvent("1")
	ws.nothing()
}

func TestExpiry_EndsTheBindingAndTheSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.bind("abc")
	s.clock.Advance(31 * time.Minute)
	ws.outcome("expired")
	if code, reason := ws.closed(); code != 1008 || reason == "" {
		t.Errorf("got %d %q, want 1008 with a reason (WS-33)", code, reason)
	}
}

// WS-33: --keep-expired lets a binding go on, though nobody can bind with the token
// any more.
func TestExpiry_KeepsTheBindingWhereAsked(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.KeepExpired = true })
	secret := s.token("abc")
	ws := s.dial()
	ws.send("bind-with-token " + secret)
	ws.next()
	s.clock.Advance(31 * time.Minute)
	s.must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	ws.wantEvent("1")
	other := s.dial()
	other.send("bind-with-token " + secret)
	other.outcome("expired")
}

func TestUnbind_StopsEventsOnThisSocketOnly(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.token("abc")
	one, two := s.dial(), s.dial()
	for _, ws := range []*testSocket{one, two} {
		ws.send("bind-with-token " + token)
		ws.next()
	}
	one.send("unbind-from-token " + token)
	one.nothing()
	var open struct {
		Sockets []struct{ Bindings []string }
	}
	if err := json.Unmarshal(s.must(200, "GET", "/mock/sockets", nil).raw, &open); err != nil || len(open.Sockets) != 2 || len(open.Sockets[0].Bindings) != 0 || len(open.Sockets[1].Bindings) != 1 {
		t.Errorf("the sockets are %v (%v), want the first without a binding", open, err)
	}
	s.must(201, "POST", "Encounter", encounter("", "in-progress"))
	two.wantEvent("1")
	one.nothing()
}

func TestDelete_EndsBindingsAndTellsTheSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.bind("abc")
	s.must(204, "DELETE", "Subscription/abc", nil)
	ws.outcome("deleted")
	ws.nothing()
}

func TestEnd_TurnsTheSubscriptionOff(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.must(201, "PUT", "Subscription/ends", websocketSubscription("ends", admissionURL, "end", begin.Add(time.Minute).Format(time.RFC3339)))
	ws := s.bind("ends")
	s.clock.Advance(2 * time.Minute)
	if f := ws.next(); f.kind() != "heartbeat" || f.status()["status"] != "off" {
		t.Fatalf("got %s, want a last heartbeat with status off (LC-11, WS-34)", f.raw)
	}
	a := s.must(200, "GET", "Subscription/ends", nil)
	if a.body["status"] != "off" || a.header.Get("ETag") != `W/"2"` {
		t.Errorf("got %s as %s, want status off as version 2 (LC-15)", a.body["status"], a.header.Get("ETag"))
	}
}

func TestToken_IsNotForASubscriptionCreatedAnewUnderItsID(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	old := s.token("abc")
	s.must(201, "POST", "Encounter", encounter("", "in-progress"))
	s.must(204, "DELETE", "Subscription/abc", nil)
	s.must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	ws := s.dial()
	ws.send("bind-with-token " + old)
	ws.outcome("deleted")
	ws.send("bind-with-token " + s.token("abc"))
	if f := ws.next(); f.kind() != "handshake" || f.total() != "0" {
		t.Errorf("got %s with total %s, want a handshake that counts from 0 again (LC-13)", f.kind(), f.total())
	}
}
