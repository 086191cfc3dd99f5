package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
)

// testServer is a server in this process, on a port of its own and, unless a
// test wants otherwise, on a clock that only the test moves.
type testServer struct {
	t     *testing.T
	url   string
	fhir  string
	ws    string
	clock *clock.Manual
	log   *syncBuffer

	server *server // for what no client sees: its table of routes

	release fhir.Release // "": R5
}

// patience is how long a test waits for what must come; reached only by a failure.
const patience = 10 * time.Second

// begin is when the manual clock of a test starts.
var begin = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// start runs a server for the test. It begins without a seed.
func start(t *testing.T, edit ...func(*command.Serve)) *testServer {
	t.Helper()
	manual := clock.NewManual(begin)
	o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: 30 * time.Minute, SlowAfter: 5 * time.Second, QueueBytes: 64 << 20, QueueTotal: 512 << 20, EventLogBytes: 64 << 20, JournalSize: 10_000, MaxBodyBytes: 2 << 20, RoomTTL: 10 * time.Minute, MaxRooms: 1000, Clock: manual}
	for _, f := range edit {
		f(o)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	log := &syncBuffer{}
	s, err := newServer(o, listener.Addr(), slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- s.serve(ctx, listener, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the server did not stop")
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	root := s.address
	return &testServer{t: t, url: root, fhir: root + "/fhir/R5", ws: httpedge.SocketURL(root), clock: manual, log: log, server: s}
}

// withSeed starts with the built-in seed.
func withSeed(o *command.Serve) { o.Seed = "" }

// answered is the answer to one request.
type answered struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// do sends a request. body may be nil, a string or a value to encode; headers
// are pairs.
func (s *testServer) do(method, path string, body any, headers ...string) answered {
	s.t.Helper()
	var reader io.Reader
	if resource, ok := body.(map[string]any); ok {
		path, body = inRelease(s.release, path, resource)
	}
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	if strings.HasPrefix(path, "/") {
		path = s.url + path
	} else if !strings.HasPrefix(path, "http") {
		path = s.fhir + "/" + path
	}
	req, err := http.NewRequest(method, path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	a := answered{status: res.StatusCode, header: res.Header}
	if a.status == http.StatusSwitchingProtocols {
		return a // a socket, which has no end
	}
	if a.raw, err = io.ReadAll(res.Body); err != nil {
		s.t.Fatal(err)
	}
	_ = json.Unmarshal(a.raw, &a.body)
	return a
}

// must sends a request that has to be answered with status.
func (s *testServer) must(status int, method, path string, body any, headers ...string) answered {
	s.t.Helper()
	a := s.do(method, path, body, headers...)
	if a.status != status {
		s.t.Fatalf("%s %s: got %d, want %d\n%s", method, path, a.status, status, a.raw)
	}
	return a
}

// issue is the first issue of an OperationOutcome.
func (a answered) issue() (code, diagnostics string, expression []string) {
	issues, _ := a.body["issue"].([]any)
	if a.body["resourceType"] != "OperationOutcome" || len(issues) == 0 {
		return "", "", nil
	}
	first := issues[0].(map[string]any)
	for _, e := range asList(first["expression"]) {
		expression = append(expression, e.(string))
	}
	return first["code"].(string), fmt.Sprint(first["diagnostics"]), expression
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// token takes a binding token for the subscriptions.
func (s *testServer) token(ids ...string) string {
	s.t.Helper()
	path := "Subscription/$get-ws-binding-token?id=" + strings.Join(ids, "&id=")
	a := s.must(200, "POST", path, nil)
	for _, p := range asList(a.body["parameter"]) {
		if parameter := p.(map[string]any); parameter["name"] == "token" {
			return parameter["valueString"].(string)
		}
	}
	s.t.Fatalf("no token in %s", a.raw)
	return ""
}

// testSocket is a client's end of a WebSocket.
type testSocket struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial opens a socket.
func (s *testServer) dial(query ...string) *testSocket {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.ws+strings.Join(query, ""), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(32 << 20)
	s.t.Cleanup(func() { conn.CloseNow() })
	return &testSocket{s.t, conn}
}

// bind opens a socket, binds it to the subscriptions and reads the handshakes.
func (s *testServer) bind(ids ...string) *testSocket {
	s.t.Helper()
	ws := s.dial()
	ws.send("bind-with-token " + s.token(ids...))
	for range ids {
		if f := ws.next(); f.kind() != "handshake" {
			s.t.Fatalf("got %s, want a handshake", f.raw)
		}
	}
	return ws
}

func (ws *testSocket) send(text string) {
	ws.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ws.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		ws.t.Fatal(err)
	}
}

// next reads the next frame.
func (ws *testSocket) next() frame {
	ws.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := ws.conn.Read(ctx)
	if err != nil {
		ws.t.Fatalf("no frame: %v", err)
	}
	return parseFrame(data)
}

func parseFrame(data []byte) frame {
	f := frame{raw: data}
	_ = json.Unmarshal(data, &f.body)
	return f
}

// nothing proves that no frame is waiting: what is asked after it is answered
// first.
func (ws *testSocket) nothing() {
	ws.t.Helper()
	ws.send("ping")
	if f := ws.next(); string(f.raw) != "pong" {
		ws.t.Fatalf("got %s, want no frame", f.raw)
	}
}

// closed reads until the socket closes and answers code and reason.
func (ws *testSocket) closed() (websocket.StatusCode, string) {
	ws.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := ws.conn.Read(ctx)
		if err == nil {
			continue
		}
		var reason string
		if e := (websocket.CloseError{}); asCloseError(err, &e) {
			reason = e.Reason
		}
		return websocket.CloseStatus(err), reason
	}
}

// frame is one message of the server.
type frame struct {
	raw  []byte
	body map[string]any
}

func (f frame) status() map[string]any {
	entries := asList(f.body["entry"])
	if len(entries) == 0 {
		return map[string]any{}
	}
	status, _ := entries[0].(map[string]any)["resource"].(map[string]any)
	if status["resourceType"] == "Parameters" {
		return statusOfParameters(status)
	}
	return status
}

func (f frame) kind() string {
	if f.body["resourceType"] == "OperationOutcome" {
		return "OperationOutcome"
	}
	kind, _ := f.status()["type"].(string)
	return kind
}

func (f frame) total() string {
	total, _ := f.status()["eventsSinceSubscriptionStart"].(string)
	return total
}

// numbers are the event numbers the frame carries.
func (f frame) numbers() []string {
	var numbers []string
	for _, e := range asList(f.status()["notificationEvent"]) {
		numbers = append(numbers, fmt.Sprint(e.(map[string]any)["eventNumber"]))
	}
	return numbers
}

// subscription is the id of the subscription a frame is about.
func (f frame) subscription() string {
	reference, _ := f.status()["subscription"].(map[string]any)["reference"].(string)
	return reference[strings.LastIndex(reference, "/")+1:]
}

// wantEvent reads the next frame, which has to be an event with this number.
func (ws *testSocket) wantEvent(number string) frame {
	ws.t.Helper()
	f := ws.next()
	if f.kind() != "event-notification" || strings.Join(f.numbers(), ",") != number {
		ws.t.Fatalf("got %s %v, want event %s\n%s", f.kind(), f.numbers(), number, f.raw)
	}
	return f
}
