package protocol

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
	"signalfhir/testkit"
)

// manners sets the manners of the room.
func (s *server) manners(json string) {
	s.T.Helper()
	s.Must(200, "PUT", "/mock/manners", json)
}

// wantMembers checks which texts a frame has, and which it has not. The latter begin with a
// "!".
func wantMembers(t *testing.T, f string, all ...string) {
	t.Helper()
	for _, one := range all {
		part, not := strings.CutPrefix(one, "!")
		if strings.Contains(f, part) == not {
			t.Errorf("got %s, want it with %s", f, one)
		}
	}
}

// Each switch that changes notifications changes those only: $events, $status and the
// journal have the true numbers, and the journal says what was changed.
func TestManners_OfNotifications(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		parameters := r == fhir.R4
		for _, c := range []struct {
			name, manners    string
			handshake, event []string
			says             string // of the event, in the journal; "": nothing
		}{
			{"eventNumber", `{"eventNumber":"zero"}`, nil, pick(parameters,
				[]string{`{"name":"event-number","valueString":"0"}`, `"name":"events-since-subscription-start","valueString":"2"`},
				[]string{`"eventNumber":"0"`, `"eventsSinceSubscriptionStart":"2"`}), "by manners: numbers are 0"},
			{"integerNumbers", `{"integerNumbers":true}`, pick(parameters, nil, []string{`"eventsSinceSubscriptionStart":0`}), pick(parameters,
				[]string{`{"name":"event-number","valueString":"2"}`}, []string{`"eventNumber":2`, `"eventsSinceSubscriptionStart":2`}), pick(parameters, "", "by manners: numbers are JSON numbers")},
			{"noTotal", `{"noTotal":true}`, []string{"!vents-since", "!ventsSince", "topic"}, []string{"!vents-since", "!ventsSince", "topic"}, "by manners: no total"},
			{"noTopic", `{"noTopic":true}`, []string{"!SubscriptionTopic", "ince"}, []string{"!SubscriptionTopic", "ince"}, "by manners: no topic"},
			{"relativeReferences", `{"relativeReferences":true}`, []string{`"reference":"Subscription/abc"`}, []string{`"reference":"Subscription/abc"`, `"reference":"Encounter/b"`}, "by manners: relative references"},
			{"nativeStatus", `{"nativeStatus":true}`, []string{`"resourceType":"SubscriptionStatus"`, `"subscription":{"reference":"http`, "!Parameters"},
				[]string{`"eventNumber":"2"`, `"subscription":{"reference":"http`, `"focus":{"reference":"http`, "!Parameters"}, pick(parameters, "by manners: a SubscriptionStatus", "")},
			{"several", `{"noTopic":true,"noTotal":true}`, nil, []string{"!SubscriptionTopic", "!vents-since", "!ventsSince"}, "by manners: no total, no topic"},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := vectorServer(t, r)
				s.manners(c.manners)
				ws := s.Bind("abc") // reads the handshake
				wantMembers(t, s.Journal("?kind=sent&text=handshake&bodies=true")[0].Frame, c.handshake...)
				s.Must(201, "PUT", "Encounter/a", encounter("a", "in-progress"))
				ws.Next()
				s.Must(201, "PUT", "Encounter/b", encounter("b", "in-progress"))
				frame := ws.Next()
				wantMembers(t, string(frame.Raw), c.event...)
				sent := s.Journal("?kind=sent&text=event-notification&bodies=true")[1]
				if sent.First != 2 || sent.Frame != string(frame.Raw) || sent.Text != c.says && (c.name != "several" || len(sent.Text) < len(c.says)) {
					t.Errorf("the journal has %+v, want event 2 as it was sent and %q", sent, c.says)
				}
				if told := string(s.Must(200, "GET", "/mock/explain?resource=Encounter/b&format=text", nil).Raw); c.says != "" && !strings.Contains(told, "it got event 2, sent to s1; manners changed it on s1: "+strings.TrimPrefix(sent.Text, "by manners: ")) {
					t.Errorf("explain says %s", told)
				}
				events := s.Must(200, "GET", "Subscription/abc/$events", nil).Notification()
				if got := strings.Join(events.Numbers(), ","); got != "1,2" || events.Total() != "2" || !strings.Contains(string(events.Raw), "SubscriptionTopic") {
					t.Errorf("$events is %s, want it as ever", events.Raw)
				}
				// Without manners, the next one is as ever.
				s.manners(`{}`)
				s.Must(201, "PUT", "Encounter/c", encounter("c", "in-progress"))
				if f := ws.WantEvent("3"); !strings.Contains(string(f.Raw), "SubscriptionTopic") || strings.Contains(string(f.Raw), `"resourceType":"SubscriptionStatus"`) == parameters {
					t.Errorf("got %s", f.Raw)
				}
			})
		}
	})
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// A socket that gets no handshake is bound all the same, and the journal says so.
func TestManners_NoHandshake(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"noHandshake":true}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		s.control("POST", "await", map[string]any{"bound": map[string]any{"subscription": "abc"}, "timeout": "30s"})
		s.events("abc", 1)
		ws.WantEvent("1")
		if bound := s.Journal("?kind=bound"); len(bound) != 1 || bound[0].Text != "without a handshake, by manners" {
			t.Errorf("the journal has %+v", bound)
		}
		// A token more is not answered either; a handshake that a test asks for comes.
		ws.Send("bind-with-token " + s.Token("abc"))
		s.control("POST", "await", map[string]any{"renewed": map[string]any{"subscription": "abc"}, "timeout": "30s"})
		s.Must(200, "POST", "/mock/subscriptions/abc/notifications", `{"type":"handshake"}`)
		if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "1" {
			t.Errorf("got %s", f.Raw)
		}
		s.Must(204, "DELETE", "/mock/sockets/s1", nil)
		ws.Closed()
	})
}

