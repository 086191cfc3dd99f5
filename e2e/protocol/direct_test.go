package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// control sends a request to a control route, which has to succeed.
func (s *server) control(method, path string, body any) response {
	s.T.Helper()
	a := s.Do(method, "/mock/"+path, body, "Content-Type", "application/json")
	if a.Status >= 300 {
		s.T.Fatalf("%s %s %s: got %d %s", method, path, compact(body), a.Status, a.Raw)
	}
	return a
}

// refused sends a request to a control route, which has to be refused with a text.
func (s *server) refused(status int, method, path string, body any, text string) {
	s.T.Helper()
	a := s.Do(method, "/mock/"+path, body, "Content-Type", "application/json")
	if a.Status != status || !strings.Contains(fmt.Sprint(a.Body["detail"]), text) {
		s.T.Errorf("%s %s %s: got %d %s, want %d with %q", method, path, compact(body), a.Status, a.Raw, status, text)
	}
}

// socketIDs returns the ids of the open sockets.
func (s *server) socketIDs() []string {
	s.T.Helper()
	var ids []string
	for _, one := range asList(s.control("GET", "sockets", nil).At("sockets")) {
		ids = append(ids, text(one, "id"))
	}
	return ids
}

// awaitEntry returns the first entry of the journal that the query selects, once there is
// one.
func (s *server) awaitEntry(query string, is func(entry) bool) entry {
	s.T.Helper()
	follow := s.Follow("?since=0&"+query, "")
	for {
		name, _, data := follow.Next()
		if name != "message" {
			continue
		}
		var e entry
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			s.T.Fatal(err)
		}
		if is(e) {
			return e
		}
	}
}

func TestCloseSocket_SendsCodeAndReason(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, one := range []struct {
		query, reason string
		code          websocket.StatusCode
	}{
		{"?code=4000&reason=try+later", "try later", 4000},
		{"?code=1012", "", 1012},
		{"", "", 1000},
		{"?cut=false&code=3000&reason=" + strings.Repeat("x", 123), strings.Repeat("x", 123), 3000},
	} {
		ws := s.Bind("abc")
		ids := s.socketIDs()
		id := ids[len(ids)-1]
		if a := s.control("DELETE", "sockets/"+id+one.query, nil); a.Status != 204 {
			t.Errorf("%s: got %d", one.query, a.Status)
		}
		if code, reason := ws.Closed(); code != one.code || reason != one.reason {
			t.Errorf("%s: got %d %q, want %d %q", one.query, code, reason, one.code, one.reason)
		}
		e := s.awaitEntry("kind=closed&socket="+id, func(entry) bool { return true })
		if e.Code != int(one.code) || e.Text != strings.TrimSpace(one.reason+" (by control API)") {
			t.Errorf("%s: the journal has %d %q", one.query, e.Code, e.Text)
		}
	}
}

func TestCloseSocket_FollowsWhatWaits(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.control("POST", "trigger", map[string]any{"subscription": "abc", "count": 50})
	s.control("DELETE", "sockets/s1?code=1001", nil)
	for n := range 50 {
		ws.WantEvent(fmt.Sprint(n + 1))
	}
	if code, _ := ws.Closed(); code != 1001 {
		t.Errorf("got %d", code)
	}
}

func TestCutSocket_SendsNoCloseFrame(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.control("DELETE", "sockets/s1?cut=true", nil)
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	if _, _, err := ws.Conn.Read(ctx); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want the end of the connection", err)
	}
	e := s.awaitEntry("kind=closed", func(entry) bool { return true })
	if e.Code != 1006 || e.Text != "the connection was cut (by control API)" {
		t.Errorf("the journal has %d %q", e.Code, e.Text)
	}
	s.control("POST", "await", map[string]any{"bound": map[string]any{"subscription": "abc", "count": 0}})
}

func TestCloseSocket_RefusesWhatNoCloseFrameHas(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	for _, code := range []string{"1004", "1005", "1006", "1015", "1016", "2999"} {
		s.refused(400, "DELETE", "sockets/s1?code="+code, nil, "code: got "+code)
	}
	s.refused(400, "DELETE", "sockets/s1?code=x", nil, "code: ")
	s.refused(400, "DELETE", "sockets/s1?reason="+strings.Repeat("%C3%A4", 62), nil, "reason: got 124 bytes, a close frame has room for 123")
	s.refused(400, "DELETE", "sockets/s1?reason=%ff", nil, "reason: expected UTF-8")
	s.refused(400, "DELETE", "sockets/s1?cut=maybe", nil, "cut: ")
	s.refused(400, "DELETE", "sockets/s1?cut=true&code=4000", nil, "neither code nor reason")
	s.refused(404, "DELETE", "sockets/s9", nil, `no open socket "s9"`)
	ws.Nothing() // none of them closed it
}

