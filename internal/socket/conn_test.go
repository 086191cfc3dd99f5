package socket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
	"go.uber.org/goleak"

	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; reached only by a failure.
const patience = 10 * time.Second

// recorder is a connection that keeps each write.
type recorder struct {
	net.Conn // nil
	writes   []string
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, string(p))
	return len(p), nil
}

func TestConn_GathersWhileFramesWait(t *testing.T) {
	t.Parallel()
	s, r := &Socket{}, &recorder{}
	c := &conn{Conn: r, socket: s}
	write := func(queued int64, p []byte) {
		t.Helper()
		s.queued.Store(queued)
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatalf("got %d, %v; want %d", n, err, len(p))
		}
	}
	wants := func(writes ...string) {
		t.Helper()
		if strings.Join(r.writes, ",") != strings.Join(writes, ",") {
			t.Errorf("got the writes %.100q, want %.100q", r.writes, writes)
		}
		r.writes = nil
	}
	write(1, []byte("a"))
	wants("a")
	write(3, []byte("a"))
	write(2, []byte("b"))
	wants()
	write(1, []byte("c"))
	wants("abc")
	large := bytes.Repeat([]byte("l"), maxGathered)
	write(3, []byte("a"))
	write(2, large)
	wants("a" + string(large))
	write(3, []byte("a"))
	write(3, []byte{0x88, 2, 3, 232}) // a close frame overtakes the queue
	wants("a\x88\x02\x03\xe8")
	write(3, []byte{0x88, 2, 3, 232})
	wants("\x88\x02\x03\xe8")
}

// A client may close while frames are queued. gorilla replies at once, and what
// is behind its reply is never written: nothing would push the reply out.
func TestConn_ReplyToACloseDoesNotWait(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		s := &Socket{}
		upgrader := websocket.Upgrader{}
		ws, err := upgrader.Upgrade(s.Writer(w), r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		s.queued.Store(100)
		if err := ws.WriteMessage(websocket.TextMessage, []byte("gathered")); err != nil {
			t.Error(err)
		}
		_, _, _ = ws.ReadMessage() // replies to the close frame
	}))
	defer srv.Close()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	deadline := time.Now().Add(patience)
	if err := ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), deadline); err != nil {
		t.Fatal(err)
	}
	_ = ws.SetReadDeadline(deadline)
	if _, data, err := ws.ReadMessage(); string(data) != "gathered" {
		t.Errorf("got %q, %v; want the frame before the close", data, err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, 1000) {
		t.Errorf("got %v, want a close with 1000", err)
	}
	<-ended
}

// lingering is a connection whose client is slow to close it.
type lingering struct {
	net.Conn // nil
	lingers  func()
}

func (l *lingering) CloseWrite() error               { return nil }
func (l *lingering) SetReadDeadline(time.Time) error { return nil }
func (l *lingering) Close() error                    { return nil }
func (l *lingering) Read([]byte) (int, error) {
	l.lingers()
	return 0, io.EOF
}

// The bindings of a socket end before its connection lingers: a client that comes back at once
// gets what this connection was not sent.
func TestConn_BindingsEndBeforeItLingers(t *testing.T) {
	t.Parallel()
	r := &record{}
	s := New("s1", r, httptest.NewRequest("GET", "/ws", nil), &Options{Pool: NewPool(1 << 30)})
	s.session = &melody.Session{}
	s.out.push(subscription.Frame{Subscription: "abc", First: 3, Last: 4, Bytes: []byte("x")})
	s.Fail(&websocket.CloseError{Code: 1000})
	if lost, all := s.Lost("abc", 4); lost != 3 || all { // its connection has ended
		t.Errorf("lost from event %d on (all: %v), want 3 and maybe more", lost, all)
	}
	lingered := false
	c := &conn{socket: s, Conn: &lingering{lingers: func() {
		lingered = true
		if lost, all := s.Lost("abc", 4); r.gone != 1 || lost != 3 || !all {
			t.Errorf("it lingers, and %d bindings have ended; lost from event %d on (all: %v)", r.gone, lost, all)
		}
	}}}
	for range 2 {
		_ = c.Close()
	}
	notSent := r.of(journal.NotSent)
	if !lingered || r.gone != 1 || len(notSent) != 1 || !strings.Contains(notSent[0].Text, "ended before they were written: closed by client with 1000; $events has them") {
		t.Errorf("lingered %v, %d bindings ended, %v", lingered, r.gone, notSent)
	}
}

// hijackable is a response whose connection can be taken over.
type hijackable struct {
	http.ResponseWriter // nil
	conn                net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }

func TestCut_AlsoBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		server, client := net.Pipe()
		defer client.Close()
		s := &Socket{}
		if before {
			s.Cut()
		}
		if _, _, err := s.Writer(hijackable{conn: server}).(http.Hijacker).Hijack(); err != nil {
			t.Fatal(err)
		}
		if !before {
			s.Cut()
		}
		_ = client.SetReadDeadline(time.Now().Add(patience))
		if _, err := client.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("before the upgrade %v: got %v, want the end of the connection", before, err)
		}
	}
}
