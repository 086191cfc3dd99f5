package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/testkit"
)

// morning is what a manual clock shows when a room begins.
var morning = time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)

// clocked opens an empty room with a manual clock. With arguments, it runs a process with
// them instead.
func clocked(t *testing.T, args ...string) *server {
	t.Helper()
	if len(args) == 0 {
		return serverOf(t, testkit.Start(t, testkit.WithoutSeed(), testkit.WithClock(morning)))
	}
	s := startProcess(t, args...)
	s.setClock("2026-01-01T08:00:00Z")
	return s
}

// moved is what a move of the clock did.
type moved struct {
	testkit.ClockMove
	Done bool
	Note string
}

// did returns what happened, as "08:30:00 token …".
func (m moved) did() []string {
	list := []string{}
	for _, c := range m.Happened {
		list = append(list, strings.TrimSpace(c.At.Format(time.TimeOnly)+" "+c.Kind+" "+c.Subscription+c.Generator+c.Topic))
	}
	return list
}

func (s *server) move(method, path, body string) (m moved) {
	s.T.Helper()
	if err := json.Unmarshal(s.Must(200, method, path, body).Raw, &m); err != nil {
		s.T.Fatal(err)
	}
	return m
}

// advance lets time pass, and fails the test unless this and nothing else happened.
func (s *server) advance(by string, want ...string) moved {
	s.T.Helper()
	m := s.move("POST", "/mock/clock/advance", `{"by":"`+by+`","timeout":"1m"}`)
	s.want(m, want)
	return m
}

// setClock sets a manual clock, and fails the test unless this happened.
func (s *server) setClock(now string, want ...string) moved {
	s.T.Helper()
	m := s.move("PUT", "/mock/clock", `{"mode":"manual","now":"`+now+`","timeout":"1m"}`)
	s.want(m, want)
	return m
}

func (s *server) want(m moved, want []string) {
	s.T.Helper()
	if got := m.did(); !slices.Equal(got, want) || !m.Done || m.Note != "" {
		s.T.Fatalf("happened: got %q (done %v %s), want %q", got, m.Done, m.Note, want)
	}
}

// subscribe gives the server the topic of the test vectors and a subscription on it.
func (s *server) subscribe(changes ...any) {
	s.T.Helper()
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, changes...))
}

// wantHeartbeat reads the next frame, which has to be a heartbeat of a time of day.
func wantHeartbeat(ws *socket, at string) {
	ws.T.Helper()
	if f := ws.Next(); f.Kind() != "heartbeat" || strings.Replace(text(f.Body, "timestamp"), ".000Z", "Z", 1) != at {
		ws.T.Fatalf("got %s, want a heartbeat at %s", f.Raw, at)
	}
}

func TestClock_TokenExpires(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	token := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + token)
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.Raw)
	}
	s.advance("29m59s")
	ws.Nothing()
	s.advance("1s", "08:30:00 token", "08:30:00 binding abc")
	ws.Outcome("expired")
	if code, _ := ws.Closed(); code != 1008 {
		t.Errorf("got %d, want 1008", code)
	}
	late := s.Dial()
	late.Send("bind-with-token " + token)
	if text := late.Outcome("expired"); !strings.Contains(text, "2026-01-01T08:30:00Z") {
		t.Errorf("got %s, want when it expired", text)
	}
}

func TestClock_ATokenIsRenewed(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	ws := s.Bind("abc")
	s.advance("20m")
	ws.Send("bind-with-token " + s.Token("abc"))
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.Raw)
	}
	s.advance("25m", "08:30:00 token")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	ws.WantEvent("1")
	s.advance("5m", "08:50:00 binding abc", "08:50:00 token")
	ws.Outcome("expired")
}

