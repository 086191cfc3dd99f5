package testkit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"signalfhir/testkit"
)

// dial does what a client under test would do: it binds a socket with a token.
func dial(t testing.TB, address, token string) *websocket.Conn {
	t.Helper()
	socket, _, err := websocket.DefaultDialer.Dial(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.WriteMessage(websocket.TextMessage, []byte("bind-with-token "+token)); err != nil {
		t.Fatal(err)
	}
	return socket
}

func bind(t testing.TB, s *testkit.Server, subscription string) *websocket.Conn {
	t.Helper()
	return dial(t, s.WS, s.Token(subscription))
}

// ends reads from a socket until it ends, and returns why.
func ends(socket *websocket.Conn) error {
	for {
		if _, _, err := socket.ReadMessage(); err != nil {
			return err
		}
	}
}

const admission = `{"resourceType":"Encounter","id":"e","status":"in-progress","subject":{"reference":"Patient/example"}}`

func TestStart_GivesAServerThatNotifies(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	socket := bind(t, s, "admission-id-only")
	s.AwaitBound("admission-id-only", 1)
	events := s.Trigger(testkit.Trigger{Subscription: "admission-id-only"})
	if len(events) != 1 || events[0].Subscription != "admission-id-only" {
		t.Fatalf("got %v, want one event of admission-id-only", events)
	}
	s.AwaitSent("admission-id-only", "event-notification", 1)
	for _, want := range []string{`"type":"handshake"`, `"type":"event-notification"`} {
		_, frame, err := socket.ReadMessage()
		if err != nil || !strings.Contains(string(frame), want) {
			t.Fatalf("got %s, %v; want a frame with %s", frame, err, want)
		}
	}
}

func TestStart_RoomsShareAProcessAndNothingElse(t *testing.T) {
	t.Parallel()
	one, two := testkit.Start(t), testkit.Start(t)
	if one.PID != two.PID || one.URL == two.URL {
		t.Errorf("got %s in process %d and %s in process %d, want two rooms of one process", one.URL, one.PID, two.URL, two.PID)
	}
	for _, address := range []string{one.FHIR.R5, one.FHIR.R4B, one.FHIR.R4} {
		if !strings.HasPrefix(address, one.URL+"/fhir/R") {
			t.Errorf("got the base %s, want one below %s", address, one.URL)
		}
	}
	one.Put(`{"resourceType":"Patient","id":"only-here"}`)
	failed := spyOn(t, func(s testing.TB) {
		other := testkit.Start(s)
		other.Get("Patient/only-here")
	})
	if !strings.Contains(failed.fatal, "404") {
		t.Errorf("got %q, want a 404 in the other room", failed.fatal)
	}
}

// Each of 200 tests has a room, and writes, triggers and waits in it.
func TestStart_TwoHundredRooms(t *testing.T) {
	t.Parallel()
	for range 200 {
		t.Run("room", func(t *testing.T) {
			t.Parallel()
			use(t)
		})
	}
}

// use does what the test of a client does.
func use(t testing.TB) {
	const id = "admission-id-only"
	s := testkit.Start(t)
	socket := bind(t, s, id)
	s.AwaitBound(id, 1)
	s.Put(admission)
	s.Trigger(testkit.Trigger{Subscription: id})
	s.AwaitSent(id, "event-notification", 2)
	// The ward of the seed may have added events to these.
	if sent := s.Journal(testkit.Filter{Kinds: []string{"sent"}, Subscription: id}); len(sent) < 3 || sent[0].Type != "handshake" || sent[2].First != sent[1].Last+1 {
		t.Errorf("got %v, want a handshake and two events", sent)
	}
	socket.Close()
	s.Stop()
}

func BenchmarkRooms(b *testing.B) {
	testkit.Start(b) // starts the process
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			testkit.Start(b).Stop()
		}
	})
	b.Run("200-at-once", func(b *testing.B) {
		for b.Loop() {
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() { use(b) })
			}
			all.Wait()
		}
	})
}

