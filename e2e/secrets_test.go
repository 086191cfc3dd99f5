package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// spellings are the ways in which a client may write a token, by what the text around it
// understands.
var spellings = map[string]func(string) string{
	"as it is": func(secret string) string { return secret },
	"percent":  func(secret string) string { return each(secret, "%%%02X") },
	"part":     func(secret string) string { return secret[:20] + each(secret[20:22], "%%%02x") + secret[22:] },
	"twice":    func(secret string) string { return each(secret, "%%25%02X") },
	"JSON":     func(secret string) string { return each(secret, `\u%04x`) },
	"JSON, part": func(secret string) string {
		return secret[:1] + each(secret[1:2], `\u%04X`) + secret[2:]
	},
	"in a long word": func(secret string) string { return strings.Repeat("x", 20) + secret + strings.Repeat("y", 20) },
	// What quotes the beginning of a text ends in the middle of these.
	"after 12": func(secret string) string { return strings.Repeat("x", 11) + "." + secret },
	"after 33": func(secret string) string { return strings.Repeat("x", 32) + "." + secret },
	"after 70": func(secret string) string { return strings.Repeat("x", 69) + "." + secret },
}

func each(text, format string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&out, format, c)
	}
	return out.String()
}

// placed is a request with a token somewhere.
type placed struct {
	method, path string
	header       [2]string
	body         string
}

