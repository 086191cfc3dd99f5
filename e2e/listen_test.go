package e2e

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/testkit"
)

// listening is a run of "signalfhir listen".
type listening struct {
	t       *testing.T
	command *exec.Cmd
	mu      sync.Mutex // guards text and changed
	text    bytes.Buffer
	changed chan struct{} // closed when text grows
}

// listen starts the client in the binary. It ends with the test.
func listen(t *testing.T, server string, args ...string) *listening {
	t.Helper()
	l := &listening{t: t, changed: make(chan struct{})}
	l.command = exec.Command(program(t), append([]string{"listen", "--server", server}, args...)...)
	l.command.Stdout, l.command.Stderr = l, l
	if err := l.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.command.Process.Kill()
		_ = l.command.Wait()
		if t.Failed() {
			t.Logf("signalfhir listen said:\n%s", l.String())
		}
	})
	return l
}

func (l *listening) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *listening) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// says waits until the client has printed a text.
func (l *listening) says(text string) {
	l.t.Helper()
	l.prints(strconv.Quote(text), func(printed string) bool { return strings.Contains(printed, text) })
}

// prints waits until what the client has printed is as wanted.
func (l *listening) prints(what string, wanted func(printed string) bool) {
	l.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		printed, changed := l.text.String(), l.changed
		l.mu.Unlock()
		if wanted(printed) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			l.t.Fatalf("the client did not print %s; it printed\n%s", what, l)
		}
	}
}

// shows waits until the client has printed a text so often.
func (l *listening) shows(text string, times int) {
	l.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		shown, changed := strings.Count(l.text.String(), text), l.changed
		l.mu.Unlock()
		if shown >= times {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			l.t.Fatalf("the client did not print %q %d times; it printed\n%s", text, times, l)
		}
	}
}

// listens starts the client for a subscription and returns when it is bound.
func listens(t *testing.T, s *testkit.Server, subscription string) *listening {
	t.Helper()
	l := listen(t, s.URL, "--subscription", subscription)
	l.says("handshake")
	return l
}

func TestListen_RenewsItsTokenBeforeItExpires(t *testing.T) {
	t.Parallel()
	s := testkit.StartProcess(t, testkit.WithTokenTTL(2*time.Second))
	l := listen(t, s.URL, "--subscription", "task-id-only")
	// Three handshakes: the first and two renewals.
	s.AwaitSent("task-id-only", "handshake", 3)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#1")
	if text := l.String(); strings.Contains(text, "trying again") {
		t.Errorf("the client had to reconnect:\n%s", text)
	}
}

// The token of a server whose clock shows another time is renewed by that time.
func TestListen_RenewsByTheClockOfTheServer(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithClock(time.Date(2101, 1, 1, 8, 0, 0, 0, time.UTC)))
	l := listens(t, s, "task-id-only")
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#1")
	s.Advance(25 * time.Minute) // a token has 30
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	s.AwaitSent("task-id-only", "handshake", 2)
	s.Advance(10 * time.Minute)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#3")
	if issued := s.Journal(testkit.Filter{Kinds: []string{"token"}, Text: "issued"}); len(issued) != 2 {
		t.Errorf("the client took %d tokens, want 2", len(issued))
	}
	if text := l.String(); strings.Contains(text, "trying again") {
		t.Errorf("the client had to reconnect:\n%s", text)
	}
}

func TestListen_RecoversWhatItMissedWhileTheSocketWasCut(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	p := startProxy(t, s.URL)
	l := listen(t, p.url, "--subscription", "task-id-only")
	s.AwaitBound("task-id-only", 1)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#1")
	p.cut()
	s.AwaitBound("task-id-only", 0)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 3})
	p.mend()
	l.says("#4  Task")
	for _, want := range []string{"#2", "#3"} {
		if text := l.String(); strings.Count(text, want+"  ") != 1 || !strings.Contains(text, "recovered") {
			t.Errorf("event %s was not shown once as recovered:\n%s", want, text)
		}
	}
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#5")
}