func TestManners_JSONMessages(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"jsonMessages":true}`)
		token := s.Token("abc")
		ws := s.Dial()
		const not, no = "it is not JSON", " needs a token in payload.token"
		why := []string{not, not, not, not, "bind-with-token" + no, "bind-with-token" + no, "unbind-from-token" + no}
		for _, ignored := range []string{"bind-with-token " + token, "ping", "nonsense", "bind abc",
			`{"type":"bind-with-token"}`, `{"type":"bind-with-token","payload":{}}`, `{"type":"unbind-from-token","payload":{"token":""}}`} {
			ws.Send(ignored)
		}
		for range 12 { // more than a socket that answers them would take
			ws.Send(`{"type":"foo"}`)
			why = append(why, `unknown type "foo" in the JSON message; this server understands bind-with-token, unbind-from-token and ping`)
		}
		ws.Send(`{"type":"ping"}`)
		if f := ws.Next(); string(f.Raw) != `{"type":"pong"}` {
			t.Errorf("got %s first, want that the others are ignored", f.Raw)
		}
		ws.Send(`{"type":"bind-with-token","payload":{"token":"` + token + `"}}`)
		if f := ws.Next(); f.Kind() != "handshake" {
			t.Errorf("got %s", f.Raw)
		}
		for i := range why {
			why[i] = "the message was ignored: " + why[i] + " (manners: jsonMessages)"
		}
		if refused := s.texts("refused"); !slices.Equal(refused, why) {
			t.Errorf("the journal has %q, want %q", refused, why)
		}
	})
}

// classic makes a classic subscription of R4 or R4B.
func (s *server) classic(id string) {
	s.T.Helper()
	s.Must(201, "PUT", "Subscription/"+id, `{"resourceType":"Subscription","id":"`+id+`","status":"requested","reason":"x","criteria":"Observation?status=final","channel":{"type":"websocket"}}`)
}

func TestManners_LegacyMessages(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, r)
			s.classic("old")
			s.manners(`{"legacyMessages":true}`)
			token := s.Token("abc")
			ws := s.Dial()
			ws.Send("bind-with-token " + token)
			ws.Send("ping")
			ws.Send(`{"type":"ping"}`)
			ws.Send("")
			ws.Send(" bind old")
			ws.Send("ping\nbind old")
			ws.Send("bind old")
			if f := ws.Next(); string(f.Raw) != "bound old" {
				t.Errorf("got %s first, want that the others are ignored", f.Raw)
			}
			s.Must(201, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"}}`)
			if f := ws.Next(); string(f.Raw) != "ping old" {
				t.Errorf("got %s", f.Raw)
			}
			for _, message := range []string{"bind old", "unbind old", "ping", "bind-with-token " + token, "", " ", "a\nb", "bind old\nbind old", "bind old,old", `{"type":"ping"}`} {
				ws.Send(message)
				if f := ws.Next(); string(f.Raw) != "Unexpected client message: "+message {
					t.Errorf("got %s", f.Raw)
				}
			}
			if journal := s.Must(200, "GET", "/mock/journal?bodies=true", nil).Raw; strings.Contains(string(journal), `"frame":"Unexpected client message: bind-with-token `+token) {
				t.Error("the journal has a token")
			}
			for message, why := range map[string]string{"bind nobody": "there is no", "bind abc": "is on a topic", "bind old,old": "there is no", "bind old\nbind old": "there is no", "bind ": "there is no"} {
				wrong := s.Dial()
				wrong.Send(message)
				if code, reason := wrong.Closed(); code != 1002 || !strings.Contains(reason, why) {
					t.Errorf("%s: closed with %d %s, want 1002 and %q", message, code, reason, why)
				}
			}
		})
	}
}