// A client that does not answer the close frame is cut.
func TestCloseSocket_TwiceIsAConflictButACutIsNot(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc") // reads nothing, so it does not answer
	s.control("DELETE", "sockets/s1?code=4001", nil)
	s.refused(409, "DELETE", "sockets/s1?code=4002", nil, "closes already with 4001")
	s.refused(409, "POST", "sockets/s1/frames", map[string]any{"text": "x"}, "0 of 1 frames were queued")
	s.control("DELETE", "sockets/s1?cut=true", nil)
	if e := s.awaitEntry("kind=closed", func(entry) bool { return true }); e.Code != 4001 {
		t.Errorf("got %d %s", e.Code, e.Text)
	}
}

func TestSendFrames_SendsAnyText(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Dial()
	ws.Send("ping")
	ws.Next()
	texts := []string{"not JSON", `{"resourceType":"Bundle"}`, "", "ä\u0000 \n", strings.Repeat("long ", 100_000)}
	for _, one := range texts {
		s.control("POST", "sockets/s1/frames", map[string]any{"text": one})
	}
	s.control("POST", "sockets/s1/frames", map[string]any{"texts": texts})
	for i, want := range append(texts, texts...) {
		if f := ws.Next(); string(f.Raw) != want {
			t.Fatalf("frame %d: got %.60q, want %.60q", i, f.Raw, want)
		}
	}
	sent := s.Journal("?kind=sent&bodies=true")
	var custom []entry
	for _, e := range sent {
		if e.Type == "custom" {
			custom = append(custom, e)
		}
	}
	if len(custom) != 2*len(texts) || custom[0].Socket != "s1" || custom[0].Frame != "not JSON" {
		t.Errorf("got %d frames of type custom in the journal, %+v first", len(custom), custom)
	}
	s.refused(400, "POST", "sockets/s1/frames", nil, `"text"`)
	s.refused(400, "POST", "sockets/s1/frames", map[string]any{"texts": []string{}}, `"texts"`)
	s.refused(400, "POST", "sockets/s1/frames", map[string]any{"text": "a", "texts": []string{"b"}}, `"texts"`)
	s.refused(404, "POST", "sockets/s2/frames", map[string]any{"text": "a"}, "no open socket")
	ws.Nothing()
}

func TestNotify_SendsHandshakeAndHeartbeatNow(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		if a := s.control("POST", "subscriptions/abc/notifications", map[string]any{"type": "heartbeat"}); string(a.Raw) != `{"sockets":[],"why":"no socket is bound to it"}`+"\n" {
			t.Errorf("got %s", a.Raw)
		}
		one, two := s.Bind("abc"), s.Bind("abc")
		s.control("POST", "trigger", map[string]any{"subscription": "abc"})
		one.WantEvent("1")
		two.WantEvent("1")
		for _, kind := range []string{"handshake", "heartbeat"} {
			a := s.control("POST", "subscriptions/abc/notifications", map[string]any{"type": kind})
			if string(a.Raw) != `{"sockets":["s1","s2"]}`+"\n" {
				t.Errorf("got %s", a.Raw)
			}
			for _, ws := range []*socket{one, two} {
				if f := ws.Next(); f.Kind() != kind || f.Total() != "1" || f.Subscription() != "abc" {
					t.Errorf("got %s, want a %s", f.Raw, kind)
				}
			}
		}
		a := s.control("POST", "subscriptions/abc/notifications", map[string]any{"type": "heartbeat", "socket": "s2"})
		if string(a.Raw) != `{"sockets":["s2"]}`+"\n" {
			t.Errorf("got %s", a.Raw)
		}
		if f := two.Next(); f.Kind() != "heartbeat" {
			t.Errorf("got %s", f.Raw)
		}
		one.Nothing()
		s.refused(404, "POST", "subscriptions/abc/notifications", map[string]any{"type": "heartbeat", "socket": "s3"}, `socket "s3" is not bound to Subscription/abc; bound are s1, s2`)
		s.refused(404, "POST", "subscriptions/none/notifications", map[string]any{"type": "heartbeat"}, "none")
		s.refused(400, "POST", "subscriptions/abc/notifications", map[string]any{"type": "event-notification"}, "expected handshake or heartbeat")
		s.refused(400, "POST", "subscriptions/abc/notifications", map[string]any{}, "either a type")
		s.refused(400, "POST", "subscriptions/abc/notifications", map[string]any{"type": "heartbeat", "bundle": map[string]any{}}, "either a type")
	})
}

