// Package testkit gives each test a signalfhir server of its own:
//
//	s := testkit.Start(t)
//	client := myclient.New(s.FHIR.R5)       // http://127.0.0.1:PORT/rooms/NAME/fhir/R5
//	client.Bind("admission-id-only")        // a subscription of the built-in seed
//	s.AwaitBound("admission-id-only", 1)    // no sleeping
//	s.Trigger(testkit.Trigger{Subscription: "admission-id-only"})
//
// [Start] runs the program once per test process and opens a room for the test: its
// own resources, topics, subscriptions, tokens, sockets and journal. A room costs
// milliseconds, so tests run in parallel. [StartProcess] runs a separate process, for
// a test that needs other options of the program, or stops it.
//
// The helpers of [Server] fail the test if the server refuses a request. A test that
// fails shows the last entries of its journal. No helper sleeps.
//
// The program is the one that [Program] finds. It ends with the test process, even
// with one that is killed, and leaves no file behind.
package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Server is a server as a test sees it: a room of the shared process, or a process of
// its own. The fields are what a client is configured with.
//
// The helpers call Fatal of the test, so they must be called from its goroutine.
type Server struct {
	URL  string // root, below which the page and the control API are too
	FHIR Bases  // FHIR bases
	WS   string // address of the socket
	PID  int    // of the process

	t       testing.TB
	release Release // chosen with On; "" is R5, where one is needed
	life    *life
	mark    *mark // shared with the servers of On, not with those of Since
}

// Bases are the FHIR bases of a server by release. A base that is not offered is
// empty.
type Bases struct{ R5, R4B, R4 string }

// Release is a release of FHIR.
type Release string

// The releases that the server offers.
const (
	R5  Release = "R5"
	R4B Release = "R4B"
	R4  Release = "R4"
)

// life is the state that all copies of a server share, see [Server.On].
type life struct {
	process *process
	shared  bool         // process belongs to other tests too: only the room ends
	client  *http.Client // has connections of its own, which end with the server
	stopped bool
	tail    string // of the journal when the server was stopped
}

// On returns the same server, with helpers that use the base of another release than
// R5:
//
//	s.On(testkit.R4).Put(patient)
func (s *Server) On(r Release) *Server {
	view := *s
	view.release = r
	return &view
}

func (s *Server) base() string {
	s.t.Helper()
	bases := map[Release]string{"": s.FHIR.R5, R5: s.FHIR.R5, R4B: s.FHIR.R4B, R4: s.FHIR.R4}
	base := bases[s.release]
	if base == "" {
		s.t.Fatalf("testkit: the server at %s offers no base %q", s.URL, s.release)
	}
	return base
}

// Start opens a room in the process that the tests of this test process share, and
// closes it when the test ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	settings := map[string]any{}
	for _, o := range options {
		if err := o.room(settings); err != nil {
			t.Fatalf("testkit: %v", err)
		}
	}
	p, err := shared()
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	s := newServer(t, p)
	s.life.shared = true
	var room ready
	s.do(http.MethodPut, p.ready.URL+"/rooms/"+roomName(t), "application/json", encode(t, settings), &room)
	s.use(room)
	s.stopWithTest()
	return s
}

// StartProcess runs a separate process until the test ends. Its server has the default
// room only.
func StartProcess(t testing.TB, options ...ProcessOption) *Server {
	t.Helper()
	args := []string{"--log-level", "debug", "--generators", "off"}
	for _, o := range options {
		args = o.process(args)
	}
	p, err := startProcess(args...)
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	s := newServer(t, p)
	s.use(p.ready)
	s.stopWithTest()
	return s
}

// newServer returns a server without addresses.
func newServer(t testing.TB, p *process) *Server {
	// The zero Transport uses no proxy.
	return &Server{t: t, mark: &mark{}, life: &life{process: p, client: &http.Client{Transport: &http.Transport{}, Timeout: requestPatience}}}
}

func (s *Server) use(r ready) { s.URL, s.FHIR, s.WS, s.PID = r.URL, r.FHIR, r.WS, r.PID }