func TestClock_Heartbeats(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe("heartbeatPeriod", 60)
	ws := s.Bind("abc")
	m := s.advance("2m30s", "08:01:00 heartbeat abc", "08:02:00 heartbeat abc")
	wantHeartbeat(ws, "2026-01-01T08:01:00Z")
	wantHeartbeat(ws, "2026-01-01T08:02:00Z")
	for i, e := range s.Journal(fmt.Sprintf("?kind=sent&since=%d", m.Since)) {
		if want := morning.Add(time.Duration(i+1) * time.Minute); !e.Time.Equal(want) || e.Type != "heartbeat" {
			t.Errorf("got a %s in the journal at %s, want a heartbeat at %s", e.Type, e.Time, want)
		}
	}
	// The event is a frame, so the next heartbeat is due a period later.
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	ws.WantEvent("1")
	if m := s.advance("59s"); m.Calls != 1 {
		t.Errorf("%d calls ran, want one that found no heartbeat due", m.Calls)
	}
	ws.Nothing()
	s.advance("1s", "08:03:30 heartbeat abc")
	wantHeartbeat(ws, "2026-01-01T08:03:30Z")
}

func TestClock_EndOfASubscription(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe("end", "2026-01-01T08:10:00Z")
	ws := s.Bind("abc")
	s.advance("9m")
	ws.Nothing()
	m := s.move("POST", "/mock/clock/advance", `{"to":"2026-01-01T08:10:00Z"}`)
	s.want(m, []string{"08:10:00 end abc"})
	if f := ws.Next(); f.Status()["status"] != "off" {
		t.Errorf("got %s, want a last heartbeat with status off", f.Raw)
	}
	if got := s.Must(200, "GET", "Subscription/abc", nil).At("status"); got != "off" {
		t.Errorf("got status %v, want off", got)
	}
}

func TestClock_BatchWindow(t *testing.T) {
	t.Parallel()
	s := clocked(t, "--batch-window", "10s")
	s.subscribe()
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	s.advance("5s")
	s.Must(201, "PUT", "Encounter/f", encounter("f", "in-progress"))
	s.advance("4s")
	ws.Nothing()
	s.advance("1s", "08:00:10 batch abc")
	ws.WantEvent("1,2")
}

func TestClock_Generators(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.Must(201, "POST", "/mock/generators", `{"name":"ward","scenario":"admission-to-discharge","rate":"1/min","patients":1,"seed":1,"running":true}`)
	m := s.advance("3m30s", "08:01:00 generator ward", "08:02:00 generator ward", "08:03:00 generator ward")
	changes := s.Journal(fmt.Sprintf("?kind=change&since=%d", m.Since))
	if len(changes) != 3 {
		t.Fatalf("got %d changes, want 3, all before the response", len(changes))
	}
	written := s.Must(200, "GET", changes[1].Resource, nil)
	if got := text(written.Body, "meta", "lastUpdated"); !strings.HasPrefix(got, "2026-01-01T08:0") {
		t.Errorf("got lastUpdated %s, want the time of the room", got)
	}
	// A rate counts anew, and a jump changes nothing of it.
	s.Must(200, "PATCH", "/mock/generators/ward", `{"rate":"1/h"}`)
	s.advance("59m")
	s.setClock("2026-01-05T08:00:00Z")
	s.advance("1m", "08:01:00 generator ward")
}

func TestClock_ScheduledTriggers(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	ws := s.Bind("abc")
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":3,"interval":"1m"}`)
	s.Must(200, "POST", "/mock/trigger", `{"topic":"`+admissionURL+`","count":2,"interval":"90s"}`)
	ws.WantEvent("1")
	ws.WantEvent("2")
	s.advance("2m", "08:01:00 trigger abc", "08:01:30 trigger "+admissionURL, "08:02:00 trigger abc")
	for _, number := range []string{"3", "4", "5"} {
		ws.WantEvent(number)
	}
	s.advance("1h", "08:30:00 token", "08:30:00 binding abc")
}

