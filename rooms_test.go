package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/command"
)

// room opens a room and returns the server as seen from inside of it.
func (s *testServer) room(name string, body any) *testServer {
	s.t.Helper()
	a := s.must(201, "PUT", s.url+"/rooms/"+name, body, "Content-Type", "application/json")
	other := *s
	other.url = a.body["url"].(string)
	other.ws = a.body["ws"].(string)
	other.fhir = a.body["fhir"].(map[string]any)["R5"].(string)
	return &other
}

func body(s string) any { return json.RawMessage(s) }

func TestRooms_OpenListAndClose(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	made := s.must(201, "PUT", s.url+"/rooms/a", nil)
	root := s.url + "/rooms/a"
	want := map[string]any{"name": "a", "url": root, "ws": "ws" + strings.TrimPrefix(root, "http") + "/ws"}
	for member, value := range want {
		if made.body[member] != value {
			t.Errorf("%s: got %v, want %v", member, made.body[member], value)
		}
	}
	if bases := made.body["fhir"].(map[string]any); len(bases) != 3 || bases["R4B"] != root+"/fhir/R4B" {
		t.Errorf("bases: got %v", bases)
	}
	if got := made.header.Get("Location"); got != root {
		t.Errorf("Location: got %q", got)
	}
	// The seed is the server's unless the body names another.
	s.must(200, "GET", root+"/fhir/R5/Subscription/admission-id-only", nil)
	s.room("empty", body(`{"seed":"none"}`)).must(404, "GET", "Subscription/admission-id-only", nil)
	own := s.room("own", body(`{"seed":{"resources":[{"resourceType":"Patient","id":"mine"}]}}`))
	own.must(200, "GET", "Patient/mine", nil)
	own.must(404, "GET", "Subscription/admission-id-only", nil)

	// The same body finds the room, another one does not change it.
	if again := s.must(200, "PUT", s.url+"/rooms/a", body(`{}`)); again.body["url"] != root {
		t.Errorf("again: got %s", again.raw)
	}
	s.must(409, "PUT", s.url+"/rooms/a", body(`{"seed":"none"}`))
	s.must(409, "PUT", s.url+"/rooms/a", body(`{"random":1}`))
	s.must(200, "PUT", s.url+"/rooms/own", body(`{ "seed" : {"resources" : [ {"resourceType":"Patient","id":"mine"}]} }`))

	var names []string
	for _, one := range asList(s.must(200, "GET", "/rooms", nil).body["rooms"]) {
		names = append(names, one.(map[string]any)["name"].(string))
	}
	if !slices.Equal(names, []string{"default", "a", "empty", "own"}) {
		t.Errorf("rooms: got %v", names)
	}
	if got := s.must(200, "GET", "/rooms/default", nil).body["url"]; got != s.url {
		t.Errorf("the default room is at %v", got)
	}

	s.must(204, "DELETE", "/rooms/a", nil)
	gone := s.must(404, "GET", "/rooms/a/fhir/R5/metadata", nil)
	if _, why, _ := gone.issue(); !strings.Contains(why, "PUT /rooms/a makes one") {
		t.Errorf("got %s", gone.raw)
	}
	if a := s.must(404, "GET", "/rooms/a/mock/state", nil); a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s", a.raw)
	}
	s.must(404, "GET", "/rooms/a", nil)
	s.must(404, "DELETE", "/rooms/a", nil)
	s.must(404, "GET", "/rooms/a/", nil)
	s.must(201, "PUT", "/rooms/a", nil)
}

func TestRooms_Refusals(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *command.Serve) { o.MaxRooms = 1 })
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PUT", "/rooms/a%20b", "", 400, "1 to 64 letters"},
		{"PUT", "/rooms/" + strings.Repeat("x", 65), "", 400, "1 to 64 letters"},
		{"PUT", "/rooms/..", "", 400, "not only one or two dots"},
		{"PUT", "/rooms/default", "", 409, "choose another name"},
		{"DELETE", "/rooms/default", "", 409, "/mock/reset"},
		{"POST", "/rooms/a", "", 405, "GET, PUT"},
		{"PUT", "/rooms/a", `{"sed":"none"}`, 400, "sed"},
		{"PUT", "/rooms/a", `{"seed":"nothing"}`, 400, "builtin"},
		{"PUT", "/rooms/a", `{"seed":{"resources":[{"resourceType":"Nothing","id":"x"}]}}`, 400, "Nothing"},
		{"PUT", "/rooms/a", `{"random":-1}`, 400, "random"},
		{"GET", "/rooms/a", "", 404, "PUT /rooms/a"},
		{"PUT", "/rooms/one", "", 201, ""},
		{"PUT", "/rooms/two", "", 409, "--max-rooms"},
	} {
		var in any
		if c.body != "" {
			in = body(c.body)
		}
		a := s.must(c.status, c.method, c.path, in)
		if !strings.Contains(string(a.raw), c.says) {
			t.Errorf("%s %s %s: got %s, want it to say %q", c.method, c.path, c.body, a.raw, c.says)
		}
		if c.status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: Content-Type %s", c.method, c.path, a.header.Get("Content-Type"))
		}
	}
	if a := s.must(403, "PUT", "/rooms/x", nil, "Origin", "https://evil.example"); !strings.Contains(string(a.raw), "--allow-origin") {
		t.Errorf("got %s", a.raw)
	}
}

