package bench

import (
	"bytes"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/testkit"
)

// How many sockets are bound to the busy subscription.
const (
	healthySockets = 200
	stalledSockets = 20
)

// BenchmarkSlowConsumers measures from sending a write to its frame being received, on 200
// sockets that read, while 20 others of the same subscription read nothing. The baseline is
// the same process without the 20. Rounds of both alternate, each after a burst of
// megabytes, which is what makes the 20 fall behind. The stalled sockets are never
// cut: by default they would be after five seconds.
func BenchmarkSlowConsumers(b *testing.B) {
	s := testkit.StartProcess(b, testkit.WithArgs("--slow-after", "1h", "--queue-bytes", "1000000000", "--queue-bytes-total", "4000000000", "--journal-size", "1000", "--log-level", "warn"))
	s.Put(map[string]any{
		"resourceType": "Subscription", "id": "busy", "status": "requested", "content": "full-resource", "contentType": "application/fhir+json",
		"topic":       "http://example.org/FHIR/R5/SubscriptionTopic/admission",
		"channelType": map[string]any{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
	})
	r := &readers{}
	for range healthySockets {
		r.add(b, s)
	}
	var without, with []time.Duration
	for b.Loop() {
		r.burst(s)
		without = append(without, r.round(s)...)
		stalled := stall(b, s)
		r.burst(s)
		const behind = 40
		for gauge(b, s, "signalfhir_frames_queued") < stalledSockets*behind { // the system has taken a lot
			r.burst(s)
		}
		with = append(with, r.round(s)...)
		for _, conn := range stalled {
			conn.Close()
		}
		for gauge(b, s, "signalfhir_sockets") > healthySockets { // until the server has noticed
		}
	}
	percentile := func(of []time.Duration, p int) float64 {
		slices.Sort(of)
		return float64(of[len(of)*p/100]) / 1e6
	}
	b.ReportMetric(percentile(without, 50), "ms-p50-baseline")
	b.ReportMetric(percentile(with, 50), "ms-p50-stalled")
	b.ReportMetric(percentile(without, 99), "ms-p99-baseline")
	b.ReportMetric(percentile(with, 99), "ms-p99-stalled")
	b.ReportMetric(percentile(with, 99)/percentile(without, 99), "p99-ratio")
}

// readers are sockets that read at once.
type readers struct {
	due sync.WaitGroup // frames of events that have not come

	mu   sync.Mutex // guards all below
	sent time.Time  // when the write was sent
	took []time.Duration
}

// add opens a socket and reads it.
func (r *readers) add(b *testing.B, s *testkit.Server) {
	b.Helper()
	socket := bind(b, s, "busy")
	read(b, socket) // the handshake
	go func() {
		for {
			_, data, err := socket.ReadMessage()
			now := time.Now()
			if err != nil {
				return
			}
			if bytes.Contains(data, []byte(`"event-notification"`)) {
				r.mu.Lock()
				r.took = append(r.took, now.Sub(r.sent))
				r.mu.Unlock()
				r.due.Done()
			}
		}
	}()
}

// round writes one resource after the other, and returns how long each frame took.
func (r *readers) round(s *testkit.Server) []time.Duration {
	const writes = 200
	r.mu.Lock()
	r.took = nil
	r.mu.Unlock()
	for range writes {
		r.due.Add(healthySockets)
		r.mu.Lock()
		r.sent = time.Now()
		r.mu.Unlock()
		s.Create(`{"resourceType":"Encounter","status":"in-progress","subject":{"reference":"Patient/example"}}`)
		r.due.Wait()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.took
}

// stall opens the sockets that read nothing.
func stall(b *testing.B, s *testkit.Server) (stalled []*websocket.Conn) {
	b.Helper()
	small := websocket.Dialer{NetDial: func(network, address string) (net.Conn, error) {
		conn, err := net.Dial(network, address)
		if tcp, is := conn.(*net.TCPConn); is {
			_ = tcp.SetReadBuffer(4 << 10)
		}
		return conn, err
	}}
	for range stalledSockets {
		socket, _, err := small.Dial(s.WS, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { socket.Close() })
		write(b, socket, "bind-with-token "+take(b, s, "busy"))
		stalled = append(stalled, socket)
	}
	s.AwaitBound("busy", healthySockets+stalledSockets)
	return stalled
}

// burst sends megabytes to each socket, and returns when the readers have them.
func (r *readers) burst(s *testkit.Server) {
	const events = 100
	long := `<div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat("text ", 10_000) + `</div>`
	r.due.Add(events * healthySockets)
	s.Trigger(testkit.Trigger{Subscription: "busy", Count: events, Focus: map[string]any{"resourceType": "Patient", "text": map[string]any{"status": "generated", "div": long}}})
	r.due.Wait()
}

// gauge returns the value of a metric that is a whole number.
func gauge(b *testing.B, s *testkit.Server, name string) int {
	b.Helper()
	_, rest, _ := strings.Cut(text(b, s.URL+"/metrics"), "\n"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(value)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}
