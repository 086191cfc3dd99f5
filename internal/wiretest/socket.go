package wiretest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Socket is a client's end of a WebSocket.
type Socket struct {
	T    testing.TB
	Conn *websocket.Conn
}

// Dial opens a socket, with a query such as "?token=…" if there is one.
func (s *Server) Dial(query ...string) *Socket {
	s.T.Helper()
	return s.DialWith(http.DefaultClient, query...)
}

// DialWith opens a socket with a client.
func (s *Server) DialWith(client *http.Client, query ...string) *Socket {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.WS+strings.Join(query, ""), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		s.T.Fatal(err)
	}
	conn.SetReadLimit(32 << 20)
	s.T.Cleanup(func() { conn.CloseNow() })
	return &Socket{s.T, conn}
}

// Bind opens a socket, binds it to the subscriptions and reads the handshakes.
func (s *Server) Bind(ids ...string) *Socket {
	s.T.Helper()
	ws := s.Dial()
	ws.Send("bind-with-token " + s.Token(ids...))
	for range ids {
		if f := ws.Next(); f.Kind() != "handshake" {
			s.T.Fatalf("got %s, want a handshake", f.Raw)
		}
	}
	return ws
}

// Send sends a text message.
func (ws *Socket) Send(text string) {
	ws.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := ws.Conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		ws.T.Fatal(err)
	}
}

// Next reads the next frame.
func (ws *Socket) Next() Frame {
	ws.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	_, data, err := ws.Conn.Read(ctx)
	if err != nil {
		ws.T.Fatalf("no frame: %v", err)
	}
	f := Frame{Raw: data}
	_ = json.Unmarshal(data, &f.Body)
	return f
}

// WantEvent reads the next frame, which has to be an event with this number, or with
// these, "1,2".
func (ws *Socket) WantEvent(number string) Frame {
	ws.T.Helper()
	f := ws.Next()
	if f.Kind() != "event-notification" || strings.Join(f.Numbers(), ",") != number {
		ws.T.Fatalf("got %s %v, want event %s\n%s", f.Kind(), f.Numbers(), number, f.Raw)
	}
	return f
}

// Outcome reads the next frame, which has to be an OperationOutcome with the code, and
// returns its diagnostics.
func (ws *Socket) Outcome(code string) string {
	ws.T.Helper()
	f := ws.Next()
	got, text, _ := f.Issue()
	if got != code {
		ws.T.Fatalf("got %s, want an OperationOutcome with %s", f.Raw, code)
	}
	return text
}

// Nothing fails the test if a frame is waiting: the pong for a ping would come after it.
func (ws *Socket) Nothing() {
	ws.T.Helper()
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "pong" {
		ws.T.Fatalf("got %s, want no frame", f.Raw)
	}
}

// Closed reads until the socket closes and returns code and reason.
func (ws *Socket) Closed() (websocket.StatusCode, string) {
	ws.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for {
		_, _, err := ws.Conn.Read(ctx)
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		errors.As(err, &closed)
		return websocket.CloseStatus(err), closed.Reason
	}
}

// Frame is one message of the server.
type Frame struct {
	Raw  []byte
	Body map[string]any // Raw, if that is a JSON object
}

// Notification returns the notification that is the body of a response.
func (a Response) Notification() Frame { return Frame{Raw: a.Raw, Body: a.Body} }

// At returns a value inside of the frame, as the function At does.
func (f Frame) At(path ...any) any { return At(f.Body, path...) }

// Issue returns the first issue of an OperationOutcome.
func (f Frame) Issue() (code, diagnostics string, expression []string) {
	return Response{Body: f.Body}.Issue()
}

// Status returns the SubscriptionStatus of a notification, in the form of R5.
func (f Frame) Status() map[string]any {
	entries := AsList(f.Body["entry"])
	if len(entries) == 0 {
		return map[string]any{}
	}
	status, _ := entries[0].(map[string]any)["resource"].(map[string]any)
	if status["resourceType"] == "Parameters" {
		return statusOfParameters(status)
	}
	return status
}

// Kind returns the type of a notification, or "OperationOutcome".
func (f Frame) Kind() string {
	if f.Body["resourceType"] == "OperationOutcome" {
		return "OperationOutcome"
	}
	kind, _ := f.Status()["type"].(string)
	return kind
}

// Total returns how many events the subscription has had.
func (f Frame) Total() string {
	total, _ := f.Status()["eventsSinceSubscriptionStart"].(string)
	return total
}

// Numbers returns the numbers of the events in the frame.
func (f Frame) Numbers() []string {
	var numbers []string
	for _, e := range AsList(f.Status()["notificationEvent"]) {
		numbers = append(numbers, fmt.Sprint(e.(map[string]any)["eventNumber"]))
	}
	return numbers
}

// Subscription returns the id of the subscription that the frame is about.
func (f Frame) Subscription() string {
	reference, _ := f.Status()["subscription"].(map[string]any)["reference"].(string)
	return reference[strings.LastIndex(reference, "/")+1:]
}