// everywhere returns requests with a token in each place that a request has. word is the
// token in a place that takes any word, escaped the token as an address may have it, and
// quoted as a JSON string may.
func everywhere(secret, word, escaped, quoted string) []placed {
	requests := []placed{
		{method: secret, path: "/fhir/R5/Patient"},
		{method: "GET", path: "/fhir/R5/Patient", header: [2]string{secret, "1"}},
		{method: "GET", path: "/fhir/R5/Patient", header: [2]string{"X-" + secret, "1"}},
		{method: "GET", path: "/fhir/R5/Patient", header: [2]string{"Host", secret + ".example.org"}},
	}
	for _, path := range []string{
		"/fhir/R5/Subscription/%s/$status", "/fhir/R5/Subscription/%s/$get-ws-binding-token", "/fhir/R5/Subscription/%s", "/fhir/R5/Patient/x/_history/%s",
		"/fhir/R5/%s", "/fhir/%s/Patient", "/%s", "/mock/%s", "/mock/tokens/%s", "/mock/journal/%s", "/mock/generators/%s", "/rooms/default/fhir/R5/Patient/%s",
		"/fhir/R5/Patient?_id=%s", "/fhir/R5/Patient?%s=1", "/fhir/R5/Patient?name:%s=x", "/fhir/R5/Patient?name=x%sx", "/fhir/R5/Subscription/$status?id=%s",
		"/fhir/R5/Patient?_format=%s", "/fhir/R5/Patient?_sort=%s",
		"/mock/explain?resource=Encounter/%s", "/mock/explain?subscription=%s", "/mock/explain?resource=Encounter/%s&format=text", "/mock/journal?text=%s", "/mock/journal?kind=%s",
		"/ws?token=%s", "/ws?%s", "/websocket?x=%s", "/oauth2/%s", "/auth/me?%s",
	} {
		requests = append(requests, placed{method: "GET", path: fmt.Sprintf(path, escaped)})
	}
	for _, name := range []string{
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Uri", "Forwarded", "Prefer", "If-Match", "If-None-Match", "If-None-Exist", "If-Modified-Since", "Accept",
		"Content-Type", "User-Agent", "Referer", "Origin", "Cookie", "Authorization", "X-Request-Id", "X-Token", "Last-Event-Id",
	} {
		requests = append(requests,
			placed{"GET", "/fhir/R5/Patient/example", [2]string{name, word}, ""},
			placed{"POST", "/fhir/R5/Patient", [2]string{name, "a=" + word + "; b"}, `{"resourceType":"Patient"}`})
	}
	post := func(path, body string) { requests = append(requests, placed{method: "POST", path: path, body: body}) }
	for _, text := range []string{word, quoted} {
		post("/fhir/R5/Patient", `{"resourceType":"Patient","name":[{"family":"`+text+`"}]}`)
		post("/fhir/R5/Patient", `{"resourceType":"Patient","`+text+`":1}`)
		post("/fhir/R5/Patient", `{"resourceType":"`+text+`"}`)
		post("/fhir/R5/Patient", `{"resourceType":"Patient","gender":"`+text+`"}`)
		post("/fhir/R5/Encounter", `{"resourceType":"Encounter","status":"in-progress","subject":{"reference":"Patient/`+text+`"}}`)
		post("/fhir/R5/Subscription", `{"resourceType":"Subscription","topic":"http://example.org/`+text+`"}`)
		post("/fhir/R5/Patient", text)
		post("/fhir/R5/Patient/_search", "_id="+text)
		post("/fhir/R5/Subscription/$status", `{"resourceType":"Parameters","parameter":[{"name":"id","valueId":"`+text+`"}]}`)
		post("/fhir/R5/Subscription/$get-ws-binding-token", `{"resourceType":"Parameters","parameter":[{"name":"`+text+`","valueId":"x"}]}`)
		post("/mock/trigger", `{"subscription":"`+text+`"}`)
		post("/mock/trigger", `{"topic":"`+text+`"}`)
		post("/mock/trigger", `{"subscription":"admission-full","reference":"Encounter/`+text+`"}`)
		post("/mock/trigger", `{"subscription":"admission-full","interval":"`+text+`"}`)
		post("/mock/await", `{"bound":{"subscription":"`+text+`"}}`)
		post("/mock/explain", `{"current":{"resourceType":"Encounter","id":"`+text+`","status":"in-progress"}}`)
		post("/mock/explain", `{"current":{"resourceType":"Encounter","status":"in-progress","subject":{"reference":"Patient/`+text+`"}}}`)
		post("/mock/generators", `{"name":"`+text+`"}`)
		for _, kind := range []string{"batch", "transaction"} {
			for _, entry := range []string{
				`{"request":{"method":"GET","url":"Patient/` + text + `"}}`,
				`{"request":{"method":"GET","url":"Subscription/` + text + `/$status"}}`,
				`{"request":{"method":"GET","url":"Patient?_id=` + text + `"}}`,
				`{"request":{"method":"` + text + `","url":"Patient"}}`,
				`{"request":{"method":"DELETE","url":"Patient/a","ifMatch":"` + text + `"}}`,
				`{"fullUrl":"urn:x:` + text + `","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient","ifNoneExist":"_id=` + text + `"}}`,
			} {
				post("/fhir/R5", `{"resourceType":"Bundle","type":"`+kind+`","entry":[`+entry+`]}`)
			}
		}
	}
	if !strings.ContainsRune(secret, '_') { // then it may be an id
		requests = append(requests, placed{method: "PUT", path: "/fhir/R5/Subscription/" + escaped, body: `{"resourceType":"Subscription","id":"` + secret + `","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"},"content":"id-only"}`})
		for _, typ := range []string{"Patient", "Encounter"} {
			requests = append(requests, placed{method: "PUT", path: "/fhir/R5/" + typ + "/" + escaped, body: `{"resourceType":"` + typ + `","id":"` + secret + `","status":"in-progress"}`})
		}
	}
	// A body that the journal cuts in the middle of the token.
	const kept = 64 << 10
	begin := `{"resourceType":"Patient","name":[{"family":"`
	for _, before := range []int{1, 20, 42} {
		requests = append(requests, placed{method: "POST", path: "/fhir/R5/Patient", body: begin + strings.Repeat(" ", kept-len(begin)-before) + word + `"}]}`})
	}
	// The journal hides what comes before, and yet the body is cut in the token.
	requests = append(requests, placed{method: "POST", path: "/fhir/R5/Patient",
		body: begin + strings.Repeat(secret+" ", 100) + strings.Repeat(" ", kept-len(begin)-100*(len(secret)+1)-42) + secret + strings.Repeat(" ", 4<<10) + `"}]}`})
	// Addresses that are cut in the token, by what shows all of a request and by what shows little.
	for _, size := range []int{240, 8 << 10} {
		path := "/fhir/R5/Patient?name=" + strings.Repeat("x", size-42-len("/fhir/R5/Patient?name=")-1) + "."
		requests = append(requests, placed{method: "GET", path: path + secret})
	}
	return requests
}

