package main

import (
	"strconv"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what the server does, for /metrics. Each server has a registry
// of its own, so that several can run in one process.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	in, out  prometheus.Counter
	opened   prometheus.Counter
	closed   *prometheus.CounterVec
}

// newMetrics makes the metrics of a server that is still being put together: its
// gauges read the hub and the room only when asked.
func newMetrics(s *server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signalfhir_http_requests_total", Help: "HTTP requests answered, by method and status."}, []string{"method", "status"}),
		in:       prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_frames_received_total", Help: "WebSocket messages received."}),
		out:      prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_frames_sent_total", Help: "WebSocket messages queued for sockets."}),
		opened:   prometheus.NewCounter(prometheus.CounterOpts{Name: "signalfhir_sockets_opened_total", Help: "Sockets opened."}),
		closed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signalfhir_sockets_closed_total", Help: "Sockets closed, by close code."}, []string{"code"}),
	}
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	m.registry.MustRegister(m.requests, m.in, m.out, m.opened, m.closed,
		gauge("signalfhir_sockets", "Sockets open now.", func() int { return s.hub.count() }),
		gauge("signalfhir_subscriptions", "Subscriptions held.", func() int { return s.room.Counts().Subscriptions }),
		gauge("signalfhir_tokens", "Binding tokens held, expired ones included until they are collected.", func() int { return s.room.Counts().Tokens }),
		gauge("signalfhir_resources", "Resources held.", func() int { return s.room.Counts().Resources }),
	)
	return m
}

func (m *metrics) request(method string, status int) {
	m.requests.WithLabelValues(method, strconv.Itoa(status)).Inc()
}

func (m *metrics) socketOpened() { m.opened.Inc() }

func (m *metrics) socketClosed(code int) { m.closed.WithLabelValues(strconv.Itoa(code)).Inc() }

func (m *metrics) frameIn() { m.in.Inc() }

func (m *metrics) frameOut() { m.out.Inc() }

// serve answers /metrics.
func (m *metrics) serve(c echo.Context) error {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(c.Response(), c.Request())
	return nil
}
