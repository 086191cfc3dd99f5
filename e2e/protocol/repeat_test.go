package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/wiretest"
	"signalfhir/testkit"
)

// A room with a random source of its own and a manual clock does the same in every process:
// the same requests get the same responses, frames and journal, to the byte.
func TestRepeat_ARoomInAnotherProcess(t *testing.T) { // not parallel, for it sets a variable
	if _, err := testkit.Program(); err != nil { // not built for one processor only
		t.Fatal(err)
	}
	var transcripts [2]string
	for i, processors := range []string{"1", "4"} { // goroutines take turns, or run at once
		t.Setenv("GOMAXPROCS", processors)
		transcripts[i] = string(play(t))
	}
	if diff := cmp.Diff(strings.Split(transcripts[0], "\n"), strings.Split(transcripts[1], "\n")); diff != "" {
		t.Errorf("the second process did something else (-first +second):\n%s", diff)
	}
	for _, what := range []string{`"handshake"`, `"heartbeat"`, `"event-notification"`, `"kind":"reset"`, `"type":"expired"`, `"type":"renewed"`, `"type":"revoked"`, `"kind":"closed"`, `"kind":"refused"`, `"kind":"events"`, `"kind":"not-fired"`, `"kind":"not-sent"`, `"status":422`, `{"resourceType":"OperationOutcome"`, "transaction-response", "ping r4-encounters",
		"was dropped by fault perhaps", "by fault late-perhaps", "by fault refuses-perhaps", "duplicate-storm: done"} {
		if !strings.Contains(transcripts[0], what) {
			t.Errorf("the script brings about no %s", what)
		}
	}
}

// player does what the script says and writes down what comes back.
type player struct {
	*server
	out     bytes.Buffer
	sockets []*wiretest.Socket
}

// changing matches what the promise leaves out: see docs/mock.md.
var changing = regexp.MustCompile(`("instance":"|"remote":"127.0.0.1:|"queued":)[^",}]*`)

func (p *player) note(what string, data []byte) {
	fmt.Fprintf(&p.out, "%s: %s\n", what, changing.ReplaceAll(bytes.TrimSpace(data), []byte(`$1…`)))
}

// do sends a request, and notes the response and the frames that came of it.
func (p *player) do(method, path string, body any, headers ...string) wiretest.Response {
	p.T.Helper()
	a := p.Do(method, path, body, headers...)
	p.noteResponse(method+" "+path, a)
	p.frames()
	return a
}

func (p *player) noteResponse(to string, a wiretest.Response) {
	a.Header.Del("Date")
	if changing.Match(a.Raw) { // so its length may change, too
		a.Header.Del("Content-Length")
	}
	names := []string{}
	for name, values := range a.Header {
		names = append(names, name+"="+strings.Join(values, ","))
	}
	slices.Sort(names)
	p.note(fmt.Sprintf("%s %d %s", to, a.Status, strings.Join(names, " ")), a.Raw)
}

// frames notes the frames that have come to each socket.
func (p *player) frames() {
	p.T.Helper()
	for i := range p.sockets {
		p.framesOf(i)
	}
}

func (p *player) framesOf(socket int) {
	p.T.Helper()
	ws := p.sockets[socket]
	for ws.Send("ping"); ; {
		f := ws.Next()
		if string(f.Raw) == "pong" {
			return
		}
		p.note(fmt.Sprintf("socket %d", socket), f.Raw)
	}
}

// dial opens a socket and says something on it. The server has seen it open before.
func (p *player) dial(messages ...string) {
	p.T.Helper()
	p.sockets = append(p.sockets, p.Dial())
	p.do("POST", "/mock/await", fmt.Sprintf(`{"connected":{"count":%d}}`, len(p.sockets)))
	p.say(len(p.sockets)-1, messages...)
}

func (p *player) say(socket int, messages ...string) {
	p.T.Helper()
	for _, text := range messages {
		p.sockets[socket].Send(text)
		p.framesOf(socket) // before another socket says something
		p.frames()
	}
}

func (p *player) token(ids ...string) string {
	p.T.Helper()
	tokens := p.do("POST", "Subscription/$get-ws-binding-token?id="+strings.Join(ids, "&id="), nil).Parameters("token")
	if len(tokens) != 1 {
		p.T.Fatal("no token")
	}
	return tokens[0]
}

func (p *player) pass(by string) {
	p.do("POST", "/mock/clock/advance", `{"by":"`+by+`","timeout":"1m"}`)
}

