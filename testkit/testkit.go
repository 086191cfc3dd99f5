// Package testkit starts a signalfhir server for one test and stops it with the
// test:
//
//	s := testkit.Start(t)
//	client := myclient.New(s.FHIR)          // http://127.0.0.1:PORT/fhir/R5
//	client.Bind("admission-id-only")        // seeded
//	s.AwaitBound("admission-id-only", 1)    // no sleeping
//	s.Trigger(testkit.Trigger{Subscription: "admission-id-only"})
//
// The server is the real program in a process of its own, so a test meets what
// users meet, and any number run in parallel without seeing each other. It is
// built once per test process, with the race detector where the test has it; set
// SIGNALFHIR_BIN to use a program that is built already. When the test fails, the
// server's log is shown with it.
package testkit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a running server.
type Server struct {
	URL  string // root, http://127.0.0.1:PORT
	FHIR string // FHIR base of R5
	WS   string // socket address
	PID  int

	t       testing.TB
	command *exec.Cmd
	stdin   io.Closer
	log     *log
	stopped bool
}

// Option changes how a server is started.
type Option func(*exec.Cmd)

// WithArgs adds arguments of the program.
func WithArgs(args ...string) Option {
	return func(c *exec.Cmd) { c.Args = append(c.Args, args...) }
}

// WithSeed starts with another seed file than the built-in one.
func WithSeed(file string) Option { return WithArgs("--seed", file) }

// WithoutSeed starts with an empty room.
func WithoutSeed() Option { return WithArgs("--seed", "none") }

// WithTokenTTL sets the lifetime of binding tokens.
func WithTokenTTL(d time.Duration) Option { return WithArgs("--token-ttl", d.String()) }

// How long a start and a stop may take before the test fails.
const (
	startPatience = 30 * time.Second
	stopPatience  = 5 * time.Second
)

// Start runs a server on a free port until the test ends. It fails the test
// where the server does not start.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	program, err := Program()
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	s := &Server{t: t, log: &log{}}
	s.command = exec.Command(program, "serve", "--listen", "127.0.0.1:0", "--ready-json", "--exit-on-stdin-close", "--log-level", "debug")
	s.command.Stderr = s.log
	for _, option := range options {
		option(s.command)
	}
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	if s.stdin, err = s.command.StdinPipe(); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatalf("testkit: the server does not start: %v", err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("log of the server at %s:\n%s", s.URL, s.log)
		}
	})

	// The program prints one line and nothing after it; reading on until the end
	// proves that.
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		var ready struct {
			URL  string            `json:"url"`
			FHIR map[string]string `json:"fhir"`
			WS   string            `json:"ws"`
			PID  int               `json:"pid"`
		}
		if err := json.Unmarshal([]byte(line), &ready); err != nil {
			// It has ended, or is about to; only then the log has its last words.
			s.stopped = true
			s.stdin.Close()
			_ = s.command.Wait()
			t.Fatalf("testkit: the server did not become ready; it said %q\n%s", line, s.log)
		}
		s.URL, s.FHIR, s.WS, s.PID = ready.URL, ready.FHIR["R5"], ready.WS, ready.PID
	case <-time.After(startPatience):
		t.Fatalf("testkit: the server was not ready after %s\n%s", startPatience, s.log)
	}
	return s
}

// Stop stops the server, as the end of the test does by itself. A server that
// does not stop, or ends with an error, fails the test.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	s.stdin.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.command.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			s.t.Errorf("testkit: the server ended with %v\n%s", err, s.log)
		}
	case <-time.After(stopPatience):
		_ = s.command.Process.Kill()
		<-ended
		s.t.Errorf("testkit: the server did not stop within %s\n%s", stopPatience, s.log)
	}
}

// Log is what the server has logged so far.
func (s *Server) Log() string { return s.log.String() }

// Reset takes the server back to its seed.
func (s *Server) Reset() {
	s.t.Helper()
	s.control("reset", nil, nil)
}

