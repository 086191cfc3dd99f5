package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// The tests here look into the server or move its clock. Those that only speak to it are
// in e2e/protocol.

var (
	admissionTopic        = wiretest.AdmissionTopic
	websocketSubscription = wiretest.WebsocketSubscription
	encounter             = wiretest.Encounter
	reference             = wiretest.Reference
	with                  = wiretest.With
	asList                = wiretest.AsList
)

const admissionURL = wiretest.AdmissionURL

// testServer is a server in this process, on a port of its own and, unless a test wants
// otherwise, on a clock that only the test moves.
type testServer struct {
	*wiretest.Server
	clock  *clock.Adjustable
	server *server
}

// begin is when the manual clock of a test starts.
var begin = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// start runs a server for the test. It begins without a seed.
func start(t testing.TB, edit ...func(*command.Serve)) *testServer {
	t.Helper()
	manual := clock.NewManual(begin)
	o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: 30 * time.Minute, SlowAfter: 5 * time.Second, QueueBytes: 64 << 20, QueueTotal: 512 << 20, EventLogBytes: 64 << 20, TokenBytes: 64 << 20, MaxMemory: 1 << 40, MaxResponseBytes: 64 << 20, JournalSize: 10_000, MaxBodyBytes: 2 << 20, RoomTTL: 10 * time.Minute, MaxRooms: 1000, Clock: manual}
	for _, f := range edit {
		f(o)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	log := &syncBuffer{}
	s, err := newServer(o, listener.Addr(), slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- s.serve(ctx, listener, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(wiretest.Patience):
			t.Error("the server did not stop")
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	return &testServer{wiretest.New(t, s.address), manual, s}
}

// withSeed starts with the built-in seed.
func withSeed(o *command.Serve) { o.Seed = "" }

// vectorServer has the topic of the test vectors and abc, an id-only subscription on it.
func vectorServer(t *testing.T, r fhir.Release, edit ...func(*command.Serve)) *testServer {
	t.Helper()
	s := start(t, edit...).on(r)
	s.Admission()
	return s
}

// on returns the same server, spoken to in another release.
func (s *testServer) on(r fhir.Release) *testServer {
	return &testServer{s.On(r), s.clock, s.server}
}

// eachRelease runs a test on every release.
func eachRelease(t *testing.T, f func(t *testing.T, r fhir.Release)) {
	t.Helper()
	t.Parallel()
	for _, r := range fhir.Releases {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			f(t, r)
		})
	}
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