// R5 has no classic subscriptions, so nothing can be bound.
func TestManners_LegacyMessagesOnR5(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	s.manners(`{"name":"hapi"}`)
	inURL := s.Dial("?token=" + token)
	inURL.Send("bind abc")
	if code, _ := inURL.Closed(); code != 1002 {
		t.Errorf("closed with %d, want 1002", code)
	}
	s.wantTold("refused", "the message was ignored: tokens are unknown (manners: legacyMessages)")
}

func TestManners_OneBind(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
		s.manners(`{"oneBind":true}`)
		ws := s.Dial()
		ws.Send("bind-with-token nonsense")
		ws.Outcome("unknown") // a bind that fails does not count
		ws.Send("bind-with-token " + s.Token("abc"))
		ws.Next()
		for _, id := range []string{"other", "abc"} {
			ws.Send("bind-with-token " + s.Token(id))
			if says := ws.Outcome("business-rule"); !strings.Contains(says, "a socket of this server is bound once (manners: oneBind)") {
				t.Errorf("got %s", says)
			}
		}
		s.events("other", 1)
		s.events("abc", 1)
		if f := ws.WantEvent("1"); f.Subscription() != "abc" {
			t.Errorf("got %s", f.Raw)
		}
	})
}

func TestManners_SingleUseToken(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"singleUseToken":true}`)
		token := s.Token("abc")
		sockets := []*socket{s.Dial(), s.Dial(), s.Dial()}
		var all sync.WaitGroup
		for _, ws := range sockets { // of several at once, one is first
			all.Go(func() { ws.Send("bind-with-token " + token) })
		}
		all.Wait()
		bound := 0
		for _, ws := range sockets {
			f := ws.Next()
			if f.Body["resourceType"] == "Bundle" {
				bound++
				ws.Send("bind-with-token " + token) // nor does it work again here
				f = ws.Next()
			}
			if code, says, _ := f.Issue(); code != "unknown" || !strings.Contains(says, "the token was used before") {
				t.Errorf("got %s", f.Raw)
			}
		}
		if bound != 1 {
			t.Errorf("%d sockets were bound, want one", bound)
		}
		s.Bind("abc") // another token works
		s.manners(`{}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + token)
		if f := ws.Next(); f.Kind() != "handshake" {
			t.Errorf("got %s, want that the token works without manners", f.Raw)
		}
	})
}

