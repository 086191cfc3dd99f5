package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// A secret is not shown in part either, in no spelling a client may come up
// with, and not in the log.
func TestJournal_ShowsNoPartOfAToken(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	var secrets []string
	take := func() string {
		secrets = append(secrets, s.token("abc"))
		return secrets[len(secrets)-1]
	}
	escaped := func(secret, as string) string { return fmt.Sprintf(as, secret[0]) + secret[1:] }
	frames := []string{
		"bind-with-tokens-for-me-please " + take(), // cut in the refusal, within the token
		"bind-with-token" + take(),
		"bind-with-token-" + take(),
		"bind-with-token " + take() + " my-own-secret-1 more",
		"unbind-with-token my-own-secret-2\nbind-with-token: my-own-secret-3",
		take(),
		`{"type":"` + take() + `"}`,
		`{"type":"bind-with-token","payload":{"Token":"` + escaped(take(), `\u%04x`) + `"}}`,
		`{"type":"bind-with-token","payload":{"tok\u0065n":"` + take() + `"}}`,
		`{"type":"bind-with-token","payload":{"token":"my-own-secret-4 and more"}}`,
		`{"token":"my-own-secret-5`,
	}
	for _, frame := range frames {
		ws := s.dial()
		ws.send(frame)
		ws.next()
	}
	for _, query := range []string{"?token=" + escaped(take(), "%%%02x"), "?token=my-own-secret-6", "?x=1&token=" + take() + "&token=" + take()} {
		s.dial(query).next()
	}
	revoked := take()
	s.must(204, "DELETE", s.url+"/mock/tokens/"+escaped(revoked, "%%%02x"), nil)
	s.must(404, "DELETE", "/mock/tokens/"+revoked, nil)
	s.must(404, "DELETE", "/mock/tokens/my-own-secret-7", nil)
	s.must(404, "GET", "/mock/nothing/"+take(), nil)
	s.must(400, "POST", "/mock/trigger", `{"token":"`+take()+`"}`)
	s.must(404, "GET", "Patient/none?token="+take(), nil, "Referer", "http://127.0.0.1/page?token="+take())
	secrets = append(secrets, "my-own-secret")

	shown := map[string]string{"log": s.log.String()}
	for _, format := range []string{"json", "ndjson", "har"} {
		shown[format] = string(s.must(200, "GET", "/mock/journal?bodies=true&format="+format, nil).raw)
	}
	for where, text := range shown {
		for n, secret := range secrets {
			for at := 0; at+12 <= len(secret); at++ {
				if i := strings.Index(text, secret[at:at+12]); i >= 0 {
					t.Errorf("%s shows a part of secret %d: …%.200s", where, n, text[max(0, i-150):])
					break
				}
			}
		}
	}
	if got := s.journal("?kind=received&text=" + token.Fingerprint(secrets[0])); len(got) != 1 || got[0].Type != "unknown" {
		t.Errorf("the misspelt bind: got %v, want it under the fingerprint", got)
	}
}