// rooms counts the rooms that were opened, to name them.
var rooms atomic.Int64

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// roomName returns a name that says which test has the room. No other room of the
// process has it.
func roomName(t testing.TB) string {
	const longest = 48 // a name has 64 characters at most
	name := notInName.ReplaceAllString(t.Name(), "-")
	return fmt.Sprintf("%.*s-%d", longest, name, rooms.Add(1))
}

func (s *Server) stopWithTest() {
	s.t.Cleanup(func() {
		s.t.Helper()
		if s.t.Failed() {
			s.t.Logf("journal of %s:\n%s", s.URL, s.journalTail())
			if !s.life.shared {
				s.t.Logf("log of the process:\n%s", s.Log())
			}
		}
		s.stop()
	})
}

// Stop stops the server, as the end of the test does by itself. It closes the room, or
// ends the process of [StartProcess]. Sockets are closed with 1001. A process that does
// not stop, or ends with an error, fails the test.
func (s *Server) Stop() {
	s.t.Helper()
	if !s.life.stopped {
		s.life.tail = s.journalTail() // the test may fail later
		s.stop()
	}
}

func (s *Server) stop() {
	s.t.Helper()
	l := s.life
	if l.stopped {
		return
	}
	l.stopped = true
	defer l.client.CloseIdleConnections()
	if !l.shared {
		if err := l.process.stop(); err != nil {
			s.t.Errorf("testkit: %v", err)
		}
		return
	}
	status, body, err := s.send(http.MethodDelete, s.URL, "", nil)
	switch {
	case err != nil:
		s.t.Errorf("testkit: closing the room: %v", err)
	case status != http.StatusNoContent:
		s.t.Errorf("testkit: closing the room %s returned %d: %s", s.URL, status, body)
	}
}

// Log returns the end of what the process has logged. With [Start] that is the process
// of all tests, which only logs warnings.
func (s *Server) Log() string { return s.life.process.log() }

// Post sends a value, JSON text or nothing (nil) to an address of the server, such as
// an operation, and reads the response into out, which may be nil.
func (s *Server) Post(address string, in, out any) {
	s.t.Helper()
	var data []byte
	if in != nil {
		data = encode(s.t, in)
	}
	s.do(http.MethodPost, address, "application/fhir+json", data, out)
}

// encode returns a value as JSON. Text and bytes are JSON already.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	return data
}

// do sends a request and reads the response into out, which may be nil. A refusal fails
// the test.
func (s *Server) do(method, address, kind string, data []byte, out any) {
	s.t.Helper()
	status, body, err := s.send(method, address, kind, data)
	switch {
	case err != nil:
		s.t.Fatalf("testkit: %v", err)
	case status >= 300:
		s.t.Fatalf("testkit: %s %s returned %d: %s", method, address, status, body)
	case out == nil:
		return
	}
	if err := json.Unmarshal(body, out); err != nil {
		s.t.Fatalf("testkit: %s %s returned %s: %v", method, address, body, err)
	}
}

// send sends a request. It returns an error if there is no response.
func (s *Server) send(method, address, kind string, data []byte) (status int, body []byte, err error) {
	req, err := http.NewRequest(method, address, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := s.life.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w\n%s", err, s.life.process.condition())
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the response of %s %s: %w\n%s", method, address, err, s.life.process.condition())
	}
	return res.StatusCode, body, nil
}

// control calls the control API.
func (s *Server) control(method, route string, in, out any) {
	s.t.Helper()
	var data []byte
	if in != nil {
		data = encode(s.t, in)
	}
	s.do(method, s.URL+"/mock/"+route, "application/json", data, out)
}

// awaitPatience is how long the server waits before it fails the test. It is only that
// long on a machine that is overloaded.
const awaitPatience = 30 * time.Second

// requestPatience is how long a response may take. It is longer than awaitPatience, so that
// the server reports what it waited for.
const requestPatience = time.Minute

func trimmed(b []byte) string { return strings.TrimSpace(string(b)) }