// nowhere returns requests with a token outside of the rooms that exist.
func nowhere(secret, escaped string) (requests []placed) {
	for _, method := range []string{"GET", "POST", "X" + secret} {
		for _, path := range []string{
			"/%s/x", "/rooms/%s", "/rooms/%s/fhir/R5/Patient", "/rooms/none/fhir/R5/Patient/%s", "/rooms/none/%s", "/rooms/none/mock/tokens/%s", "/rooms/none/ws?token=%s",
			"/rooms/two/%s", "/rooms/two/fhir/R5/Patient/%s", "/rooms/two/mock/tokens/%s", "/rooms/two/ws?token=%s", "/ui/%s", "/healthz/%s", "/metrics?%s",
		} {
			requests = append(requests, placed{method: method, path: fmt.Sprintf(path, escaped)})
		}
	}
	return append(requests,
		placed{method: "PUT", path: "/rooms/" + escaped + "!"},
		placed{method: "PUT", path: "/rooms/three", body: `{"` + secret + `":1}`},
		placed{method: "PUT", path: "/rooms/three", body: `{"seed":"` + secret + `"}`})
}

// frames are the messages of a socket with a token in each place.
func frames(word, quoted string) []string {
	var all []string
	for _, verb := range []string{"bind-with-token ", "bind-with-token: ", "bind-with-token", "bind ", "bind Subscription/", "bind a,", "unbind ", "unbind-with-token ", "unbind-from-token: ", "ping ", "", "x", "subscribe ", "ping\nbind ", "?token="} {
		all = append(all, verb+word, verb+word+" x", verb+`"`+word+`"`, verb+word+"\nping")
	}
	for _, text := range []string{word, quoted} {
		for _, message := range []string{
			`{"type":"bind-with-token","payload":{"token":"%s"}}`, `{"type":"unbind-from-token","payload":{"token":"%s"}}`, `{"type":"%s"}`, `{"type":"ping","%s":1}`,
			`{"a":"%s"}`, `{"token":"%s"`, `{"type":"bind-with-token","payload":"%s"}`, `{"type":"bind-with-token","payload":{"token":["%s"]}}`,
		} {
			all = append(all, fmt.Sprintf(message, text))
		}
	}
	return all
}