func TestStop_ClosesSocketsWith1001(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t testing.TB) *testkit.Server{
		"room":    func(t testing.TB) *testkit.Server { return testkit.Start(t) },
		"process": func(t testing.TB) *testkit.Server { return testkit.StartProcess(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			socket := bind(t, s, "admission-empty")
			s.AwaitBound("admission-empty", 1)
			ended := make(chan error, 1)
			go func() { ended <- ends(socket) }()
			s.Stop()
			if err := <-ended; !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				t.Errorf("got %v, want a close with 1001 (WS-38)", err)
			}
			res, err := http.Get(s.URL + "/mock/state")
			if err == nil {
				res.Body.Close()
			}
			if name == "room" && (err != nil || res.StatusCode != http.StatusNotFound) {
				t.Errorf("got %v, %v; want no such room", res, err)
			}
			if process, err2 := os.FindProcess(s.PID); name == "process" && (err == nil || err2 == nil && process.Signal(syscall.Signal(0)) == nil) {
				t.Errorf("process %d still runs", s.PID)
			}
		})
	}
}

func TestStartProcess_TakesOptionsOfTheProgram(t *testing.T) {
	t.Parallel()
	s := testkit.StartProcess(t, testkit.WithoutSeed(), testkit.WithTokenTTL(time.Minute), testkit.WithArgs("--release", "R4"))
	if s.FHIR.R5 != "" || s.FHIR.R4 != s.URL+"/fhir/R4" {
		t.Errorf("got the bases %v, want R4 only", s.FHIR)
	}
	if room := testkit.Start(t); room.PID == s.PID {
		t.Errorf("the process %d is shared", s.PID)
	}
	failed := spyOn(t, func(t testing.TB) {
		testkit.StartProcess(t, testkit.WithSeed("/nowhere/seed.json"))
	})
	if !strings.Contains(failed.fatal, "cannot read the seed: open /nowhere/seed.json") {
		t.Errorf("got %q, want what the program logged", failed.fatal)
	}
}