// play plays the script in a room of a new process, and returns all that came of it.
func play(t *testing.T) []byte {
	s := startProcess(t, "--generators", "on")
	room := s.Do("PUT", "/rooms/golden", `{"seed":"builtin","random":7,"clock":"2026-01-01T10:00:00Z"}`, "Content-Type", "application/json")
	if room.Status != http.StatusCreated {
		t.Fatalf("got %s", room.Raw)
	}
	p := &player{server: &server{wiretest.New(t, s.URL+"/rooms/golden"), s.log}}
	defer func() {
		if t.Failed() {
			t.Logf("%s", p.out.Bytes())
		}
	}()

	for _, id := range []string{"z", "y", "x"} {
		p.do("PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "content", "full-resource", "heartbeatPeriod", 20))
	}
	made := p.do("POST", "Subscription", websocketSubscription("own", admissionURL, "id", nil))
	p.do("POST", "Subscription", websocketSubscription("none", "http://example.org/none", "id", nil)) // 422
	p.do("POST", "Encounter", `{"resourceType":`)
	own := made.At("id").(string)
	p.dial("bind-with-token " + p.token("z", "x", "y"))
	p.dial("bind-with-token "+p.token("x", own), "bind-with-token nothing", "hello")
	p.dial(`{"type":"bind-with-token","payload":{"token":"` + p.token("lab-full", "task-id-only") + `"}}`)
	p.say(0, "bind-with-token "+p.token("z", "admission-id-only"))

	created := p.do("POST", "Encounter", encounter("", "in-progress", "subject", reference("Patient/example")))
	p.do("PUT", "Encounter/e", encounter("e", "in-progress"))
	p.do("PATCH", "Encounter/e", `[{"op":"replace","path":"/status","value":"completed"}]`, "Content-Type", "application/json-patch+json")
	p.do("DELETE", "Encounter/"+created.At("id").(string), nil)
	p.do("POST", "", map[string]any{"resourceType": "Bundle", "type": "transaction", "entry": []any{
		map[string]any{"fullUrl": "urn:uuid:1b9e4a3e-5f0e-4a42-9d0b-2d6f3d0f7c11", "resource": map[string]any{"resourceType": "Patient"}, "request": map[string]any{"method": "POST", "url": "Patient"}},
		map[string]any{"resource": encounter("", "in-progress", "subject", reference("urn:uuid:1b9e4a3e-5f0e-4a42-9d0b-2d6f3d0f7c11")), "request": map[string]any{"method": "POST", "url": "Encounter"}},
	}})
	p.say(1, "bind r4-encounters", "bind r4-nothing")
	p.do("POST", "/fhir/R4/Encounter", `{"resourceType":"Encounter","status":"in-progress","class":{"code":"IMP"}}`)
	p.do("POST", "/mock/trigger", `{"topic":"http://example.org/FHIR/R5/SubscriptionTopic/lab-result","count":3}`)
	p.do("POST", "/mock/trigger", `{"subscription":"x","count":4,"interval":"7s"}`)
	p.do("POST", "/mock/trigger", `{"subscription":"y","count":9,"interval":"1h"}`)
	p.do("POST", "/mock/trigger", `{"subscription":"z","count":9,"interval":"1h"}`)
	p.do("POST", "/mock/generators", `{"name":"night","scenario":"lab-results","rate":"1/s","seed":3,"running":true}`)
	p.do("PUT", "/mock/faults", `{"faults":[
		{"name":"perhaps","on":"frame","type":"event-notification","action":"drop","probability":0.3},
		{"name":"late-perhaps","on":"frame","type":"event-notification","action":"delay","by":"1s","jitter":"9s","overtake":true,"probability":0.5},
		{"name":"refuses-perhaps","on":"request","path":"/fhir/R5/Patient","action":"status","probability":0.5}]}`)
	p.pass("1m") // generators, triggers, heartbeats
	for range 8 {
		p.do("GET", "Patient?_summary=count", nil)
	}
	p.do("GET", "/mock/faults", nil)
	p.do("DELETE", "/mock/faults", nil)
	p.do("POST", "/mock/scenarios/duplicate-storm", `{"parameters":{"subscription":"z","copies":2,"events":2},"wait":true}`)
	p.do("POST", "/mock/generators/ward/step", `{"count":30}`)
	p.do("GET", "Encounter?_count=3&_sort=-_lastUpdated", nil)
	p.do("GET", "Encounter/e/_history", nil)
	p.do("GET", "Subscription/$status", nil)
	p.do("GET", "Subscription/x/$events?eventsSinceNumber=2&eventsUntilNumber=4", nil)
	p.do("POST", "Subscription/x/$resend?eventsSinceNumber=2&eventsUntilNumber=3", nil)
	p.do("GET", "/mock/explain?resource=Encounter/e", nil)
	p.do("GET", "/mock/state", nil)
	p.do("GET", "/mock/tokens", nil)

	revoked := p.token("y")
	p.say(1, "bind-with-token "+revoked)
	p.do("DELETE", "/mock/tokens/"+revoked, nil)
	p.say(1, "unbind-with-token "+p.token("x"))
	p.do("POST", "/mock/reset", nil)
	p.do("GET", "Subscription/x/$events", nil) // gone
	p.say(2, "bind-with-token "+p.token("admission-full", "lab-full"))
	p.do("POST", "/mock/generators/ward/stop", nil)
	p.do("POST", "Encounter", encounter("", "in-progress"))

	// The token of the third socket expires, which closes it. The others leave.
	p.noteResponse("advance", p.Do("POST", "/mock/clock/advance", `{"by":"31m","timeout":"1m"}`))
	for i, ws := range p.sockets {
		if i < 2 {
			_ = ws.Conn.Close(4000, "enough")
		}
		code, reason := ws.Closed()
		p.note(fmt.Sprintf("socket %d", i), fmt.Appendf(nil, "%d %s", code, reason))
		p.Do("POST", "/mock/await", fmt.Sprintf(`{"journal":{"kind":"closed","socket":"s%d"}}`, i+1))
	}
	p.sockets = nil
	p.do("GET", "/mock/tokens", nil)
	p.advance()
	for _, e := range asList(p.Must(200, "GET", "/mock/journal?bodies=true", nil).Body["entries"]) {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		p.note("journal", data)
	}
	// The port differs, and addresses have it. It has five digits.
	return bytes.ReplaceAll(p.out.Bytes(), []byte(strings.TrimPrefix(s.URL, "http://")), []byte("address"))
}

// advance lets the clock of the room pass over all that ends by itself: tokens of several
// sockets, sockets that faults close and cut, and requests that faults delay.
func (p *player) advance() {
	shared := p.token("admission-full", "lab-full")
	for _, token := range []string{p.token("admission-full"), p.token("lab-full", "task-id-only"), shared, shared, shared, p.token("lab-full"), p.token("lab-full"), p.token("task-id-only")} {
		p.dial("bind-with-token " + token)
	}
	p.do("PUT", "/mock/faults", `{"faults":[
		{"name":"closes","on":"socket","action":"close","after":"3m","socket":"s9"},
		{"name":"cuts","on":"socket","action":"cut","after":"3m","socket":"s10"},
		{"name":"stalls","on":"socket","action":"stall","after":"4m","for":"1m","socket":"s11"},
		{"name":"late","on":"request","action":"delay","by":"2m","jitter":"2m","path":"/fhir/*/Encounter*"},
		{"name":"later","on":"operation","action":"delay","by":"6m"}]}`)
	p.do("PATCH", "/mock/generators/ward", `{"rate":"4/min"}`)
	p.do("POST", "/mock/generators/ward/start", nil)
	var came []<-chan wiretest.Response
	for i := range 4 {
		path, body := fmt.Sprintf("Encounter/late-%d", i), any(encounter(fmt.Sprintf("late-%d", i), "in-progress"))
		if i == 3 {
			path, body = "Subscription/$get-ws-binding-token?id=lab-full", nil
		}
		method := []string{"PUT", "PUT", "PUT", "POST"}[i]
		came = append(came, p.Begin(method, path, body))
		p.do("POST", "/mock/await", fmt.Sprintf(`{"journal":{"kind":"fault","type":"delay","count":%d}}`, i+1))
	}
	p.noteResponse("advance", p.Do("POST", "/mock/clock/advance", `{"by":"45m","timeout":"1m"}`))
	p.noteResponse("sockets", p.Do("GET", "/mock/sockets", nil))
	for _, c := range came {
		p.noteResponse("late", <-c)
	}
	for i, ws := range p.sockets {
		code, reason := ws.Closed()
		p.note(fmt.Sprintf("socket %d", i), fmt.Appendf(nil, "%d %s", code, reason))
	}
	p.sockets = nil
}
