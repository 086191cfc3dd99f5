package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

func body(s string) any { return json.RawMessage(s) }

func TestRooms_OpenListAndClose(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	made := s.Must(201, "PUT", s.URL+"/rooms/a", nil)
	root := s.URL + "/rooms/a"
	want := map[string]any{"name": "a", "url": root, "ws": "ws" + strings.TrimPrefix(root, "http") + "/ws"}
	for member, value := range want {
		if made.Body[member] != value {
			t.Errorf("%s: got %v, want %v", member, made.Body[member], value)
		}
	}
	if bases := made.Body["fhir"].(map[string]any); len(bases) != 3 || bases["R4B"] != root+"/fhir/R4B" {
		t.Errorf("bases: got %v", bases)
	}
	if got := made.Header.Get("Location"); got != root {
		t.Errorf("Location: got %q", got)
	}
	// The seed is the server's unless the body names another.
	s.Must(200, "GET", root+"/fhir/R5/Subscription/admission-id-only", nil)
	s.Room("empty", body(`{"seed":"none"}`)).Must(404, "GET", "Subscription/admission-id-only", nil)
	own := s.Room("own", body(`{"seed":{"resources":[{"resourceType":"Patient","id":"mine"}]}}`))
	own.Must(200, "GET", "Patient/mine", nil)
	own.Must(404, "GET", "Subscription/admission-id-only", nil)

	// The same body finds the room, another one does not change it.
	if again := s.Must(200, "PUT", s.URL+"/rooms/a", body(`{}`)); again.Body["url"] != root {
		t.Errorf("again: got %s", again.Raw)
	}
	s.Must(409, "PUT", s.URL+"/rooms/a", body(`{"seed":"none"}`))
	s.Must(409, "PUT", s.URL+"/rooms/a", body(`{"random":1}`))
	s.Must(200, "PUT", s.URL+"/rooms/own", body(`{ "seed" : {"resources" : [ {"resourceType":"Patient","id":"mine"}]} }`))

	var names []string
	for _, one := range asList(s.Must(200, "GET", "/rooms", nil).Body["rooms"]) {
		names = append(names, text(one, "name"))
	}
	if !slices.Equal(names, []string{"default", "a", "empty", "own"}) {
		t.Errorf("rooms: got %v", names)
	}
	if got := s.Must(200, "GET", "/rooms/default", nil).Body["url"]; got != s.URL {
		t.Errorf("the default room is at %v", got)
	}

	s.Must(204, "DELETE", "/rooms/a", nil)
	gone := s.Must(404, "GET", "/rooms/a/fhir/R5/metadata", nil)
	if _, why, _ := gone.Issue(); !strings.Contains(why, "PUT /rooms/a makes one") {
		t.Errorf("got %s", gone.Raw)
	}
	if a := s.Must(404, "GET", "/rooms/a/mock/state", nil); a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s", a.Raw)
	}
	s.Must(404, "GET", "/rooms/a", nil)
	s.Must(404, "DELETE", "/rooms/a", nil)
	s.Must(404, "GET", "/rooms/a/", nil)
	s.Must(201, "PUT", "/rooms/a", nil)
}

func TestRooms_Refusals(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--max-rooms", "1")
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
		a := s.Must(c.status, c.method, c.path, in)
		if !strings.Contains(string(a.Raw), c.says) {
			t.Errorf("%s %s %s: got %s, want it to say %q", c.method, c.path, c.body, a.Raw, c.says)
		}
		if c.status >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: Content-Type %s", c.method, c.path, a.Header.Get("Content-Type"))
		}
	}
	if a := s.Must(403, "PUT", "/rooms/x", nil, "Origin", "https://evil.example"); !strings.Contains(string(a.Raw), "--allow-origin") {
		t.Errorf("got %s", a.Raw)
	}
}

