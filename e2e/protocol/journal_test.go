package protocol

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/wiretest"

	"signalfhir/internal/fhir"
)

func TestJournal_TellsTheWholeFlow(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	last := s.Journal("")
	// The token first: a server may note that a socket opened after the client does.
	secret := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + secret)
	ws.Next()
	s.Must(201, "PUT", "Encounter/e1", encounter("e1", "in-progress"))
	ws.WantEvent("1")
	s.Must(200, "PUT", "Encounter/e1", encounter("e1", "completed"))
	ws.Nothing()
	ws.Send("bind-with-token " + strings.Repeat("x", 43))
	ws.Outcome("unknown")

	var got []string
	for _, r := range s.Journal("?since=" + strconv.FormatUint(last[len(last)-1].Seq, 10)) {
		line := r.Kind
		for _, part := range []string{r.Type, r.Interaction, r.Resource, r.Subscription, r.Socket, r.Dialect} {
			if part != "" {
				line += " " + part
			}
		}
		if r.First > 0 {
			line += fmt.Sprintf(" %d-%d", r.First, r.Last)
		}
		if r.HTTP != nil {
			line += fmt.Sprintf(" %s %s %d", r.HTTP.Method, strings.TrimPrefix(r.HTTP.Path, s.Path()), r.HTTP.Status)
		}
		got = append(got, line)
	}
	want := []string{
		"http POST /fhir/R5/Subscription/$get-ws-binding-token?id=abc 200",
		"token issued",
		"opened s1",
		"received bind-with-token s1 ig",
		"bound abc s1",
		"sent handshake abc s1",
		"http PUT /fhir/R5/Encounter/e1 201",
		"change create Encounter/e1",
		"fired create Encounter/e1",
		"appended Encounter/e1 abc 1-1",
		"sent event-notification abc s1 1-1",
		"http PUT /fhir/R5/Encounter/e1 200",
		"change update Encounter/e1",
		"not-fired update Encounter/e1",
		"received ping s1 ig",
		"sent pong s1",
		"received bind-with-token s1 ig",
		"refused unknown s1",
		"sent outcome s1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestJournal_KeepsExchangesAsTheyWere(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	s.Must(400, "POST", "Encounter", `{"resourceType":"Encounter","wrong":1}`)
	s.Must(415, "POST", "Encounter", "<x/>", "Content-Type", "application/xml")
	s.Must(413, "POST", "Encounter", strings.Repeat(" ", 3<<20))
	s.Must(201, "POST", "Patient", `{"resourceType":"Patient","name":[{"text":"`+strings.Repeat("y", 100<<10)+`"}]}`)
	s.Must(200, "GET", "/mock/sockets", nil)
	s.Must(200, "HEAD", "Subscription/abc", nil)
	s.Must(200, "GET", "/mock/state", nil)
	s.Must(200, "GET", "/healthz", nil)
	var got []entry
	for _, r := range s.Journal("?kind=http&limit=6") {
		a := s.Must(200, "GET", "/mock/journal/"+strconv.FormatUint(r.Seq, 10), nil)
		var whole entry
		if err := json.Unmarshal(a.Raw, &whole); err != nil {
			t.Fatal(err)
		}
		got = append(got, whole)
	}
	if x := got[0].HTTP; x.Status != 400 || !strings.Contains(x.RequestBody, `"wrong":1`) || !strings.Contains(x.ResponseBody, "OperationOutcome") || x.ResponseHeaders["Content-Type"] == "" || x.RequestHeaders["Content-Type"] != "application/fhir+json" {
		t.Errorf("a refused write: got %+v", x)
	}
	if x := got[1].HTTP; x.Status != 415 || x.RequestBody != "<x/>" {
		t.Errorf("a body nobody read: got %+v", x)
	}
	if x := got[2].HTTP; x.Status != 413 {
		t.Errorf("a body that is too large: got %+v", x)
	}
	if x := got[3].HTTP; x.Status != 201 || !x.Truncated || len(x.RequestBody) != (64<<10) || got[3].Size < (64<<10) {
		t.Errorf("a long body: got status %d, truncated %v, %d bytes", x.Status, x.Truncated, len(x.RequestBody))
	}
	if x := got[4].HTTP; x.Path != "/mock/sockets" || x.Took <= 0 {
		t.Errorf("a control route: got %+v", x)
	}
	if x := got[5].HTTP; x.Method != "HEAD" || x.ResponseBody != "" {
		t.Errorf("a HEAD: got %+v", x)
	}
}

