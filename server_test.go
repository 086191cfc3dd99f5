package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

func TestRooms_CloseWhenIdle(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.Room("idle", nil)
	busy := s.Room("busy", nil)
	ws := busy.Bind("admission-id-only")
	s.AwaitBusy("busy", 1)
	s.clock.Advance(9 * time.Minute)
	s.Must(200, "GET", "/rooms/idle/mock/state", nil) // begins the time anew
	s.AwaitBusy("idle", 0)
	s.clock.Advance(9 * time.Minute)
	s.Must(200, "GET", "/rooms/idle", nil) // is not in the room
	s.clock.Advance(time.Minute)
	s.Must(404, "GET", "/rooms/idle", nil)
	s.Must(200, "GET", "/rooms/busy", nil)
	entries := asList(s.Must(200, "GET", "/mock/journal?kind=room&text=idle", nil).Body["entries"])
	if got := fmt.Sprint(entries); !strings.Contains(got, "the room idle was closed: it was idle for 10m0s (--room-ttl)") {
		t.Errorf("journal: got %s", got)
	}
	ws.Conn.Close(websocket.StatusNormalClosure, "")
	s.AwaitBusy("busy", 0)
	s.clock.Advance(10 * time.Minute)
	s.Must(404, "GET", "/rooms/busy", nil)
}

// A scenario is in its room as long as it runs.
func TestRooms_StayOpenWhileAScenarioRuns(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	in := s.Room("tested", nil)
	in.Must(201, "PUT", "/mock/scenarios/expiry", `{"description":"A token expires.","steps":[{"await":{"journal":{"kind":"token","type":"expired"},"timeout":"5m"}}]}`)
	in.Must(200, "POST", "Subscription/admission-id-only/$get-ws-binding-token", nil) // for 30 minutes
	in.Must(202, "POST", "/mock/scenarios/expiry", nil)
	s.AwaitBusy("tested", 1)
	s.clock.Advance(29 * time.Minute)
	s.Must(200, "GET", "/rooms/tested", nil)
	s.clock.Advance(time.Minute)
	s.AwaitBusy("tested", 0)
	s.clock.Advance(9 * time.Minute) // it was idle since the end, not since the last request
	s.Must(200, "GET", "/rooms/tested", nil)
	s.clock.Advance(time.Minute)
	s.Must(404, "GET", "/rooms/tested", nil)
}

func TestRooms_OpeningAgainKeepsARoom(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.Room("a", nil)
	s.clock.Advance(9 * time.Minute)
	s.Must(200, "PUT", "/rooms/a", nil)
	s.clock.Advance(9 * time.Minute)
	s.Must(200, "GET", "/rooms/a/mock/state", nil)
}

// leaving finds the addresses of the server in a response that are not in the room.
func leaving(text, server, room string) []string {
	var out []string
	for _, scheme := range []string{"http", "ws"} {
		root := scheme + strings.TrimPrefix(server, "http")
		inside := scheme + strings.TrimPrefix(room, "http")
		for rest := text; ; {
			i := strings.Index(rest, root)
			if i < 0 {
				break
			}
			if !strings.HasPrefix(rest[i:], inside) {
				out = append(out, rest[i:min(len(rest), i+len(root)+60)])
			}
			rest = rest[i+len(root):]
		}
	}
	return out
}

func lastIfDelete(r route) string {
	if r.method == "DELETE" {
		return "last"
	}
	return ""
}

