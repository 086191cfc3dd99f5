package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/socket"
	"signalfhir/internal/wiretest"
)

// Whatever is posted to a base gets a bundle or a refusal in return, and a
// transaction that is refused changes nothing.
func FuzzBundle(f *testing.F) {
	for _, entry := range []string{
		`{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient"}}`,
		`{"request":{"method":"PUT","url":"Patient?active=true"},"resource":{"resourceType":"Patient","active":true}}`,
		`{"request":{"method":"PATCH","url":"Patient/p"},"resource":{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}]}}`,
		`{"request":{"method":"PATCH","url":"Patient/p"},"resource":{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W10="}}`,
		`{"request":{"method":"DELETE","url":"Patient/p/_history/1"}}`,
		`{"request":{"method":"GET","url":"Patient/../../x"}}`,
		`{"request":{"method":"GET","url":"//x/Patient/1?_format=xml&_include=*"}}`,
		`{"request":{"method":"POST","url":"Subscription/abc/$status"},"resource":{"resourceType":"Parameters"}}`,
		`{"request":{"method":"HEAD","url":"?x=%zz"}}`,
		`{"request":[],"resource":null}`, `null`, `[]`, `"x"`,
		`{"fullUrl":"urn:uuid:1","request":{"method":"POST","url":"Encounter"},"resource":{"resourceType":"Encounter","status":"planned","subject":{"reference":"Patient?active=true"}}}`,
	} {
		f.Add("transaction", entry)
		f.Add("batch", entry+","+entry)
	}
	s := fuzzServer(f)
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		return s.ask(context.Background(), method, path, "application/fhir+json", body)
	}
	f.Fuzz(func(t *testing.T, kind, entries string) {
		if ask("POST", "/mock/reset", "").Code/100 != 2 || ask("PUT", "/fhir/R5/Patient/p", `{"resourceType":"Patient","id":"p","active":true}`).Code != 201 {
			t.Fatal("the server cannot begin")
		}
		before := wiretest.Entries(ask("GET", "/fhir/R5/_history", "").Body.String())
		a := ask("POST", "/fhir/R5", `{"resourceType":"Bundle","type":"`+kind+`","entry":[`+entries+`]}`)
		o, refused := fhir.Parse(a.Body.Bytes())
		switch {
		case a.Code >= 500 || refused != nil:
			t.Fatalf("%s of %s: got %d %s", kind, entries, a.Code, a.Body)
		case a.Code == 200 && o.Text("resourceType") == "Bundle":
		case o.Text("resourceType") != "OperationOutcome":
			t.Fatalf("%s of %s: got %d %s, want why", kind, entries, a.Code, a.Body)
		default:
			if after := wiretest.Entries(ask("GET", "/fhir/R5/_history", "").Body.String()); after != before {
				t.Fatalf("%s of %s was refused, but left %s", kind, entries, after)
			}
		}
		if strings.Contains(a.Body.String(), `"500 `) {
			t.Fatalf("%s of %s: an entry failed: %s", kind, entries, a.Body)
		}
	})
}

// fuzzed is a server without a listener.
type fuzzed struct{ *server }

func fuzzServer(f *testing.F) fuzzed {
	f.Helper()
	o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Minute, JournalSize: 10, MaxBodyBytes: 1 << 20, MaxMemory: 1 << 40, MaxResponseBytes: 64 << 20, MaxRooms: 5, RoomTTL: time.Minute, Clock: clock.NewManual(begin)}
	s, err := newServer(o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.rooms.Close)
	return fuzzed{s}
}

// ask sends a request to an address that can be parsed.
func (s fuzzed) ask(ctx context.Context, method, target, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:8080/", strings.NewReader(body))
	r.Method = method
	if u, err := url.ParseRequestURI(target); err == nil {
		r.URL, r.RequestURI = u, target
	}
	r.RemoteAddr = "127.0.0.1:1"
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	a := httptest.NewRecorder()
	s.echo.ServeHTTP(a, r)
	return a
}

