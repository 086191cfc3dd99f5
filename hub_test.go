package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/socket"
	"signalfhir/internal/subscription"
	"signalfhir/internal/wiretest"
)

func TestHub_StopReaches200SocketsWith1001(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	url := serveRoom(t, h, &quietRoom{})
	var sockets []*websocket.Conn
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
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
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
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
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
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
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
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
	case <-time.After(wiretest.Patience):
		t.Fatal("closeRoom still waits after its context ended")
	}
}

// A control frame has room for 123 bytes of a reason.
func TestHub_LongReasonIsCutAtARune(t *testing.T) {
	t.Parallel()
	h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
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
		if whole := "the room " + name; !errors.As(err, &end) || end.Code != 1001 || len(end.Reason) < 122 || !utf8.ValidString(end.Reason) || !strings.HasPrefix(whole, end.Reason) {
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
	if !errors.As(err, &end) || end.Code != code || end.Reason != reason {
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
func (*quietRoom) Faults() *fault.Set                           { return nil }
func (*quietRoom) Manners() *manners.Manners                    { return nil }
func (*quietRoom) Hold() *clock.Hold                            { return nil }
func (*quietRoom) Bindings(subscription.Socket) []string        { return nil }
func (*quietRoom) Gone(subscription.Socket)                     {}
func (*quietRoom) Now() time.Time                               { return time.Now() }
func (*quietRoom) Record(journal.Entry)                         {}

// unrecorded is the journal of a test that has none.
func unrecorded(string, subscription.Frame) {}

// recordingRoom keeps what the hub records, and the socket that came.
type recordingRoom struct {
	quietRoom
	sockets chan subscription.Socket
	closed  chan journal.Entry
}

func (r *recordingRoom) Bind(s subscription.Socket, _, _ string) (int, []error) {
	r.sockets <- s
	return 1, nil
}

func (r *recordingRoom) Record(e journal.Entry) {
	if e.Kind == journal.Closed {
		r.closed <- e
	}
}

func TestJournal_TellsThatASocketWasNotRead(t *testing.T) {
	t.Parallel()
	room := &recordingRoom{sockets: make(chan subscription.Socket, 1), closed: make(chan journal.Entry, 1)}
	h := newHub(hubOptions{WriteWait: 50 * time.Millisecond, QueueBytes: 1 << 30, Logger: slog.New(slog.DiscardHandler)})
	conn, _, err := gorilla.DefaultDialer.Dial(serveRoom(t, h, room)+"?token=t", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket := <-room.sockets
	for range 64 { // more than the system keeps
		socket.Send(subscription.Frame{Bytes: make([]byte, 1<<20)}, unrecorded)
	}
	select {
	case e := <-room.closed:
		if e.Code != 1006 || !strings.Contains(e.Text, "50ms") || !strings.Contains(e.Text, "does not read") || !strings.Contains(e.Text, "by server") {
			t.Errorf("got %d %q, want 1006, the limit, and that the server closed", e.Code, e.Text)
		}
	case <-time.After(wiretest.Patience):
		t.Fatal("the socket was not closed")
	}
}

// gorilla/websocket closes the socket itself when a frame breaks the protocol.
func TestJournal_HasTheCodeOfABadFrame(t *testing.T) {
	t.Parallel()
	for want, frame := range map[int][]byte{
		gorilla.CloseProtocolError: {0xf1, 0x80, 0, 0, 0, 0},                         // with reserved bits
		gorilla.CloseMessageTooBig: {0x81, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, // of 16 MiB
	} {
		room := &recordingRoom{sockets: make(chan subscription.Socket, 1), closed: make(chan journal.Entry, 1)}
		h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
		conn, _, err := gorilla.DefaultDialer.Dial(serveRoom(t, h, room), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.NetConn().Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, want) {
			t.Errorf("got %v, want a close with %d", err, want)
		}
		select {
		case e := <-room.closed:
			if e.Code != want || !strings.Contains(e.Text, "by server") {
				t.Errorf("the journal has %d %q, want %d by the server", e.Code, e.Text, want)
			}
		case <-time.After(wiretest.Patience):
			t.Fatal("the socket was not closed")
		}
	}
}