// Every route of the table, in a room, hands out no address that leaves it.
func TestRooms_NoAddressLeavesTheRoom(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	r := s.Room("inside", nil)
	secret := r.Token("admission-id-only")
	ws := r.Bind("admission-id-only")
	r.Must(201, "PUT", "Encounter/e1", encounter("e1", "in-progress", "subject", reference("Patient/p1")))
	r.Must(201, "PUT", r.URL+"/fhir/R4/Patient/p1", map[string]any{"resourceType": "Patient", "id": "p1"})
	if out := leaving(string(ws.Next().Raw), s.URL, r.URL); out != nil {
		t.Errorf("the event leaves the room: %v", out)
	}
	bodies := map[string]string{
		"/:type/_search":        "_id=admission-id-only",
		"/oauth2/token":         "grant_type=client_credentials&client_id=x",
		"/mock/trigger":         `{"subscription":"admission-id-only"}`,
		"POST /mock/explain":    `{"current":{"resourceType":"Encounter","status":"in-progress"}}`,
		"/mock/await":           `{"bound":{"subscription":"admission-id-only","count":1}}`,
		"POST /mock/generators": `{"name":"mine","scenario":"admission-to-discharge","rate":"1/min"}`,
		"POST /fhir/:release":   `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Subscription/admission-id-only"}},{"request":{"method":"GET","url":"_history"}},{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}`,
		"POST /mock/faults":     `{"name":"mine","on":"frame","action":"drop","subscription":"none"}`,
		"PUT /mock/faults":      `{"faults":[]}`,
		"POST /:type":           `{"resourceType":"Subscription"}`,
		"/:name/step":           `{"count":1}`,
		"PATCH /:name":          `{"rate":"2/min"}`,
		"PUT /:type/:id":        `{"resourceType":"Subscription","id":"admission-id-only"}`,
		"PATCH /:type/:id":      `[]`,
		"$get-ws-binding-token": ``,
		"/notifications":        `{"type":"heartbeat"}`,
		"/frames":               `{"text":"x"}`,
		"/mock/users":           `{"users":[]}`,

		"PUT /mock/scenarios/:name":     `{"steps":[{"method":"GET","path":"/mock/clock"}]}`,
		"POST /mock/scenarios/:name":    `{"wait":true}`,
		"PATCH /mock/subscriptions/:id": `{"counter":3}`,
	}
	r.Must(201, "PUT", r.URL+"/mock/scenarios/mine", map[string]any{"steps": []any{map[string]any{"method": "GET", "path": "/mock/clock"}}})
	var checked int
	table := slices.Clone(s.server.table)
	slices.SortStableFunc(table, func(a, b route) int { return strings.Compare(lastIfDelete(a), lastIfDelete(b)) })
	for _, row := range table {
		if row.handle == nil || !row.needs.Room || row.needs.Socket || strings.HasSuffix(row.path, "/stream") || row.path == "/mock/reset" || row.path == "/mock/restart" {
			continue
		}
		for _, release := range []string{"R5", "R4B", "R4"} {
			if release != "R5" && !strings.Contains(row.path, ":release") {
				continue
			}
			token := secret
			if strings.HasSuffix(row.path, "/expire") { // the other is deleted later
				token = r.Token("admission-id-only")
			}
			path := strings.NewReplacer(":release", release, ":socket", "s1", ":type", "Subscription", ":id", "admission-id-only", ":version", "1",
				":name", "mine", ":token", token, ":seq", "3", "*", "app.js").Replace(row.path)
			if row.path == "/mock/explain" && row.method == "GET" {
				path += "?resource=Encounter/e1"
			}
			if row.path == "/mock/resources" {
				path += "?type=Subscription"
			}
			var in string
			longest := -1
			for suffix, b := range bodies {
				method, suffix, named := strings.Cut(suffix, " ")
				if !named {
					method, suffix = row.method, method
				}
				if method == row.method && strings.HasSuffix(row.path, suffix) && len(suffix) > longest {
					in, longest = b, len(suffix)
				}
			}
			kind := "application/fhir+json"
			if strings.Contains(in, "=") && !strings.HasPrefix(in, "{") {
				kind = "application/x-www-form-urlencoded"
			}
			if row.method == "PATCH" && row.needs.FHIR {
				kind = "application/json-patch+json"
			}
			req, err := http.NewRequest(row.method, r.URL+path, strings.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			if in != "" {
				req.Header.Set("Content-Type", kind)
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			checked++
			if out := leaving(string(text)+"\n"+fmt.Sprint(res.Header), s.URL, r.URL); out != nil {
				t.Errorf("%s %s (%d): %q", row.method, path, res.StatusCode, out)
			}
			if res.StatusCode == 404 && !strings.Contains(path, "/_history/") && !strings.Contains(path, "app.js") && release == "R5" {
				t.Errorf("%s %s: got 404 %s", row.method, path, text)
			}
		}
	}
	if checked < 80 {
		t.Errorf("only %d requests were checked", checked)
	}
	// What is kept for others: the journal, OperationDefinitions, refusals.
	for _, path := range []string{
		"/mock/journal?bodies=true", "/mock/journal?format=har", "/fhir/R9/Patient", "/fhir/R5/OperationDefinition/Subscription-get-ws-binding-token",
		"/fhir/R4/metadata", "/fhir/R4B/OperationDefinition/backport-subscription-status", "/nothing", "/fhir/R5/Nothing", "/fhir/R5",
	} {
		a := r.Do("GET", r.URL+path, nil)
		// A request says its Host, and the HAR its URL, as they were sent.
		if out := leaving(string(a.Raw), s.URL, r.URL); out != nil {
			t.Errorf("%s: %q", path, out)
		}
	}
	// The index of the page links into the room only.
	page := r.Must(200, "GET", r.URL+"/", nil)
	for _, part := range strings.Split(string(page.Raw), `="/`)[1:] {
		if !strings.HasPrefix(part, "rooms/inside/") {
			t.Errorf("the page links to /%.40s", part)
		}
	}
	if !strings.Contains(string(page.Raw), "rooms/inside/ui/app.js") {
		t.Errorf("got %s", page.Raw)
	}
}

func TestOpenAPI_DescribesTheTableOfRoutes(t *testing.T) {
	t.Parallel()
	s := start(t)
	var want []string
	for _, r := range s.server.table {
		if r.handle != nil && r.needs.Problems {
			segments := strings.Split(r.path, "/")
			for i, segment := range segments {
				if name, ok := strings.CutPrefix(segment, ":"); ok {
					segments[i] = "{" + name + "}"
				}
			}
			want = append(want, r.method+" "+strings.Join(segments, "/"))
		}
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/openapi.json", nil).Raw, &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, item := range doc.Paths {
		for member := range item {
			if member != "parameters" {
				got = append(got, strings.ToUpper(member)+" "+path)
			}
		}
	}
	for _, route := range want {
		if !slices.Contains(got, route) {
			t.Errorf("openapi.json does not describe %s", route)
		}
	}
	for _, route := range got {
		if !slices.Contains(want, route) {
			t.Errorf("openapi.json describes %s, which is not in the table of routes", route)
		}
	}
}

func TestSeed_IsAlive(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	ws := s.Bind("admission-full", "discharge-id-only", "lab-full", "task-id-only")
	s.clock.Advance(5 * time.Minute)
	seen := map[string]bool{}
	for len(seen) < 4 {
		if f := ws.Next(); f.Kind() == "event-notification" {
			seen[f.Subscription()] = true
		}
	}
}

// longTriggers fire five events, of which four are yet to come.
var longTriggers = map[string]string{
	"by subscription": `{"subscription":"abc","count":5,"interval":"1s"}`,
	"by topic":        `{"topic":"` + admissionURL + `","count":5,"interval":"1s"}`,
}

// What a trigger has yet to fire ends with a reset, even if the same topic and
// subscription are there again.
func TestMock_ResetStopsTriggers(t *testing.T) {
	t.Parallel()
	for name, trigger := range longTriggers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			ws := s.Bind("abc")
			s.Must(200, "POST", "/mock/trigger", trigger)
			ws.WantEvent("1")
			s.clock.Advance(time.Second)
			ws.WantEvent("2")

			s.Must(204, "POST", "/mock/reset", nil)
			s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
			s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
			ws = s.Bind("abc")
			s.clock.Advance(10 * time.Second)
			ws.Nothing()
			s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc"}`)
			ws.WantEvent("1")
		})
	}
}

