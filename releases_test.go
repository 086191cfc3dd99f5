package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// One trigger, three subscriptions of three releases: the same event, said in
// each release's words.
func TestReleases_OneTriggerIsToldInEachOnesWords(t *testing.T) {
	t.Parallel()
	s := start(t)
	sockets := map[fhir.Release]*testSocket{}
	for _, r := range fhir.Releases {
		in := s.on(r)
		in.must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
		id := strings.ToLower(string(r))
		in.must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL, "content", "full-resource"))
		sockets[r] = in.bind(id)
	}
	fired := s.must(200, "POST", "/mock/trigger", map[string]any{"topic": admissionURL})
	if got := len(asList(fired.body["events"])); got != 3 {
		t.Fatalf("got %s, want an event of each", fired.raw)
	}
	type said struct{ kind, status, topic, total, number, timestamp, focus, subject string }
	told := map[fhir.Release]said{}
	for _, r := range fhir.Releases {
		f := sockets[r].wantEvent("1")
		fhirtest.CheckNotification(t, r, f.raw)
		status := f.status()
		event := asList(status["notificationEvent"])[0].(map[string]any)
		focus, _ := event["focus"].(map[string]any)["reference"].(string)
		resource := asList(f.body["entry"])[1].(map[string]any)["resource"].(map[string]any)
		if resource["resourceType"] != "Encounter" || !strings.HasPrefix(focus, s.url+"/fhir/"+string(r)+"/Encounter/") {
			t.Errorf("%s: the focus is %s, its resource %v", r, focus, resource)
		}
		told[r] = said{
			f.kind(), fmt.Sprint(status["status"]), fmt.Sprint(status["topic"]), f.total(),
			fmt.Sprint(event["eventNumber"]), fmt.Sprint(event["timestamp"]), focus[strings.LastIndex(focus, "/fhir/")+len("/fhir/")+len(r):],
			fmt.Sprint(resource["subject"].(map[string]any)["reference"]),
		}
		if want := map[fhir.Release]string{fhir.R5: "subscription-notification", fhir.R4B: "history", fhir.R4: "history"}[r]; f.body["type"] != want {
			t.Errorf("%s: the bundle is a %v, want %s", r, f.body["type"], want)
		}
	}
	if told[fhir.R4] != told[fhir.R5] || told[fhir.R4B] != told[fhir.R5] {
		t.Errorf("the releases tell different events:\n%+v", told)
	}
}

func TestReleases_AreKeptApart(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	s.must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	if a := s.on(fhir.R5).do("GET", "Encounter/e", nil); a.status != 404 {
		t.Errorf("an Encounter of R4 on R5: got %d, want 404", a.status)
	}
	// Control routes and sockets name subscriptions by id alone.
	a := s.on(fhir.R4B).do("PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	if code, text, _ := a.issue(); a.status != 409 && a.status != 422 || code == "" || !strings.Contains(text, "abc") {
		t.Errorf("an id that another release has: got %d %s", a.status, a.raw)
	}
	if a := s.on(fhir.R5).do("GET", "Subscription/abc/$status", nil); a.status != 404 {
		t.Errorf("$status on another release: got %d, want 404", a.status)
	}
}

func TestReleases_OnlyThoseOffered(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *command.Serve) { o.Release = []string{"r4"} }).on(fhir.R4)
	s.must(200, "GET", "metadata", nil)
	a := s.on(fhir.R5).do("GET", "metadata", nil)
	if code, text, _ := a.issue(); a.status != 404 || code != "not-supported" || !strings.Contains(text, s.fhir) {
		t.Errorf("R5: got %d %s, want 404 that names %s", a.status, a.raw, s.fhir)
	}
}

func TestReleases_TheBuiltInSeedIsAliveOnEach(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	for _, r := range fhir.Releases {
		in := s.on(r)
		id := map[fhir.Release]string{fhir.R5: "admission-full", fhir.R4B: "r4b-admission-full", fhir.R4: "r4-admission-full"}[r]
		ws := in.bind(id)
		if a := in.must(200, "GET", "Subscription/"+id, nil); a.body["status"] != "active" {
			t.Errorf("%s: %s is %v", r, id, a.body["status"])
		}
		in.must(201, "PUT", "Encounter/new", encounter("new", "in-progress", "subject", reference("Patient/example")))
		fhirtest.CheckNotification(t, r, ws.wantEvent("1").raw)
		a := in.must(200, "GET", "metadata", nil)
		fhirtest.Valid(t, r, a.raw)
		if r != fhir.R5 && !strings.Contains(string(a.raw), `"valueCanonical":"`+admissionURL+`"`) {
			t.Errorf("CF-9: %s does not list its topics", r)
		}
	}
	// The ward writes to all of them, each resource in its form.
	s.must(200, "POST", "/mock/generators/ward/step", map[string]any{"count": 200})
	for _, r := range fhir.Releases {
		a := s.on(r).must(200, "GET", "Encounter?_count=50", nil)
		fhirtest.Valid(t, r, a.raw)
		if !strings.Contains(string(a.raw), `"id":"ward-`) {
			t.Errorf("%s: no encounter of the ward", r)
		}
	}
	var state struct {
		Generators []struct {
			Name, LastError string
			Refused         int
		}
	}
	if err := json.Unmarshal(s.must(200, "GET", "/mock/generators", nil).raw, &state); err != nil {
		t.Fatal(err)
	}
	if g := state.Generators[0]; g.Refused > 0 {
		t.Errorf("%s: %d writes were refused: %s", g.Name, g.Refused, g.LastError)
	}
}