func TestManners_NoTokenOperation(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"noTokenOperation":true}`)
		for _, path := range []string{"Subscription/abc/$get-ws-binding-token", "Subscription/$get-ws-binding-token"} {
			for _, method := range []string{"GET", "POST"} {
				a := s.Do(method, path, nil)
				if code, says, _ := a.Issue(); a.Status != 400 || code != "not-supported" || !strings.Contains(says, method+" "+path+" (manners: noTokenOperation)") {
					t.Errorf("%s %s: got %d %s", method, path, a.Status, a.Raw)
				}
			}
		}
		s.Must(200, "GET", "Subscription/abc/$status", nil)
	})
}

func TestManners_DraftNames(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
		s.manners(`{"draftNames":true}`)
		a := s.Must(200, "POST", "Subscription/$get-ws-binding-token", `{"resourceType":"Parameters","parameter":[{"name":"ids","valueId":"other"},{"name":"ids","valueId":"abc"},{"name":"id","valueId":"nobody"}]}`)
		if ids, url := a.Parameters("subscriptions"), string(a.Raw); len(ids) != 1 || ids[0] != "other,abc" || !strings.Contains(url, `"name":"websocket-url","valueString":"ws://`) || strings.Contains(url, `"subscription"`) {
			t.Errorf("got %s, want the names of drafts", a.Raw)
		}
		if lenient := s.Journal("?kind=lenient"); len(lenient) != 0 {
			t.Errorf("the journal has %+v, want that the name is right", lenient)
		}
		ws := s.Dial()
		ws.Send("bind-with-token " + a.Parameters("token")[0])
		if first, second := ws.Next(), ws.Next(); first.Subscription() != "other" || second.Subscription() != "abc" {
			t.Errorf("got %s and %s", first.Raw, second.Raw)
		}
		// A fault that wants the same changes nothing more.
		s.faults(`{"on":"operation","action":"old-names"}`)
		if a := s.Must(200, "GET", "Subscription/abc/$get-ws-binding-token", nil); !strings.Contains(string(a.Raw), `"valueString":"ws://`) {
			t.Errorf("got %s", a.Raw)
		}
	})
}

// Faults act on the frame as manners make it.
func TestManners_BesideFaults(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"noTopic":true,"eventNumber":"zero"}`)
		s.faults(`{"name":"nine","on":"frame","action":"set-number","value":9,"number":{"from":2,"to":2}}`, `{"name":"lose","on":"frame","action":"drop","number":{"from":1,"to":1}}`)
		ws := s.Bind("abc")
		s.events("abc", 3)
		for _, want := range []string{"9", "0"} {
			if f := ws.Next(); strings.Join(f.Numbers(), "+") != want || strings.Contains(string(f.Raw), "SubscriptionTopic") {
				t.Errorf("got %s, want the number %s and no topic", f.Raw, want)
			}
		}
		s.wantTold("fault", "event 1 was dropped by fault lose")
	})
}

// What a bind replays has the manners of the room, too.
func TestManners_OfReplays(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.settings(`{"replay":"all"}`)
		s.manners(`{"eventNumber":"zero"}`)
		s.events("abc", 2)
		ws := s.Bind("abc")
		if got := numbers(ws, 2); got != "0,0" {
			t.Errorf("got %s, want zeros", got)
		}
		sent := s.Journal("?kind=sent&text=event-notification")
		if len(sent) != 2 || sent[1].Last != 2 || sent[1].Text != "replayed; by manners: numbers are 0" {
			t.Errorf("the journal has %+v", sent)
		}
	})
}

// Medplum's server, as a client in its dialect meets it.
func TestManners_Medplum(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"name":"medplum"}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc")) // is ignored
		ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
		handshake := ws.Next()
		wantMembers(t, string(handshake.Raw), `"resourceType":"SubscriptionStatus"`, `"type":"handshake"`, `"reference":"Subscription/abc"`, "!ventsSince", "!SubscriptionTopic", "!Parameters")
		s.Must(201, "PUT", "Encounter/a", encounter("a", "in-progress"))
		wantMembers(t, string(ws.Next().Raw), `"eventNumber":"0"`, `"focus":{"reference":"Encounter/a"}`, "!ventsSince", "!SubscriptionTopic")
	})
}

func TestManners_HAPI(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	s.classic("old")
	s.manners(`{"name":"hapi"}`)
	s.Must(400, "GET", "Subscription/old/$get-ws-binding-token", nil)
	ws := s.socketsAt("/websocket").Dial()
	ws.Send("bind old")
	if f := ws.Next(); string(f.Raw) != "bound old" {
		t.Errorf("got %s", f.Raw)
	}
	s.Must(201, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"}}`)
	if f := ws.Next(); string(f.Raw) != "ping old" {
		t.Errorf("got %s", f.Raw)
	}
}

