package socket

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
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
