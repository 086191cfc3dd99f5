package protocol

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/wiretest"
)

// ceiling is the --max-memory of these tests.
const ceiling = 32 << 20 // the least there is

// filled is a server that holds more and more.
type filled struct {
	*server
	resources int
}

// megabyte is the text of a large resource.
var megabyte = strings.Repeat("x", 1_000_000)

// putLarge writes a resource of a megabyte, of a form that is checked fast. The response
// does not repeat it.
func (s *filled) putLarge(id string) response {
	s.T.Helper()
	return s.Do("PUT", "Basic/"+id, `{"resourceType":"Basic","id":"`+id+`","code":{"text":"`+megabyte+`"}}`, "Prefer", "return=minimal")
}

// add writes one more large resource.
func (s *filled) add() response {
	s.T.Helper()
	a := s.putLarge("p" + strconv.Itoa(s.resources))
	if a.Status == http.StatusCreated {
		s.resources++
	}
	if s.resources > ceiling>>20 {
		s.T.Fatalf("%d resources of a megabyte fit into %d bytes", s.resources, ceiling)
	}
	return a
}

// refused repeats a request until there is no memory for it. What a request leaves behind
// is collected later, so one that comes after the first refusal may be accepted. Then the
// server gets another large resource.
func (s *filled) refused(request func(try int) response) response {
	s.T.Helper()
	for try := 0; ; try++ {
		a := request(try)
		if a.Status == http.StatusInsufficientStorage {
			if !strings.Contains(string(a.Raw), "--max-memory allows 32 MiB") || !strings.Contains(string(a.Raw), "too-costly") {
				s.T.Errorf("got %s, want a refusal that names the limit", a.Raw)
			}
			return a
		}
		if s.add(); try > 100 {
			s.T.Fatalf("got %d %s, want a refusal at some time", a.Status, a.Raw)
		}
	}
}

// accepted writes a large resource once there is memory for it again.
func (s *filled) accepted(id string) {
	s.T.Helper()
	for deadline := time.Now().Add(wiretest.Patience); ; time.Sleep(10 * time.Millisecond) { // the server needs the processor
		a := s.putLarge(id)
		if a.Status < 300 {
			return
		}
		if a.Status != http.StatusInsufficientStorage || time.Now().After(deadline) {
			s.T.Fatalf("got %d %s", a.Status, a.Raw)
		}
	}
}

// metric returns the value of a metric without labels.
func (s *server) metric(name string) float64 {
	s.T.Helper()
	for line := range strings.Lines(string(s.Must(200, "GET", "/metrics", nil).Raw)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.T.Fatal(err)
			}
			return n
		}
	}
	s.T.Fatalf("there is no metric %s", name)
	return 0
}