func TestRooms_DeleteClosesSocketsAndWaits(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	a, b := s.room("a", nil), s.room("b", nil)
	mine, others := a.bind("admission-id-only"), b.bind("admission-id-only")
	// A request that waits in the room ends with it.
	waiting := make(chan answered, 1)
	go func() {
		waiting <- a.do("POST", "/mock/await", body(`{"sent":{"subscription":"admission-id-only","count":99},"timeout":"1m"}`))
	}()
	s.awaitBusy("a", 2)
	s.must(204, "DELETE", s.url+"/rooms/a", nil)
	if code, reason := mine.closed(); code != websocket.StatusGoingAway || reason != "the room a was closed: it was deleted" {
		t.Errorf("got %d %q", code, reason)
	}
	if got := <-waiting; got.status != 503 && got.status != 404 {
		t.Errorf("the await got %d %s", got.status, got.raw)
	}
	others.nothing()
	// The default room's journal has it.
	entries := asList(s.must(200, "GET", s.url+"/mock/journal?kind=room", nil).body["entries"])
	if got := fmt.Sprint(entries); !strings.Contains(got, "the room a was closed: it was deleted") {
		t.Errorf("journal: got %s", got)
	}
}

// awaitBusy waits until so many requests and sockets are in a room.
func (s *testServer) awaitBusy(name string, want int) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		for _, one := range asList(s.must(200, "GET", s.url+"/rooms", nil).body["rooms"]) {
			if room := one.(map[string]any); room["name"] == name && room["busy"] == float64(want) {
				return
			}
		}
		if time.Now().After(end) {
			s.t.Fatalf("room %s did not become busy with %d", name, want)
		}
	}
}

func TestRooms_CloseWhenIdle(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.room("idle", nil)
	busy := s.room("busy", nil)
	ws := busy.bind("admission-id-only")
	s.awaitBusy("busy", 1)
	s.clock.Advance(9 * time.Minute)
	s.must(200, "GET", "/rooms/idle/mock/state", nil) // begins the time anew
	s.awaitBusy("idle", 0)
	s.clock.Advance(9 * time.Minute)
	s.must(200, "GET", "/rooms/idle", nil) // is not in the room
	s.clock.Advance(time.Minute)
	s.must(404, "GET", "/rooms/idle", nil)
	s.must(200, "GET", "/rooms/busy", nil)
	entries := asList(s.must(200, "GET", "/mock/journal?kind=room&text=idle", nil).body["entries"])
	if got := fmt.Sprint(entries); !strings.Contains(got, "the room idle was closed: it was idle for 10m0s (--room-ttl)") {
		t.Errorf("journal: got %s", got)
	}
	ws.conn.Close(websocket.StatusNormalClosure, "")
	s.awaitBusy("busy", 0)
	s.clock.Advance(10 * time.Minute)
	s.must(404, "GET", "/rooms/busy", nil)
}

func TestRooms_RandomRepeats(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	tokens := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		seed := 7
		if name == "c" {
			seed = 8
		}
		r := s.room(name, body(fmt.Sprintf(`{"random":%d}`, seed)))
		tokens[name] = r.token("admission-id-only")
	}
	if tokens["a"] != tokens["b"] || tokens["a"] == tokens["c"] {
		t.Errorf("got %v; want the first two equal", tokens)
	}
}