// What the room says of the time is the time of its clock.
func TestClock_IsTheTimeOfTheRoom(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	s.advance("90s")
	const now = "2026-01-01T08:01:30Z"
	same := func(what string, got any) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, fmt.Sprint(got))
		if err != nil || at.UTC().Format(time.RFC3339) != now {
			t.Errorf("%s: got %v, want %s", what, got, now)
		}
	}
	same("lastUpdated", s.Must(201, "PUT", "Patient/p", patient("p", "Doe")).At("meta", "lastUpdated"))
	same("a search", s.Must(200, "GET", "Patient", nil).At("timestamp"))
	same("a history", s.Must(200, "GET", "_history", nil).At("timestamp"))
	ws := s.Dial()
	issued := s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil)
	if got := issued.Parameters("expiration"); !slices.Equal(got, []string{"2026-01-01T08:31:30Z"}) {
		t.Errorf("expiration: got %s, want half an hour from %s", got, now)
	}
	ws.Send("bind-with-token " + issued.Parameters("token")[0])
	same("a frame", ws.Next().At("timestamp"))
	state := s.Must(200, "GET", "/mock/state", nil)
	same("the state", state.At("now"))
	same("its clock", state.At("clock", "now"))
	if state.At("clock", "mode") != "manual" {
		t.Errorf("got %v, want a manual clock", state.At("clock"))
	}
	same("a socket", state.At("sockets", 0, "opened"))
	same("a token", state.At("tokens", 0, "issued"))
	for _, kind := range []string{"http", "opened", "sent", "change", "token"} {
		entries := s.Journal("?limit=1&kind=" + kind)
		same("the journal's "+kind, entries[0].Time.Format(time.RFC3339))
	}
	clock := s.Must(200, "GET", "/mock/clock", nil)
	if due := asList(clock.At("due")); len(due) != 2 || at(due, 0, "kind") != "token" || at(due, 0, "token") != state.At("tokens", 0, "fingerprint") || at(due, 1, "subscription") != "abc" ||
		clock.At("next", "at") != "2026-01-01T08:31:30Z" || clock.At("next", "calls") != 2.0 || clock.At("pending") != 2.0 {
		t.Errorf("got %s, want the end of the token and of its binding", clock.Raw)
	}
	moves := s.Journal("?kind=clock")
	if len(moves) != 1 || moves[0].Type != "manual" || moves[0].Text != "the clock was advanced by 1m30s to "+now+"; calls that ran: 0" {
		t.Errorf("got %+v, want one entry for the move", moves)
	}
}

// A clock that is set back changes nothing of what a heartbeat waits for. A token lives
// until its time comes again.
func TestClock_SetBack(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe("heartbeatPeriod", 600)
	ws := s.Bind("abc")
	s.advance("4m")
	s.setClock("2025-12-31T08:00:00Z")
	s.advance("5m59s")
	ws.Nothing()
	s.advance("1s", "08:06:00 heartbeat abc")
	wantHeartbeat(ws, "2025-12-31T08:06:00Z")
	s.Must(201, "PUT", "Patient/p", patient("p", "Doe"))
	if got := s.Must(200, "GET", "Patient/p", nil).At("meta", "lastUpdated"); got != "2025-12-31T08:06:00.000Z" {
		t.Errorf("got lastUpdated %v, want the time that the clock shows now", got)
	}
	m := s.move("POST", "/mock/clock/advance", `{"to":"2026-01-01T08:30:00Z","timeout":"1m"}`)
	if did := m.did(); len(did) != 148 || did[0] != "08:16:00 heartbeat abc" || did[146] != "08:30:00 token" || did[147] != "08:30:00 binding abc" {
		t.Errorf("got %q, want heartbeats to the end of the token", did)
	}
}