func TestStart_TakesOptionsOfARoom(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(file, []byte(`{"resources":[{"resourceType":"Patient","id":"mine"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Start(t, testkit.WithSeed(file)).Get("Patient/mine")
	if subscriptions := testkit.Start(t, testkit.WithoutSeed()).Journal(testkit.Filter{Kinds: []string{"status"}}); len(subscriptions) > 0 {
		t.Errorf("got %v in a room without a seed", subscriptions)
	}
	ids := map[any]bool{}
	for range 2 {
		s := testkit.Start(t, testkit.WithoutSeed(), testkit.WithRandom(7))
		ids[s.Create(`{"resourceType":"Patient"}`)["id"]] = true
	}
	if len(ids) != 1 {
		t.Errorf("got the ids %v, want one id twice", ids)
	}
	failed := spyOn(t, func(t testing.TB) { testkit.Start(t, testkit.WithSeed("/nowhere/seed.json")) })
	if !strings.Contains(failed.fatal, "/nowhere/seed.json") {
		t.Errorf("got %q, want the name of the file", failed.fatal)
	}
}

func TestServer_HelpersOfResources(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithoutSeed())
	if patient := s.Create(map[string]any{"resourceType": "Patient", "active": true}); patient["id"] == "" || patient["active"] != true {
		t.Errorf("got %v, want a stored patient", patient)
	}
	s.Put(`{"resourceType":"Patient","id":"p","gender":"other"}`)
	if got := s.Get("Patient/p")["gender"]; got != "other" {
		t.Errorf("got gender %v", got)
	}
	s.On(testkit.R4).Put(`{"resourceType":"Patient","id":"four"}`)
	s.On(testkit.R4).Get("Patient/four")
	s.Delete("Patient/p")
	for _, test := range map[string]struct {
		call func(s *testkit.Server)
		want string
	}{
		"deleted": {func(s *testkit.Server) {
			s.Put(`{"resourceType":"Patient","id":"p"}`)
			s.Delete("Patient/p")
			s.Get("Patient/p")
		}, "returned 410"},
		"another base": {func(s *testkit.Server) {
			s.On(testkit.R4).Put(`{"resourceType":"Patient","id":"p"}`)
			s.Get("Patient/p")
		}, "returned 404"},
		"refused":       {func(s *testkit.Server) { s.Put(`{"resourceType":"Patient","id":"p","birthDate":7}`) }, "birthDate"},
		"no id":         {func(s *testkit.Server) { s.Put(`{"resourceType":"Patient"}`) }, "use Create"},
		"no type":       {func(s *testkit.Server) { s.Create(`{}`) }, "resourceType"},
		"no release":    {func(s *testkit.Server) { s.On("R6").Create(`{"resourceType":"Patient"}`) }, `no base "R6"`},
		"unknown token": {func(s *testkit.Server) { s.Revoke("nothing") }, "no such token"},
	} {
		failed := spyOn(t, func(t testing.TB) { test.call(testkit.Start(t, testkit.WithoutSeed())) })
		if !strings.Contains(failed.fatal, test.want) {
			t.Errorf("got %q, want something with %q", failed.fatal, test.want)
		}
	}
}

func TestServer_RevokeAndReset(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	token := s.Token("admission-empty", "admission-full")
	if tokens := s.Tokens(); len(tokens) != 1 || tokens[0].Token != token || len(tokens[0].Subscriptions) != 2 {
		t.Errorf("got %v, want the token", tokens)
	}
	dial(t, s.WS, token)
	s.AwaitBound("admission-full", 1)
	s.Revoke(token)
	s.AwaitBound("admission-full", 0)
	if s.Token("admission-empty"); len(s.Tokens()) != 1 {
		t.Errorf("got %v, want one token", s.Tokens())
	}
	s.On(testkit.R4).Token("r4-admission-id-only")
	s.Reset()
	if tokens := s.Tokens(); len(tokens) > 0 {
		t.Errorf("got %v after a reset", tokens)
	}
}

func TestServer_Explains(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	s.Put(admission)
	happened := s.Explain("Encounter/e", "admission-id-only")
	if len(happened) != 1 || happened[0].Resource != "Encounter/e" || happened[0].Verdict == nil {
		t.Fatalf("got %+v, want one change with a verdict", happened)
	}
	verdict, ok := happened[0].Verdict.For("admission-id-only")
	if !ok || !verdict.Numbered || verdict.Sent || !strings.Contains(verdict.String(), "no  delivery: it got event 1; no socket is bound") {
		t.Errorf("got %v, want an event that went to no socket", verdict)
	}
	before := s.Get("Encounter/e")
	after := strings.Replace(admission, "in-progress", "completed", 1)
	if verdict, ok := s.WhatIf(before, after).For("admission-id-only"); !ok || verdict.Numbered {
		t.Errorf("got %v, want no admission", verdict)
	}
	four := s.On(testkit.R4).WhatIf(nil, `{"resourceType":"Encounter","status":"in-progress","class":{"code":"IMP"},"subject":{"reference":"Patient/example"}}`)
	if four.Release != testkit.R4 {
		t.Errorf("got release %q", four.Release)
	}
	if _, ok := four.For("nothing"); ok {
		t.Error("got a verdict about a subscription that does not exist")
	}
}

// The types have a field for each member that the server returns.
func TestServer_TypesAreComplete(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	bind(t, s, "admission-full")
	s.AwaitBound("admission-full", 1)
	s.Put(admission)
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x"})
	s.AwaitSent("admission-full", "event-notification", 1)
	for path, into := range map[string]any{
		"tokens":        &struct{ Tokens []testkit.Token }{},
		"sockets":       &struct{ Sockets []testkit.Socket }{},
		"subscriptions": &struct{ Subscriptions []testkit.Subscription }{},
		"journal?bodies=true": &struct {
			Instance    string
			First, Last uint64
			Entries     []testkit.Entry
		}{},
		"explain?resource=Encounter/e": &struct{ Changes []testkit.Happening }{},
	} {
		res, err := http.Get(s.URL + "/mock/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestStart_AFailingTestShowsItsJournal(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"stopped by its end": false, "stopped before it fails": true} {
		shown := spyOn(t, func(t testing.TB) {
			s := testkit.Start(t)
			s.Put(admission)
			if stop {
				s.Stop()
			}
			t.Errorf("something else")
		}).logged.String()
		for _, want := range []string{"PUT /rooms/", "/fhir/R5/Encounter/e 201", "create Encounter/e version 1", "Subscription/admission-full"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: want %q in\n%s", name, want, shown)
			}
		}
	}
}

func TestServer_SaysThatTheProcessHasEnded(t *testing.T) {
	t.Parallel()
	failed := spyOn(t, func(t testing.TB) {
		s := testkit.StartProcess(t)
		if err := syscall.Kill(s.PID, syscall.SIGQUIT); err != nil {
			t.Errorf("%v", err)
		}
		for { // a request may be served before the process has ended
			s.Get("Subscription/admission-full")
		}
	})
	for _, want := range []string{"the server has ended (exit status 2)", "goroutine "} {
		if !strings.Contains(failed.fatal, want) {
			t.Errorf("want %q in\n%.2000s", want, failed.fatal)
		}
	}
}

// inChild is set in a test process that a test starts.
const inChild = "TESTKIT_CHILD"

// child runs a test of this program in a process of its own.
func child(t *testing.T, test string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	c.Env = append(os.Environ(), inChild+"=1")
	return c
}

func TestStart_TheProcessEndsWithATestProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	if os.Getenv(inChild) != "" {
		s := testkit.Start(t)
		os.Stdout.WriteString("room " + s.WS + " " + s.Token("admission-empty") + "\n")
		select {} // until it is killed
	}
	c := child(t, t.Name())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	began := false
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) == 3 && words[0] == "room" {
			began = true
			socket := dial(t, words[1], words[2])
			if _, _, err := socket.ReadMessage(); err != nil {
				t.Errorf("got %v, want a handshake", err)
			}
			_ = c.Process.Kill()
			if err := ends(socket); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				t.Errorf("got %v, want a close with 1001", err)
			}
			break
		}
	}
	_ = c.Process.Kill()
	if err := c.Wait(); err == nil || !began {
		t.Errorf("the test process ended by itself with %v", err)
	}
}

func TestStart_LeavesNoGoroutineAndNoFile(t *testing.T) {
	t.Parallel()
	if os.Getenv(inChild) != "" {
		before := goleak.IgnoreCurrent()
		s := testkit.Start(t)
		s.Put(admission)
		s.Stop()
		goleak.VerifyNone(t, before)
		return
	}
	c := child(t, t.Name())
	temporary := t.TempDir()
	c.Env = append(c.Env, "TMPDIR="+temporary)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v in the temporary folder, want nothing", left, err)
	}
}

func TestProgram_IsTheOneOfTheVariable(t *testing.T) {
	t.Setenv("SIGNALFHIR_BIN", "/some/where")
	if got, err := testkit.Find(); err != nil || got != "/some/where" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProgram_IsBuiltIntoTheBuildCache(t *testing.T) {
	t.Setenv("SIGNALFHIR_BIN", "")
	got, err := testkit.Find()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, strings.TrimSpace(string(cache))+string(filepath.Separator)) {
		t.Errorf("got %s, want a file below %s", got, cache)
	}
}

// The go command reads in this file what the result of a test depends on.
func TestProgram_ResultsDependOnItsSources(t *testing.T) {
	if os.Getenv(inChild) != "" {
		if _, err := testkit.Find(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Setenv("SIGNALFHIR_BIN", "")
	c := child(t, t.Name())
	looked := filepath.Join(t.TempDir(), "looked")
	c.Args = append(c.Args, "-test.testlogfile="+looked)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(looked)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"open " + root, "open " + filepath.Join(root, "internal", "store"), "stat " + filepath.Join(root, "seed.json")} {
		if !strings.Contains(string(data), want+"\n") {
			t.Errorf("want %q in\n%s", want, data)
		}
	}
}
