package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

// BenchmarkStream measures frames to one socket through the hub, beside bare
// gorilla/websocket writing each by itself.
func BenchmarkStream(b *testing.B) {
	frame := []byte(strings.Repeat("x", 1000))
	b.Run("baseline=gorilla", func(b *testing.B) {
		conns := make(chan *websocket.Conn, 1)
		upgrader := websocket.Upgrader{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			conns <- conn
		}))
		defer srv.Close()
		received := newCounter()
		received.drain(b, "ws"+strings.TrimPrefix(srv.URL, "http"))
		conn := <-conns
		defer conn.Close()
		b.SetBytes(int64(len(frame)))
		for b.Loop() {
			if err := conn.WriteMessage(websocket.TextMessage, frame); err != nil {
				b.Fatal(err)
			}
		}
		received.wait(int64(b.N))
	})
	b.Run("hub", func(b *testing.B) {
		h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
		sockets := make(chan subscription.Socket, 1)
		received := newCounter()
		received.drain(b, serveRoom(b, h, benchRoom(sockets))+"?token=t")
		socket := <-sockets
		b.SetBytes(int64(len(frame)))
		sent := int64(0)
		for b.Loop() {
			// Stay below the queue, as a server that is not overrun does.
			if sent%1024 == 0 {
				received.wait(sent - 2048)
			}
			if !socket.Send(subscription.Frame{Bytes: frame, Type: fhir.EventNotification}, unrecorded) {
				b.Fatal("the socket took no more")
			}
			sent++
		}
		received.wait(sent)
	})
}

// noFaults is what a room without faults has.
var noFaults = fault.New(context.Background(), clock.Real(), random.Secure(), func(journal.Entry) {})

// benchRoom hands out the sockets that bind.
type benchRoom chan subscription.Socket

func (r benchRoom) Bind(s subscription.Socket, _, _ string) (int, []error) {
	r <- s
	return 1, nil
}
func (benchRoom) Unbind(subscription.Socket, string)           {}
func (benchRoom) BindLegacy(subscription.Socket, string) error { return nil }
func (benchRoom) UnbindLegacy(subscription.Socket, string)     {}
func (benchRoom) Faults() *fault.Set                           { return noFaults }
func (benchRoom) Manners() *manners.Manners                    { return nil }
func (benchRoom) Hold() *clock.Hold                            { return nil }
func (benchRoom) Bindings(subscription.Socket) []string        { return nil }
func (benchRoom) Gone(subscription.Socket)                     {}
func (benchRoom) Now() time.Time                               { return time.Now() }
func (benchRoom) Record(journal.Entry)                         {}

// counter counts what clients received.
type counter struct {
	mu    sync.Mutex // guards count
	more  *sync.Cond
	count int64
}

func newCounter() *counter {
	c := &counter{}
	c.more = sync.NewCond(&c.mu)
	return c
}

// drain opens a socket and counts what it receives.
func (c *counter) drain(b *testing.B, url string) {
	b.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	go func() {
		for {
			_, r, err := conn.NextReader()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r)
			c.mu.Lock()
			c.count++
			c.mu.Unlock()
			c.more.Signal()
		}
	}()
}

// wait returns once n frames were received, and returns their number.
func (c *counter) wait(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.count < n {
		c.more.Wait()
	}
	return c.count
}