func TestJournal_TellsHowThingsEnd(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	last := s.journal("?limit=1")[0].Seq
	secret := s.token("abc")
	name := token.Fingerprint(secret)
	ws := s.dial()
	ws.send("bind-with-token " + secret)
	ws.next()
	ws.send("bind-with-token " + secret)
	ws.next()
	s.clock.Advance(31 * time.Minute)
	ws.outcome("expired")
	ws.closed()
	waitFor(t, s, "?kind=closed&socket=s1")
	revoked := s.token("abc")
	other := s.dial("?token=" + revoked)
	other.next()
	s.must(204, "DELETE", "/mock/tokens/"+revoked, nil)
	other.outcome("forbidden")
	other.closed()
	waitFor(t, s, "?kind=closed&socket=s2")
	s.token("abc")
	s.clock.Advance(31 * time.Minute) // nobody bound it
	third := s.bind("abc")
	s.must(204, "POST", "/mock/reset", nil)
	third.outcome("deleted")
	_ = third.conn.Close(1000, "done")

	waitFor(t, s, "?kind=closed&socket=s3")
	var got []string
	for _, r := range s.journal("?kind=token,bound,unbound,closed,reset&since=" + strconv.FormatUint(last, 10)) {
		line := r.Kind
		for _, part := range []string{r.Type, r.Subscription, r.Socket, r.Text} {
			if part != "" && r.Type != "issued" && r.Kind != "reset" {
				line += " " + part
			}
		}
		if r.Code != 0 {
			line += fmt.Sprint(" ", r.Code)
		}
		if r.Token == name {
			line += " (first)"
		} else if r.Token == token.Fingerprint(revoked) {
			line += " (second)"
		}
		got = append(got, line)
	}
	want := []string{
		"token (first)",
		"bound abc s1 (first)",
		"token renewed abc s1 (first)",
		"token expired for abc (first)",
		"unbound abc s1 token expired (first)",
		"closed s1 no binding is left: token expired (by server) 1008",
		"token (second)",
		"bound abc s2 (second)",
		"token revoked (second)",
		"unbound abc s2 token revoked (second)",
		"closed s2 no binding is left: token revoked (by server) 1008",
		"token",
		"token expired for abc",
		"token",
		"bound abc s3",
		"unbound abc s3 room was reset",
		"reset",
		"closed s3 done (by client) 1000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestJournal_EveryKindIsDescribed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/mock.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range journal.Kinds() {
		if !strings.Contains(string(text), "`"+kind+"`") {
			t.Errorf("docs/mock.md does not describe the kind %s", kind)
		}
	}
}

// waitFor returns once the journal has an entry that a query selects.
func waitFor(t *testing.T, s *testServer, query string) {
	t.Helper()
	st := s.follow(query+"&since=0&most=100000", "")
	st.next() // hello
	st.entry()
}

// recordingRoom keeps what the hub records, and the socket that came.
type recordingRoom struct {
	quietRoom
	sockets chan subscription.Socket
	closed  chan journal.Entry
}

func (r *recordingRoom) Bind(s subscription.Socket, _, _ string) (int, []error) {
	r.sockets <- s
	return 1, nil
}

func (r *recordingRoom) Record(e journal.Entry) {
	if e.Kind == journal.Closed {
		r.closed <- e
	}
}

