package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/socket"
	"signalfhir/internal/subscription"
)

func TestHub_SlowSocketIsClosedWith1013AndLosesNothing(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.QueueBytes, o.SlowAfter = 2<<20, time.Hour })
	s.must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
	slow, quick := s.dialSlow(), s.bind("full")
	slow.send("bind-with-token " + s.token("full"))
	if f := slow.next(); f.kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.raw)
	}
	// Large frames fill what the system buffers between the two ends.
	focus := encounter("big", "in-progress", "text", map[string]any{"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">" + strings.Repeat("x", 256<<10) + "</div>"})
	const events, round = 40, 4 // a round stays below the queue
	for n := 0; n < events; n += round {
		s.must(200, "POST", "/mock/trigger", map[string]any{"subscription": "full", "focus": focus, "count": round})
		for i := range round { // a slow socket holds nobody else up
			if err := quick.event(n + i + 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What the slow one reads now is a beginning without a gap, then the close.
	last := 0
	for {
		err := slow.event(last + 1)
		if err == nil {
			last++
			continue
		}
		var closed websocket.CloseError
		if !asCloseError(err, &closed) || closed.Code != 1013 || !strings.Contains(closed.Reason, "$events") {
			t.Fatalf("after event %d: got %v, want a close with 1013 that names $events", last, err)
		}
		break
	}
	if last == events {
		t.Fatal("the socket kept up; the test proves nothing")
	}
	missed := frame{body: s.must(200, "GET", fmt.Sprintf("Subscription/full/$events?content=id-only&eventsSinceNumber=%d", last+1), nil).body}
	if got := len(missed.numbers()); got != events-last {
		t.Errorf("$events has %d of the %d missed events", got, events-last)
	}
}

// dialSlow opens a socket for which the system keeps little that is not read.
func (s *testServer) dialSlow() *testSocket {
	s.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(512 << 10) // of far less, reading takes minutes
		}
		return conn, err
	}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.ws, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(32 << 20)
	s.t.Cleanup(func() { conn.CloseNow() })
	return &testSocket{s.t, conn}
}

// event reads a frame that has to carry an event, without parsing all of it.
func (ws *testSocket) event(number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := ws.conn.Read(ctx)
	if err == nil && !bytes.Contains(data[:min(len(data), 1000)], []byte(`"eventNumber":"`+strconv.Itoa(number)+`"`)) {
		return fmt.Errorf("got %.600s, want event %d", data, number)
	}
	return err
}

func TestHub_BurstArrivesWholeAndInOrder(t *testing.T) {
	t.Parallel()
	// The test reads nothing while a burst is made, so one has to fit what the
	// system buffers, however slow the machine.
	const events, burst = 20_000, 2_000
	s := vectorServer(t, fhir.R5)
	ws := s.bind("abc")
	for n := 0; n < events; n += burst {
		s.must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": burst})
		for i := range burst {
			ws.wantEvent(strconv.Itoa(n + i + 1))
		}
	}
	ws.nothing()
}

func TestHub_ThousandSocketsGetTheSameFrame(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.token("abc")
	sockets := make([]*testSocket, 1000)
	for i := range sockets {
		sockets[i] = s.dial()
		sockets[i].send("bind-with-token " + token)
		if f := sockets[i].next(); f.kind() != "handshake" {
			t.Fatalf("got %s, want a handshake", f.raw)
		}
	}
	s.must(201, "POST", "Encounter", encounter("", "in-progress"))
	first := string(sockets[0].wantEvent("1").raw)
	for _, ws := range sockets[1:] {
		if raw := string(ws.wantEvent("1").raw); raw != first {
			t.Fatalf("two sockets got different frames:\n%s\n%s", raw, first)
		}
	}
}

func TestHub_StopReaches200SocketsWith1001(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	url := serveRoom(t, h, &quietRoom{})
	var sockets []*websocket.Conn
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 200 {
		conn, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		sockets = append(sockets, conn)
	}
	var readers sync.WaitGroup
	for _, conn := range sockets {
		readers.Go(func() {
			_, _, err := conn.Read(ctx)
			if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway {
				t.Errorf("got %v, want a close with 1001 (WS-38)", err)
			}
		})
	}
	h.shutdown(ctx)
	readers.Wait()
	if h.count() != 0 {
		t.Errorf("%d sockets are still registered", h.count())
	}
	if _, _, err := websocket.Dial(ctx, url, nil); err == nil {
		t.Error("a stopped hub took another socket")
	}
}

func TestHub_PanicInTheRoomClosesTheSocketOnly(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	url := serveRoom(t, h, &quietRoom{panics: true})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 { // the second proves that the hub goes on
		conn, _, err := websocket.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte("bind-with-token x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != 1011 {
			t.Errorf("got %v, want a close with 1011", err)
		}
	}
	h.shutdown(ctx)
}

// TestHub_NoFrameIsLeftBehind sends runs of frames of many sizes; each run has to
// arrive whole before the next is sent, so a frame that waits in the buffer for
// another to push it out would be noticed.
func TestHub_NoFrameIsLeftBehind(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	sockets := make(chan subscription.Socket, 1)
	url := serveRoom(t, h, benchRoom(sockets))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url+"?token=t", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	bound := <-sockets
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 200), rapid.IntRange(3000, 5000), rapid.IntRange(60_000, 70_000)), 1, 30).Draw(t, "sizes")
		for i, size := range sizes {
			if !bound.Send(subscription.Frame{Bytes: []byte(strings.Repeat(string(rune('a'+i%26)), size)), Type: fhir.EventNotification}, unrecorded) {
				t.Fatal("the socket took no more")
			}
		}
		for i, size := range sizes {
			_, data, err := conn.Read(ctx)
			if err != nil || len(data) != size || data[0] != byte('a'+i%26) {
				t.Fatalf("frame %d: got %d bytes, %v; want %d of %c", i, len(data), err, size, 'a'+i%26)
			}
		}
	})
	conn.CloseNow()
	h.shutdown(ctx)
}

