package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"signalfhir/testkit"
)

// piped is a run of the program whose output goes to pipes that the test may leave
// unread, or close.
type piped struct {
	t              *testing.T
	command        *exec.Cmd
	stdin          io.Closer
	stdout, stderr *os.File // the ends to read from
	url            string
}

// startPiped runs the program until the test ends. It returns when requests are served.
func startPiped(t *testing.T, args ...string) *piped {
	t.Helper()
	p := &piped{t: t, command: exec.Command(program(t), append([]string{"--listen", "127.0.0.1:0", "--ready-json"}, args...)...)}
	var err error
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// Not StdoutPipe: Wait would close the end that the test reads.
	ends := [2]*os.File{}
	for i, end := range []**os.File{&p.stdout, &p.stderr} {
		if *end, ends[i], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	p.command.Stdout, p.command.Stderr = ends[0], ends[1]
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
		p.stdout.Close()
		p.stderr.Close()
	})
	ends[0].Close()
	ends[1].Close()
	var ready struct{ URL string }
	if err := json.NewDecoder(p.stdout).Decode(&ready); err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	p.url = ready.URL
	return p
}

// get sends a request, which has to be answered.
func (p *piped) get(path string) (body string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// ends waits for the end of the process, after a signal for it. Two seconds are promised; a
// loaded machine gets some more.
func (p *piped) ends() (code int) {
	p.t.Helper()
	return endsWithin(p.t, p.command, 5*time.Second)
}

// endsWithin returns the exit code of a process, which has to end soon.
func endsWithin(t *testing.T, command *exec.Cmd, most time.Duration) (code int) {
	t.Helper()
	begun := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = command.Process.Kill()
		<-ended
		t.Fatalf("the process did not end within %s", patience)
	}
	if took := time.Since(begun); took > most {
		t.Errorf("the process took %s to end", took)
	}
	return command.ProcessState.ExitCode()
}

// A pipe holds 64 kB, and the server keeps 1 MiB of the log. More than that is lost.
func TestLog_ThatNobodyReadsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			p := startPiped(t, "--log-level", "debug", "--log-format", format)
			long := strings.Repeat("a.", 2000)
			for range 600 {
				p.get("/fhir/R5/Patient/" + long)
			}
			const metric = "\nsignalfhir_log_lines_dropped_total "
			if figures := p.get("/metrics"); !strings.Contains(figures, metric) || strings.Contains(figures, metric+"0\n") {
				t.Errorf("the metrics count no dropped lines")
			}
			// Once somebody reads, what was kept comes, then how much is missing, then the
			// present.
			if err := p.stderr.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(p.stderr)
			lines.Buffer(nil, 1<<20)
			for dropped := false; ; {
				if !lines.Scan() {
					t.Fatalf("the log ended: %v", lines.Err())
				}
				if strings.Contains(lines.Text(), "log lines were dropped") {
					dropped = true
					if isJSON := json.Valid(lines.Bytes()); isJSON != (format == "json") {
						t.Errorf("with --log-format %s: %s", format, lines.Text())
					}
					p.get("/fhir/R5/Patient/present")
				}
				if strings.Contains(lines.Text(), "Patient/present") {
					if !dropped {
						t.Error("no line says that lines were dropped")
					}
					break
				}
			}
			_ = p.command.Process.Signal(syscall.SIGTERM)
			go func() { _, _ = io.Copy(io.Discard, p.stderr) }()
			if code := p.ends(); code != 0 {
				t.Errorf("ended with %d, want 0", code)
			}
		})
	}
}

func TestLog_ThatNobodyReadsDoesNotHoldTheStopUp(t *testing.T) {
	t.Parallel()
	p := startPiped(t, "--log-level", "debug")
	for range 50 { // the pipe is full
		p.get("/fhir/R5/Patient/" + strings.Repeat("a.", 2000))
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	if code := p.ends(); code != 0 {
		t.Errorf("ended with %d, want 0", code)
	}
}

// "signalfhir 2>&1 | head -1" leaves the server with pipes that are broken.
func TestLog_MayBreakOff(t *testing.T) {
	t.Parallel()
	p := startPiped(t, "--log-level", "debug")
	p.stderr.Close()
	p.stdout.Close()
	for range 10 {
		if got := p.get("/healthz"); got != "ok\n" {
			t.Fatalf("got %q, want ok", got)
		}
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	if code := p.ends(); code != 0 {
		t.Errorf("ended with %d, want 0", code)
	}
}

// A script may have read all it wants before the server is ready.
func TestProgram_StartsWithABrokenStandardOutput(t *testing.T) {
	t.Parallel()
	c := exec.Command(program(t), "--listen", "127.0.0.1:0", "--ready-json", "--log-level", "debug")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	said := startWriting(t, c, writer)
	var page string
	for lines := bufio.NewScanner(said); page == "" && lines.Scan(); {
		if rest, is := strings.CutPrefix(strings.TrimSpace(lines.Text()), "page "); is {
			page = strings.TrimSpace(rest)
		}
	}
	p := &piped{t: t, command: c, url: strings.TrimSuffix(page, "/")}
	if got := p.get("/healthz"); got != "ok\n" {
		t.Fatalf("got %q, want ok", got)
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if code := p.ends(); code != 0 {
		t.Errorf("ended with %d, want 0", code)
	}
}

func TestMetrics_HaveTheStateOfTheProcess(t *testing.T) {
	t.Parallel()
	s := testkit.StartProcess(t)
	res, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes", "signalfhir_frames_queued", "signalfhir_log_lines_dropped_total"} {
		if !strings.Contains(string(data), "\n"+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// A pod has variables for each service, and our prefix may be the name of one.
func TestProgram_StartsInAPodBesideAServiceOfItsName(t *testing.T) {
	t.Setenv("SIGNALFHIR_SERVICE_HOST", "10.0.0.11")
	t.Setenv("SIGNALFHIR_PORT", "tcp://10.0.0.11:8080")
	p := startPiped(t)
	log := p.drain()
	_ = p.command.Process.Signal(syscall.SIGTERM)
	p.ends()
	if text := log(); strings.Count(text, "Kubernetes") != 1 || !strings.Contains(text, "SIGNALFHIR_SERVICE_HOST, SIGNALFHIR_PORT") {
		t.Errorf("want one line with the variables that are ignored, got\n%s", text)
	}
}