// A binding token is shown to whoever asks for it, and to nobody else, in no room and not
// in part: not in the journals, however they are read, not in the log, in explanations, in
// the state or in the metrics.
func TestSecrets_NoTokenIsShownWhereverAClientPutsIt(t *testing.T) {
	t.Parallel()
	p := startPiped(t, "--log-level", "debug", "--journal-size", "100000")
	log := p.drain()
	for _, room := range []string{"/rooms/one", "/rooms/two"} {
		p.must("PUT", room, map[string]any{})
	}
	names := append(slices.Sorted(maps.Keys(spellings)), "as it is") // the last token is from before a reset
	secrets := make([]string, len(names))
	secrets[len(names)-1] = p.token("/rooms/one")
	p.must("POST", "/rooms/one/mock/reset", map[string]any{})
	for _, room := range []string{"", "/rooms/one"} {
		p.must("PUT", room+"/fhir/R5/Subscription/filtered", map[string]any{
			"resourceType": "Subscription", "id": "filtered", "status": "requested", "topic": "http://example.org/FHIR/R5/SubscriptionTopic/admission", "content": "id-only",
			"channelType": map[string]any{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
			"filterBy":    []any{map[string]any{"filterParameter": "patient", "value": "Patient/example"}},
		})
		p.follows(room)
	}
	// Tokens of three rooms are used in their own, in another one, and outside of all rooms.
	for i := range names[1:] {
		secrets[i] = p.token([]string{"", "/rooms/one", "/rooms/two"}[i%3])
	}
	for n, secret := range secrets {
		name := names[n]
		word := spellings[name](secret)
		escaped := word
		if strings.HasPrefix(name, "JSON") {
			escaped = url.PathEscape(word)
		}
		quoted := each(secret, `\u%04x`)
		for i, r := range everywhere(secret, word, escaped, quoted) {
			r.path = []string{"", "/rooms/one"}[(n+i)%2] + r.path
			p.sends(r)
		}
		for _, r := range nowhere(secret, escaped) {
			p.sends(r)
		}
		for i, frame := range frames(word, quoted) {
			p.says([]string{"", "/rooms/one"}[(n+i)%2], frame)
		}
		p.sends(placed{method: "DELETE", path: "/mock/tokens/" + escaped})
	}
	shown := map[string]string{"/metrics": p.get("/metrics")}
	for _, room := range []string{"", "/rooms/one", "/rooms/two"} {
		for _, path := range []string{
			"/mock/journal?bodies=true", "/mock/journal?bodies=true&format=ndjson", "/mock/journal?format=har", "/mock/state",
			"/mock/subscriptions", "/mock/explain?subscription=filtered", "/mock/explain?subscription=filtered&format=text",
		} {
			shown[room+path] = p.get(room + path)
			if len(shown[room+path]) < 100 && !(room == "/rooms/two" && strings.Contains(path, "explain")) {
				t.Errorf("%s%s shows nothing: %s", room, path, shown[room+path])
			}
		}
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	p.ends()
	shown["the log"] = log()
	if lines := strings.Count(shown["the log"], "\n"); lines < 1000 {
		t.Errorf("the log has %d lines only", lines)
	}
	for _, room := range []string{"", "/rooms/one"} {
		if !strings.Contains(shown[room+"/mock/journal?bodies=true"], `"type":"event-notification"`) {
			t.Errorf("no event was sent in the room %q", room)
		}
	}
	for where, text := range shown {
		for _, found := range partsOf(secrets, text) {
			t.Errorf("%s has a part of a token: %s", where, found)
		}
	}
}

// partsOf returns where a text has more than 16 characters of one of the secrets, in
// whatever way and case they are written.
func partsOf(secrets []string, text string) (found []string) {
	const least = 17
	parts := map[string]bool{}
	for _, secret := range secrets {
		for at := 0; at+least <= len(secret); at++ {
			parts[strings.ToLower(secret[at:at+least])] = true
		}
	}
	for _, text := range []string{text, unescaped(text)} {
		folded := strings.ToLower(text)
		for _, word := range longWord.FindAllStringIndex(folded, -1) {
			for at := word[0]; at+least <= word[1]; at++ {
				if parts[folded[at:at+least]] {
					found = append(found, folded[max(0, word[0]-200):min(len(folded), word[1]+100)])
					break
				}
			}
			if len(found) == 5 {
				return found
			}
		}
	}
	return found
}

var (
	longWord = regexp.MustCompile(`[a-z0-9_-]{17,}`)
	escape   = regexp.MustCompile(`(?:%|\\+u00)[0-9a-fA-F]{2}`)
)

// unescaped returns a text without escapes of ASCII characters, also those of escapes.
func unescaped(text string) string {
	for {
		plain := escape.ReplaceAllStringFunc(text, func(found string) string {
			c, _ := strconv.ParseUint(found[len(found)-2:], 16, 8)
			return string(rune(c))
		})
		if plain == text {
			return plain
		}
		text = plain
	}
}

// token takes a token for a subscription in a room.
func (p *piped) token(room string) string {
	p.t.Helper()
	var out struct {
		Parameter []struct{ Name, ValueString string }
	}
	if err := json.Unmarshal(p.must("POST", room+"/fhir/R5/Subscription/admission-full/$get-ws-binding-token", map[string]any{"resourceType": "Parameters"}), &out); err != nil {
		p.t.Fatal(err)
	}
	return out.Parameter[0].ValueString
}

// follows binds a socket in a room to a subscription, and reads from it until the test ends.
func (p *piped) follows(room string) {
	p.t.Helper()
	conn, _, err := websocket.Dial(p.t.Context(), "ws"+strings.TrimPrefix(p.url, "http")+room+"/ws", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	if err := conn.Write(p.t.Context(), websocket.MessageText, []byte("bind-with-token "+p.token(room))); err != nil {
		p.t.Fatal(err)
	}
	if _, _, err := conn.Read(p.t.Context()); err != nil { // the handshake
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, _, err := conn.Read(context.Background()); err != nil {
				return
			}
		}
	}()
	p.t.Cleanup(func() {
		_ = conn.CloseNow()
		<-ended
	})
}

// sends sends a request and reads the response, whatever it is.
func (p *piped) sends(r placed) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, p.url+r.path, strings.NewReader(r.body))
	if err != nil {
		p.t.Fatal(err)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(r.body, "_id=") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.header[0] == "Host" {
		req.Host = r.header[1]
	} else if r.header[0] != "" {
		req.Header.Set(r.header[0], r.header[1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		p.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
}

// says sends a message on a socket of its own in a room, and closes that with the same text as the
// reason.
func (p *piped) says(room, message string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(p.url, "http")+room+"/ws", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, text := range []string{message, "ping"} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			p.t.Fatal(err)
		}
	}
	for { // until it has served the message
		_, data, err := conn.Read(ctx)
		if err != nil || string(data) == "pong" {
			break
		}
	}
	const maxReason = 120
	_ = conn.Close(websocket.StatusNormalClosure, message[:min(len(message), maxReason)])
}