func TestHub_CloseRoomClosesItsSocketsOnly(t *testing.T) {
	t.Parallel()
	upgrading, release := make(chan struct{}), make(chan struct{})
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler), CheckOrigin: func(r *http.Request) bool {
		if r.URL.Query().Has("slow") {
			upgrading <- struct{}{}
			<-release
		}
		return true
	}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	closing, other := &quietRoom{}, &quietRoom{}
	closingURL, otherURL := serveRoom(t, h, closing), serveRoom(t, h, other)
	one, two := dialHub(ctx, t, closingURL), dialHub(ctx, t, closingURL)
	stays := dialHub(ctx, t, otherURL)

	late := make(chan *websocket.Conn, 1)
	go func() {
		conn, _, err := websocket.Dial(ctx, closingURL+"?slow", nil)
		if err != nil {
			t.Error(err)
		}
		late <- conn
	}()
	<-upgrading
	// A client may have its 101 before the hub lists the socket.
	for len(h.open(closing)) < 2 || len(h.open(other)) < 1 {
		if ctx.Err() != nil {
			t.Fatal("the sockets did not open")
		}
		runtime.Gosched()
	}
	for room, want := range map[*quietRoom][]string{closing: {"s1", "s2"}, other: {"s1"}} {
		var ids []string
		for _, state := range h.sockets(room) {
			ids = append(ids, state.ID)
		}
		if !slices.Equal(ids, want) || len(h.open(room)) != len(want) {
			t.Errorf("got the sockets %q (%d), want %q", ids, len(h.open(room)), want)
		}
	}

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.closeRoom(ctx, closing, socket.RoomClosed.With("demo", "it was deleted"))
	}()
	for _, conn := range []*websocket.Conn{one, two} {
		wantClose(ctx, t, conn, websocket.StatusGoingAway, "the room demo was closed: it was deleted")
	}
	select {
	case <-closed:
		t.Error("closeRoom did not wait for a socket that is being upgraded")
	default:
	}
	wantGone(ctx, t, closingURL)
	close(release)
	if conn := <-late; conn != nil {
		defer conn.CloseNow()
		wantClose(ctx, t, conn, websocket.StatusGoingAway, "the room demo was closed: it was deleted")
	}
	<-closed

	if in, all := len(h.open(closing)), h.count(); in != 0 || all != 1 {
		t.Errorf("got %d sockets in the closed room and %d in all, want 0 and 1", in, all)
	}
	wantGone(ctx, t, closingURL)
	if err := stays.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := stays.Read(ctx); err != nil || string(data) != "pong" {
		t.Errorf("the other room: got %q, %v; want pong", data, err)
	}
	h.closeRoom(ctx, closing, socket.RoomClosed.With("demo", "it was deleted")) // no effect
	h.shutdown(ctx)
}

