package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// A trigger goes as fast as its readers: a queue that is far too small for all of its
// frames is enough for a client that reads.
func TestTrigger_PacesItself(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--queue-bytes", "262144", "--slow-after", "1h")
	ws := s.Bind("abc")
	const events = 20_000
	fired := s.Begin("POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": events})
	for n := range events {
		ws.WantEvent(strconv.Itoa(n + 1))
	}
	if a := <-fired; a.Status != http.StatusOK || len(asList(a.Body["events"])) != 10_000 || a.Body["omitted"] != float64(events-10_000) {
		t.Errorf("got %d with %d events and %v more, want 200 with the first 10000 of %d", a.Status, len(asList(a.Body["events"])), a.Body["omitted"], events)
	}
	ws.Nothing()
}

// waitingTrigger starts a trigger whose reader does not read, and returns once it waits
// for it. The response comes from the channel.
func waitingTrigger(t *testing.T, ctx context.Context) (*server, <-chan response) {
	t.Helper()
	s := vectorServer(t, fhir.R5, "--slow-after", "1h")
	s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
	slow := s.dialSlow()
	slow.Send("bind-with-token " + s.Token("full"))
	if f := slow.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.Raw)
	}
	focus := encounter("big", "in-progress", "text", map[string]any{"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">" + strings.Repeat("x", 256<<10) + "</div>"})
	fired := make(chan response, 1)
	go func() {
		body, err := json.Marshal(map[string]any{"subscription": "full", "focus": focus, "count": 10_000})
		if err != nil {
			t.Error(err)
		}
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/mock/trigger", bytes.NewReader(body))
		if err != nil {
			t.Error(err)
		}
		req.Header.Set("Content-Type", "application/json")
		a := response{}
		if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
			defer res.Body.Close()
			a.Status = res.StatusCode
			a.Raw, _ = io.ReadAll(res.Body)
			_ = json.Unmarshal(a.Raw, &a.Body)
		}
		fired <- a
	}()
	// More than one round makes.
	s.Must(200, "POST", "/mock/await", map[string]any{"sent": map[string]any{"subscription": "full", "count": 8}})
	return s, fired
}

func TestTrigger_HoldsUpNoWriteAndStopsAtReset(t *testing.T) {
	t.Parallel()
	s, fired := waitingTrigger(t, context.Background())
	s.Must(201, "PUT", "Encounter/other", encounter("other", "planned"))
	s.Must(204, "POST", "/mock/reset", nil)
	a := <-fired
	if text, _ := a.Body["detail"].(string); a.Status != http.StatusConflict || !strings.HasPrefix(text, "the trigger stopped after ") || !strings.HasSuffix(text, " of 10000 events: the room was reset") {
		t.Errorf("got %d %s, want 409 and how far the trigger came", a.Status, a.Raw)
	}
}

func TestTrigger_StopsWithItsRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s, fired := waitingTrigger(t, ctx)
	stream := s.Follow("?kind=http", "")
	stream.Next() // hello
	cancel()
	if a := <-fired; a.Status != 0 {
		t.Errorf("got %d, want no response", a.Status)
	}
	// The exchange is in the journal once the trigger has stopped.
	for path := ""; path != "/mock/trigger"; {
		_, entry := stream.Entry()
		path = entry.HTTP.Path
	}
	status := s.Must(200, "GET", "Subscription/full/$status", nil)
	if strings.Contains(string(status.Raw), `"10000"`) {
		t.Errorf("the trigger went on to the end: %s", status.Raw)
	}
}
