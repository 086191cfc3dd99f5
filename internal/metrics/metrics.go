// Package metrics counts what a server does, for Prometheus. It counts what it
// is told and reads the gauges it is given; it knows no server.
package metrics

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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
	Queued                                           func() int // frames that wait for sockets
	QueuedBytes, EventLogBytes, TokenBytes           func() int64
	LiveMemory, MaxMemory                            func() int64
	LogDropped                                       func() uint64 // only grows
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
	bytes := func(name, help string, f func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	m.registry.MustRegister(m.requests, m.in, m.out, m.opened, m.closed,
		gauge("signalfhir_rooms", "Rooms open now, the default one included.", g.Rooms),
		gauge("signalfhir_sockets", "Sockets open now.", g.Sockets),
		gauge("signalfhir_subscriptions", "Subscriptions held.", g.Subscriptions),
		gauge("signalfhir_tokens", "Binding tokens held, expired ones included until they are collected.", g.Tokens),
		gauge("signalfhir_resources", "Resources held.", g.Resources),
		gauge("signalfhir_frames_queued", "WebSocket messages that wait for their sockets, all sockets together.", g.Queued),
		bytes("signalfhir_queue_bytes", "Bytes that wait for sockets, all sockets together; bytes that several wait for count once.", g.QueuedBytes),
		bytes("signalfhir_event_log_bytes", "Bytes of the events kept for $events, all rooms together.", g.EventLogBytes),
		bytes("signalfhir_token_bytes", "Bytes of the lists of subscriptions of valid tokens, all rooms together.", g.TokenBytes),
		bytes("signalfhir_memory_bytes", "Bytes of memory that the last collection left, with stacks. Above signalfhir_memory_limit_bytes writes get 507.", g.LiveMemory),
		bytes("signalfhir_memory_limit_bytes", "Bytes of memory above which writes get 507 (--max-memory).", g.MaxMemory),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "signalfhir_log_lines_dropped_total", Help: "Log lines dropped because nobody read the log fast enough."}, func() float64 { return float64(g.LogDropped()) }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// methods are those that are counted by their name. A client may invent others, and each
// would be a new time series for as long as the server runs.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace}

// Request counts an HTTP request and its status. A method that HTTP does not know counts
// as "other".
func (m *Metrics) Request(method string, status int) {
	if !slices.Contains(methods, method) {
		method = "other"
	}
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