// A jump runs what depends on a time of day, in order. All of it happens at the time to
// which the clock has jumped.
func TestClock_JumpsOverWhatEnds(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe("end", "2026-01-01T09:00:00Z", "heartbeatPeriod", 60)
	ws := s.Bind("abc")
	s.advance("30s")
	s.setClock("2026-01-01T12:00:00Z", "12:00:00 token", "12:00:00 binding abc", "12:00:00 end abc")
	ws.Outcome("expired")
	if code, _ := ws.Closed(); code != 1008 {
		t.Errorf("got %d, want 1008", code)
	}
	if got := s.Must(200, "GET", "Subscription/abc", nil); got.At("status") != "off" || got.At("meta", "lastUpdated") != "2026-01-01T12:00:00.000Z" {
		t.Errorf("got %s, want it off since noon", got.Raw)
	}
}

func TestClock_RealManualReal(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.subscribe("heartbeatPeriod", 3600)
	ws := s.Bind("abc")
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":2,"interval":"10h"}`)
	ws.WantEvent("1")
	if clock := s.Must(200, "GET", "/mock/clock", nil); clock.At("mode") != "real" || clock.At("pending") != 4.0 || at(clock.At("due"), 3, "kind") != "trigger" {
		t.Errorf("got %s, want a real clock with four calls due", clock.Raw)
	}
	// The clock stands still at the time it shows.
	before := s.move("PUT", "/mock/clock", `{"mode":"manual"}`)
	if after := s.move("PUT", "/mock/clock", `{"mode":"manual"}`); !after.Now.Equal(before.Now) || after.Mode != "manual" {
		t.Errorf("got %s and then %s, want the same", before.Now, after.Now)
	}
	// Real time goes on, and the rest of the ten hours is what it was.
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","count":2,"interval":"50ms"}`)
	ws.WantEvent("2")
	ws.Nothing()
	if m := s.move("PUT", "/mock/clock", `{"mode":"real"}`); m.Mode != "real" || len(m.Happened) != 0 || !m.Done {
		t.Errorf("got %+v, want a real clock, and that nothing happened yet", m)
	}
	ws.WantEvent("3") // comes by itself now
	// And back: the token and its binding end, and the heartbeat and the trigger keep their time.
	s.move("PUT", "/mock/clock", `{"mode":"manual"}`)
	s.setClock("2190-01-01T08:00:00Z", "08:00:00 token", "08:00:00 binding abc")
	ws.Outcome("expired")
	if m := s.move("POST", "/mock/clock/advance", `{"by":"10h"}`); len(m.Happened) != 1 || m.Happened[0].Kind != "trigger" {
		t.Errorf("got %q, want the second event of the first trigger", m.did())
	}
	// The clock is real again after a jump over a century.
	if m := s.move("PUT", "/mock/clock", `{"mode":"real"}`); m.Now.Year() >= 2190 {
		t.Errorf("got %s, want the time of the machine", m.Now)
	}
}

// A move has an end, and says how to go on.
func TestClock_AYearIsBounded(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.Must(201, "POST", "/mock/generators", `{"name":"ward","scenario":"tasks","rate":"1000/s","patients":1,"running":true}`)
	last := morning
	for range 2 {
		m := s.move("POST", "/mock/clock/advance", `{"to":"2027-01-01T08:00:00Z","timeout":"20ms"}`)
		if m.Done || !m.Now.After(last) || m.Now.Year() != 2026 || !strings.Contains(m.Note, "not yet to 2027-01-01T08:00:00Z") ||
			!strings.Contains(m.Note, "after 20ms, its timeout") || !strings.HasSuffix(m.Note, `POST /mock/clock/advance {"to":"2027-01-01T08:00:00Z"} goes on`) {
			t.Fatalf("got %+v, want a part of the year and how to go on", m)
		}
		if named := len(m.Happened) + m.Omitted; named != m.Calls || len(m.Happened) > 1000 {
			t.Errorf("got %d happened and %d omitted of %d calls", len(m.Happened), m.Omitted, m.Calls)
		}
		last = m.Now
	}
	if now := s.Must(200, "GET", "/mock/clock", nil).At("now"); now != last.Format(time.RFC3339Nano) {
		t.Errorf("the clock shows %v, want %s", now, last)
	}
}