// NB-12: a topic may include what there is not. Who wrote it can find out.
func TestJournal_TellsWarningsOfWrites(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		path, topic := inRelease(r, "SubscriptionTopic/admission", with(admissionTopic(), "notificationShape", []any{map[string]any{"resource": "Encounter", "include": []any{"Encounter:patint"}}}))
		s.Must(201, "PUT", path, topic)
		got := s.Journal("?kind=lenient")
		if len(got) != 1 || got[0].Resource != path || !strings.Contains(got[0].Text, "Encounter has no search parameter patint") {
			t.Errorf("got %v, want the include that is left out", got)
		}
	})
}

func TestJournal_Selects(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/needle", encounter("needle", "in-progress"))
	ws.WantEvent("1")
	for _, c := range []struct {
		query string
		all   func(entry) bool
		some  int
	}{
		{"?kind=sent", func(r entry) bool { return r.Kind == "sent" }, 2},
		{"?kind=sent,bound", func(r entry) bool { return r.Kind == "sent" || r.Kind == "bound" }, 3},
		{"?kind=sent&kind=bound", func(r entry) bool { return r.Kind == "sent" || r.Kind == "bound" }, 3},
		{"?subscription=abc&kind=appended", func(r entry) bool { return r.Subscription == "abc" }, 1},
		{"?socket=s1", func(r entry) bool { return r.Socket == "s1" }, 4},
		{"?text=NEEDLE&kind=change", func(r entry) bool { return r.Resource == "Encounter/needle" }, 1},
		{"?text=in-progress&kind=http&limit=1", func(r entry) bool { return r.HTTP.Method == "PUT" }, 1},
		{"?limit=2", func(entry) bool { return true }, 2},
		{"?since=2200-01-01T00:00:00Z", func(entry) bool { return false }, 0},
		{"?since=2000-01-01T00:00:00Z&kind=bound", func(entry) bool { return true }, 1},
	} {
		got := s.Journal(c.query)
		if len(got) < c.some || c.some == 0 && len(got) > 0 {
			t.Errorf("%s: got %d entries, want %d", c.query, len(got), c.some)
		}
		for _, r := range got {
			if !c.all(r) {
				t.Errorf("%s: got %s", c.query, r)
			}
		}
	}
	if got := s.Journal("?socket=s1&limit=1&bodies=true"); !strings.Contains(got[0].Frame, "event-notification") {
		t.Errorf("bodies=true: got %q, want the frame", got[0].Frame)
	}
}

func TestJournal_RefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for path, says := range map[string]string{
		"?kind=sended":         "sent",
		"?since=yesterday":     "2026-01-02T15:04:05Z",
		"?limit=0":             "from 1 to",
		"?limit=many":          "from 1 to",
		"?bodies=yes":          "true or false",
		"?format=xml":          "ndjson",
		"/stream?most=0":       "from 1 to",
		"/stream?kind=nothing": "sent",
		"/first":               "number",
	} {
		a := s.Do("GET", "/mock/journal"+path, nil)
		if a.Status != 400 || !strings.Contains(string(a.Raw), says) {
			t.Errorf("%s: got %d %s, want 400 that says %q", path, a.Status, a.Raw, says)
		}
	}
	if a := s.Do("GET", "/mock/journal/999999", nil); a.Status != 404 || !strings.Contains(fmt.Sprint(a.Body["detail"]), "the journal has 1 to") {
		t.Errorf("an entry that is not there: got %d %s", a.Status, a.Raw)
	}
}

func TestJournal_IsBounded(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--journal-size", "50")
	for range 100 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	got := s.Journal("")
	if len(got) != 50 || got[0].Seq+49 != got[49].Seq {
		t.Errorf("got %d entries from %d, want the last 50", len(got), got[0].Seq)
	}
}