func TestNotify_SendsABundleAsItIs(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	medplum := s.Dial()
	medplum.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
	medplum.Next()
	bundle := `{ "resourceType":"Bundle",  "entry": [1.50, {"b":null}] }`
	a := s.control("POST", "subscriptions/abc/notifications", `{"bundle":`+bundle+`}`)
	if string(a.Raw) != `{"sockets":["s1","s2"]}`+"\n" {
		t.Errorf("got %s", a.Raw)
	}
	for _, socket := range []*socket{ws, medplum} {
		if f := socket.Next(); string(f.Raw) != bundle {
			t.Errorf("got %s, want %s", f.Raw, bundle)
		}
	}
	sent := s.Journal("?kind=sent&subscription=abc&limit=1")
	if len(sent) != 1 || sent[0].Type != "custom" {
		t.Errorf("got %+v, want a frame of type custom", sent)
	}
	s.refused(400, "POST", "subscriptions/abc/notifications", `{"bundle":{"a":}}`, "")
	ws.Nothing()
}

// A socket of the protocol without topics has neither handshakes by request nor heartbeats.
func TestNotify_SaysWhyASocketGetsNone(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.Must(201, "PUT", "Subscription/old", `{"resourceType":"Subscription","id":"old","status":"requested","reason":"x","criteria":"Observation?","channel":{"type":"websocket"}}`)
	ws := s.Dial()
	ws.Send("bind old")
	if f := ws.Next(); string(f.Raw) != "bound old" {
		t.Fatalf("got %s", f.Raw)
	}
	a := s.control("POST", "subscriptions/old/notifications", map[string]any{"type": "heartbeat"})
	if len(asList(a.Body["sockets"])) != 0 || a.Body["why"] != "socket s1 speaks the protocol of R4 without topics, which has no heartbeat" {
		t.Errorf("got %s", a.Raw)
	}
	ws.Nothing()
	s.control("POST", "subscriptions/old/notifications", `{"bundle":"ping old"}`)
	if f := ws.Next(); string(f.Raw) != `"ping old"` {
		t.Errorf("got %s", f.Raw)
	}
}

func TestPatchSubscription_StatusErrorIsStoredAndSent(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		a := s.control("PATCH", "subscriptions/abc", `{"status":"error","error":{"code":"no-response","text":"a test"}}`)
		if a.Body["status"] != "error" || compact(a.Body["errors"]) != `["a test"]` || a.Body["id"] != "abc" {
			t.Errorf("got %s", a.Raw)
		}
		stored := s.Must(200, "GET", "Subscription/abc", nil)
		if stored.Body["status"] != "error" || stored.At("meta", "versionId") != "2" {
			t.Errorf("got %s, want version 2 in error", stored.Raw)
		}
		if r != fhir.R5 && stored.Body["error"] != "a test" {
			t.Errorf("got %s, want the error", stored.Raw)
		}
		status := string(s.Must(200, "GET", "Subscription/abc/$status", nil).Raw)
		if !strings.Contains(status, `"code":"no-response"`) || !strings.Contains(status, `"text":"a test"`) {
			t.Errorf("$status: got %s, want the error", status)
		}
		s.control("POST", "trigger", map[string]any{"subscription": "abc"})
		ws.Nothing() // LC-7
		s.control("POST", "subscriptions/abc/notifications", map[string]any{"type": "heartbeat"})
		if f := ws.Next(); f.Status()["status"] != "error" || f.Total() != "1" {
			t.Errorf("got %s", f.Raw)
		}
		s.control("PATCH", "subscriptions/abc", `{"status":"error","error":{"text":"another"}}`)
		if status := string(s.Must(200, "GET", "Subscription/abc/$status", nil).Raw); !strings.Contains(status, "another") {
			t.Errorf("$status: got %s, want the new error", status)
		}
		s.control("PATCH", "subscriptions/abc", `{"status":"active"}`)
		stored = s.Must(200, "GET", "Subscription/abc", nil)
		if stored.Body["status"] != "active" || stored.Body["error"] != nil {
			t.Errorf("got %s, want it active without an error", stored.Raw)
		}
		s.control("POST", "trigger", map[string]any{"subscription": "abc"})
		if f := ws.WantEvent("2"); f.Status()["status"] != "active" || strings.Contains(string(f.Raw), "another") {
			t.Errorf("got %s", f.Raw)
		}
	})
}