func TestClock_Refusals(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "", `{}`, 400, `mode: got "", expected "manual" or "real"`},
		{"PUT", "", `{"now":"2026-01-01T08:00:00Z"}`, 400, `mode: got ""`},
		{"PUT", "", `{"mode":"fast"}`, 400, `mode: got "fast"`},
		{"PUT", "", `{"mode":"real","now":"2026-01-01T08:00:00Z"}`, 400, "now: a real clock shows the time of the machine"},
		{"PUT", "", `{"mode":"manual","now":"tomorrow"}`, 400, `now: got "tomorrow", expected a time with a time zone such as 2026-01-01T08:00:00Z`},
		{"PUT", "", `{"mode":"manual","now":"2026-01-01"}`, 400, `now: got "2026-01-01"`},
		{"PUT", "", `{"mode":"manual","now":"1969-12-31T23:59:59Z"}`, 400, "now: got 1969-12-31T23:59:59Z, expected a time from 1970-01-01T00:00:00Z to 2200-01-01T00:00:00Z"},
		{"PUT", "", `{"mode":"manual","timeout":"6m"}`, 400, `timeout: got "6m", expected a time from 1ms to 5m`},
		{"PUT", "", `{"mode":"manual","tick":1}`, 400, `tick: unknown member`},
		{"POST", "/advance", `{}`, 400, `give either "by"`},
		{"POST", "/advance", `{"by":"1s","to":"2026-01-01T08:00:00Z"}`, 400, `give either "by"`},
		{"POST", "/advance", `{"by":"soon"}`, 400, `by: got "soon", expected a time such as`},
		{"POST", "/advance", `{"by":"-1s"}`, 400, "by: got -1s, expected 0s to "},
		{"POST", "/advance", `{"by":"2000000h"}`, 400, "by: got 2000000h0m0s, expected 0s to "},
		{"POST", "/advance", `{"by":"9999999h"}`, 400, "by: got more than 292 years, expected 0s to "},
		{"POST", "/advance", `{"to":"2026-01-01T07:59:59Z"}`, 409, `to: got 2026-01-01T07:59:59Z, but the clock shows 2026-01-01T08:00:00Z already; PUT /mock/clock {"mode":"manual","now":"2026-01-01T07:59:59Z"} sets it back`},
		{"POST", "/advance", `{"to":"2200-01-01T00:00:01Z"}`, 400, "to: got 2200-01-01T00:00:01Z, expected a time from "},
		{"POST", "/advance", `{"by":"1s","timeout":"0s"}`, 400, `timeout: got "0s"`},
	} {
		a := s.Must(test.status, test.method, "/mock/clock"+test.path, test.body)
		if got := fmt.Sprint(a.Body["detail"]); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.body, got, test.want)
		}
	}
	if now := s.Must(200, "GET", "/mock/clock", nil).At("now"); now != "2026-01-01T08:00:00Z" {
		t.Errorf("a refusal moved the clock to %v", now)
	}
	s.move("PUT", "/mock/clock", `{"mode":"real"}`)
	a := s.Must(409, "POST", "/mock/clock/advance", `{"by":"1s"}`)
	if got := fmt.Sprint(a.Body["detail"]); !strings.Contains(got, `PUT /mock/clock {"mode":"manual"} makes it stand still`) {
		t.Errorf("got %s, want what to do", got)
	}
	for body, want := range map[string]string{
		`{"seed":"none","clock":"noon"}`:                 `clock: got "noon"`,
		`{"seed":"none","clock":"2300-01-01T00:00:00Z"}`: "clock: got 2300-01-01T00:00:00Z, expected a time from ",
	} {
		process := strings.TrimSuffix(s.URL, s.URL[strings.Index(s.URL, "/rooms/"):])
		if a := s.Must(400, "PUT", process+"/rooms/clock-refused", body); !strings.HasPrefix(fmt.Sprint(a.Body["detail"]), want) {
			t.Errorf("%s: got %s, want %s", body, a.Raw, want)
		}
	}
}