func TestJournal_TellsThatASocketWasNotRead(t *testing.T) {
	t.Parallel()
	room := &recordingRoom{sockets: make(chan subscription.Socket, 1), closed: make(chan journal.Entry, 1)}
	h := newHub(hubOptions{WriteWait: 50 * time.Millisecond, QueueBytes: 1 << 30, Logger: slog.New(slog.DiscardHandler)})
	conn, _, err := websocket.DefaultDialer.Dial(serveRoom(t, h, room)+"?token=t", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket := <-room.sockets
	for range 64 { // more than the system keeps
		socket.Send(subscription.Frame{Bytes: make([]byte, 1<<20)}, unrecorded)
	}
	select {
	case e := <-room.closed:
		if e.Code != 1006 || !strings.Contains(e.Text, "50ms") || !strings.Contains(e.Text, "does not read") || !strings.Contains(e.Text, "by server") {
			t.Errorf("got %d %q, want 1006, the limit, and that the server closed", e.Code, e.Text)
		}
	case <-time.After(patience):
		t.Fatal("the socket was not closed")
	}
}

// gorilla/websocket closes the socket itself when a frame breaks the protocol.
func TestJournal_HasTheCodeOfABadFrame(t *testing.T) {
	t.Parallel()
	for want, frame := range map[int][]byte{
		websocket.CloseProtocolError: {0xf1, 0x80, 0, 0, 0, 0},                         // with reserved bits
		websocket.CloseMessageTooBig: {0x81, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, // of 16 MiB
	} {
		room := &recordingRoom{sockets: make(chan subscription.Socket, 1), closed: make(chan journal.Entry, 1)}
		h := newHub(hubOptions{Logger: slog.New(slog.DiscardHandler)})
		conn, _, err := websocket.DefaultDialer.Dial(serveRoom(t, h, room), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.NetConn().Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, want) {
			t.Errorf("got %v, want a close with %d", err, want)
		}
		select {
		case e := <-room.closed:
			if e.Code != want || !strings.Contains(e.Text, "by server") {
				t.Errorf("the journal has %d %q, want %d by the server", e.Code, e.Text, want)
			}
		case <-time.After(patience):
			t.Fatal("the socket was not closed")
		}
	}
}

func TestJournal_OfSizeZeroOnlyCounts(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, func(o *command.Serve) { o.JournalSize = 0 })
	st := s.follow("", "")
	st.next() // hello
	s.bind("abc")
	s.must(200, "POST", "/mock/await", map[string]any{"bound": map[string]any{"subscription": "abc"}, "timeout": "5s"})
	s.must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc"})
	if got := s.journal(""); len(got) != 0 {
		t.Errorf("got %d entries, want none", len(got))
	}
	if name, _, data := st.next(); name != "gap" {
		t.Errorf("the stream: got %s %s, want a gap", name, data)
	}
	if state := s.must(200, "GET", "/mock/state", nil).body; state["totals"].(map[string]any)["events"] != 1.0 {
		t.Errorf("totals: got %v, want one event", state["totals"])
	}
}

func TestJournal_MarksABodyNobodyRead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.must(413, "POST", "Encounter", strings.Repeat(" ", 3<<20))
	s.must(404, "GET", "/mock/nothing?"+strings.Repeat("x", 20_000), nil)
	got := s.journal("?kind=http&limit=2&bodies=true")
	if !got[0].HTTP.Truncated {
		t.Error("a body that is not there is not said to be truncated")
	}
	if n := len(got[1].HTTP.Path); n > 9000 {
		t.Errorf("kept %d bytes of an address", n)
	}
}

// A refusal does not wait for a body the client holds back.
func TestRecord_AnswersBeforeTheBodyComes(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for name, header := range map[string]string{"waits for consent": "Expect: 100-continue\r\n", "promises": "Connection: close\r\n"} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(conn, "POST /mock/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n"+header+"\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 404 {
				t.Fatalf("got %v, %v; want 404", res, err)
			}
			res.Body.Close()
		})
	}
}

func TestJournal_RefusesParametersThatMeanNothing(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for path, says := range map[string]string{
		"?sockets=s1":      "sockets: there is no such parameter; known are kind, subscription, socket",
		"?most=5":          "most: ",
		"/stream?limit=5":  "limit: ",
		"/stream?kinds=no": "kinds: ",
		"?kind=no":         "kind: got",
		"?since=-1":        "since: got",
		"?limit=x":         "limit: got",
	} {
		a := s.must(400, "GET", "/mock/journal"+path, nil)
		if detail := fmt.Sprint(a.body["detail"]); !strings.HasPrefix(detail, says) || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %q, want a problem that begins with %q", path, detail, says)
		}
	}
}