func TestReleases_OperationResultsAreValid(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.must(201, "POST", "Encounter", encounter("", "in-progress"))
		for _, method := range []string{"GET", "POST"} { // OP-2
			fhirtest.Valid(t, r, s.must(200, method, "Subscription/abc/$get-ws-binding-token", nil).raw)
			fhirtest.Valid(t, r, s.must(200, method, "Subscription/$status", nil).raw)
			fhirtest.CheckNotification(t, r, s.must(200, method, "Subscription/abc/$events", nil).raw)
		}
		body := map[string]any{"resourceType": "Parameters", "parameter": []any{
			map[string]any{"name": "eventsSinceNumber", "valueString": "1"}, map[string]any{"name": "content", "valueCode": "empty"}}}
		fhirtest.CheckNotification(t, r, s.must(200, "POST", "Subscription/abc/$events", body).raw)
		none := s.must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=7", nil)
		fhirtest.Valid(t, r, none.raw)
		if want := map[fhir.Release]string{fhir.R5: "query-status"}[r]; want != "" && (frame{body: none.body}).kind() != want {
			t.Errorf("OPE-5: got %s", none.raw)
		}
		for _, id := range r.OperationDefinitions() {
			fhirtest.Valid(t, r, s.must(200, "GET", "OperationDefinition/"+id, nil).raw)
		}
		fhirtest.Valid(t, r, s.must(200, "GET", "Subscription", nil).raw)
		fhirtest.Valid(t, r, s.must(200, "GET", "Subscription/abc/_history", nil).raw)
	})
}

// OPR-1: the events again, under their numbers, with the present total.
func TestResend_SendsEventsAgain(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.bind("abc")
		for n := range 4 {
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
			ws.wantEvent(fmt.Sprint(n + 1))
		}
		a := s.must(200, "POST", "Subscription/abc/$resend?eventsSinceNumber=2&eventsUntilNumber=3", nil)
		if _, text, _ := a.issue(); text != "sent 2 event(s) again to 1 socket(s)" {
			t.Errorf("got %q", text)
		}
		f := ws.wantEvent("2,3")
		if f.total() != "4" {
			t.Errorf("total: got %s, want 4", f.total())
		}
		s.must(200, "POST", "Subscription/abc/$resend?eventsSinceInstant=2999-01-01T00:00:00Z", nil)
		ws.nothing()
		if a := s.do("POST", "Subscription/abc/$resend?eventsSinceInstant=yesterday", nil); a.status != 400 {
			t.Errorf("an instant that is none: got %d, want 400", a.status)
		}
	})
}

// WSL-1 to WSL-8: the protocol of R4, for subscriptions whose criteria is a search.
func TestLegacy_BindAndPing(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		s := vectorServer(t, r)
		classic := func(id, criteria string) string {
			return `{"resourceType":"Subscription","id":"` + id + `","status":"requested","reason":"x","criteria":"` + criteria + `","channel":{"type":"websocket"}}`
		}
		s.must(201, "PUT", "Subscription/busy", classic("busy", "Encounter?status=in-progress"))
		s.must(201, "PUT", "Subscription/any", classic("any", "Encounter"))
		for _, path := range []string{"/ws", "/websocket", "/ws/subscriptions-r4"} {
			in := *s
			in.ws = strings.TrimSuffix(s.ws, "/ws") + path
			ws := in.dial()
			ws.send("bind Subscription/busy,any")
			for _, want := range []string{"bound busy", "bound any"} {
				if f := ws.next(); string(f.raw) != want {
					t.Fatalf("%s %s: got %s, want %s", r, path, f.raw, want)
				}
			}
			s.must(201, "POST", "Encounter", encounter("", "planned"))
			if f := ws.next(); string(f.raw) != "ping any" {
				t.Errorf("%s: got %s, want ping any", r, f.raw)
			}
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
			for _, want := range []string{"ping any", "ping busy"} {
				if f := ws.next(); string(f.raw) != want {
					t.Errorf("%s: got %s, want %s", r, f.raw, want)
				}
			}
			ws.send("unbind any")
			ws.nothing()
			s.must(201, "POST", "Encounter", encounter("", "in-progress"))
			if f := ws.next(); string(f.raw) != "ping busy" {
				t.Errorf("%s: got %s, want ping busy alone", r, f.raw)
			}
			ws.nothing() // WSL-4: also no word of what is deleted
		}
		if held := s.journal("?kind=not-sent&subscription=busy"); len(held) == 0 || !strings.Contains(held[0].Text, "Encounter?status=in-progress does not select it") {
			t.Errorf("%s: the journal says %v of what was not selected", r, held)
		}
		ws := s.dial()
		ws.send("bind abc") // WSL-6
		ws.outcome("business-rule")
		ws.send("bind nobody") // WSL-5
		ws.outcome("not-found")
		if a := s.do("PUT", "Subscription/bad", classic("bad", "Encounter?nothing=1")); a.status != 422 {
			t.Errorf("a search that cannot be: got %d %s, want 422", a.status, a.raw)
		}
		if a := s.do("PUT", "Subscription/bad", classic("bad", "Nothing?status=1")); a.status != 422 {
			t.Errorf("a type that is none: got %d %s, want 422", a.status, a.raw)
		}
	}
}