func TestManners_Helios(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"name":"helios"}`)
		token := s.Token("abc")
		ws, other := s.Dial(), s.Dial()
		ws.Send("bind-with-token " + token)
		ws.Next()
		other.Send("bind-with-token " + token)
		other.Outcome("unknown")
		ws.Send("bind-with-token " + s.Token("abc"))
		ws.Outcome("business-rule")
		s.events("abc", 1)
		wantMembers(t, string(ws.Next().Raw), pick(r == fhir.R4, `"valueString":"1"`, `"eventNumber":1`), `{"reference":"Subscription/abc"}`, `{"reference":"Encounter/`)
	})
}

func TestManners_Argonaut(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.manners(`{"name":"argonaut"}`)
		a := s.Must(200, "POST", "Subscription/$get-ws-binding-token", `{"resourceType":"Parameters","parameter":[{"name":"ids","valueId":"abc"}]}`)
		if ids := a.Parameters("subscriptions"); len(ids) != 1 || ids[0] != "abc" {
			t.Errorf("got %s", a.Raw)
		}
		ws := s.Dial()
		ws.Send("bind-with-token " + a.Parameters("token")[0])
		s.control("POST", "await", map[string]any{"bound": map[string]any{"subscription": "abc"}, "timeout": "30s"})
		s.events("abc", 1)
		ws.WantEvent("1")
	})
}