// 50 rooms side by side do what one client does, and do not see each other.
func TestRooms_AreIsolated(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	const rooms = 50
	var tokens sync.Map
	var all sync.WaitGroup
	for i := range rooms {
		all.Go(func() {
			name := fmt.Sprintf("room-%d", i)
			r := s.room(name, nil)
			// The same ids everywhere, and a resource and topic of its own.
			topic := "http://example.org/" + name
			own := admissionTopic()
			own["id"], own["url"] = "own", topic
			r.must(201, "PUT", "SubscriptionTopic/own", own)
			r.must(201, "PUT", "Subscription/sub", websocketSubscription("sub", topic))
			r.must(201, "PUT", "Patient/"+name, map[string]any{"resourceType": "Patient", "id": name})
			secret := r.token("sub")
			tokens.Store(name, secret)
			ws := r.dial()
			ws.send("bind-with-token " + secret)
			if f := ws.next(); f.kind() != "handshake" {
				t.Errorf("%s: got %s, want a handshake", name, f.raw)
				return
			}
			// i+1 events, numbered from 1.
			for n := range i%5 + 1 {
				r.must(201, "PUT", fmt.Sprintf("Encounter/e%d", n), encounter(fmt.Sprintf("e%d", n), "in-progress", "subject", reference("Patient/"+name)))
				f := ws.wantEvent(fmt.Sprint(n + 1))
				if !strings.Contains(string(f.raw), r.fhir+"/Encounter/") {
					t.Errorf("%s: the frame does not lead into the room: %s", name, f.raw)
				}
			}
			ws.nothing()
			state := r.must(200, "GET", "/mock/state", nil).body
			if got := state["counts"].(map[string]any)["sockets"]; got != 1.0 {
				t.Errorf("%s: %v sockets", name, got)
			}
			if id := asList(state["sockets"])[0].(map[string]any)["id"]; id != "s1" {
				t.Errorf("%s: socket %v", name, id)
			}
			journal := r.must(200, "GET", "/mock/journal?bodies=true", nil)
			for j := range rooms {
				if other := fmt.Sprintf("room-%d\"", j); j != i && bytes.Contains(journal.raw, []byte(other)) {
					t.Errorf("%s: the journal speaks of %s", name, other)
				}
			}
			if i%2 == 0 { // a reset of one room is none of the others
				r.must(204, "POST", "/mock/reset", nil)
				r.must(404, "GET", "Subscription/sub", nil)
			} else {
				r.must(200, "POST", "/mock/trigger", map[string]any{"subscription": "sub", "reference": "Encounter/e0"})
				ws.wantEvent(fmt.Sprint(i%5 + 2))
			}
		})
	}
	all.Wait()
	// A token of one room is unknown in another, and in the default room.
	one, _ := tokens.Load("room-1")
	for _, other := range []string{s.ws, s.url + "/rooms/room-3/ws"} {
		at := *s
		at.ws = "ws" + strings.TrimPrefix(strings.TrimPrefix(other, "http"), "ws")
		ws := at.dial()
		ws.send("bind-with-token " + one.(string))
		if f := ws.next(); f.kind() != "OperationOutcome" || !strings.Contains(string(f.raw), "unknown token") {
			t.Errorf("%s: got %s", other, f.raw)
		}
	}
	s.must(404, "GET", "SubscriptionTopic/own", nil)
	s.must(404, "GET", "Patient/room-1", nil)
	if got := fmt.Sprint(s.must(200, "GET", "/mock/generators", nil).body["generators"]); strings.Contains(got, "room-") {
		t.Errorf("generators: %s", got)
	}
}