// A trigger ends with its subscription or topic. A subscription that gets the same id is
// another one.
func TestMock_TriggersEndWithWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	for name, trigger := range longTriggers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			s.Must(200, "POST", "/mock/trigger", trigger)
			if name == "by topic" {
				s.Must(204, "DELETE", "SubscriptionTopic/admission", nil)
			} else {
				s.Must(204, "DELETE", "Subscription/abc", nil)
				s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
			}
			before := len(s.Journal("?kind=appended"))
			s.clock.Advance(10 * time.Second)
			if after := len(s.Journal("?kind=appended")); after != before {
				t.Errorf("the trigger made %d more events, want none", after-before)
			}
			if why := s.Journal("?kind=not-fired"); len(why) != 1 || !strings.Contains(why[0].Text, "the trigger stopped with 4 events left: ") {
				t.Errorf("got %v, want why it stopped", why)
			}
		})
	}
}

// The rates of the state are per second of the clock.
func TestState_RatesMoveWithTheClock(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("1")
	rates := func() []any {
		return asList(s.Must(200, "GET", "/mock/state", nil).At("rates", "frames"))
	}
	if frames := rates(); len(frames) != 300 || frames[299] != 2.0 {
		t.Errorf("got %d seconds, the last with %v frames, want 300 and 2", len(frames), frames[len(frames)-1])
	}
	s.clock.Advance(3 * time.Second)
	if frames := rates(); frames[296] != 2.0 || frames[299] != 0.0 {
		t.Errorf("three seconds later: got %v", frames[295:])
	}
}

