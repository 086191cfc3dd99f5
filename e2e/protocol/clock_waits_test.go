package protocol

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// read reads what comes on a socket until it ends, as a client does.
func read(ws *socket) {
	go func() {
		for {
			if _, _, err := ws.Conn.Read(context.Background()); err != nil {
				return
			}
		}
	}()
}

// story returns the entries of some kinds after entry since, as "08:30:00 closed s1".
func (s *server) story(since uint64, kinds string) []string {
	s.T.Helper()
	list := []string{}
	for _, e := range s.Journal(fmt.Sprintf("?kind=%s&since=%d", kinds, since)) {
		what := e.Socket
		if e.Kind == "change" {
			what = e.Resource
		}
		list = append(list, e.Time.Format("15:04:05")+" "+e.Kind+" "+what)
	}
	return list
}

// lastEntry returns the number of the last entry of the journal.
func (s *server) lastEntry() uint64 {
	s.T.Helper()
	all := s.Journal("")
	return all[len(all)-1].Seq
}

func wantStory(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", what, strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

// bindAll binds sockets to abc, each with the token that it is given.
func (s *server) bindAll(tokens ...string) {
	s.T.Helper()
	for _, token := range tokens {
		ws := s.Dial()
		ws.Send("bind-with-token " + token)
		if f := ws.Next(); f.Kind() != "handshake" {
			s.T.Fatalf("got %s, want a handshake", f.Raw)
		}
		read(ws)
	}
}

// A socket that a call closes has ended before the next call runs, also if several close in
// one call.
func TestClock_SocketsEndWhenTheyClose(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	each, shared := []string{s.Token("abc"), s.Token("abc"), s.Token("abc")}, s.Token("abc")
	s.bindAll(append(each, shared, shared, shared)...)
	s.advance("29m59s")
	s.Must(201, "POST", "/mock/generators", `{"name":"ward","scenario":"tasks","rate":"1/s","patients":1,"running":true}`)
	m := s.move("POST", "/mock/clock/advance", `{"by":"2s","timeout":"1m"}`)
	if left := asList(s.Must(200, "GET", "/mock/sockets", nil).Body["sockets"]); len(left) > 0 {
		t.Errorf("got %v, want no socket right after the move", left)
	}
	var want []string
	for i := range 6 {
		want = append(want, fmt.Sprintf("08:30:00 unbound s%d", i+1), fmt.Sprintf("08:30:00 closed s%d", i+1))
	}
	wantStory(t, "expired one after the other", s.story(m.Since, "unbound,closed"), want...)
	if got := s.story(m.Since, "change,closed"); !strings.Contains(strings.Join(got, ", "), "08:30:00 closed s6, 08:30:00 change ") {
		t.Errorf("got %q, want the next write after the last end", got)
	}

	s.Must(200, "POST", "/mock/generators/ward/stop", nil)

	// A token that is revoked ends several sockets at once, outside of a move.
	token := s.Token("abc")
	s.bindAll(token, token, token)
	s.Must(204, "DELETE", "/mock/tokens/"+token, nil)
	again := s.move("POST", "/mock/clock/advance", `{"by":"1h","timeout":"1m"}`)
	got := s.story(m.Since, "closed")[6:]
	wantStory(t, "revoked", got, "08:30:01 closed s7", "08:30:01 closed s8", "08:30:01 closed s9")
	if late := s.story(again.Since, "closed"); len(late) > 0 {
		t.Errorf("got %q in the move, want that before", late)
	}
}

func TestClock_SocketsEndWhenAFaultEndsThem(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	s.bindAll(s.Token("abc"), s.Token("abc"), s.Token("abc"), s.Token("abc"))
	s.faults(
		`{"name":"closes","on":"socket","action":"close","after":"1m","socket":"s1"}`,
		`{"name":"cuts","on":"socket","action":"cut","after":"2m","socket":"s2"}`,
		`{"name":"stalls","on":"socket","action":"stall","after":"3m","for":"1h","socket":"s3"}`,
		`{"name":"closed","on":"socket","action":"close","after":"4m","code":1001,"socket":"s4"}`,
	)
	// s3 closes when it is read again, and no move waits for that.
	m := s.move("POST", "/mock/clock/advance", `{"by":"50m","timeout":"1m"}`)
	wantStory(t, "ended", s.story(m.Since, "closed"), "08:01:00 closed s1", "08:02:00 closed s2", "08:04:00 closed s4")
	m = s.move("POST", "/mock/clock/advance", `{"by":"1h","timeout":"1m"}`)
	wantStory(t, "ended later", s.story(m.Since, "closed"), "09:03:00 closed s3")
}

// delayed begins a request that a fault delays, and waits until it does.
func (s *server) delayed(method, path string, body any) <-chan response {
	s.T.Helper()
	before := len(s.Journal("?kind=fault"))
	came := s.Begin(method, path, body)
	s.Must(200, "POST", "/mock/await", fmt.Sprintf(`{"journal":{"kind":"fault","text":"was delayed","count":%d}}`, before+1))
	return came
}

// A request that a fault delays does its work at the time at which the delay ends, however
// far the move goes.
func TestClock_DelayedRequestsHappenAtTheirTime(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe("heartbeatPeriod", 60)
	ws := s.Bind("abc")
	s.faults(
		`{"name":"write","on":"request","action":"delay","by":"90s","path":"/fhir/R5/Encounter/*"}`,
		`{"name":"bundle","on":"request","action":"delay","by":"10s","path":"/fhir/R5","method":"POST"}`,
		`{"name":"token","on":"operation","action":"delay","by":"20s"}`,
	)
	write := s.delayed("PUT", "Encounter/e", encounter("e", "in-progress"))
	m := s.advance("10m", slices.Concat([]string{"08:01:00 heartbeat abc", "08:01:30 fault"}, heartbeats("08:02:30", 8))...)
	if a := <-write; a.Status != 201 || a.At("meta", "lastUpdated") != "2026-01-01T08:01:30.000Z" {
		t.Errorf("got %s, want it written 90 s later", a.Raw)
	}
	if f := ws.Next(); f.Kind() != "heartbeat" {
		t.Errorf("got %s, want a heartbeat", f.Raw)
	}
	ws.WantEvent("1")
	if got := s.story(m.Since, "change,http"); len(got) < 2 || got[0] != "08:01:30 change Encounter/e" || got[1] != "08:00:00 http " {
		t.Errorf("got %q, want the request behind the write that it made", got)
	}

	// One that is delayed twice, here as an entry of a batch, waits for the clock again.
	token := s.delayed("POST", "", map[string]any{"resourceType": "Bundle", "type": "batch", "entry": []any{
		map[string]any{"request": map[string]any{"method": "GET", "url": "Subscription/abc/$get-ws-binding-token"}},
	}})
	s.move("POST", "/mock/clock/advance", `{"by":"1h","timeout":"1m"}`)
	if a := <-token; a.Status != 200 || !strings.Contains(string(a.Raw), `"valueDateTime":"2026-01-01T08:40:30Z"`) {
		t.Errorf("got %s, want a token of 08:10:30, for half an hour", a.Raw)
	}
	for _, e := range s.Journal("?kind=clock") {
		if strings.Contains(e.Text, "too long") {
			t.Errorf("got %q, want that it does not wait for what waits for it", e.Text)
		}
	}
}

// heartbeats returns so many, a minute apart, as a move names them.
func heartbeats(from string, n int) (list []string) {
	var minutes, seconds int
	_, _ = fmt.Sscanf(from, "08:%d:%d", &minutes, &seconds)
	for i := range n {
		list = append(list, fmt.Sprintf("08:%02d:%02d heartbeat abc", minutes+i, seconds))
	}
	return list
}

// Requests that are let go together go on in the order in which they came, before the clock
// moves.
func TestClock_RequestsThatAreLetGo(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.faults(`{"name":"slow","on":"request","action":"delay","by":"1h","path":"/fhir/R5/Encounter/*"}`)
	var came []<-chan response
	var want []string
	for i := range 8 {
		id := fmt.Sprintf("e%d", i)
		came = append(came, s.delayed("PUT", "Encounter/"+id, encounter(id, "planned")))
		want = append(want, "08:00:00 change Encounter/"+id)
	}
	s.faults()
	m := s.move("POST", "/mock/clock/advance", `{"by":"2h","timeout":"1m"}`)
	for _, c := range came {
		if a := <-c; a.Status != 201 {
			t.Errorf("got %d, want 201", a.Status)
		}
	}
	wantStory(t, "written", s.story(0, "change"), want...)
	if late := s.story(m.Since, "change"); len(late) > 0 {
		t.Errorf("got %q in the move, want that before", late)
	}
}

// A heartbeat that a fault holds has happened. It is sent later.
func TestClock_NamesWhatIsHeld(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{
		`{"name":"f","on":"socket","action":"stall","after":"0s","for":"2m30s"}`,
		`{"name":"f","on":"socket","action":"half-open","after":"0s","for":"2m30s"}`,
		`{"name":"f","on":"frame","action":"delay","by":"90s","times":1}`,
	} {
		s := clocked(t)
		s.subscribe("heartbeatPeriod", 60)
		ws := s.Bind("abc")
		s.faults(fault)
		s.advance("2m", "08:01:00 heartbeat abc", "08:02:00 heartbeat abc")
		s.advance("1m", "08:02:30 fault", "08:03:00 heartbeat abc")
		for i := range 3 {
			wantHeartbeat(ws, fmt.Sprintf("2026-01-01T08:0%d:00Z", i+1))
		}
	}
}

// A replay that takes several rounds belongs to the time at which it began, and several come
// one after the other.
func TestClock_ReplaysBelongToTheirTime(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.Must(200, "PUT", "/mock/settings", `{"replay":"all"}`)
	s.subscribe("heartbeatPeriod", 10)
	const events = 130
	s.events("abc", events)
	s.faults(`{"name":"slow","on":"message","type":"bind","action":"delay","by":"5s"}`)
	var want []string
	for _, id := range []string{"s1", "s2"} {
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		s.AwaitEntry("?kind=fault&socket=" + id)
		read(ws)
		for range 1 + events {
			want = append(want, "08:00:05 sent "+id)
		}
	}
	m := s.advance("21s", "08:00:05 fault", "08:00:05 fault", "08:00:15 heartbeat abc")
	for _, id := range []string{"s1", "s2"} {
		want = append(want, "08:00:15 sent "+id)
	}
	wantStory(t, "sent", s.story(m.Since, "sent"), want...)
}

// A request comes after what those before it began, and an event after what the one before it
// began.
func TestClock_RequestsWaitForSocketsThatClose(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	var want []string
	for i := range 20 {
		before := s.lastEntry()
		socket := fmt.Sprintf("s%d", 1+2*i)
		s.bindAll(s.Token("abc"))
		s.Must(204, "DELETE", "/mock/sockets/"+socket+"?code=4000", nil)
		s.events("abc", 1)
		want = []string{"08:00:00 unbound " + socket, "08:00:00 closed " + socket, "08:00:00 appended "}
		wantStory(t, "a socket that was closed", s.story(before, "unbound,closed,appended"), want...)

		before, socket = s.lastEntry(), fmt.Sprintf("s%d", 2+2*i)
		s.bindAll(s.Token("abc"))
		s.faults(`{"on":"socket","action":"close","frames":2}`)
		s.events("abc", 3)
		s.faults()
		want = []string{"08:00:00 appended ", "08:00:00 appended ", "08:00:00 unbound " + socket, "08:00:00 closed " + socket, "08:00:00 appended "}
		wantStory(t, "a socket that a fault closed", s.story(before, "unbound,closed,appended"), want...)
	}
}