// AwaitBound waits until at least count sockets are bound to a subscription, or
// with count 0 until none is.
func (s *Server) AwaitBound(subscription string, count int) {
	s.t.Helper()
	s.control("await", map[string]any{"bound": map[string]any{"subscription": subscription, "count": count}}, nil)
}

// AwaitSent waits until count notifications of a type (handshake, heartbeat,
// event-notification) were sent for a subscription.
func (s *Server) AwaitSent(subscription, kind string, count int) {
	s.t.Helper()
	s.control("await", map[string]any{"sent": map[string]any{"subscription": subscription, "type": kind, "count": count}}, nil)
}

// Trigger describes synthetic events: of a topic, for every subscription on it,
// or of one subscription.
type Trigger struct {
	Topic        string `json:"topic,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Focus        any    `json:"focus,omitempty"`       // a resource; made up where there is none
	Reference    string `json:"reference,omitempty"`   // or a reference, "Encounter/1"
	Interaction  string `json:"interaction,omitempty"` // create, update or delete
	Count        int    `json:"count,omitempty"`
	Interval     string `json:"interval,omitempty"` // between events, "250ms"
}

// Event is one event a trigger made.
type Event struct {
	Subscription string `json:"subscription"`
	Number       int64  `json:"number"`
}

// Trigger fires synthetic events and answers those that were made at once.
func (s *Server) Trigger(t Trigger) []Event {
	s.t.Helper()
	var out struct{ Events []Event }
	s.control("trigger", t, &out)
	return out.Events
}

// Create stores a resource, given as a value to encode or as JSON text, and
// answers it as stored.
func (s *Server) Create(resource any) map[string]any {
	s.t.Helper()
	data := encode(s.t, resource)
	var typed struct {
		ResourceType string `json:"resourceType"`
	}
	if err := json.Unmarshal(data, &typed); err != nil || typed.ResourceType == "" {
		s.t.Fatalf("testkit: Create takes a resource with a resourceType, got %s", data)
	}
	var stored map[string]any
	s.post(s.FHIR+"/"+typed.ResourceType, "application/fhir+json", data, &stored)
	return stored
}

// Post sends a value, JSON text or nothing (nil) to an address of the server,
// such as an operation, and reads the answer into out, which may be nil.
func (s *Server) Post(address string, in, out any) {
	s.t.Helper()
	var data []byte
	if in != nil {
		data = encode(s.t, in)
	}
	s.post(address, "application/fhir+json", data, out)
}

func (s *Server) control(route string, in, out any) {
	s.t.Helper()
	var data []byte
	if in != nil {
		data = encode(s.t, in)
	}
	s.post(s.URL+"/mock/"+route, "application/json", data, out)
}

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

func (s *Server) post(address, kind string, data []byte, out any) {
	s.t.Helper()
	res, err := http.Post(address, kind, bytes.NewReader(data))
	if err != nil {
		s.t.Fatalf("testkit: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("testkit: reading the answer of %s: %v", address, err)
	}
	if res.StatusCode >= 300 {
		s.t.Fatalf("testkit: %s answered %s: %s", address, res.Status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			s.t.Fatalf("testkit: %s answered %s: %v", address, body, err)
		}
	}
}

// Program is the path of the program that [Start] runs. It is built where it is
// not there yet.
func Program() (string, error) { return build() }

// build makes the program, once for the process.
var build = sync.OnceValues(func() (string, error) {
	if program := os.Getenv("SIGNALFHIR_BIN"); program != "" {
		return program, nil
	}
	folder, err := os.MkdirTemp("", "signalfhir-testkit-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "signalfhir")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	args := []string{"build", "-o", program}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "signalfhir")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	if _, err := os.Stat(program); err != nil {
		return "", errors.New("go build made no program")
	}
	return program, nil
})

// log gathers what the server writes.
type log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
