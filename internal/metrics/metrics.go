// Package metrics counts what a server does, for Prometheus. It counts what it
// is told and reads the gauges it is given; it knows no server.
package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the counters of one server. Each server has a registry of its own,
// so that several can run in one process.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	in, out  prometheus.Counter
	opened   prometheus.Counter
	closed   *prometheus.CounterVec
}

// Gauges read present numbers. They are called on each scrape.
type Gauges struct {
	Rooms, Sockets, Subscriptions, Tokens, Resources func() int
}

// New returns metrics that count from zero.
func New(g Gauges) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signalfhir_http_requests_total", Help: "HTTP requests served, by method and status."}, []string{"method", "status"}),
		in:       prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_frames_received_total", Help: "WebSocket messages received."}),
		out:      prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_frames_sent_total", Help: "WebSocket messages queued for sockets."}),
		opened:   prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_sockets_opened_total", Help: "Sockets opened."}),
		closed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signalfhir_sockets_closed_total", Help: "Sockets closed, by close code."}, []string{"code"}),
	}
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	m.registry.MustRegister(m.requests, m.in, m.out, m.opened, m.closed,
		gauge("signalfhir_rooms", "Rooms open now, the default one included.", g.Rooms),
		gauge("signalfhir_sockets", "Sockets open now.", g.Sockets),
		gauge("signalfhir_subscriptions", "Subscriptions held.", g.Subscriptions),
		gauge("signalfhir_tokens", "Binding tokens held, expired ones included until they are collected.", g.Tokens),
		gauge("signalfhir_resources", "Resources held.", g.Resources),
	)
	return m
}

// Request counts an HTTP request and its status.
func (m *Metrics) Request(method string, status int) {
	m.requests.WithLabelValues(method, strconv.Itoa(status)).Inc()
}

// SocketOpened counts a socket that opened.
func (m *Metrics) SocketOpened() { m.opened.Inc() }

// SocketClosed counts a socket that closed, by its close code.
func (m *Metrics) SocketClosed(code int) { m.closed.WithLabelValues(strconv.Itoa(code)).Inc() }

// FrameIn counts a message that was received.
func (m *Metrics) FrameIn() { m.in.Inc() }

// FrameOut counts a message that was queued for a socket.
func (m *Metrics) FrameOut() { m.out.Inc() }

// Handler returns the handler of /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