func TestRooms_DeleteClosesSocketsAndWaits(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	a, b := s.Room("a", nil), s.Room("b", nil)
	mine, others := a.Bind("admission-id-only"), b.Bind("admission-id-only")
	// A request that waits in the room ends with it.
	waiting := make(chan response, 1)
	go func() {
		waiting <- a.Do("POST", "/mock/await", body(`{"sent":{"subscription":"admission-id-only","count":99},"timeout":"1m"}`))
	}()
	s.AwaitBusy("a", 2)
	s.Must(204, "DELETE", s.URL+"/rooms/a", nil)
	if code, reason := mine.Closed(); code != websocket.StatusGoingAway || reason != "the room a was closed: it was deleted" {
		t.Errorf("got %d %q", code, reason)
	}
	if got := <-waiting; got.Status != 503 && got.Status != 404 {
		t.Errorf("the await got %d %s", got.Status, got.Raw)
	}
	others.Nothing()
	// The default room's journal has it.
	entries := asList(s.Must(200, "GET", s.URL+"/mock/journal?kind=room", nil).Body["entries"])
	if got := fmt.Sprint(entries); !strings.Contains(got, "the room a was closed: it was deleted") {
		t.Errorf("journal: got %s", got)
	}
}

func TestRooms_RandomRepeats(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	tokens := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		seed := 7
		if name == "c" {
			seed = 8
		}
		r := s.Room(name, body(fmt.Sprintf(`{"random":%d}`, seed)))
		tokens[name] = r.Token("admission-id-only")
	}
	if tokens["a"] != tokens["b"] || tokens["a"] == tokens["c"] {
		t.Errorf("got %v; want the first two equal", tokens)
	}
}

// 50 rooms side by side do what one client does, and do not see each other.
func TestRooms_AreIsolated(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	const rooms = 50
	var tokens sync.Map
	var all sync.WaitGroup
	for i := range rooms {
		all.Go(func() {
			name := fmt.Sprintf("room-%d", i)
			r := s.Room(name, nil)
			// The same ids everywhere, and a resource and topic of its own.
			topic := "http://example.org/" + name
			own := admissionTopic()
			own["id"], own["url"] = "own", topic
			r.Must(201, "PUT", "SubscriptionTopic/own", own)
			r.Must(201, "PUT", "Subscription/sub", websocketSubscription("sub", topic))
			r.Must(201, "PUT", "Patient/"+name, map[string]any{"resourceType": "Patient", "id": name})
			secret := r.Token("sub")
			tokens.Store(name, secret)
			ws := r.Dial()
			ws.Send("bind-with-token " + secret)
			if f := ws.Next(); f.Kind() != "handshake" {
				t.Errorf("%s: got %s, want a handshake", name, f.Raw)
				return
			}
			// i+1 events, numbered from 1.
			for n := range i%5 + 1 {
				r.Must(201, "PUT", fmt.Sprintf("Encounter/e%d", n), encounter(fmt.Sprintf("e%d", n), "in-progress", "subject", reference("Patient/"+name)))
				f := ws.WantEvent(fmt.Sprint(n + 1))
				if !strings.Contains(string(f.Raw), r.FHIR+"/Encounter/") {
					t.Errorf("%s: the frame does not lead into the room: %s", name, f.Raw)
				}
			}
			ws.Nothing()
			state := r.Must(200, "GET", "/mock/state", nil).Body
			if got := at(state, "counts", "sockets"); got != 1.0 {
				t.Errorf("%s: %v sockets", name, got)
			}
			if id := at(state, "sockets", 0, "id"); id != "s1" {
				t.Errorf("%s: socket %v", name, id)
			}
			journal := r.Must(200, "GET", "/mock/journal?bodies=true", nil)
			for j := range rooms {
				if other := fmt.Sprintf("room-%d\"", j); j != i && bytes.Contains(journal.Raw, []byte(other)) {
					t.Errorf("%s: the journal speaks of %s", name, other)
				}
			}
			if i%2 == 0 { // a reset of one room is none of the others
				r.Must(204, "POST", "/mock/reset", nil)
				r.Must(404, "GET", "Subscription/sub", nil)
			} else {
				r.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "sub", "reference": "Encounter/e0"})
				ws.WantEvent(fmt.Sprint(i%5 + 2))
			}
		})
	}
	all.Wait()
	// A token of one room is unknown in another, and in the default room.
	one, _ := tokens.Load("room-1")
	for _, other := range []string{"/ws", "/rooms/room-3/ws"} {
		ws := s.socketsAt(other).Dial()
		ws.Send("bind-with-token " + one.(string))
		if f := ws.Next(); f.Kind() != "OperationOutcome" || !strings.Contains(string(f.Raw), "unknown token") {
			t.Errorf("%s: got %s", other, f.Raw)
		}
	}
	s.Must(404, "GET", "SubscriptionTopic/own", nil)
	s.Must(404, "GET", "Patient/room-1", nil)
	if got := fmt.Sprint(s.Must(200, "GET", "/mock/generators", nil).Body["generators"]); strings.Contains(got, "room-") {
		t.Errorf("generators: %s", got)
	}
}