func TestPatchSubscription_OffEndsItsBindingsAndActiveBringsItBack(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.control("POST", "trigger", map[string]any{"subscription": "abc"})
	ws.WantEvent("1")
	s.control("PATCH", "subscriptions/abc", `{"status":"off"}`)
	if f := ws.Next(); f.Kind() != "heartbeat" || f.Status()["status"] != "off" {
		t.Errorf("got %s, want a last heartbeat", f.Raw)
	}
	if stored := s.Must(200, "GET", "Subscription/abc", nil); stored.Body["status"] != "off" {
		t.Errorf("got %s", stored.Raw)
	}
	s.refused(422, "PATCH", "subscriptions/abc", `{"status":"error"}`, "is off")
	s.Must(422, "POST", "Subscription/abc/$get-ws-binding-token", nil)
	s.control("PATCH", "subscriptions/abc", `{"status":"active"}`)
	again := s.Bind("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	again.WantEvent("2")
}

func TestPatchSubscription_ActiveNeedsItsTopicAndTime(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(204, "DELETE", "SubscriptionTopic/admission", nil)
	before := s.Must(200, "GET", "Subscription/abc", nil)
	if before.Body["status"] != "error" {
		t.Fatalf("got %s", before.Raw)
	}
	s.refused(422, "PATCH", "subscriptions/abc", `{"status":"active","counter":7}`, "has no topic")
	if after := s.Must(200, "GET", "Subscription/abc", nil); string(after.Raw) != string(before.Raw) {
		t.Errorf("the refusal changed the resource to %s", after.Raw)
	}
	if got := s.control("GET", "subscriptions", nil).At("subscriptions", 0, "events"); got != 0.0 {
		t.Errorf("the refusal set the counter to %v", got)
	}
}

// Going forward is a loss to the client, going back a restart.
func TestPatchSubscription_Counter(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		trigger := func() { s.control("POST", "trigger", map[string]any{"subscription": "abc"}) }
		events := func(query string) string {
			return strings.Join(s.Must(200, "GET", "Subscription/abc/$events"+query, nil).Notification().Numbers(), ",")
		}
		trigger()
		trigger()
		ws.WantEvent("1")
		ws.WantEvent("2")
		if a := s.control("PATCH", "subscriptions/abc", `{"counter":41}`); a.Body["events"] != 41.0 || a.Body["firstKept"] != 1.0 {
			t.Errorf("got %s", a.Raw)
		}
		trigger()
		if f := ws.WantEvent("42"); f.Total() != "42" {
			t.Errorf("got %s", f.Raw)
		}
		for query, want := range map[string]string{"": "1,2,42", "?eventsSinceNumber=3": "42", "?eventsSinceNumber=3&eventsUntilNumber=41": "", "?eventsUntilNumber=20": "1,2", "?eventsSinceNumber=42": "42"} {
			if got := events(query); got != want {
				t.Errorf("$events%s: got %s, want %s", query, got, want)
			}
		}
		s.control("PATCH", "subscriptions/abc", `{"counter":1}`)
		if got := events(""); got != "" {
			t.Errorf("$events: got %s, want none after going back", got)
		}
		trigger()
		if f := ws.WantEvent("2"); f.Total() != "2" {
			t.Errorf("got %s", f.Raw)
		}
		if got := events(""); got != "2" {
			t.Errorf("$events: got %s, want 2", got)
		}
		s.control("PATCH", "subscriptions/abc", `{"counter":0}`)
		if f := s.Dial(); f != nil {
			f.Send("bind-with-token " + s.Token("abc"))
			if h := f.Next(); h.Total() != "0" {
				t.Errorf("got %s", h.Raw)
			}
		}
		notes := s.Journal("?kind=control&subscription=abc")
		if len(notes) != 3 || notes[0].Type != "counter" || notes[1].Text != "the number of the last event was 42 and is 1; its events are gone" {
			t.Errorf("the journal has %+v", notes)
		}
	})
}

