package protocol

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

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
		if sent := s.Journal("?kind=sent&text=event-notification"); len(sent) != 2 {
			t.Errorf("%d events were sent, want 2", len(sent))
		}
		s.wantTold("fault", "the socket was closed with 4001 by fault bye")
	})
	t.Run("close at once", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		before := s.Dial()
		before.Nothing() // it is open on both sides
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

// wantCut reads the end of the connection, which must be without a close frame.
func wantCut(t *testing.T, ws *socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	_, frame, err := ws.Conn.Read(ctx)
	if ctx.Err() != nil || websocket.CloseStatus(err) != -1 || !errors.Is(err, io.EOF) {
		t.Errorf("got %s, %v; want the end of the connection without a close frame", frame, err)
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
	ws.Send("nonsense") // not read
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
	ws.Outcome("not-supported")
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