// GET says what is on and what there is; a change is in the journal; a reset goes back to
// how the room began.
func TestManners_AreShownAndReset(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	on := func(s *server) string {
		body := s.Must(200, "GET", "/mock/manners", nil).Body
		if len(asList(body["servers"])) != len(manners.Servers()) || len(asList(body["switches"])) != len(manners.Switches()) {
			t.Errorf("got %v", body)
		}
		return text(body, "name") + " " + compact(body["on"])
	}
	want := func(s *server, want string) {
		t.Helper()
		if got := on(s); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want(s, "none {}")
	s.manners(`{"name":"helios","heartbeat":"notification","noTopic":true}`)
	want(s, `helios {"integerNumbers":true,"noTopic":true,"oneBind":true,"relativeReferences":true,"singleUseToken":true}`)
	if told := s.Journal("?kind=control"); len(told) != 1 || told[0].Type != "manners" || told[0].Text != "helios: integerNumbers, noTopic, relativeReferences, oneBind, singleUseToken" {
		t.Errorf("the journal has %+v", told)
	}
	s.Must(400, "PUT", "/mock/manners", `{"name":"epic"}`)
	if a := s.Must(400, "PUT", "/mock/manners", `{"noTopics":true}`); !strings.Contains(string(a.Raw), `did you mean \"noTopic\"`) {
		t.Errorf("got %s", a.Raw)
	}
	want(s, `helios {"integerNumbers":true,"noTopic":true,"oneBind":true,"relativeReferences":true,"singleUseToken":true}`)
	s.Must(204, "POST", "/mock/reset", nil)
	want(s, "none {}")
	s.manners(`{"noTopic":true}`)
	want(s, `none {"noTopic":true}`)
	s.manners(`{"name":"none"}`)
	want(s, "none {}")

	room := &server{s.Room("polite", map[string]any{"manners": map[string]any{"name": "argonaut", "draftNames": false}}), s.log}
	const began = `argonaut {"heartbeat":"keepalive","noHandshake":true}`
	want(room, began)
	room.manners(`{}`)
	want(room, "none {}")
	room.Must(204, "POST", "/mock/reset", nil)
	want(room, began)
	want(s, "none {}") // another room
	s.Must(409, "PUT", "/rooms/polite", `{"manners":{"name":"argonaut"}}`)
	problem := s.Must(400, "PUT", "/rooms/rude", `{"manners":{"name":"epic"}}`).Body
	if got := fmt.Sprint(at(problem, "issues", 0, "expression", 0)); got != "manners.name" {
		t.Errorf("got %s", got)
	}
	s.Must(404, "GET", "/rooms/rude", nil)
}

// The description has the names, switches and values of the code.
func TestManners_AreDescribed(t *testing.T) {
	t.Parallel()
	s := start(t)
	d := s.described("")
	d.close(t)
	s.try(d, exchange{"setManners", nil, "", map[string]any{"name": "medplum", "jsonMessages": false, "eventNumber": "counted"}, 200})
	s.try(d, exchange{"manners", nil, "", nil, 200})
	names := []string{"none"}
	for _, one := range manners.Servers() {
		names = append(names, one.Name)
	}
	schemas := d.doc.Components.Schemas
	choice := schemas["MannersChoice"].Value.Properties
	if got := choice["name"].Value.Enum; fmt.Sprint(got...) != fmt.Sprint(anys(names)...) {
		t.Errorf("got %v, want %v", got, names)
	}
	for _, one := range manners.Switches() {
		for where, p := range map[string]any{"Manners": schemas["Manners"].Value.Properties[one.Name], "MannersChoice": choice[one.Name]} {
			data, _ := json.Marshal(p)
			if string(data) == "null" {
				t.Errorf("%s has no %s", where, one.Name)
			}
		}
		p := schemas["Manners"].Value.Properties[one.Name].Value
		if says := strings.TrimSuffix(strings.ToLower(p.Description[:1])+p.Description[1:], "."); !strings.EqualFold(says, one.Does) {
			t.Errorf("%s: described as %q, want %q", one.Name, says, one.Does)
		}
		if len(p.Enum) > 0 && fmt.Sprint(p.Enum...) != fmt.Sprint(one.Values...) {
			t.Errorf("%s: got %v, want %v", one.Name, p.Enum, one.Values)
		}
	}
}

// What can be chosen over HTTP can be chosen in a test of a client.
func TestManners_TestkitHasThoseOfTheServer(t *testing.T) {
	t.Parallel()
	want := reflect.TypeFor[manners.Choice]()
	got := reflect.TypeFor[testkit.Manners]()
	if got.NumField() != want.NumField() {
		t.Fatalf("got %d members, want %d", got.NumField(), want.NumField())
	}
	for i := range want.NumField() {
		if got, want := got.Field(i), want.Field(i); got.Name != want.Name || got.Tag != want.Tag {
			t.Errorf("got %s %s, want %s %s", got.Name, got.Tag, want.Name, want.Tag)
		}
	}
}

func TestManners_Testkit(t *testing.T) {
	t.Parallel()
	k := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Helios, OneBind: testkit.Switch(false)}))
	name, on := k.Manners()
	if name != testkit.Helios || on.OneBind != nil || on.SingleUseToken == nil || !*on.SingleUseToken || on.Heartbeat != "none" {
		t.Errorf("got %s %+v", name, on)
	}
	for _, name := range []string{testkit.Medplum, testkit.HAPI, testkit.Argonaut} {
		k.SetManners(testkit.Manners{Name: name})
		if got, _ := k.Manners(); got != name {
			t.Errorf("got %s, want %s", got, name)
		}
	}
	k.SetManners(testkit.Manners{})
	if name, on := k.Manners(); name != "none" || on != (testkit.Manners{}) {
		t.Errorf("got %s %+v", name, on)
	}
}