func TestJournal_StreamBeginsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 10 {
		s.must(200, "GET", "Subscription/abc", nil)
	}
	entries := s.journal("")
	end := entries[len(entries)-1].Seq
	first := s.follow("?since=0", "")
	_, _, data := first.next()
	instance, _, _ := strings.Cut(strings.TrimPrefix(data, `{"instance":"`), `"`)
	id, r := first.entry()
	if r.Seq != 1 || id != instance+"-1" {
		t.Fatalf("since=0: got entry %d as %q, want 1 as %q", r.Seq, id, instance+"-1")
	}
	for _, c := range []struct {
		query, lastID string
		want          uint64 // first entry
	}{
		{"?since=3", "", 4},
		{"?since=2000-01-01T00:00:00Z", "", 1},
		{"?since=3", instance + "-7", 8}, // what an EventSource comes back with
		{"?last-event-id=" + instance + "-5", "", 6},
		{"?last-event-id=" + instance + "-5", instance + "-6", 7},
		{"?last-event-id=other-5", "", 1},
		{"?last-event-id=" + instance + "-nonsense", "", 1},
	} {
		st := s.follow(c.query, c.lastID)
		st.next()
		if _, r := st.entry(); r.Seq != c.want {
			t.Errorf("%s %s: got entry %d first, want %d", c.query, c.lastID, r.Seq, c.want)
		}
	}
	// Where nothing is left to tell, it goes on with what is new.
	for _, query := range []string{"", "?since=999999", "?last-event-id=" + instance + "-999999"} {
		st := s.follow(query, "")
		st.next()
		s.must(200, "GET", "Subscription/abc", nil)
		if _, r := st.entry(); r.Seq <= end {
			t.Errorf("%q: got entry %d, want one after %d", query, r.Seq, end)
		}
	}
	if a := s.must(200, "HEAD", "/mock/journal/stream", nil); a.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: got %s", a.header.Get("Content-Type"))
	}
}

// What a second may bring may come all at once.
func TestJournal_StreamLetsABurstPass(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 120 {
		s.must(200, "GET", "Subscription/abc", nil)
	}
	end := s.journal("?limit=1")[0].Seq
	st := s.follow("?since=0&most="+strconv.FormatUint(end, 10), "")
	st.next()
	for seq := uint64(1); seq <= end; seq++ {
		if _, r := st.entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
	st = s.follow("?since=0&most=5", "")
	st.next()
	if name, _, data := st.next(); name != "gap" || data != fmt.Sprintf(`{"skipped":%d}`, end-5) {
		t.Errorf("got %s %s, want a gap of %d", name, data, end-5)
	}
	for seq := end - 4; seq <= end; seq++ { // the newest
		if _, r := st.entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
}

// The handler returns when its client goes, and when the server stops.
func TestJournal_StreamEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{false, true} {
		o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Hour, JournalSize: 10, MaxBodyBytes: 1000}
		s, err := newServer(o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.rooms.Default().Close()
		defer s.rooms.End()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r, w := io.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			req := httptest.NewRequest("GET", "http://127.0.0.1/mock/journal/stream", nil).WithContext(ctx)
			s.echo.ServeHTTP(&pipeWriter{httptest.NewRecorder(), w}, req)
		}()
		if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "event: hello\n" {
			t.Fatalf("got %q, %v; want hello", line, err)
		}
		go io.Copy(io.Discard, r) //nolint:errcheck // what else it says is of no interest
		if stops {
			s.rooms.End()
		} else {
			cancel()
		}
		select {
		case <-ended:
		case <-time.After(2 * time.Second):
			t.Errorf("stops %v: the stream did not end", stops)
		}
		w.Close()
	}
}

// pipeWriter writes an answer into a pipe.
type pipeWriter struct {
	*httptest.ResponseRecorder
	body io.Writer
}

func (w *pipeWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

// An exchange about one Subscription names it, so that a filter by subscription
// has its requests too.
func TestJournal_NamesTheSubscriptionOfAnExchange(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	made := s.must(201, "POST", "Subscription", websocketSubscription("", admissionURL, "id", nil))
	id := made.body["id"].(string)
	s.must(200, "GET", "Subscription/abc/$status", nil)
	s.must(200, "GET", "Subscription/$status", nil)
	s.must(200, "GET", "Subscription?_id=abc", nil)
	s.must(404, "GET", "Patient/abc", nil)
	for subscription, want := range map[string]int{id: 1, "abc": 2} { // abc was put, too
		got := s.journal("?kind=http&subscription=" + subscription)
		if len(got) != want {
			t.Errorf("%s: got %v, want %d exchanges", subscription, got, want)
		}
	}
}
