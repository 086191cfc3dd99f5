package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// drain reads the log to its end. The function that it returns waits for the end.
func (p *piped) drain() (log func() string) {
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&text, p.stderr)
	}()
	return func() string { <-read; return text.String() }
}

// post sends a request in the background. The program may end before it has answered.
func (p *piped) post(path string, body any) {
	p.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	go func() {
		res, err := http.Post(p.url+path, "application/json", bytes.NewReader(data))
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
}

// must sends a request that has to succeed, and returns the response.
func (p *piped) must(method, path string, body any) []byte {
	p.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(data))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		p.t.Fatalf("%s %s: %s %v\n%s", method, path, res.Status, err, out)
	}
	return out
}

// sees waits until the journal has an entry of a kind.
func (p *piped) sees(kind string) {
	p.t.Helper()
	res, err := http.Get(p.url + "/mock/journal/stream?since=0&kind=" + kind)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if strings.Contains(lines.Text(), `"kind":"`+kind+`"`) {
			return
		}
	}
	p.t.Fatalf("the journal ended without an entry of kind %s", kind)
}

// raw sends bytes on a connection of their own, and returns the first line of what comes
// back unless they ask for nothing.
func (p *piped) raw(text string, responds bool) {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		p.t.Fatal(err)
	}
	if responds {
		if _, err := bufio.NewReaderSize(conn, 16).ReadByte(); err != nil {
			p.t.Fatal(err)
		}
	}
}

const host = " HTTP/1.1\r\nHost: localhost\r\n"

