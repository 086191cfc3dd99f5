package protocol

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
	"signalfhir/internal/wiretest"
)

// A secret is not shown in part either, in no spelling a client may come up
// with, and not in the log.
func TestJournal_ShowsNoPartOfAToken(t *testing.T) {
	t.Parallel()
	s := startProcess(t) // for its log
	s.Admission()
	var secrets []string
	take := func() string {
		secrets = append(secrets, s.Token("abc"))
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
		ws := s.Dial()
		ws.Send(frame)
		ws.Next()
	}
	for _, query := range []string{"?token=" + escaped(take(), "%%%02x"), "?token=my-own-secret-6", "?x=1&token=" + take() + "&token=" + take()} {
		s.Dial(query).Next()
	}
	revoked := take()
	s.Must(204, "DELETE", s.URL+"/mock/tokens/"+escaped(revoked, "%%%02x"), nil)
	s.Must(404, "DELETE", "/mock/tokens/"+revoked, nil)
	s.Must(404, "DELETE", "/mock/tokens/my-own-secret-7", nil)
	s.Must(404, "GET", "/mock/nothing/"+take(), nil)
	s.Must(400, "POST", "/mock/trigger", `{"token":"`+take()+`"}`)
	s.Must(404, "GET", "Patient/none?token="+take(), nil, "Referer", "http://127.0.0.1/page?token="+take())
	secrets = append(secrets, "my-own-secret")

	log := s.log()
	if !strings.HasPrefix(log, "signalfhir ") || !strings.Contains(log, "POST /mock/trigger status=400") {
		t.Errorf("the log is not whole:\n%s", log)
	}
	shown := map[string]string{"log": log}
	for _, format := range []string{"json", "ndjson", "har"} {
		shown[format] = string(s.Must(200, "GET", "/mock/journal?bodies=true&format="+format, nil).Raw)
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
	if got := s.Journal("?kind=received&text=" + token.Fingerprint(secrets[0])); len(got) != 1 || got[0].Type != "unknown" {
		t.Errorf("the misspelt bind: got %v, want it under the fingerprint", got)
	}
}

func TestJournal_OfSizeZeroOnlyCounts(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--journal-size", "0")
	st := s.Follow("", "")
	st.Next() // hello
	s.Bind("abc")
	s.Must(200, "POST", "/mock/await", map[string]any{"bound": map[string]any{"subscription": "abc"}, "timeout": "5s"})
	s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc"})
	if got := s.Journal(""); len(got) != 0 {
		t.Errorf("got %d entries, want none", len(got))
	}
	if name, _, data := st.Next(); name != "gap" {
		t.Errorf("the stream: got %s %s, want a gap", name, data)
	}
	if state := s.Must(200, "GET", "/mock/state", nil).Body; at(state, "totals", "events") != 1.0 {
		t.Errorf("totals: got %v, want one event", state["totals"])
	}
}

func TestJournal_MarksABodyNobodyRead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(413, "POST", "Encounter", strings.Repeat(" ", 3<<20))
	s.Must(404, "GET", "/mock/nothing?"+strings.Repeat("x", 20_000), nil)
	got := s.Journal("?kind=http&limit=2&bodies=true")
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
			conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), s.Path()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(wiretest.Patience))
			if _, err := io.WriteString(conn, "POST "+s.Path()+"/mock/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n"+header+"\r\n"); err != nil {
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
		a := s.Must(400, "GET", "/mock/journal"+path, nil)
		if detail := fmt.Sprint(a.Body["detail"]); !strings.HasPrefix(detail, says) || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %q, want a problem that begins with %q", path, detail, says)
		}
	}
}

func TestJournal_StreamBeginsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 10 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	entries := s.Journal("")
	end := entries[len(entries)-1].Seq
	first := s.Follow("?since=0", "")
	_, _, data := first.Next()
	instance, _, _ := strings.Cut(strings.TrimPrefix(data, `{"instance":"`), `"`)
	id, r := first.Entry()
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
		st := s.Follow(c.query, c.lastID)
		st.Next()
		if _, r := st.Entry(); r.Seq != c.want {
			t.Errorf("%s %s: got entry %d first, want %d", c.query, c.lastID, r.Seq, c.want)
		}
	}
	// Where nothing is left to tell, it goes on with what is new.
	for _, query := range []string{"", "?since=999999", "?last-event-id=" + instance + "-999999"} {
		st := s.Follow(query, "")
		st.Next()
		s.Must(200, "GET", "Subscription/abc", nil)
		if _, r := st.Entry(); r.Seq <= end {
			t.Errorf("%q: got entry %d, want one after %d", query, r.Seq, end)
		}
	}
	if a := s.Must(200, "HEAD", "/mock/journal/stream", nil); a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: got %s", a.Header.Get("Content-Type"))
	}
}

// What a second may bring may come all at once.
func TestJournal_StreamLetsABurstPass(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 120 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	end := s.Journal("?limit=1")[0].Seq
	st := s.Follow("?since=0&most="+strconv.FormatUint(end, 10), "")
	st.Next()
	for seq := uint64(1); seq <= end; seq++ {
		if _, r := st.Entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
	st = s.Follow("?since=0&most=5", "")
	st.Next()
	if name, _, data := st.Next(); name != "gap" || data != fmt.Sprintf(`{"skipped":%d}`, end-5) {
		t.Errorf("got %s %s, want a gap of %d", name, data, end-5)
	}
	for seq := end - 4; seq <= end; seq++ { // the newest
		if _, r := st.Entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
}

// An exchange about one Subscription names it, so that a filter by subscription
// has its requests too.
func TestJournal_NamesTheSubscriptionOfAnExchange(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	made := s.Must(201, "POST", "Subscription", websocketSubscription("", admissionURL, "id", nil))
	id := made.Body["id"].(string)
	s.Must(200, "GET", "Subscription/abc/$status", nil)
	s.Must(200, "GET", "Subscription/$status", nil)
	s.Must(200, "GET", "Subscription?_id=abc", nil)
	s.Must(404, "GET", "Patient/abc", nil)
	for subscription, want := range map[string]int{id: 1, "abc": 2} { // abc was put, too
		got := s.Journal("?kind=http&subscription=" + subscription)
		if len(got) != want {
			t.Errorf("%s: got %v, want %d exchanges", subscription, got, want)
		}
	}
}
