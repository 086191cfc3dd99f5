package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
	"signalfhir/testkit"
)

// The words of the transcripts.
type (
	response = wiretest.Response
	socket   = wiretest.Socket
	entry    = testkit.Entry
)

var (
	admissionTopic        = wiretest.AdmissionTopic
	websocketSubscription = wiretest.WebsocketSubscription
	encounter             = wiretest.Encounter
	patient               = wiretest.Patient
	reference             = wiretest.Reference
	with                  = wiretest.With
	inRelease             = wiretest.InRelease
	at                    = wiretest.At
	text                  = wiretest.Text
	asList                = wiretest.AsList
	compact               = wiretest.Compact
	golden                = wiretest.Golden
)

const admissionURL = wiretest.AdmissionURL

// server is a room, or the default room of a process.
type server struct {
	*wiretest.Server
	log func() string // returns what the process has logged
}

// start opens an empty room for the test. With arguments, it runs a process with them
// instead.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	if len(args) > 0 {
		return startProcess(t, args...)
	}
	return serverOf(t, testkit.Start(t, testkit.WithoutSeed()))
}

// startProcess runs a process for the test. Its default room is empty.
func startProcess(t *testing.T, args ...string) *server {
	t.Helper()
	return serverOf(t, testkit.StartProcess(t, testkit.WithoutSeed(), testkit.WithArgs(args...)))
}

// startSeeded runs a process for the test. Its rooms have the built-in seed.
func startSeeded(t *testing.T, args ...string) *server {
	t.Helper()
	return serverOf(t, testkit.StartProcess(t, testkit.WithArgs(args...)))
}

// vectorServer has the topic of the test vectors and abc, an id-only subscription on it.
// Arguments are as for start.
func vectorServer(t *testing.T, r fhir.Release, args ...string) *server {
	t.Helper()
	s := start(t, args...).on(r)
	s.Admission()
	return s
}

func serverOf(t *testing.T, s *testkit.Server) *server {
	return &server{wiretest.New(t, s.URL), s.Log}
}

// on returns the same server, spoken to in another release.
func (s *server) on(r fhir.Release) *server { return &server{s.On(r), s.log} }

// in returns the same server for a subtest.
func (s *server) in(t *testing.T) *server { return &server{s.In(t), s.log} }

// socketsAt returns the same server, with its sockets at another path below the room.
func (s *server) socketsAt(path string) *server {
	other := *s.Server
	other.WS = "ws" + strings.TrimPrefix(s.URL, "http") + path
	return &server{&other, s.log}
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

// now returns the time of the room, and only when it is later than that of every version
// stored before. Times of versions have milliseconds.
func (s *server) now() time.Time {
	s.T.Helper()
	read := func() time.Time {
		var state struct{ Now time.Time }
		if err := json.Unmarshal(s.Must(200, "GET", "/mock/state", nil).Raw, &state); err != nil {
			s.T.Fatal(err)
		}
		return state.Now.UTC().Truncate(time.Millisecond)
	}
	before := read()
	for {
		if now := read(); now.After(before) {
			return now
		}
	}
}