func TestHub_CloseRoomCutsWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{WriteWait: time.Hour, QueueBytes: 16 << 20, Logger: slog.New(slog.DiscardHandler)})
	sockets := make(chan subscription.Socket, 1)
	room := benchRoom(sockets)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	dialHub(ctx, t, serveRoom(t, h, room)+"?token=t")
	large := subscription.Frame{Bytes: make([]byte, 1<<20)}
	for bound := <-sockets; bound.Send(large, unrecorded); { // until the system keeps no more and the queue is full
	}
	cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.closeRoom(ctx, room, socket.RoomClosed.With("demo", "it was deleted"))
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("closeRoom still waits after its context ended")
	}
}

// A control frame has room for 123 bytes of a reason.
func TestHub_LongReasonIsCutAtARune(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, name := range []string{strings.Repeat("x", 200), strings.Repeat("é", 100), "x" + strings.Repeat("é", 100)} {
		room := &quietRoom{}
		conn := dialHub(ctx, t, serveRoom(t, h, room))
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			h.closeRoom(ctx, room, socket.RoomClosed.With(name, "it was deleted"))
		}()
		var end websocket.CloseError
		_, _, err := conn.Read(ctx)
		if whole := "the room " + name; !asCloseError(err, &end) || end.Code != 1001 || len(end.Reason) < 122 || !utf8.ValidString(end.Reason) || !strings.HasPrefix(whole, end.Reason) {
			t.Errorf("got %v, want 1001 and the beginning of %q", err, whole)
		}
		<-closed
	}
}

// dialHub opens a socket.
func dialHub(ctx context.Context, t *testing.T, url string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

// wantGone dials a room that takes no more sockets.
func wantGone(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	conn, res, err := websocket.Dial(ctx, url, nil)
	if err == nil {
		conn.CloseNow()
	}
	if err == nil || res == nil || res.StatusCode != http.StatusGone {
		t.Errorf("dialing a closed room: got %v, want 410", err)
	}
}

// wantClose reads the next message, which has to be a close frame.
func wantClose(ctx context.Context, t *testing.T, conn *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	_, _, err := conn.Read(ctx)
	var end websocket.CloseError
	if !asCloseError(err, &end) || end.Code != code || end.Reason != reason {
		t.Errorf("got %v, want a close with %d %q", err, code, reason)
	}
}

// serveRoom serves the sockets of a room on an address of its own, which it
// returns.
func serveRoom(tb testing.TB, h *hub, room socket.Room) string {
	tb.Helper()
	h.openRoom(room)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.serve(w, r, room); err != nil {
			w.WriteHeader(err.(*fhir.Error).Status)
		}
	}))
	tb.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

// quietRoom is a room where nothing can be bound.
type quietRoom struct{ panics bool }

func (r *quietRoom) Bind(subscription.Socket, string, string) (int, []error) {
	if r.panics {
		panic("out of order")
	}
	return 0, nil
}
func (*quietRoom) Unbind(subscription.Socket, string)           {}
func (*quietRoom) BindLegacy(subscription.Socket, string) error { return nil }
func (*quietRoom) UnbindLegacy(subscription.Socket, string)     {}
func (*quietRoom) Bindings(subscription.Socket) []string        { return nil }
func (*quietRoom) Gone(subscription.Socket)                     {}
func (*quietRoom) Record(journal.Entry)                         {}
func (*quietRoom) Redact(text string) string                    { return text }

// unrecorded is the journal of a test that has none.
func unrecorded(string, subscription.Frame) {}