// leaving finds the addresses of the server in an answer that are not in the room.
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
	r := s.room("inside", nil)
	secret := r.token("admission-id-only")
	ws := r.bind("admission-id-only")
	r.must(201, "PUT", "Encounter/e1", encounter("e1", "in-progress", "subject", reference("Patient/p1")))
	r.must(201, "PUT", r.url+"/fhir/R4/Patient/p1", map[string]any{"resourceType": "Patient", "id": "p1"})
	if out := leaving(string(ws.next().raw), s.url, r.url); out != nil {
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
		"POST /:type":           `{"resourceType":"Subscription"}`,
		"/:name/step":           `{"count":1}`,
		"PATCH /:name":          `{"rate":"2/min"}`,
		"PUT /:type/:id":        `{"resourceType":"Subscription","id":"admission-id-only"}`,
		"PATCH /:type/:id":      `[]`,
		"$get-ws-binding-token": ``,
	}
	var checked int
	table := slices.Clone(s.server.table)
	slices.SortStableFunc(table, func(a, b route) int { return strings.Compare(lastIfDelete(a), lastIfDelete(b)) })
	for _, row := range table {
		if row.handle == nil || !row.needs.Room || row.needs.Socket || strings.HasSuffix(row.path, "/stream") || row.path == "/mock/reset" {
			continue
		}
		for _, release := range []string{"R5", "R4B", "R4"} {
			if release != "R5" && !strings.Contains(row.path, ":release") {
				continue
			}
			path := strings.NewReplacer(":release", release, ":type", "Subscription", ":id", "admission-id-only", ":version", "1",
				":name", "mine", ":token", secret, ":seq", "3", "*", "app.js").Replace(row.path)
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
			req, err := http.NewRequest(row.method, r.url+path, strings.NewReader(in))
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
			if out := leaving(string(text)+"\n"+fmt.Sprint(res.Header), s.url, r.url); out != nil {
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
		a := r.do("GET", r.url+path, nil)
		// A request says its Host, and the HAR its URL, as they were sent.
		if out := leaving(string(a.raw), s.url, r.url); out != nil {
			t.Errorf("%s: %q", path, out)
		}
	}
	// The index of the page links into the room only.
	page := r.must(200, "GET", r.url+"/", nil)
	for _, part := range strings.Split(string(page.raw), `="/`)[1:] {
		if !strings.HasPrefix(part, "rooms/inside/") {
			t.Errorf("the page links to /%.40s", part)
		}
	}
	if !strings.Contains(string(page.raw), "rooms/inside/ui/app.js") {
		t.Errorf("got %s", page.raw)
	}
}

// The router has no parameters of an address whose method is not allowed; the room is that
// of the address all the same.
func TestRooms_RefusedMethodsAreInTheirRoom(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	r := s.room("a", nil)
	secret := r.token("admission-id-only")
	r.must(405, "DELETE", "/mock/sockets", nil)
	r.must(405, "DELETE", r.fhir+"/Patient/1/_history?token="+secret, nil)
	s.must(204, "OPTIONS", r.fhir+"/Patient/1", nil)
	outside, inside := s.must(200, "GET", s.url+"/mock/journal?kind=http&bodies=true", nil), r.must(200, "GET", "/mock/journal?kind=http&bodies=true", nil)
	if strings.Contains(string(outside.raw), "/rooms/a") {
		t.Errorf("the default room has %s", outside.raw)
	}
	if got := len(asList(inside.body["entries"])); got != 4 { // with the token
		t.Errorf("the room has %d exchanges, want 4: %s", got, inside.raw)
	}
	if strings.Contains(string(inside.raw), secret) {
		t.Errorf("a token is shown: %s", inside.raw)
	}
	s.must(404, "DELETE", s.url+"/rooms/nope/mock/state", nil)
	for _, path := range []string{"/rooms//mock/reset", "/rooms//fhir/R5/Patient", "/rooms//"} {
		for _, method := range []string{"GET", "POST"} {
			if a := s.do(method, s.url+path, nil); a.status != 400 && a.status != 404 && a.status != 405 {
				t.Errorf("%s %s: got %d %s", method, path, a.status, a.raw)
			}
		}
	}
	if a := s.must(400, "POST", s.url+"/rooms//mock/reset", nil); !strings.Contains(string(a.raw), "1 to 64 letters") {
		t.Errorf("got %s", a.raw)
	}
	s.must(200, "GET", s.url+"/fhir/R5/Subscription/admission-id-only", nil)
	// A HAR has the addresses as they were.
	har := string(r.must(200, "GET", "/mock/journal?format=har", nil).raw)
	if !strings.Contains(har, `"`+r.url+`/mock/sockets"`) || strings.Contains(har, "/rooms/a/rooms/a") {
		t.Errorf("got %s", har)
	}
}

func TestRooms_OpeningAgainKeepsARoom(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.room("a", nil)
	s.clock.Advance(9 * time.Minute)
	s.must(200, "PUT", "/rooms/a", nil)
	s.clock.Advance(9 * time.Minute)
	s.must(200, "GET", "/rooms/a/mock/state", nil)
}

// A room named like a part of an address is a room like others.
func TestRooms_NamesThatLookLikeAddresses(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	for _, name := range []string{"Subscription", "fhir", "R5", "mock", "rooms", "ws", "r4"} {
		r := s.room(name, nil)
		r.must(200, "GET", "Subscription/admission-id-only", nil)
		r.must(200, "GET", r.url+"/fhir/r5/Patient?_count=1", nil)
		var about []any
		for _, e := range asList(r.must(200, "GET", "/mock/journal?kind=http", nil).body["entries"]) {
			about = append(about, e.(map[string]any)["subscription"])
			if path := e.(map[string]any)["http"].(map[string]any)["path"].(string); !strings.HasPrefix(path, "/rooms/"+name+"/fhir/R5/") {
				t.Errorf("%s: journalled as %s", name, path)
			}
		}
		if !slices.Equal(about, []any{"admission-id-only", nil}) {
			t.Errorf("%s: got the subscriptions %v", name, about)
		}
		if bound := r.bind("admission-id-only"); bound == nil {
			t.Errorf("%s: not bound", name)
		}
		// Another room's address is not below this base.
		other := strings.Replace(r.url, "/rooms/"+name, "/rooms/"+strings.ToUpper(name), 1)
		if other != r.url {
			bundle := r.must(400, "POST", r.fhir, map[string]any{"resourceType": "Bundle", "type": "batch", "entry": []any{
				map[string]any{"request": map[string]any{"method": "GET", "url": other + "/fhir/R5/Patient"}}}})
			if code, _, _ := bundle.issue(); code != "value" {
				t.Errorf("%s: got %s", name, bundle.raw)
			}
		}
	}
}