// Two advances at once come one after the other.
func TestClock_TwoAdvancesTakeTurns(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.Must(201, "POST", "/mock/generators", `{"name":"ward","scenario":"tasks","rate":"1/s","patients":1,"running":true}`)
	const both = 2
	var came []<-chan response
	for range both {
		came = append(came, s.Begin("POST", "/mock/clock/advance", `{"by":"5m","timeout":"1m"}`))
	}
	var moves []moved
	for _, c := range came {
		a := <-c
		var m moved
		if err := json.Unmarshal(a.Raw, &m); err != nil || !m.Done || len(m.Happened) != 300 {
			t.Fatalf("got %.300s, want 300 writes", a.Raw)
		}
		moves = append(moves, m)
	}
	slices.SortFunc(moves, func(a, b moved) int { return a.Now.Compare(b.Now) })
	at := morning
	for _, m := range moves {
		for _, c := range m.Happened {
			if at = at.Add(time.Second); !c.At.Equal(at) {
				t.Fatalf("got a write at %s, want one at %s", c.At, at)
			}
		}
		if !m.Now.Equal(at) {
			t.Errorf("the clock showed %s then, want %s", m.Now, at)
		}
	}
}

// unread binds a client that does not read, and schedules more for it than a queue takes.
func unread(s *server) (slow *socket) {
	s.T.Helper()
	s.subscribe("content", "full-resource")
	slow = s.dialSlow()
	slow.Send("bind-with-token " + s.Token("abc"))
	if f := slow.Next(); f.Kind() != "handshake" {
		s.T.Fatalf("got %s, want a handshake", f.Raw)
	}
	s.Must(201, "PUT", "Encounter/big", encounter("big", "planned", "text", map[string]any{"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">" + strings.Repeat("x", 256<<10) + "</div>"}))
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","reference":"Encounter/big","count":200,"interval":"1s"}`)
	return slow
}

// stuck starts an advance that waits for a client that does not read, and returns once it
// has sent something. The response comes from the channel; it is empty if there is none.
func stuck(t *testing.T, ctx context.Context, s *server) (slow *socket, came <-chan response) {
	t.Helper()
	slow = unread(s)
	answered := make(chan response, 1)
	go func() {
		var a response
		defer func() { answered <- a }()
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/mock/clock/advance", bytes.NewReader([]byte(`{"by":"20m","timeout":"5m"}`)))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		a.Status = res.StatusCode
		_ = json.NewDecoder(res.Body).Decode(&a.Body)
	}()
	s.Must(200, "POST", "/mock/await", `{"sent":{"subscription":"abc","count":8},"timeout":"30s"}`)
	return slow, answered
}

// slowServer has a manual clock and closes no slow socket.
func slowServer(t *testing.T) *server {
	return clocked(t, "--slow-after", "1h")
}

func TestClock_AdvanceDoesNotHangForAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := slowServer(t)
	slow, came := stuck(t, context.Background(), s)
	// A second one waits for its turn, no longer than its timeout.
	second := s.Must(409, "POST", "/mock/clock/advance", `{"by":"1s","timeout":"5ms"}`)
	if got := fmt.Sprint(second.Body["detail"]); !strings.HasPrefix(got, "another request has been moving the clock for 5ms") {
		t.Errorf("got %s, want what it waited for", got)
	}
	// Others can write meanwhile.
	s.Must(201, "PUT", "Encounter/other", encounter("other", "planned"))
	slow.Conn.CloseNow()
	if a := <-came; a.Status != 200 || a.Body["done"] != true || a.Body["now"] != "2026-01-01T08:20:00Z" {
		t.Errorf("got %d, want 200 once the client has gone", a.Status)
	}
}

func TestClock_AdvanceSaysThatAClientDoesNotRead(t *testing.T) {
	t.Parallel()
	s := slowServer(t)
	unread(s)
	for note := ""; !strings.Contains(note, "it waited for a socket that does not read"); {
		m := s.move("POST", "/mock/clock/advance", `{"to":"2026-01-01T08:20:00Z","timeout":"100ms"}`)
		if note = m.Note; m.Done {
			t.Fatalf("all of 50 MB came to a client that does not read: %+v", m)
		}
	}
}

func TestClock_ResetStopsAnAdvance(t *testing.T) {
	t.Parallel()
	s := slowServer(t)
	_, came := stuck(t, context.Background(), s)
	s.Must(204, "POST", "/mock/reset", nil)
	if a := <-came; a.Status != 409 || !strings.Contains(fmt.Sprint(a.Body["detail"]), "the room was reset") || !strings.Contains(fmt.Sprint(a.Body["detail"]), "the clock was advanced by ") {
		t.Errorf("got %d %v, want 409 and how far it came", a.Status, a.Body)
	}
	// The clock of this room was real when it began.
	if clock := s.Must(200, "GET", "/mock/clock", nil); clock.At("mode") != "real" || clock.At("pending") != 0.0 {
		t.Errorf("got %s, want a real clock and nothing due", clock.Raw)
	}
}

func TestClock_ResetTakesTheClockBack(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	s.Token("abc")
	for _, body := range []string{`{"mode":"manual","now":"2031-01-01T08:00:00Z"}`, `{"mode":"real"}`} {
		s.move("PUT", "/mock/clock", body)
		s.Must(204, "POST", "/mock/reset", nil)
		if clock := s.Must(200, "GET", "/mock/clock", nil); clock.At("mode") != "manual" || clock.At("now") != "2026-01-01T08:00:00Z" || clock.At("pending") != 0.0 {
			t.Errorf("got %s after %s, want the clock as the room began", clock.Raw, body)
		}
		if last := s.Journal("?kind=reset&limit=1")[0]; !last.Time.Equal(morning) {
			t.Errorf("the room holds its seed since %s, want %s", last.Time, morning)
		}
	}
}

func TestClock_TheEndOfARoomStopsAnAdvance(t *testing.T) {
	t.Parallel()
	process := startProcess(t, "--slow-after", "1h")
	process.Must(201, "PUT", "/rooms/slow", `{"seed":"none","clock":"2026-01-01T08:00:00Z"}`)
	room := serverOf(t, &testkit.Server{URL: process.URL + "/rooms/slow"})
	room.log = process.log
	_, came := stuck(t, context.Background(), room)
	process.Must(204, "DELETE", "/rooms/slow", nil)
	if a := <-came; a.Status != 410 || !strings.Contains(fmt.Sprint(a.Body["detail"]), "the room was closed") {
		t.Errorf("got %d %v, want 410", a.Status, a.Body)
	}
}

func TestClock_AnAdvanceStopsWithItsRequest(t *testing.T) {
	t.Parallel()
	s := slowServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, came := stuck(t, ctx, s)
	cancel()
	<-came
	s.AwaitEntry("?kind=clock&text=cancelled")
	// The next one finds the clock where that one stopped.
	if m := s.move("POST", "/mock/clock/advance", `{"by":"0s"}`); !m.Now.After(morning) || !m.Now.Before(morning.Add(20*time.Minute)) {
		t.Errorf("the clock shows %s, want a part of the 20 minutes", m.Now)
	}
}

// The heartbeats of every release follow the clock, and so does an expiry in each dialect.
func TestClock_EveryRelease(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := clocked(t).on(r)
		s.subscribe("heartbeatPeriod", 60)
		ws := s.Bind("abc")
		s.advance("1m", "08:01:00 heartbeat abc")
		wantHeartbeat(ws, "2026-01-01T08:01:00Z")
	})
}