// A few subscriptions an event does not concern are named, each with its reason; of
// many, which would cost as many comparisons, the number is told.
func TestJournal_NamesWhomAnEventDidNotConcern(t *testing.T) {
	t.Parallel()
	for _, others := range []int{19, 30} {
		s := vectorServer(t, fhir.R5)
		for n := range others {
			id := fmt.Sprintf("other%d", n)
			s.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/other"}}))
		}
		s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress", "subject", reference("Patient/mine")))
		held := s.Journal("?kind=not-sent&text=Encounter/e")
		var named, summed int
		for _, r := range held {
			switch {
			case strings.HasPrefix(r.Subscription, "other"):
				named++
				if !strings.Contains(r.Text, "Patient/other") || !strings.Contains(r.Text, "Patient/mine") {
					t.Errorf("got %q, want how the filter compared", r.Text)
				}
			case strings.Contains(r.Text, "30 more subscriptions"):
				summed++
			}
		}
		if wanted := map[int][2]int{19: {19, 0}, 30: {0, 1}}[others]; named != wanted[0] || summed != wanted[1] {
			t.Errorf("%d others: got %d named and %d sums, want %v: %v", others, named, summed, wanted, held)
		}
	}
}

func TestJournal_WritesAnHTTPArchive(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("1")
	a := s.Must(200, "GET", "/mock/journal?format=har", nil)
	if got := a.Header.Get("Content-Disposition"); !strings.Contains(got, "signalfhir.har") {
		t.Errorf("Content-Disposition: got %q", got)
	}
	var har struct {
		Log struct {
			Version string
			Creator map[string]any
			Entries []map[string]any
		}
	}
	if err := json.Unmarshal(a.Raw, &har); err != nil {
		t.Fatal(err)
	}
	if har.Log.Version != "1.2" || har.Log.Creator["name"] != "signalfhir" || har.Log.Creator["version"] == nil {
		t.Errorf("got version %q of %v", har.Log.Version, har.Log.Creator)
	}
	sockets := 0
	for _, entry := range har.Log.Entries {
		need(t, entry, "startedDateTime", "time", "request", "response", "cache", "timings")
		request, _ := entry["request"].(map[string]any)
		need(t, request, "method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize")
		response, _ := entry["response"].(map[string]any)
		need(t, response, "status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL", "headersSize", "bodySize")
		content, _ := response["content"].(map[string]any)
		need(t, content, "size", "mimeType")
		timings, _ := entry["timings"].(map[string]any)
		need(t, timings, "send", "wait", "receive")
		if post, ok := request["postData"].(map[string]any); ok {
			need(t, post, "mimeType", "text")
		}
		if entry["_resourceType"] != "websocket" {
			continue
		}
		sockets++
		var said []string
		for _, m := range asList(entry["_webSocketMessages"]) {
			message := m.(map[string]any)
			need(t, message, "type", "time", "opcode", "data")
			said = append(said, message["type"].(string))
		}
		if strings.Join(said, " ") != "send receive receive" {
			t.Errorf("the socket: got %v, want the bind sent, handshake and event received", said)
		}
	}
	if sockets != 1 || len(har.Log.Entries) < 3 {
		t.Errorf("got %d sockets in %d entries", sockets, len(har.Log.Entries))
	}
}

func need(t *testing.T, o map[string]any, members ...string) {
	t.Helper()
	for _, member := range members {
		if _, ok := o[member]; !ok {
			t.Errorf("%s is missing in %s", member, compact(o))
		}
	}
}

func TestJournal_WritesLines(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	a := s.Must(200, "GET", "/mock/journal", nil, "Accept", "application/x-ndjson")
	lines := bytes.Split(bytes.TrimSpace(a.Raw), []byte("\n"))
	for i, line := range lines {
		var r entry
		if err := json.Unmarshal(line, &r); err != nil || r.Seq != uint64(i+1) {
			t.Fatalf("line %d: got %s (%v), want entry %d", i, line, err, i+1)
		}
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
