package main

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// BenchmarkJournal measures what recording costs: notifications to bound
// sockets with the journal on and, in turn with it, with nothing kept. A frame
// is a unit of work; overhead-% compares the medians of the rounds.
func BenchmarkJournal(b *testing.B) {
	for _, c := range []struct {
		name           string
		sockets, burst int
	}{{"fan-out to 1000 sockets", 1000, 1}, {"stream to one socket", 1, 100}} {
		b.Run(c.name, func(b *testing.B) {
			off, on := startDelivery(b, c.sockets, 0), startDelivery(b, c.sockets, 10_000)
			off.round(c.burst)
			on.round(c.burst)
			b.ResetTimer()
			var without, with []time.Duration
			for n := 0; n < b.N; n += 4 * c.sockets * c.burst {
				// Neither is always the one that comes after the other.
				without = append(without, off.round(c.burst))
				with = append(with, on.round(c.burst), on.round(c.burst))
				without = append(without, off.round(c.burst))
			}
			frames := float64(c.sockets * c.burst)
			baseline, recorded := median(without)/frames, median(with)/frames
			b.ReportMetric(baseline, "off-ns/frame")
			b.ReportMetric(recorded, "on-ns/frame")
			b.ReportMetric(100*(recorded/baseline-1), "overhead-%")
		})
	}
}

func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2])
}

// delivery is a server with sockets bound to one subscription, and clients that
// read from them.
type delivery struct {
	b        *testing.B
	room     *room.Room
	sockets  int
	received *counter
	expected int64
}

func startDelivery(b *testing.B, sockets, journalSize int) *delivery {
	o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Hour, MaxBodyBytes: 1 << 20, JournalSize: journalSize, MaxMemory: 1 << 40, MaxResponseBytes: 64 << 20}
	s, err := newServer(o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.rooms.Default().Close)
	srv := httptest.NewServer(s.echo)
	b.Cleanup(srv.Close)
	base := s.rooms.Default().Base(fhir.R5)
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

	received := newCounter()
	for range sockets {
		received.drain(b, "ws"+srv.URL[len("http"):]+"/ws?token="+token.Secret)
	}
	return &delivery{b, s.rooms.Default(), sockets, received, received.wait(int64(sockets))} // the handshakes
}

// round fires events and waits until every socket has them all.
func (d *delivery) round(events int) time.Duration {
	begin := time.Now()
	if _, refused := d.room.Trigger(d.b.Context(), room.Trigger{Subscription: "bench", Reference: "Encounter/none", Count: events}); refused != nil {
		d.b.Fatal(refused)
	}
	d.expected += int64(d.sockets * events)
	d.received.wait(d.expected)
	return time.Since(begin)
}
