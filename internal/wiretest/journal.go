package wiretest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"signalfhir/testkit"
)

// Journal reads the journal with a query, "?kind=sent".
func (s *Server) Journal(query string) []testkit.Entry {
	s.T.Helper()
	var body struct{ Entries []testkit.Entry }
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/journal"+query, nil).Raw, &body); err != nil {
		s.T.Fatal(err)
	}
	return body.Entries
}

// AwaitEntry returns once the journal has an entry that a query selects.
func (s *Server) AwaitEntry(query string) {
	s.T.Helper()
	st := s.Follow(query+"&since=0&most=100000", "")
	st.Next() // hello
	st.Entry()
}

// Stream is the stream of a journal.
type Stream struct {
	t     testing.TB
	lines *bufio.Scanner
}

// Follow opens the stream of the journal. It goes on after the entry lastID unless that
// is "".
func (s *Server) Follow(query, lastID string) *Stream {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	s.T.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/mock/journal/stream"+query, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		s.T.Fatalf("got %d %s, want 200 text/event-stream", res.StatusCode, kind)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return &Stream{s.T, lines}
}

// Next reads one event. Its name is "message" if the stream names none. Everything is
// empty if the stream has ended.
func (st *Stream) Next() (name, id, data string) {
	st.t.Helper()
	name = "message"
	for st.lines.Scan() {
		field, value, _ := strings.Cut(st.lines.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data != "" {
				return name, id, data
			}
		}
	}
	return "", "", ""
}

// Entry reads one entry.
func (st *Stream) Entry() (id string, e testkit.Entry) {
	st.t.Helper()
	name, id, data := st.Next()
	if name != "message" || json.Unmarshal([]byte(data), &e) != nil {
		st.t.Fatalf("got event %q %s, want an entry", name, data)
	}
	return id, e
}
