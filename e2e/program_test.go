package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signalfhir/testkit"
)

// program is the path of a built binary: the one testkit runs.
func program(t *testing.T) string {
	t.Helper()
	path, err := testkit.Program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// result is how a run of the program ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs the program to its end.
func run(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, program(t), args...)
	c.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestProgram_RefusesWithOneClearLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // not deferred: the subtests run in parallel
	folder := t.TempDir()
	seed := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	free := "--listen=127.0.0.1:0"
	tests := map[string]struct {
		env  []string
		args []string
		code int
		says string
	}{
		"port taken":        {args: []string{"--listen", taken.Addr().String()}, code: 1, says: "--listen"},
		"bad address":       {args: []string{"--listen", "here"}, code: 2, says: "HOST:PORT"},
		"unknown option":    {args: []string{"--sed", "x"}, code: 2, says: "--sed"},
		"bad duration":      {args: []string{"--token-ttl", "soon"}, code: 2, says: "token-ttl"},
		"negative duration": {args: []string{"--token-ttl=-1s"}, code: 2, says: "above zero"},
		"bad log level":     {args: []string{"--log-level", "loud"}, code: 2, says: "log-level"},
		"bad public URL":    {args: []string{"--public-url", "fhir.example.org"}, code: 2, says: "absolute"},
		"unknown variable":  {env: []string{"SIGNALFHIR_TOKENTTL=5m"}, code: 2, says: "unknown variable SIGNALFHIR_TOKENTTL; did you mean SIGNALFHIR_TOKEN_TTL?"},
		"seed missing":      {args: []string{free, "--seed", "/nowhere.json"}, code: 1, says: "/nowhere.json"},
		"seed not JSON":     {args: []string{free, "--seed", seed("a.json", "hello")}, code: 1, says: "line 1"},
		"seed with a typo":  {args: []string{free, "--seed", seed("b.json", `{"resource":[]}`)}, code: 1, says: "resource"},
		"seed refused":      {args: []string{free, "--seed", seed("c.json", `{"resources":[{"resourceType":"Encounter","id":"e"}]}`)}, code: 1, says: "status"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, test.env, test.args...)
			if got.code != test.code || !strings.Contains(got.stderr, test.says) {
				t.Errorf("got exit %d and %q, want %d and something with %q", got.code, got.stderr, test.code, test.says)
			}
			if got.stdout != "" || strings.Count(strings.TrimSpace(got.stderr), "\n") > 0 {
				t.Errorf("want one line on stderr and none on stdout, got %q and %q", got.stderr, got.stdout)
			}
		})
	}
}

func TestProgram_PrintsItsVersionAndHelp(t *testing.T) {
	t.Parallel()
	if got := run(t, nil, "--version"); got.code != 0 || strings.TrimSpace(got.stdout) == "" {
		t.Errorf("--version: got exit %d and %q", got.code, got.stdout)
	}
	if got := run(t, nil, "serve", "--help"); got.code != 0 || !strings.Contains(got.stdout, "--token-ttl") {
		t.Errorf("--help: got exit %d and %q", got.code, got.stdout)
	}
}

// started is a run of the program that has not ended.
type started struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bytes.Buffer
	stderr  *bytes.Buffer
	url     string
}

// startProgram runs the program with --ready-json until the test ends.
func startProgram(t *testing.T, args ...string) *started {
	t.Helper()
	p := &started{command: exec.Command(program(t), append([]string{"--ready-json"}, args...)...), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	reader, writer := io.Pipe()
	p.command.Stdout = io.MultiWriter(p.stdout, writer)
	p.command.Stderr = p.stderr
	var err error
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.command.Process.Kill() })
	var ready struct{ URL string }
	if err := json.NewDecoder(reader).Decode(&ready); err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	p.url = ready.URL
	return p
}

func TestProgram_StopsGracefully(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*started){
		"SIGTERM":     func(p *started) { _ = p.command.Process.Signal(syscall.SIGTERM) },
		"SIGINT":      func(p *started) { _ = p.command.Process.Signal(syscall.SIGINT) },
		"stdin close": func(p *started) { p.stdin.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, "--listen", "127.0.0.1:0", "--exit-on-stdin-close")
			// A long poll must not delay the stop.
			polling := make(chan struct{})
			go func() {
				defer close(polling)
				res, err := http.Post(p.url+"/mock/await", "application/json", strings.NewReader(`{"bound":{"subscription":"admission-full"},"timeout":"1m"}`))
				if err == nil {
					res.Body.Close()
				}
			}()
			before := time.Now()
			stop(p)
			err := p.command.Wait()
			<-polling
			if err != nil {
				t.Errorf("ended with %v, want exit 0\n%s", err, p.stderr)
			}
			// The limit is two seconds; a loaded machine gets some more.
			if took := time.Since(before); took > 5*time.Second {
				t.Errorf("the stop took %s", took)
			}
			if lines := strings.Count(p.stdout.String(), "\n"); lines != 1 {
				t.Errorf("stdout has %d lines, want the ready line only:\n%s", lines, p.stdout)
			}
		})
	}
}

func TestProgram_AnnouncesItsPublicURL(t *testing.T) {
	t.Parallel()
	s := testkit.StartProcess(t, testkit.WithArgs("--public-url", "https://fhir.example.org/dev/"))
	if s.FHIR.R5 != "https://fhir.example.org/dev/fhir/R5" || s.WS != "wss://fhir.example.org/dev/ws" {
		t.Errorf("got %s and %s, want the public ones", s.FHIR.R5, s.WS)
	}
}

// A server that the network can reach says so, and where.
func TestProgram_WarnsIfTheNetworkCanReachIt(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "--listen", "0.0.0.0:0", "--exit-on-stdin-close")
	p.stdin.Close()
	_ = p.command.Wait()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	for _, want := range []string{"WARNING: the network can reach", "no authentication", "binding tokens", "--listen 127.0.0.1:" + port, "page    http://127.0.0.1:" + port + "/"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("stderr has no %q:\n%s", want, p.stderr)
		}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if network, ok := i.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			if want := "also    http://" + net.JoinHostPort(network.IP.String(), port) + "/"; !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr has no %q:\n%s", want, p.stderr)
			}
		}
	}
	quietly := startProgram(t, "--listen", "127.0.0.1:0", "--exit-on-stdin-close")
	quietly.stdin.Close()
	_ = quietly.command.Wait()
	if strings.Contains(quietly.stderr.String(), "WARNING") || strings.Contains(quietly.stderr.String(), "also ") {
		t.Errorf("a server on loopback warns:\n%s", quietly.stderr)
	}
}