// Whatever is asked for, in whatever words: the server never fails, a refusal says why in
// the form of its route, and what is refused changes nothing.
func FuzzRequest(f *testing.F) {
	const fhirJSON, form, patch = "application/fhir+json", "application/x-www-form-urlencoded", "application/json-patch+json"
	for _, x := range [][4]string{
		{"GET", "/fhir/R5/Patient?name=a&_sort=-birthdate&_count=2&_include=*", "", ""},
		{"POST", "/fhir/r4/Patient/_search", form, "name=a&_elements=id"},
		{"PUT", "/fhir/R4/Subscription/s", fhirJSON, `{"resourceType":"Subscription","id":"s","status":"requested","reason":"x","criteria":"Patient?name=a","channel":{"type":"websocket","payload":"application/fhir+json"}}`},
		{"PUT", "/fhir/R4B/SubscriptionTopic/t", fhirJSON, `{"resourceType":"SubscriptionTopic","id":"t","url":"http://t","status":"active","resourceTrigger":[{"resource":"Patient","queryCriteria":{"current":"active=true"},"fhirPathCriteria":"true"}]}`},
		{"PATCH", "/fhir/R5/Patient/p", patch, `[{"op":"replace","path":"/active","value":false}]`},
		{"PATCH", "/fhir/R5/Patient?active=true", fhirJSON, `{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}]}`},
		{"POST", "/fhir/R5/Subscription/$get-ws-binding-token?id=a,b", fhirJSON, `{"resourceType":"Parameters","parameter":[{"name":"id","valueId":"abc"}]}`},
		{"GET", "/fhir/R5/Subscription/s/$events?eventsSinceNumber=1&eventsUntilNumber=x", "", ""},
		{"POST", "/mock/trigger", "", `{"topic":"http://t","release":"R4B","count":2,"interval":"250ms","focus":{"resourceType":"Patient"}}`},
		{"POST", "/mock/await", "", `{"bound":{"subscription":"s","count":0},"timeout":"1ms"}`},
		{"POST", "/mock/explain?format=text", "", `{"previous":{"resourceType":"Patient","id":"p"},"current":null}`},
		{"POST", "/mock/generators", "", `{"name":"g","scenario":"tasks","rate":"2/s","patients":1,"releases":["R4"]}`},
		{"PATCH", "/mock/generators/g", "", `{"rate":"1e-9/s"}`},
		{"GET", "/mock/journal?kind=sent,http&since=2026-01-01T00:00:00Z&limit=3&format=har&text=%41", "", ""},
		{"GET", "/mock/explain?seq=1&subscription=s", "", ""},
		{"GET", "/mock/resources?type=Patient&offset=1&limit=0&release=R4", "", ""},
		{"PUT", "/rooms/r", "", `{"seed":{"resources":[{"resourceType":"Patient","id":"a"}]},"random":1}`},
		{"DELETE", "/rooms/r", "", ""},
		{"POST", "/oauth2/token", form, "grant_type=client_credentials&client_secret=x"},
		{"GET", "/rooms/%2e%2e/mock//state?x=%zz", "", ""},
	} {
		f.Add(x[0], x[1], x[2], x[3])
	}
	s := fuzzServer(f)
	f.Fuzz(func(t *testing.T, method, target, kind, body string) {
		if _, err := http.NewRequest(method, "http://127.0.0.1"+target, nil); err != nil || !strings.HasPrefix(target, "/") || strings.Contains(target, "/stream") || strings.ContainsAny(kind, "\r\n") {
			return // the stream goes on; the rest net/http refuses
		}
		// What waits is ended by the client.
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if s.ask(t.Context(), "POST", "/mock/reset", "", "").Code/100 != 2 {
			t.Fatal("the server cannot begin")
		}
		before := s.held(t)
		a := s.ask(ctx, method, target, kind, body)
		switch {
		case a.Code == 500 || a.Code == 0:
			t.Fatalf("got %d %s", a.Code, a.Body)
		case a.Code < 400:
			return
		}
		if after := s.held(t); after != before {
			t.Fatalf("got %d %s, but it left\n%s\ninstead of\n%s", a.Code, a.Body, after, before)
		}
		if a.Body.Len() == 0 {
			return // a HEAD, or an If-None-Match
		}
		o, err := fhir.Parse(a.Body.Bytes())
		if err != nil || o.Text("resourceType") != "OperationOutcome" && o.Text("detail") == "" && o.Text("error") == "" {
			t.Fatalf("got %d %s, want why", a.Code, a.Body)
		}
	})
}

// held returns what all bases and rooms hold.
func (s fuzzed) held(t *testing.T) string {
	t.Helper()
	text := s.ask(t.Context(), "GET", "/mock/generators", "", "").Body.String()
	for _, path := range []string{"/fhir/R5/_history", "/fhir/R4B/_history", "/fhir/R4/_history"} {
		text += wiretest.Entries(s.ask(t.Context(), "GET", path, "", "").Body.String())
	}
	for _, room := range s.rooms.List() {
		text += " " + room.Name
	}
	return text
}

// Whatever a client sends on its socket: the server goes on, every frame it sends back is one
// of the protocol, a close has a code of the table, and no journal has the secret.
func FuzzSocket(f *testing.F) {
	for _, text := range []string{
		"bind-with-token TOKEN", "bind-with-token: \"TOKEN\"\nping\nunbind-with-token TOKEN", `{"type":"bind-with-token","payload":{"token":"TOKEN"}}`,
		`{"type":"ping"}`, "bind abc", "unbind abc,x", "hello", "", "\xff", "bind-with-token TOKEN TOKEN", strings.Repeat("x\n", 20), strings.Repeat("a", 70_000),
		`{"type":"bind-with-token","payload":{"token":"\u0054OKEN"}}`,
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	s := start(f, func(o *command.Serve) { o.JournalSize = 30 })
	s.Admission()
	secret := s.Token("abc")
	codes := map[websocket.StatusCode]bool{}
	for _, reason := range socket.CloseReasons() {
		codes[websocket.StatusCode(reason.Code)] = reason.Code != socket.ServerFailed.Code
	}
	f.Fuzz(func(t *testing.T, text string, binary bool) {
		ctx, cancel := context.WithTimeout(t.Context(), wiretest.Patience)
		defer cancel()
		ws := s.In(t).Dial()
		kind := websocket.MessageText
		if binary {
			kind = websocket.MessageBinary
		}
		// A server that has closed takes no more.
		_ = ws.Conn.Write(ctx, kind, []byte(strings.ReplaceAll(text, "TOKEN", secret)))
		_ = ws.Conn.Write(ctx, websocket.MessageText, []byte("ping"))
		for {
			_, data, err := ws.Conn.Read(ctx)
			if err != nil {
				if code := websocket.CloseStatus(err); code != -1 && !codes[code] || ctx.Err() != nil {
					t.Fatalf("%q ended the socket with %v", text, err)
				}
				break
			}
			if string(data) == "pong" {
				break
			}
			o, err := fhir.Parse(data)
			if err != nil || o.Text("resourceType") == "" && o.Text("type") == "" && !strings.HasPrefix(string(data), "bound ") {
				t.Fatalf("%q was answered with %s", text, data)
			}
		}
		ws.Conn.CloseNow()
		if raw := s.In(t).Must(200, "GET", "/mock/journal?bodies=true", nil).Raw; strings.Contains(string(raw), secret) {
			t.Fatalf("%q: the journal has the token:\n%s", text, raw)
		}
	})
}