// What happened is reported as it was, even if the subscription, its topic or the journal
// changed since.
func TestExplain_WhatHappenedStaysAsItWas(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	note := func(name, text string) { fmt.Fprintf(&all, "%s\n%s\n", name, text) }
	admitted := encounter("e", "in-progress")
	happened := func(s *testServer, query string) string {
		return string(s.Must(200, "GET", "/mock/explain?format=text&"+query, nil).Raw)
	}

	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/off", websocketSubscription("off", admissionURL, "status", "off"))
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", admitted)
	ws.WantEvent("1")
	s.Must(200, "PUT", "Subscription/off", websocketSubscription("off", admissionURL))
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "status", "off"))
	note("each has the status of the other since", happened(s, "resource=Encounter/e"))
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	s.Must(200, "PUT", "SubscriptionTopic/admission", with(admissionTopic(), "status", "retired"))
	s.Must(201, "PUT", "Encounter/f", encounter("f", "in-progress"))
	note("the topic was retired before", happened(s, "resource=Encounter/f&subscription=abc"))
	s.Must(204, "DELETE", "SubscriptionTopic/admission", nil)
	note("the topic was deleted since", happened(s, "resource=Encounter/e"))
	note("the topic was deleted since, of one subscription", happened(s, "resource=Encounter/e&subscription=abc"))
	note("the topic was deleted, as a dry run", string(s.Must(200, "POST", "/mock/explain?format=text", map[string]any{"subscription": "abc", "current": admitted}).Raw))
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(204, "DELETE", "Subscription/abc", nil)
	note("the subscription was deleted since", happened(s, "resource=Encounter/e"))
	note("the subscription was deleted since, of that alone", happened(s, "resource=Encounter/e&subscription=abc"))
	note("there never was such a subscription", happened(s, "subscription=none"))
	s.on(fhir.R4).Must(201, "PUT", "Encounter/e", admitted)
	note("a change of another release is none of a subscription's", happened(s, "resource=Encounter/e&subscription=off"))

	s = vectorServer(t, fhir.R5, func(o *command.Serve) { o.BatchWindow = time.Second })
	ws = s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", admitted)
	note("it waits for others", happened(s, "resource=Encounter/e"))
	s.clock.Advance(time.Second)
	ws.WantEvent("1")
	s.Must(200, "POST", "Subscription/abc/$resend", `{"resourceType":"Parameters"}`)
	ws.WantEvent("1")
	note("it was sent twice", happened(s, "resource=Encounter/e"))
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "end", "2026-01-01T11:00:00Z", "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/123"}}))
	s.clock.Advance(2 * time.Hour)
	note("the subscription has ended, its filters have not", string(s.Must(200, "POST", "/mock/explain?format=text", map[string]any{"subscription": "abc", "current": admitted}).Raw))

	s = vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Encounter/e", admitted)
	s.Must(204, "POST", "/mock/reset", nil)
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
	note("the room was reset since", happened(s, "resource=Encounter/e"))

	s = vectorServer(t, fhir.R5, func(o *command.Serve) { o.JournalSize = 3 })
	s.Must(201, "PUT", "Encounter/e", admitted)
	note("the journal goes back to the event, not to the change", happened(s, "resource=Encounter/e"))
	wiretest.Golden(t, "explain.golden", all.String())
}

// The handler returns when its client goes, and when the server stops.
func TestJournal_StreamEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{false, true} {
		o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Hour, JournalSize: 10, MaxBodyBytes: 1000, MaxMemory: 1 << 40, MaxResponseBytes: 64 << 20}
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
		case <-time.After(wiretest.Patience):
			t.Errorf("stops %v: the stream did not end", stops)
		}
		w.Close()
	}
}

// pipeWriter writes a response into a pipe.
type pipeWriter struct {
	*httptest.ResponseRecorder
	body io.Writer
}

func (w *pipeWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
