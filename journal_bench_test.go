package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// BenchmarkJournal measures what recording costs: notifications to bound
// sockets with the journal on, beside the same with nothing kept. A frame is a
// unit of work.
func BenchmarkJournal(b *testing.B) {
	for _, c := range []struct {
		name           string
		sockets, burst int
	}{{"fan-out to 1000 sockets", 1000, 1}, {"stream to one socket", 1, 100}} {
		for _, journal := range []struct {
			name string
			size int
		}{{"baseline=off", -1}, {"on", 10_000}} {
			b.Run(c.name+"/"+journal.name, func(b *testing.B) { benchmarkDelivery(b, c.sockets, c.burst, journal.size) })
		}
	}
}

func benchmarkDelivery(b *testing.B, sockets, burst, journalSize int) {
	o := &serveOptions{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Hour, QueueFrames: 4096, MaxBodyBytes: 1 << 20, JournalSize: journalSize}
	s, err := newServer(o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.room.Close()
	srv := httptest.NewServer(s.echo)
	defer srv.Close()
	base := s.room.Base(fhir.R5)
	for _, resource := range []map[string]any{admissionTopic(), websocketSubscription("bench", admissionURL, "content", "full-resource")} {
		data, err := json.Marshal(resource)
		if err != nil {
			b.Fatal(err)
		}
		o, refused := fhir.Parse(data)
		if refused != nil {
			b.Fatal(refused)
		}
		if _, refused := base.Update(o.Text("resourceType"), o.Text("id"), o, room.Request{Base: srv.URL + "/fhir/R5"}); refused != nil {
			b.Fatal(refused)
		}
	}
	token, refused := base.BindingToken([]string{"bench"})
	if refused != nil {
		b.Fatal(refused)
	}

	received := &counter{}
	received.more = sync.NewCond(&received.mu)
	for range sockets {
		conn, _, err := websocket.DefaultDialer.Dial("ws"+srv.URL[len("http"):]+"/ws?token="+token.Secret, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		go func() {
			for {
				_, r, err := conn.NextReader()
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r)
				received.mu.Lock()
				received.count++
				received.mu.Unlock()
				received.more.Signal()
			}
		}()
	}
	expected := received.wait(int64(sockets)) // the handshakes
	b.ResetTimer()
	for n := 0; n < b.N; {
		if _, _, refused := s.room.Trigger(room.Trigger{Subscription: "bench", Reference: "Encounter/none", Count: burst}); refused != nil {
			b.Fatal(refused)
		}
		n += sockets * burst
		expected += int64(sockets * burst)
		received.wait(expected)
	}
}