// What Medplum's client needs (clients.md): a classic subscription by POST, a
// token by GET, JSON frames, a SubscriptionStatus with a relative reference. What
// it leaves behind is collected when its socket is gone.
func TestMedplum_FlowAndCollection(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	create := func() string {
		a := s.must(201, "POST", "Subscription", `{"resourceType":"Subscription","status":"active","reason":"x","criteria":"Communication","channel":{"type":"websocket"}}`)
		return a.body["id"].(string)
	}
	id := create()
	secret := ""
	for _, p := range asList(s.must(200, "GET", "Subscription/"+id+"/$get-ws-binding-token", nil).body["parameter"]) {
		if parameter := p.(map[string]any); parameter["name"] == "token" {
			secret = parameter["valueString"].(string)
		}
	}
	in := *s
	in.ws += "/subscriptions-r4"
	ws := in.dial()
	ws.send(`{"type":"bind-with-token","payload":{"token":"` + secret + `"}}`)
	handshake := ws.next()
	if handshake.kind() != "handshake" || handshake.status()["resourceType"] != "SubscriptionStatus" {
		t.Fatalf("got %s, want a handshake with a SubscriptionStatus", handshake.raw)
	}
	if got := handshake.status()["subscription"].(map[string]any)["reference"]; got != "Subscription/"+id {
		t.Errorf("the subscription is %v, want a relative reference", got)
	}
	s.must(201, "PUT", "Communication/c", `{"resourceType":"Communication","id":"c","status":"completed"}`)
	f := ws.wantEvent("1")
	if resource := asList(f.body["entry"])[1].(map[string]any)["resource"].(map[string]any); resource["id"] != "c" {
		t.Errorf("got %v, want the communication", resource)
	}
	if got := s.journal("?kind=received&socket=s1")[0].Dialect; got != "medplum" {
		t.Errorf("the journal says dialect %q", got)
	}
	// Another socket holds one of its own, which stays.
	kept := create()
	other := in.dial()
	other.send(`{"type":"bind-with-token","payload":{"token":"` + s.token(kept) + `"}}`)
	other.next()
	ws.conn.CloseNow()
	s.await("Subscription", []string{kept})
	other.send(`{"type":"unbind-from-token","payload":{"token":"` + s.token(kept) + `"}}`) // another token holds nothing
	other.nothingJSON()
	s.await("Subscription", []string{kept})
	// One with an id of the client's is nobody's leftover.
	s.must(201, "PUT", "Subscription/mine", `{"resourceType":"Subscription","id":"mine","status":"active","reason":"x","criteria":"Communication","channel":{"type":"websocket"}}`)
	mine := in.dial()
	mine.send(`{"type":"bind-with-token","payload":{"token":"` + s.token("mine") + `"}}`)
	mine.next()
	mine.conn.CloseNow()
	other.conn.CloseNow()
	s.await("Subscription", []string{"mine"})
}

// await waits until the resources of a type are these. Each look is a request.
func (s *testServer) await(typ string, want []string) {
	s.t.Helper()
	var ids []string
	for range 2000 {
		ids = nil
		for _, e := range asList(s.must(200, "GET", typ, nil).body["entry"]) {
			ids = append(ids, e.(map[string]any)["resource"].(map[string]any)["id"].(string))
		}
		if slices.Equal(ids, want) {
			return
		}
	}
	s.t.Errorf("got %s %v, want %v", typ, ids, want)
}

// nothingJSON is nothing for a client that speaks JSON.
func (ws *testSocket) nothingJSON() {
	ws.t.Helper()
	ws.send(`{"type":"ping"}`)
	if f := ws.next(); string(f.raw) != `{"type":"pong"}` {
		ws.t.Fatalf("got %s, want no frame", f.raw)
	}
}

// OPW-2: drafts had ids; it is taken, and said.
func TestToken_OldParameterNameIsTakenAndReported(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	s.must(200, "GET", "Subscription/$get-ws-binding-token?ids=abc", nil)
	if got := s.journal("?kind=lenient"); len(got) != 1 || !strings.Contains(got[0].Text, `"ids"`) {
		t.Errorf("got %v, want one entry that names ids", got)
	}
}
