package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// How long a start and a stop may take before the test fails.
const (
	startPatience = time.Minute
	stopPatience  = 10 * time.Second
)

// process is a run of the program. It has no goroutine while it runs.
type process struct {
	ready   ready
	command *exec.Cmd
	stdin   io.Closer
	stderr  *os.File     // the garbage collector closes it: a test may read the log after Stop
	wait    func() error // waits until the process has ended; may be called often
}

// ready is what the program prints when it serves requests, and what it returns for a
// room.
type ready struct {
	URL  string `json:"url"`
	FHIR Bases  `json:"fhir"`
	WS   string `json:"ws"`
	PID  int    `json:"pid"`
}

// shared starts the process of all tests. It ends with this process, which closes its
// stdin.
var shared = sync.OnceValues(func() (*process, error) {
	return startProcess("--max-rooms", "10000", "--room-ttl", "24h", "--log-level", "warn", "--generators", "off")
})

// startProcess runs the program until it serves requests.
func startProcess(args ...string) (*process, error) {
	program, err := Program()
	if err != nil {
		return nil, err
	}
	p := &process{command: exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--ready-json", "--exit-on-stdin-close"}, args...)...)}
	for _, variable := range os.Environ() {
		// The variables are for the developer's own server.
		if !strings.HasPrefix(variable, "SIGNALFHIR_") {
			p.command.Env = append(p.command.Env, variable)
		}
	}
	if p.stderr, err = logFile(); err != nil {
		return nil, err
	}
	p.command.Stderr = p.stderr
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("the server does not start: %w", err)
	}
	p.wait = sync.OnceValue(p.command.Wait)

	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
	}()
	var line string
	select {
	case line = <-lines:
	case <-time.After(startPatience):
		_ = p.command.Process.Kill()
		<-lines
		_ = p.wait()
		return nil, fmt.Errorf("the server was not ready after %s\n%s", startPatience, p.log())
	}
	if err := json.Unmarshal([]byte(line), &p.ready); err != nil {
		// It has ended, or is about to: wait for the end of its log.
		return nil, fmt.Errorf("the server did not become ready: it printed %q and ended with %v\n%s", line, p.stop(), p.log())
	}
	return p, nil
}

// logFile returns a file without a name. A pipe would need a goroutine that reads it.
func logFile() (*os.File, error) {
	file, err := os.CreateTemp("", "signalfhir-log-")
	if err != nil {
		return nil, err
	}
	if os.Remove(file.Name()) != nil {
		// Some systems keep the name of an open file.
		file.Close()
		_ = os.Remove(file.Name())
		return os.Stderr, nil
	}
	return file, nil
}

// log returns the end of what the process has logged.
func (p *process) log() string {
	const most = 64 << 10
	info, err := p.stderr.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	from := max(0, info.Size()-most)
	text, _ := io.ReadAll(io.NewSectionReader(p.stderr, from, most))
	return trimmed(text)
}

// condition says whether the process still runs. It is for a request that failed.
func (p *process) condition() string {
	select {
	case err := <-p.ended():
		return fmt.Sprintf("the server has ended (%v); its log:\n%s", err, p.log())
	case <-time.After(time.Second):
		return "the server still runs; its log:\n" + p.log()
	}
}

func (p *process) ended() <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- p.wait() }()
	return ended
}

// stop ends the process. It returns an error if the process does not stop, or ends with
// an error.
func (p *process) stop() error {
	p.stdin.Close()
	ended := p.ended()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the server ended with %w", err)
		}
		return nil
	case <-time.After(stopPatience):
		_ = p.command.Process.Kill()
		<-ended
		return fmt.Errorf("the server did not stop within %s\n%s", stopPatience, p.log())
	}
}