func TestPatchSubscription_RefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for body, text := range map[string]string{
		`{}`:                                            "nothing to change",
		`{"status":""}`:                                 "status: ",
		`{"status":"requested"}`:                        "expected active, error or off",
		`{"status":"error","error":{}}`:                 "error: give the error a code",
		`{"error":{"text":"x"}}`:                        `"status": "error" only`,
		`{"status":"off","error":{"text":"x"}}`:         `"status": "error" only`,
		`{"status":"error","error":{"code":" x"}}`:      "error.code: ",
		`{"status":"error","error":{"text":" \u0001"}}`: "error.text: ",
		`{"counter":-1}`:                                "counter: got -1",
		`{"counter":1.5}`:                               "counter: ",
		`{"counter":9007199254740991}`:                  "counter: got 9007199254740991",
		`{"state":"off"}`:                               `did you mean "status"`,
	} {
		s.refused(400, "PATCH", "subscriptions/abc", body, text)
	}
	s.refused(404, "PATCH", "subscriptions/none", `{"status":"off"}`, "none")
	s.Must(204, "DELETE", "Subscription/abc", nil)
	s.refused(410, "PATCH", "subscriptions/abc", `{"status":"off"}`, "deleted")
}

func TestExpireToken_EndsBindingsAsByExpiry(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, name := range []func(string) string{
		func(secret string) string { return secret },
		func(string) string { return s.onlyToken() },
	} {
		secret := s.Token("abc")
		ws := s.Dial()
		ws.Send("bind-with-token " + secret)
		ws.Next()
		s.control("POST", "tokens/"+name(secret)+"/expire", nil)
		ws.Outcome("expired")
		if code, reason := ws.Closed(); code != 1008 || !strings.Contains(reason, "token expired") {
			t.Errorf("got %d %q", code, reason)
		}
		late := s.Dial()
		late.Send("bind-with-token " + secret)
		if why := late.Outcome("expired"); !strings.Contains(why, "token expired at") {
			t.Errorf("got %s", why)
		}
		if left := asList(s.control("GET", "tokens", nil).Body["tokens"]); len(left) != 0 {
			t.Errorf("got %v, want no valid token", left)
		}
		s.refused(404, "POST", "tokens/"+secret+"/expire", nil, "no such token")
	}
	s.refused(404, "POST", "tokens/00000000/expire", nil, "no such token")
	s.refused(404, "DELETE", "tokens/00000000", nil, "no such token")
	expired := s.Journal("?kind=token&text=by+the+control+API")
	if len(expired) != 2 || expired[0].Type != "expired" || expired[0].Text != "for abc, by the control API" {
		t.Errorf("the journal has %+v", expired)
	}
}

// The journal names the subscription of a control route, and a token by its fingerprint
// however the request named it.
func TestDirectControl_IsRecorded(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.control("PATCH", "subscriptions/abc", `{"counter":1}`)
	s.control("POST", "subscriptions/abc/notifications", `{"type":"heartbeat"}`)
	var paths []string
	for _, e := range s.Journal("?kind=http&subscription=abc") {
		paths = append(paths, e.HTTP.Path)
	}
	if n := len(paths); n != 3 || !strings.HasSuffix(paths[1], "/mock/subscriptions/abc") || !strings.HasSuffix(paths[2], "/mock/subscriptions/abc/notifications") {
		t.Errorf("got %v, want its creation and the routes", paths)
	}
	first := s.Token("abc")
	s.control("POST", "tokens/"+first+"/expire", nil)
	s.Token("abc")
	other := s.onlyToken()
	s.control("DELETE", "tokens/"+other, nil)
	if len(s.Journal("?kind=http&text=/mock/tokens/"+other)) != 1 {
		t.Errorf("the journal does not show the fingerprint %s", other)
	}
	if shown := s.Journal("?kind=http&text=/expire"); len(shown) != 1 || strings.Contains(shown[0].HTTP.Path, first) {
		t.Errorf("got %+v, want the path with the fingerprint", shown)
	}
}

// Another token keeps the binding.
func TestExpireToken_KeepsWhatAnotherTokenHolds(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	first, second := s.Token("abc"), s.Token("abc")
	ws := s.Dial()
	for _, token := range []string{first, second} {
		ws.Send("bind-with-token " + token)
		ws.Next()
	}
	s.control("POST", "tokens/"+first+"/expire", nil)
	s.control("POST", "trigger", map[string]any{"subscription": "abc"})
	ws.WantEvent("1")
	s.control("DELETE", "tokens/"+s.onlyToken(), nil) // by its fingerprint
	ws.Outcome("forbidden")
}

// onlyToken returns the fingerprint of the only valid token.
func (s *server) onlyToken() string {
	s.T.Helper()
	return text(s.control("GET", "tokens", nil).Body, "tokens", 0, "fingerprint")
}