func TestListen_SurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	first := startProgram(t, "--listen", "127.0.0.1:0", "--exit-on-stdin-close")
	const topic = "http://example.org/FHIR/R5/SubscriptionTopic/task-status"
	byID := listen(t, first.url, "--subscription", "lab-full")
	byTopic := listen(t, first.url, "--topic", topic)
	byID.says("handshake")
	byTopic.says("handshake")
	first.stdin.Close()
	if err := first.command.Wait(); err != nil {
		t.Fatalf("the server ended with %v", err)
	}
	byID.says("trying again")
	second := startProgram(t, "--listen", strings.TrimPrefix(first.url, "http://"), "--exit-on-stdin-close")
	byTopic.says("creating it again")
	trigger := func(body string) {
		res, err := http.Post(second.url+"/mock/trigger", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	awaitHandshakes := func(l *listening, n int) {
		deadline := time.After(20 * time.Second)
		for strings.Count(l.String(), "handshake") < n {
			l.mu.Lock()
			changed := l.changed
			l.mu.Unlock()
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("no handshake %d:\n%s", n, l)
			}
		}
	}
	awaitHandshakes(byID, 2)
	awaitHandshakes(byTopic, 2)
	trigger(`{"subscription":"lab-full"}`)
	trigger(`{"topic":"` + topic + `"}`)
	byID.says("lab-full  #1")
	byTopic.says("#1")
}

// proxy is a proxy between client and server that can cut connections.
type proxy struct {
	url string

	mu    sync.Mutex // guards all below
	down  bool
	conns map[net.Conn]struct{}
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The proxy has the paths of the server, which may be those of a room.
	p := &proxy{url: "http://" + listener.Addr().String() + to.Path, conns: map[net.Conn]struct{}{}}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host})
			r.SetXForwarded() // so that the websocket-url leads through the proxy
		},
		ErrorLog: nil,
	}
	srv := &http.Server{Handler: reverse, ConnState: func(c net.Conn, state http.ConnState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if state == http.StateNew {
			p.conns[c] = struct{}{}
			if p.down {
				c.Close()
			}
		}
	}}
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(func() { srv.Close(); p.cut() })
	return p
}

// cut breaks every connection and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		c.Close()
	}
	p.conns = map[net.Conn]struct{}{}
}

// mend lets connections through again.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func TestListen_SpeaksEveryRelease(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	for _, release := range []string{"R5", "R4B", "R4"} {
		client := listen(t, s.URL+"/fhir/"+release, "--topic", "http://example.org/FHIR/R5/SubscriptionTopic/admission", "--filter", "patient=Patient/example")
		client.says("handshake")
		s.Trigger(testkit.Trigger{Topic: "http://example.org/FHIR/R5/SubscriptionTopic/admission"})
		client.says("#1  Encounter/")
	}
}

// The client lives with what real servers do differently. With one that has no binding tokens
// it cannot, and says why.
func TestListen_LivesWithTheMannersOfServers(t *testing.T) {
	t.Parallel()
	event := func(l *listening, s *testkit.Server, text string) {
		s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
		l.says(text)
	}
	t.Run("medplum", func(t *testing.T) {
		t.Parallel()
		const topic = "http://example.org/FHIR/R5/SubscriptionTopic/admission"
		s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Medplum, JSONMessages: testkit.Switch(false)}))
		for _, release := range []string{"R5", "R4B", "R4"} {
			l := listen(t, s.URL+"/fhir/"+release, "--topic", topic)
			l.says("handshake")
			s.Trigger(testkit.Trigger{Topic: topic, Count: 2})
			l.shows("#0  Encounter/", 2) // none has another number
		}
	})
	t.Run("helios", func(t *testing.T) {
		t.Parallel()
		s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Helios}))
		l := listens(t, s, "task-id-only")
		event(l, s, "#1")
		// Neither its old token works again nor its socket: it takes another of both.
		s.CloseSocket(s.Sockets()[0].ID, 1001, "a test")
		l.shows("handshake", 2)
		event(l, s, "#2")
	})
	t.Run("argonaut", func(t *testing.T) {
		t.Parallel()
		s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Argonaut}))
		l := listen(t, s.URL, "--subscription", "task-id-only")
		s.AwaitBound("task-id-only", 1)
		event(l, s, "#1")
		s.CloseSocket(s.Sockets()[0].ID, 1001, "a test")
		s.AwaitBound("task-id-only", 0)
		s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
		s.AwaitBound("task-id-only", 1)
		event(l, s, "#3") // which tells that one is missing
		if text := l.String(); strings.Count(text, "#2  ") != 1 || !strings.Contains(text, "recovered") {
			t.Errorf("event 2 was not recovered:\n%s", text)
		}
	})
	t.Run("hapi", func(t *testing.T) {
		t.Parallel()
		s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.HAPI}))
		l := listen(t, s.URL, "--subscription", "task-id-only")
		l.says("returned 400 Bad Request: this server does not know how to handle POST Subscription/task-id-only/$get-ws-binding-token")
		if text := l.String(); strings.Contains(text, "trying again") {
			t.Errorf("it tries again:\n%s", text)
		}
	})
}