// subscribe makes subscriptions on the topic of admissions.
func (p *piped) subscribe(count int) {
	for from := 0; from < count; from += 1000 {
		var entries []any
		for i := from; i < min(from+1000, count); i++ {
			id := fmt.Sprint("many-", i)
			entries = append(entries, map[string]any{
				"resource": map[string]any{
					"resourceType": "Subscription", "id": id, "status": "requested", "content": "id-only", "contentType": "application/fhir+json",
					"topic":       admissions,
					"channelType": map[string]any{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
				},
				"request": map[string]any{"method": "PUT", "url": "Subscription/" + id},
			})
		}
		p.must("POST", "/fhir/R5", map[string]any{"resourceType": "Bundle", "type": "transaction", "entry": entries})
	}
}

const admissions = "http://example.org/FHIR/R5/SubscriptionTopic/admission"

// patients are the entries of a batch that writes many of them.
func patients(count int) (entries []any) {
	for i := range count {
		id := fmt.Sprint("p-", i)
		entries = append(entries, map[string]any{
			"resource": map[string]any{"resourceType": "Patient", "id": id, "name": []any{map[string]any{"family": "Family " + id}}},
			"request":  map[string]any{"method": "PUT", "url": "Patient/" + id},
		})
	}
	return entries
}

// running are the things that a server may be doing when it is told to stop. Each function
// returns when its thing goes on.
var running = map[string]func(*testing.T, *piped){
	"nothing": func(*testing.T, *piped) {},
	"a trigger over 1000 subscriptions": func(_ *testing.T, p *piped) {
		p.subscribe(1000)
		p.post("/mock/trigger", map[string]any{"topic": admissions, "release": "R5", "count": 100_000})
		p.sees("appended")
	},
	"a trigger of one subscription": func(_ *testing.T, p *piped) {
		p.post("/mock/trigger", map[string]any{"subscription": "admission-full", "count": 100_000})
		p.sees("appended")
	},
	"several triggers": func(_ *testing.T, p *piped) {
		p.subscribe(100)
		for range 4 {
			p.post("/mock/trigger", map[string]any{"topic": admissions, "release": "R5", "count": 100_000})
		}
		p.sees("appended")
	},
	"batches": func(_ *testing.T, p *piped) {
		for range 4 {
			p.post("/fhir/R5", map[string]any{"resourceType": "Bundle", "type": "batch", "entry": patients(1000)})
		}
		p.sees("change")
	},
	"a transaction": func(_ *testing.T, p *piped) {
		p.post("/fhir/R5", map[string]any{"resourceType": "Bundle", "type": "transaction", "entry": patients(1000)})
		p.sees("change")
	},
	"searches": func(t *testing.T, p *piped) {
		for range 3 {
			p.must("POST", "/fhir/R5", map[string]any{"resourceType": "Bundle", "type": "transaction", "entry": patients(1000)})
		}
		var first sync.WaitGroup
		for range 4 {
			first.Add(1)
			go func() {
				for n := 0; ; n++ {
					res, err := http.Get(p.url + "/fhir/R5/Patient?name:contains=family&_sort=name,-birthdate&_count=1000&_has:Encounter:patient:status:not=planned")
					if n == 0 {
						first.Done()
					}
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}()
		}
		first.Wait()
	},
	"a generator": func(_ *testing.T, p *piped) {
		p.post("/mock/generators/ward/step", map[string]any{"count": 1000})
		p.sees("change")
	},
	"an await": func(_ *testing.T, p *piped) {
		p.post("/mock/await", map[string]any{"bound": map[string]any{"subscription": "admission-full"}, "timeout": "1m"})
	},
	"a stream of the journal": func(_ *testing.T, p *piped) {
		p.raw("GET /mock/journal/stream"+host+"\r\n", true)
	},
	"a reader that does not read": func(_ *testing.T, p *piped) {
		p.must("POST", "/fhir/R5", map[string]any{"resourceType": "Bundle", "type": "transaction", "entry": patients(1000)})
		for range 10 { // more than the buffers of the system hold
			p.raw("GET /mock/journal?bodies=true"+host+"\r\n", true)
		}
	},
	"a body that does not come": func(_ *testing.T, p *piped) {
		p.raw("POST /fhir/R5/Patient"+host+"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", false)
	},
	"a head that does not come": func(_ *testing.T, p *piped) {
		p.raw("GET /healthz HTTP/1.1\r\nHost: ", false)
	},
	"a connection without a request": func(_ *testing.T, p *piped) { p.raw("", false) },
	"a socket":                       func(t *testing.T, p *piped) { p.dial(t) },
	"a socket that does not read": func(t *testing.T, p *piped) {
		p.dial(t)
		p.overfill()
	},
	"the log that nobody reads": func(_ *testing.T, p *piped) {
		for range 50 {
			p.get("/fhir/R5/Patient/" + strings.Repeat("a.", 2000))
		}
	},
}

// dial opens a socket that is bound to admission-full. Nobody reads it.
func (p *piped) dial(t *testing.T) {
	t.Helper()
	var parameters struct {
		Parameter []struct{ Name, ValueString string }
	}
	if err := json.Unmarshal(p.must("POST", "/fhir/R5/Subscription/admission-full/$get-ws-binding-token", map[string]any{"resourceType": "Parameters"}), &parameters); err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.url, "http")+"/ws?token="+parameters.Parameter[0].ValueString, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	p.must("POST", "/mock/await", map[string]any{"bound": map[string]any{"subscription": "admission-full"}, "timeout": "1m"})
}

// overfill makes more frames wait for the socket than the buffers of the system take.
func (p *piped) overfill() {
	text := `<div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat("text ", 50_000) + `</div>`
	p.must("POST", "/mock/trigger", map[string]any{
		"subscription": "admission-full", "count": 100,
		"focus": map[string]any{"resourceType": "Patient", "text": map[string]any{"status": "generated", "div": text}},
	})
}

// Whatever runs, the server ends two seconds after it was told to.
func TestStop_WhateverRuns(t *testing.T) {
	t.Parallel()
	places := make(chan struct{}, 2) // they all are busy
	for name, run := range running {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			p := startPiped(t, "--log-level", "debug")
			log := func() string { return "" }
			if !strings.Contains(name, "log") {
				log = p.drain()
			}
			run(t, p)
			_ = p.command.Process.Signal(syscall.SIGTERM)
			if code := p.ends(); code != 0 {
				t.Errorf("ended with %d, want 0\n%s", code, log())
			}
		})
	}
}

func TestStop_WhenStandardInputCloses(t *testing.T) {
	t.Parallel()
	p := startPiped(t, "--exit-on-stdin-close")
	log := p.drain()
	running["a trigger over 1000 subscriptions"](t, p)
	p.stdin.Close()
	if code := p.ends(); code != 0 {
		t.Errorf("ended with %d, want 0\n%s", code, log())
	}
}

// The second signal ends the process at once, with the code that shells give the signal.
func TestStop_TheSecondSignalDoesNotWait(t *testing.T) {
	t.Parallel()
	p := startPiped(t)
	log := p.drain()
	p.dial(t)
	p.overfill() // the stop takes a second
	// The process sees both signals at the same time.
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT} {
		if err := p.command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	// Which of them is the second is the system's choice.
	if code := p.ends(); code != 128+int(syscall.SIGTERM) && code != 128+int(syscall.SIGINT) {
		t.Errorf("ended with %d, want 143 or 130\n%s", code, log())
	}
}

// What cannot be stopped, the end of the process stops.
func TestStop_HasABound(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	if err := writer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil { // until it is full
		_, err = writer.Write(make([]byte, 4096))
	}
	for err = nil; err == nil; {
		_, err = writer.Write([]byte{0})
	}
	// The ready line blocks.
	c := exec.Command(program(t), "--listen", "127.0.0.1:0", "--ready-json")
	said := startWriting(t, c, writer)
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), "watch") { // the end of the banner
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if code := endsWithin(t, c, 5*time.Second); code != 0 {
		t.Errorf("ended with %d, want 0", code)
	}
	rest, _ := io.ReadAll(said)
	if !strings.Contains(string(rest), "something still runs") {
		t.Errorf("the log does not say that the stop was cut short:\n%s", rest)
	}
}

// startWriting starts a program with this end of a pipe for its standard output. It returns
// what the program writes to standard error.
func startWriting(t *testing.T, c *exec.Cmd, stdout *os.File) (stderr *os.File) {
	t.Helper()
	stderr, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	c.Stdout, c.Stderr = stdout, writer
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	stdout.Close()
	writer.Close()
	return stderr
}