// A heartbeat for all of a socket is one frame, and counts for each subscription: in an await,
// the journal, the last frame, and for faults.
func TestManners_AHeartbeatForAllCountsForEach(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		`{"sharedHeartbeat":true}`:  "by manners: one heartbeat for several subscriptions",
		`{"heartbeat":"keepalive"}`: "by manners: a text in place of a notification",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := clocked(t)
			s.subscribe("heartbeatPeriod", 60)
			s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL, "heartbeatPeriod", 60))
			s.manners(name)
			ws := s.Bind("abc", "other")
			s.move("POST", "/mock/clock/advance", `{"by":"1m","timeout":"1m"}`)
			beat := string(ws.Next().Raw)
			ws.Nothing()
			for id, want := range map[string]struct{ text, frame string }{
				"abc":   {says, beat},
				"other": {"by manners: one with the heartbeat of Subscription/abc", ""},
			} {
				s.awaits(-1, `"sent":{"subscription":"`+id+`","type":"heartbeat"}`)
				sent := s.Journal("?kind=sent&subscription=" + id + "&bodies=true")
				if last := sent[len(sent)-1]; len(sent) != 2 || last.Type != "heartbeat" || last.Text != want.text || last.Frame != want.frame {
					t.Errorf("%s: the journal has %+v, want %+v", id, sent, want)
				}
			}
			subscriptions := asList(s.Must(200, "GET", "/mock/subscriptions", nil).Body["subscriptions"])
			for i := range subscriptions {
				if got := fmt.Sprint(at(subscriptions[i], "lastFrame")); !strings.HasPrefix(got, "2026-01-01T08:01:00") {
					t.Errorf("the last frame of %v was at %s", at(subscriptions[i], "id"), got)
				}
			}
			if len(subscriptions) != 2 {
				t.Errorf("got %v, want two subscriptions", subscriptions)
			}
			// It is one frame: two handshakes, the heartbeat, and the pong of Nothing.
			if got := at(s.Must(200, "GET", "/mock/state", nil).Body, "totals", "frames"); got != 4.0 {
				t.Errorf("got %v frames, want 4", got)
			}
			if har := string(s.Must(200, "GET", "/mock/journal?format=har", nil).Raw); strings.Contains(har, "one with the heartbeat") {
				t.Error("the archive has a frame that there was not")
			}
			s.faults(`{"name":"still","on":"frame","action":"no-heartbeat","subscription":"other"}`)
			s.move("POST", "/mock/clock/advance", `{"by":"1m","timeout":"1m"}`)
			ws.Nothing()
			if told := s.Journal("?kind=fault&subscription=other"); s.counts() != "still 1/1" || len(told) != 1 {
				t.Errorf("got %s and %+v, want that the fault acted once", s.counts(), told)
			}
			// An event that waits for the next frame of its subscription comes after the heartbeat.
			s.move("POST", "/mock/clock/advance", `{"by":"30s","timeout":"1m"}`) // abc is due first
			s.faults(`{"on":"frame","action":"swap","subscription":"other","type":"event-notification"}`)
			s.events("other", 1)
			s.move("POST", "/mock/clock/advance", `{"by":"30s","timeout":"1m"}`)
			if f := ws.Next(); !strings.Contains(string(f.Raw), pick(strings.Contains(name, "keepalive"), "keepalive", `"heartbeat"`)) {
				t.Errorf("got %s, want a heartbeat", f.Raw)
			}
			ws.WantEvent("1")
		})
	}
}
