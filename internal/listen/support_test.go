package listen

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeServer is a fake of the server behind the HTTP client.
type fakeServer func(*http.Request) (status int, body string)

func (f fakeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	return &http.Response{
		StatusCode: status,
		Status:     strconv.Itoa(status) + " " + http.StatusText(status),
		Header:     http.Header{"Content-Type": {"application/fhir+json"}},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    r,
	}, nil
}

func (f fakeServer) server() *server {
	return &server{base: "http://test/fhir/R5", client: &http.Client{Transport: f}}
}

// silent is a server that must not get a request.
func silent(t testing.TB) fakeServer {
	return func(r *http.Request) (int, string) {
		t.Errorf("unexpected request for %s", r.URL)
		return http.StatusInternalServerError, ""
	}
}

// transcript records what a printer writes, without the times. Lines on notes have the
// prefix "# ".
type transcript struct {
	lines []string
	bad   []string // lines without a time where one belongs
}

// printer writes to the transcript.
func (s *transcript) printer(raw bool) *printer {
	return &printer{
		out:   writer(func(line string) { s.add("", line, !raw) }),
		notes: writer(func(line string) { s.add("# ", line, true) }),
		raw:   raw,
	}
}

func (s *transcript) add(mark, line string, timed bool) {
	if timed {
		clock, rest, _ := strings.Cut(line, "  ")
		if _, err := time.Parse("15:04:05.000", clock); err != nil {
			s.bad = append(s.bad, line)
		}
		line = rest
	}
	s.lines = append(s.lines, mark+line)
}

// take returns what was written since the last call.
func (s *transcript) take() []string {
	lines := s.lines
	s.lines = nil
	return lines
}

type writer func(line string)

func (w writer) Write(p []byte) (int, error) {
	w(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// bundle returns a notification as the server writes it at level empty.
func bundle(kind string, total int64, numbers ...int64) []byte {
	events := []any{}
	for _, n := range numbers {
		events = append(events, map[string]any{"eventNumber": fmt.Sprint(n)})
	}
	status := map[string]any{
		"resourceType": "SubscriptionStatus", "status": "active", "type": kind,
		"eventsSinceSubscriptionStart": fmt.Sprint(total), "notificationEvent": events,
	}
	data, err := json.Marshal(map[string]any{
		"resourceType": "Bundle", "type": "subscription-notification",
		"entry": []any{map[string]any{"fullUrl": "urn:uuid:1", "resource": status}},
	})
	if err != nil {
		panic(err)
	}
	return data
}

// eventLog serves $events from memory.
type eventLog struct {
	total int64
	lost  map[int64]bool // numbers that the server forgot
	down  bool           // every response is 503
}

func (l *eventLog) respond(r *http.Request) (int, string) {
	if l.down {
		return http.StatusServiceUnavailable, ""
	}
	query := r.URL.Query()
	since, err := strconv.ParseInt(query.Get("eventsSinceNumber"), 10, 64)
	until, err2 := strconv.ParseInt(query.Get("eventsUntilNumber"), 10, 64)
	if r.Method != http.MethodGet || r.URL.Path != "/fhir/R5/Subscription/abc/$events" || err != nil || err2 != nil || since > until {
		return http.StatusBadRequest, ""
	}
	var numbers []int64
	for n := max(since, 1); n <= min(until, l.total); n++ {
		if !l.lost[n] {
			numbers = append(numbers, n)
		}
	}
	return http.StatusOK, string(bundle("query-event", l.total, numbers...))
}
