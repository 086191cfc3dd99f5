package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/testkit"
)

// samples lists the clients that Try it shows, and how a user runs each.
var samples = map[string]struct {
	file string
	run  func(t *testing.T, folder, source string) *exec.Cmd
}{
	"JavaScript": {"client.mjs", runNode},
	"Go":         {"client.go.txt", runGo},
	"Python":     {"client.py.txt", runPython},
}

func write(t *testing.T, folder, name, content string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runNode(t *testing.T, folder, source string) *exec.Cmd {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	args := []string{write(t, folder, "client.mjs", source)}
	if out, _ := exec.Command(node, "-p", "typeof WebSocket").Output(); strings.TrimSpace(string(out)) != "function" {
		args = append([]string{"--experimental-websocket"}, args...)
	}
	return exec.Command(node, args...)
}

func runGo(t *testing.T, folder, source string) *exec.Cmd {
	t.Helper()
	ours, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	needs := regexp.MustCompile(`github\.com/coder/websocket v\S+`).FindString(string(ours))
	if !strings.Contains(source, strings.Replace(needs, " ", "@", 1)) {
		t.Errorf("the sample does not say that it was tested with %s", needs)
	}
	write(t, folder, "go.mod", "module client\n\ngo 1.26\n\nrequire "+needs+"\n")
	write(t, folder, "go.sum", string(sums))
	path := write(t, folder, "main.go", source)
	if out, err := exec.Command("gofmt", "-l", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt would change the sample: %s", out)
	}
	for _, args := range [][]string{{"vet", "."}, {"build", "-o", "client", "."}} {
		c := exec.Command("go", args...)
		c.Dir = folder
		c.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	return exec.Command(filepath.Join(folder, "client"))
}

func runPython(t *testing.T, folder, source string) *exec.Cmd {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3 is not installed")
	}
	packages, err := filepath.Abs("samples/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(packages, "websockets")); err != nil {
		missing(t, "websockets is not installed: python3 -m pip install --target e2e/samples/python -r e2e/samples/requirements.txt")
	}
	pinned, err := os.ReadFile("samples/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(source, strings.TrimSpace(string(pinned))) {
		t.Errorf("the sample does not say that it was tested with %s", pinned)
	}
	c := exec.Command(python, write(t, folder, "client.py", source))
	c.Env = append(os.Environ(), "PYTHONPATH="+packages)
	return c
}

// fetchSample gets a sample from a server and fills it in as the page does.
func fetchSample(t *testing.T, server, file, base, id string, heartbeat int) string {
	t.Helper()
	res, err := http.Get(server + "/ui/samples/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	source, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", file, res.Status, err)
	}
	filled := strings.NewReplacer("{{fhir}}", base, "{{id}}", id, "{{heartbeat}}", strconv.Itoa(heartbeat)).Replace(string(source))
	if strings.Contains(filled, "{{") {
		t.Errorf("a placeholder is left in %s", file)
	}
	return filled
}

// startSample runs a client until the test ends.
func startSample(t *testing.T, c *exec.Cmd) *listening {
	t.Helper()
	l := &listening{t: t, command: c, changed: make(chan struct{})}
	c.Stdout, c.Stderr = l, l
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the client said:\n%s", l.String())
		}
	})
	return l
}

// revokeAll revokes every token, which closes the sockets that are bound with one.
func revokeAll(t *testing.T, s *testkit.Server) {
	t.Helper()
	res, err := http.Get(s.URL + "/mock/tokens")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list struct {
		Tokens []struct{ Token string }
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, token := range list.Tokens {
		remove(t, s.URL+"/mock/tokens/"+token.Token)
	}
}

func remove(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodDelete, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE %s returned %s", url, res.Status)
	}
}

func TestSamples_MissNothing(t *testing.T) {
	t.Parallel()
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			p := startProxy(t, s.URL)
			const id = "task-id-only"
			l := startSample(t, sample.run(t, t.TempDir(), fetchSample(t, s.URL, sample.file, p.url+"/fhir/R5", id, 60)))
			s.AwaitBound(id, 1)
			s.Trigger(testkit.Trigger{Subscription: id})
			l.says("event #1 " + s.URL)

			// The connection breaks, and an event occurs meanwhile.
			p.cut()
			s.AwaitBound(id, 0)
			s.Trigger(testkit.Trigger{Subscription: id, Count: 3})
			l.says("trying again")
			p.mend()
			l.says("recovered #4 ")
			s.AwaitBound(id, 1)

			// The server revokes the token and closes the socket.
			revokeAll(t, s)
			s.AwaitSent(id, "handshake", 3)
			s.Trigger(testkit.Trigger{Subscription: id})
			l.says("event #5 ")

			// The client does not retry forever if its subscription is gone.
			remove(t, s.FHIR.R5+"/Subscription/"+id)
			revokeAll(t, s)
			ended := make(chan struct{})
			go func() { _ = l.command.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("the client goes on without its subscription")
			}
			if code := l.command.ProcessState.ExitCode(); code != 1 {
				t.Errorf("the client ended with %d, want 1", code)
			}
			l.says("Subscription/" + id + " was deleted")

			text := l.String()
			for _, want := range []string{"event #1 ", "recovered #2 ", "recovered #3 ", "recovered #4 ", "event #5 "} {
				if strings.Count(text, want) != 1 {
					t.Errorf("want %q once in\n%s", want, text)
				}
			}
		})
	}
}

// The same clients on R4, whose notifications begin with Parameters.
func TestSamples_SupportR4(t *testing.T) {
	t.Parallel()
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			p := startProxy(t, s.URL)
			const id = "r4-admission-id-only"
			l := startSample(t, sample.run(t, t.TempDir(), fetchSample(t, s.URL, sample.file, p.url+"/fhir/R4", id, 30)))
			l.says("handshake, 0 events so far")
			s.Trigger(testkit.Trigger{Subscription: id})
			l.says("event #1 " + s.URL + "/fhir/R4/Encounter/")
			p.cut()
			s.AwaitBound(id, 0)
			s.Trigger(testkit.Trigger{Subscription: id, Count: 2})
			l.says("trying again")
			p.mend()
			l.says("recovered #3 ")
		})
	}
}

func TestSamples_RenewTheirTokenAndDetectSilence(t *testing.T) {
	t.Parallel()
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.StartProcess(t, testkit.WithTokenTTL(2*time.Second))
			folder := t.TempDir()
			l := startSample(t, sample.run(t, folder, fetchSample(t, s.URL, sample.file, s.FHIR.R5, "task-id-only", 0)))
			s.AwaitSent("task-id-only", "handshake", 3) // the first and two renewals
			if text := l.String(); strings.Contains(text, "trying again") {
				t.Errorf("the client had to reconnect:\n%s", text)
			}
			// This subscription has no heartbeats, but the client expects one each
			// second. Renewals would break the silence.
			s2 := testkit.Start(t)
			silent := startSample(t, sample.run(t, t.TempDir(), fetchSample(t, s2.URL, sample.file, s2.FHIR.R5, "task-id-only", 1)))
			silent.says("trying again")
			s2.AwaitSent("task-id-only", "handshake", 2)
		})
	}
}
