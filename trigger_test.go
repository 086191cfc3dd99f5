package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
)

// A trigger goes as fast as its readers: a queue that is far too small for all of its
// frames is enough for a client that reads.
func TestTrigger_PacesItself(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.QueueBytes, o.SlowAfter = 256<<10, time.Hour })
	ws := s.bind("abc")
	const events = 20_000
	fired := make(chan answered, 1)
	go func() {
		fired <- s.do("POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": events})
	}()
	for n := range events {
		ws.wantEvent(strconv.Itoa(n + 1))
	}
	if a := <-fired; a.status != http.StatusOK || len(asList(a.body["events"])) != events {
		t.Errorf("got %d with %d events, want 200 with %d", a.status, len(asList(a.body["events"])), events)
	}
	ws.nothing()
}

// waitingTrigger starts a trigger whose reader does not read, and returns once it waits
// for it. The response comes from the channel.
func waitingTrigger(t *testing.T, ctx context.Context) (*testServer, <-chan answered) {
	t.Helper()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.SlowAfter = time.Hour })
	s.must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
	slow := s.dialSlow()
	slow.send("bind-with-token " + s.token("full"))
	if f := slow.next(); f.kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.raw)
	}
	focus := encounter("big", "in-progress", "text", map[string]any{"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">" + strings.Repeat("x", 256<<10) + "</div>"})
	fired := make(chan answered, 1)
	go func() {
		body, err := json.Marshal(map[string]any{"subscription": "full", "focus": focus, "count": 10_000})
		if err != nil {
			t.Error(err)
		}
		req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/mock/trigger", bytes.NewReader(body))
		if err != nil {
			t.Error(err)
		}
		req.Header.Set("Content-Type", "application/json")
		a := answered{}
		if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
			defer res.Body.Close()
			a.status = res.StatusCode
			a.raw, _ = io.ReadAll(res.Body)
			_ = json.Unmarshal(a.raw, &a.body)
		}
		fired <- a
	}()
	// More than one round makes.
	s.must(200, "POST", "/mock/await", map[string]any{"sent": map[string]any{"subscription": "full", "count": 8}})
	return s, fired
}

func TestTrigger_HoldsUpNoWriteAndStopsAtReset(t *testing.T) {
	t.Parallel()
	s, fired := waitingTrigger(t, context.Background())
	s.must(201, "PUT", "Encounter/other", encounter("other", "planned"))
	s.must(204, "POST", "/mock/reset", nil)
	a := <-fired
	if text, _ := a.body["detail"].(string); a.status != http.StatusConflict || !strings.HasPrefix(text, "the trigger stopped after ") || !strings.HasSuffix(text, " of 10000 events: the room was reset") {
		t.Errorf("got %d %s, want 409 and how far the trigger came", a.status, a.raw)
	}
}

func TestTrigger_StopsWithItsRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s, fired := waitingTrigger(t, ctx)
	stream := s.follow("?kind=http", "")
	stream.next() // hello
	cancel()
	if a := <-fired; a.status != 0 {
		t.Errorf("got %d, want no response", a.status)
	}
	// The exchange is in the journal once the trigger has stopped.
	for path := ""; path != "/mock/trigger"; {
		_, entry := stream.entry()
		path = entry.HTTP.Path
	}
	status := s.must(200, "GET", "Subscription/full/$status", nil)
	if strings.Contains(string(status.raw), `"10000"`) {
		t.Errorf("the trigger went on to the end: %s", status.raw)
	}
}