func TestMemory_AboveTheCeilingOnlyReadsAndDeletionsGoOn(t *testing.T) {
	t.Parallel()
	s := &filled{server: startProcess(t, "--skip-invariants", "--max-memory", strconv.Itoa(ceiling))}
	s.Admission()
	s.Must(201, "POST", "/mock/generators", map[string]any{"name": "ward", "scenario": "admission-to-discharge"})
	s.refused(func(int) response { return s.add() })
	last := "Basic/p" + strconv.Itoa(s.resources)
	s.Must(404, "GET", last, nil)

	write := func(id string) map[string]any {
		return map[string]any{"resource": patient(id, "Small"), "request": map[string]any{"method": "PUT", "url": "Patient/" + id}}
	}
	bundle := func(kind string, entries ...any) map[string]any {
		return map[string]any{"resourceType": "Bundle", "type": kind, "entry": entries}
	}
	name := func(what string, try int) string { return what + strconv.Itoa(try) }
	for what, request := range map[string]func(try int) response{
		"create": func(int) response {
			return s.Do("POST", "Patient", map[string]any{"resourceType": "Patient", "active": true})
		},
		"update": func(int) response { return s.Do("PUT", "Patient/small", patient("small", "Small")) },
		"patch": func(int) response {
			return s.Do("PATCH", "Basic/p0", `[{"op":"add","path":"/author","value":{"display":"x"}}]`, "Content-Type", "application/json-patch+json", "Prefer", "return=minimal")
		},
		"transaction": func(try int) response {
			a := s.Do("POST", s.FHIR, bundle("transaction", write(name("t", try)), write(name("u", try))))
			if a.Status == http.StatusInsufficientStorage {
				s.Must(404, "GET", "Patient/"+name("t", try), nil)
			}
			return a
		},
		"token":   func(int) response { return s.Do("POST", "Subscription/abc/$get-ws-binding-token", nil) },
		"trigger": func(int) response { return s.Do("POST", "/mock/trigger", map[string]any{"subscription": "abc"}) },
		"generator": func(try int) response {
			return s.Do("POST", "/mock/generators", map[string]any{"name": name("g", try), "scenario": "admission-to-discharge"})
		},
		"step": func(int) response { return s.Do("POST", "/mock/generators/ward/step", map[string]any{"count": 1}) },
		"room": func(try int) response { return s.Do("PUT", "/rooms/"+name("r", try), map[string]any{"seed": "none"}) },
		"socket": func(int) response {
			return s.Do("GET", "/ws", nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
		},
	} {
		t.Log(what)
		s.refused(request)
	}
	if a := s.Must(200, "GET", "/mock/generators", nil); !strings.Contains(string(a.Raw), "--max-memory") {
		t.Errorf("the generator does not say why it wrote nothing: %s", a.Raw)
	}

	// A batch is one request for each entry.
	batch := s.refused(func(int) response {
		a := s.Must(200, "POST", s.FHIR, bundle("batch", write("small"), map[string]any{"request": map[string]any{"method": "GET", "url": "Subscription/abc"}}))
		status, _ := strconv.Atoi(text(a.Body, "entry", 0, "response", "status")[:3])
		return response{Status: status, Raw: a.Raw, Body: a.Body}
	})
	if got := text(batch.Body, "entry", 1, "response", "status"); got != "200 OK" {
		t.Errorf("the read in the batch: got %s, want 200", got)
	}
	s.Must(200, "GET", "Basic/p0", nil)
	s.Must(200, "GET", "Basic?_count=1", nil)
	s.Must(200, "GET", "Subscription/abc/$events", nil)
	s.Must(200, "GET", "/mock/state", nil)
	for name, is := range map[string]func(float64) bool{
		"signalfhir_memory_limit_bytes": func(n float64) bool { return n == ceiling },
		"signalfhir_memory_bytes":       func(n float64) bool { return n > 1<<20 && n != ceiling },
		"go_gc_gomemlimit_bytes":        func(n float64) bool { return n == ceiling+ceiling/4 },
	} {
		if n := s.metric(name); !is(n) {
			t.Errorf("%s is %v", name, n)
		}
	}

	// Deleted resources are remembered with their history, unless the memory is needed.
	stream := s.Follow("?kind=memory", "")
	stream.Next() // hello
	for i := range s.resources {
		s.Must(204, "DELETE", "Basic/p"+strconv.Itoa(i), nil)
	}
	for i := range s.resources / 2 {
		s.accepted("q" + strconv.Itoa(i))
	}
	if _, e := stream.Entry(); !strings.Contains(e.Text, "old versions") || !strings.Contains(e.Text, "--max-memory") {
		t.Errorf("got %q, want what was dropped and why", e.Text)
	}
}

func TestMemory_ComesBackAfterAResetAndWithARoom(t *testing.T) {
	t.Parallel()
	s := &filled{server: startProcess(t, "--skip-invariants", "--max-memory", strconv.Itoa(ceiling))}
	s.refused(func(int) response { return s.add() })
	s.Must(204, "POST", "/mock/reset", nil)
	s.accepted("again")

	s.Must(201, "PUT", "/rooms/other", map[string]any{"seed": "none"})
	other := &filled{server: &server{wiretest.New(t, s.URL+"/rooms/other"), s.log}}
	other.refused(func(int) response { return other.add() })
	s.Must(204, "DELETE", "/rooms/other", nil)
	s.accepted("again")
}