// The router has no parameters of an address whose method is not allowed; the room is that
// of the address all the same.
func TestRooms_RefusedMethodsAreInTheirRoom(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	r := s.Room("a", nil)
	secret := r.Token("admission-id-only")
	r.Must(405, "DELETE", "/mock/sockets", nil)
	r.Must(405, "DELETE", r.FHIR+"/Patient/1/_history?token="+secret, nil)
	s.Must(204, "OPTIONS", r.FHIR+"/Patient/1", nil)
	outside, inside := s.Must(200, "GET", s.URL+"/mock/journal?kind=http&bodies=true", nil), r.Must(200, "GET", "/mock/journal?kind=http&bodies=true", nil)
	if strings.Contains(string(outside.Raw), "/rooms/a") {
		t.Errorf("the default room has %s", outside.Raw)
	}
	if got := len(asList(inside.Body["entries"])); got != 4 { // with the token
		t.Errorf("the room has %d exchanges, want 4: %s", got, inside.Raw)
	}
	if strings.Contains(string(inside.Raw), secret) {
		t.Errorf("a token is shown: %s", inside.Raw)
	}
	s.Must(404, "DELETE", s.URL+"/rooms/nope/mock/state", nil)
	for _, path := range []string{"/rooms//mock/reset", "/rooms//fhir/R5/Patient", "/rooms//"} {
		for _, method := range []string{"GET", "POST"} {
			if a := s.Do(method, s.URL+path, nil); a.Status != 400 && a.Status != 404 && a.Status != 405 {
				t.Errorf("%s %s: got %d %s", method, path, a.Status, a.Raw)
			}
		}
	}
	if a := s.Must(400, "POST", s.URL+"/rooms//mock/reset", nil); !strings.Contains(string(a.Raw), "1 to 64 letters") {
		t.Errorf("got %s", a.Raw)
	}
	s.Must(200, "GET", s.URL+"/fhir/R5/Subscription/admission-id-only", nil)
	// A HAR has the addresses as they were.
	har := string(r.Must(200, "GET", "/mock/journal?format=har", nil).Raw)
	if !strings.Contains(har, `"`+r.URL+`/mock/sockets"`) || strings.Contains(har, "/rooms/a/rooms/a") {
		t.Errorf("got %s", har)
	}
}

// A room named like a part of an address is a room like others.
func TestRooms_NamesThatLookLikeAddresses(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	for _, name := range []string{"Subscription", "fhir", "R5", "mock", "rooms", "ws", "r4"} {
		r := s.Room(name, nil)
		r.Must(200, "GET", "Subscription/admission-id-only", nil)
		r.Must(200, "GET", r.URL+"/fhir/r5/Patient?_count=1", nil)
		var about []any
		for _, e := range asList(r.Must(200, "GET", "/mock/journal?kind=http", nil).Body["entries"]) {
			about = append(about, at(e, "subscription"))
			if path := text(e, "http", "path"); !strings.HasPrefix(path, "/rooms/"+name+"/fhir/R5/") {
				t.Errorf("%s: journalled as %s", name, path)
			}
		}
		if !slices.Equal(about, []any{"admission-id-only", nil}) {
			t.Errorf("%s: got the subscriptions %v", name, about)
		}
		if bound := r.Bind("admission-id-only"); bound == nil {
			t.Errorf("%s: not bound", name)
		}
		// Another room's address is not below this base.
		other := strings.Replace(r.URL, "/rooms/"+name, "/rooms/"+strings.ToUpper(name), 1)
		if other != r.URL {
			bundle := r.Must(400, "POST", r.FHIR, map[string]any{"resourceType": "Bundle", "type": "batch", "entry": []any{
				map[string]any{"request": map[string]any{"method": "GET", "url": other + "/fhir/R5/Patient"}}}})
			if code, _, _ := bundle.Issue(); code != "value" {
				t.Errorf("%s: got %s", name, bundle.Raw)
			}
		}
	}
}