func TestExpireToken_LeavesBindingsThatOutliveTheirTokens(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--keep-expired")
	token := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + token)
	ws.Next()
	s.control("POST", "tokens/"+token+"/expire", nil)
	s.control("POST", "trigger", map[string]any{"subscription": "abc"})
	ws.WantEvent("1")
}

func TestUsers_AreToldApartByClientID(t *testing.T) {
	t.Parallel()
	s := start(t)
	who := func(client string) (token, at, me string) {
		a := s.signIn("grant_type=client_credentials&client_id=" + url.QueryEscape(client))
		token = text(a.Body, "access_token")
		m := s.Do("GET", "/auth/me", nil, "Authorization", "Bearer "+token)
		if got, want := m.At("membership", "profile", "reference"), text(m.Body, "profile", "resourceType")+"/"+text(m.Body, "profile", "id"); got != want {
			t.Errorf("%s: the membership has %v, the profile is %s", client, got, want)
		}
		if c := claims(t, token); c["profile"] != a.At("profile", "reference") {
			t.Errorf("%s: the token states %v", client, c["profile"])
		}
		return token, fmt.Sprint(a.At("profile", "reference"), " ", a.At("profile", "display")), text(m.Body, "membership", "profile", "reference") + " " + text(m.Body, "profile", "name", 0, "text")
	}
	want := func(client, is string) {
		t.Helper()
		if _, signed, me := who(client); signed != is || me != is {
			t.Errorf("%s: got %s and %s, want %s", client, signed, me, is)
		}
	}
	want("a", "Practitioner/dev Development sign-in")
	s.control("PUT", "users", `{"users":[{"clientId":"a","profile":"Practitioner/a","name":"Ada"},{"clientId":"b c","profile":"Patient/b"}]}`)
	want("a", "Practitioner/a Ada")
	want("b c", "Patient/b Patient/b")
	want("c", "Practitioner/dev Development sign-in")
	if a := s.control("GET", "users", nil); string(a.Raw) != `{"users":[{"clientId":"a","profile":"Practitioner/a","name":"Ada"},{"clientId":"b c","profile":"Patient/b","name":"Patient/b"}]}`+"\n" {
		t.Errorf("got %s", a.Raw)
	}
	token, _, _ := who("a")
	s.control("PUT", "users", `{"users":[{"clientId":"a","profile":"Practitioner/other"}]}`)
	if m := s.Do("GET", "/auth/me", nil, "Authorization", "Bearer "+token); m.At("profile", "id") != "other" {
		t.Errorf("got %s, want the change of user at once", m.Raw)
	}
	for body, problem := range map[string]string{
		`{}`: "users: give the list",
		`{"users":[{"profile":"Practitioner/a"}]}`:                                                       "users[0].clientId: ",
		`{"users":[{"clientId":"a","profile":"a"}]}`:                                                     "users[0].profile: ",
		`{"users":[{"clientId":"a","profile":"Meal/a"}]}`:                                                "users[0].profile: ",
		`{"users":[{"clientId":"a","profile":"Patient/a"},{"clientId":"a","profile":"Practitioner/a"}]}`: "users[1].clientId: ",
	} {
		s.refused(400, "PUT", "users", body, problem)
	}
	want("a", "Practitioner/other Practitioner/other")
	s.control("POST", "reset", nil)
	want("a", "Practitioner/dev Development sign-in")
}

// With a token of the server, the sign-in enters the room only once the secret is right.
func TestUsers_WithATokenOfTheServer(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-of-the-server"
	s := startProcess(t, "--auth-token", secret)
	bearer := []string{"Authorization", "Bearer " + secret, "Content-Type", "application/json"}
	s.Must(201, "PUT", "/rooms/x", nil, bearer...)
	s.Must(200, "PUT", "/rooms/x/mock/users", `{"users":[{"clientId":"a","profile":"Practitioner/a"}]}`, bearer...)
	form := "grant_type=client_credentials&client_id=a&client_secret=" + secret
	for path, want := range map[string]string{"/rooms/x": "Practitioner/a", "": "Practitioner/dev", "/rooms/none": "Practitioner/dev"} {
		a := s.Do("POST", path+"/oauth2/token", form, "Content-Type", formType)
		if a.Status != http.StatusOK || a.At("profile", "reference") != want {
			t.Errorf("%s: got %d %s, want %s", path, a.Status, a.Raw, want)
		}
	}
}
