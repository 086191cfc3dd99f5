package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
	"signalfhir/testkit"
)

// run is how a scenario went.
func (s *server) run(name, body string) testkit.ScenarioRun {
	s.T.Helper()
	return s.runIn(s.Must(200, "POST", "/mock/scenarios/"+name, body))
}

func (s *server) runIn(a response) testkit.ScenarioRun {
	s.T.Helper()
	var d testkit.ScenarioDetail
	if err := json.Unmarshal(a.Raw, &d); err != nil {
		s.T.Fatal(err)
	}
	return d.Run
}

// define defines a scenario with some steps. It has the parameters subscription and n.
func (s *server) define(name, steps string) {
	s.T.Helper()
	s.Must(201, "PUT", "/mock/scenarios/"+name, `{"parameters":[{"name":"subscription"},{"name":"n","default":2}],"steps":[`+steps+`]}`)
}

// What cannot be run is refused when it is written, with its place.
func TestScenarios_RefusesWhatCannotBeRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	step := func(step string) string { return `{"parameters":[{"name":"n","default":1}],"steps":[` + step + `]}` }
	deep := `{"advance":"1s"}`
	for range 4 {
		deep = `{"repeat":1,"steps":[` + deep + `]}`
	}
	for _, row := range []struct{ body, at, says string }{
		{`{}`, "steps", "at least one"},
		{`{"name":"b","steps":[{"advance":"1s"}]}`, "name", "the address says"},
		{`{"parameters":[{"name":"a b"}],"steps":[{"advance":"1s"}]}`, "parameters[0].name", "letters"},
		{`{"parameters":[{"name":"x"},{"name":"x"}],"steps":[{"advance":"1s"}]}`, "parameters[1].name", "twice"},
		{`{"parameters":[{"name":"socket"}],"steps":[{"advance":"1s"}]}`, "parameters[0].name", "taken"},
		{`{"parameters":[{"name":"x","default":{}}],"steps":[{"advance":"1s"}]}`, "parameters[0].default", "a string, a number"},
		{step(`{}`), "steps[0]", "expected one of"},
		{step(`{"note":"nothing"}`), "steps[0]", "expected one of"},
		{step(`{"advance":"1s","await":{}}`), "steps[0]", "expected one of"},
		{step(`{"advance":"soon"}`), "steps[0].advance", "such as 31m"},
		{step(`{"advance":"{{m}}"}`), "steps[0].advance", "no parameter"},
		{step(`{"await":{"bound":{"subscription":"{{subscription}}"}}}`), "steps[0].await", "no parameter"},
		{step(`{"await":[]}`), "steps[0].await", "expected the body"},
		{step(`{"await":[{},1]}`), "steps[0].await", "expected the body"},
		{step(`{"path":"/mock/faults"}`), "steps[0].method", "expected one of GET"},
		{step(`{"method":"GET"}`), "steps[0].path", "below /mock/"},
		{step(`{"method":"GET","path":"/rooms/x"}`), "steps[0].path", "below /mock/"},
		{step(`{"method":"GET","path":"/mock/../rooms"}`), "steps[0].path", "below /mock/"},
		{step(`{"method":"GET","path":"http://example.org/mock/state"}`), "steps[0].path", "below /mock/"},
		{step(`{"method":"POST","path":"/mock/await"}`), "steps[0].path", `{"await":`},
		{step(`{"method":"POST","path":"/mock/reset"}`), "steps[0].path", "cannot use /mock/reset"},
		{step(`{"method":"POST","path":"/mock/scenarios/half-open"}`), "steps[0].path", "cannot use /mock/scenarios"},
		{step(`{"method":"GET","path":"/mock/journal/stream?x=y"}`), "steps[0].path", "cannot use"},
		{step(`{"method":"POST","path":"/mock/%72eset"}`), "steps[0].path", "cannot use /mock/reset"},
		{step(`{"method":"POST","path":"/mock/%61wait?x"}`), "steps[0].path", "cannot use /mock/await"},
		{step(`{"method":"POST","path":"/mock/scenarios%2Fx"}`), "steps[0].path", "cannot use /mock/scenarios"},
		{step(`{"method":"POST","path":"/mock/reset%2F"}`), "steps[0].path", "empty parts"},
		{step(`{"method":"POST","path":"/fhir/%2E%2E/mock/reset"}`), "steps[0].path", "without . and .."},
		{step(`{"method":"GET","path":"/mock/%"}`), "steps[0].path", "%25"},
		{step(`{"method":"POST","path":"/mock/%74rigger","body":{"count":2,"interval":"1s"}}`), "steps[0].body.interval", "would go on"},
		{step(`{"each":"socket","advance":"1s"}`), "steps[0].each", "goes with a request"},
		{step(`{"each":"room","method":"GET","path":"/mock/state"}`), "steps[0].each", "expected"},
		{step(`{"each":"socket","method":"GET","path":"/mock/state"}`), "steps[0].each", "goes with a parameter subscription"},
		{step(`{"note":"{{m}}","advance":"1s"}`), "steps[0].note", "no parameter"},
		{step(`{"repeat":2}`), "steps[0]", "how often and what"},
		{step(`{"steps":[{"advance":"1s"}]}`), "steps[0]", "how often and what"},
		{step(`{"repeat":2,"steps":[{"advance":"1s"},{}]}`), "steps[0].steps[1]", "expected one of"},
		{step(deep), "steps[0].steps[0].steps[0].steps[0]", "3 deep"},
		{step(strings.TrimSuffix(strings.Repeat(`{"advance":"1s"},`, 1001), ",")), "steps[1000]", "at most 1000"},
		{step(`{"advance":1}`), "steps.advance", "a string"},
		{step(`{"advances":"1s"}`), "steps[0].advances", "did you mean"},
	} {
		s.wantProblem(s.Do("PUT", "/mock/scenarios/a", row.body), 400, row.at, row.says)
	}
	if a := s.Do("PUT", "/mock/scenarios/a%20b", step(`{"advance":"1s"}`)); a.Status != 400 {
		t.Errorf("got %d, want that the name is refused", a.Status)
	}
	if a := s.Must(200, "GET", "/mock/scenarios", nil); strings.Contains(string(a.Raw), `"builtin":false`) {
		t.Error("a scenario that was refused is there")
	}
	for i := range 100 {
		s.Must(201, "PUT", fmt.Sprintf("/mock/scenarios/own-%d", i), step(`{"advance":"1s"}`))
	}
	s.wantProblem(s.Do("PUT", "/mock/scenarios/own-100", step(`{"advance":"1s"}`)), 422, "", "at most 100")
	s.Must(200, "PUT", "/mock/scenarios/own-99", step(`{"advance":"1s"}`))
	s.wantProblem(s.Do("PUT", "/mock/scenarios/own-99", step(`{"note":"`+strings.Repeat("x", 128<<10)+`","advance":"1s"}`)), 422, "", "at most 131072 are kept")
	s.Must(204, "DELETE", "/mock/scenarios/own-99", nil)
	s.Must(404, "GET", "/mock/scenarios/own-99", nil)
	s.Must(204, "DELETE", "/mock/scenarios/half-open", nil) // it does not run, as wanted
	s.Must(200, "GET", "/mock/scenarios/half-open", nil)
}

// wantProblem checks a refusal of the control API.
func (s *server) wantProblem(a response, status int, at, says string) {
	s.T.Helper()
	issues := asList(a.Body["issues"])
	found := at == "" && a.Status == status
	for i := range issues {
		for _, expression := range asList(wiretest.At(a.Body, "issues", i, "expression")) {
			found = found || expression == at
		}
	}
	if a.Status != status || !found || !strings.Contains(string(a.Raw), strings.Trim(compact(says), `"`)) {
		s.T.Errorf("got %d %s, want %d at %s, saying %q", a.Status, a.Raw, status, at, says)
	}
}

// A start says which parameters are wrong, and which subscription is meant.
func TestScenarios_Parameters(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/def", websocketSubscription("def", admissionURL))
	s.Must(201, "PUT", "/mock/scenarios/needy", `{"parameters":[{"name":"who","description":"somebody"},{"name":"n","default":1},{"name":"on","default":false}],"steps":[{"advance":"0s"}]}`)
	for body, row := range map[string]struct {
		status   int
		at, says string
	}{
		`{}`:                                        {400, "parameters.who", "somebody"},
		`{"parameters":{"who":{}}}`:                 {400, "parameters.who", "a string, a number or a boolean"},
		`{"parameters":{"who":null}}`:               {400, "parameters.who", "a string, a number or a boolean"},
		`{"parameters":{"who":"a","n":"1"}}`:        {400, "parameters.n", "expected a number"},
		`{"parameters":{"who":"a","on":1}}`:         {400, "parameters.on", "expected true or false"},
		`{"parameters":{"who":"a","hwo":"b"}}`:      {400, "parameters", "did you mean"},
		`{"parameters":{"who":"a"},"timeout":"1s"}`: {400, "timeout", "wait"},
	} {
		s.wantProblem(s.Do("POST", "/mock/scenarios/needy", body), row.status, row.at, row.says)
	}
	if got := s.run("needy", `{"parameters":{"who":"a","n":7.5},"wait":true}`); got.State != "done" || got.Parameters["n"] != 7.5 || got.Parameters["on"] != false {
		t.Errorf("got %+v", got)
	}
	s.define("one", `{"method":"POST","path":"/mock/trigger","body":{"subscription":"{{subscription}}","count":"{{n}}"}}`)
	s.wantProblem(s.Do("POST", "/mock/scenarios/one", nil), 422, "parameters.subscription", "there are abc, def")
	s.wantProblem(s.Do("POST", "/mock/scenarios/one", `{"parameters":{"subscription":"xyz"}}`), 404, "parameters.subscription", "there are abc, def")
	s.wantProblem(s.Do("POST", "/mock/scenarios/one", `{"parameters":{"subscription":1}}`), 400, "parameters.subscription", "a string")
	ws := s.Bind("abc")
	if got := s.run("one", `{"wait":true}`); got.State != "done" || got.Parameters["subscription"] != "abc" || got.Parameters["topicResource"] != "SubscriptionTopic/admission" {
		t.Errorf("got %+v, want that it is about abc", got)
	}
	ws.WantEvent("1")
	ws.WantEvent("2") // the text "{{n}}" became a number
	s.Bind("def")
	s.wantProblem(s.Do("POST", "/mock/scenarios/one", nil), 422, "parameters.subscription", "several subscriptions")
}

// A step does what the request would do, and the journal says who it was. A step that is
// refused ends the scenario.
func TestScenarios_StepsAreRequests(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.faults(`{"on":"request","action":"status","status":500}`) // not for steps
		s.define("writes", `
			{"note":"A patient.","method":"PUT","path":"/fhir/{{release}}/Patient/p-{{n}}","body":{"resourceType":"Patient","id":"p-{{n}}"}},
			{"method":"DELETE","path":"/fhir/{{release}}/Patient?_id=p-{{n}}"},
			{"note":"It is gone.","method":"GET","path":"/fhir/{{release}}/Patient/p-{{n}}"},
			{"advance":"0s"}`)
		got := s.run("writes", `{"parameters":{"subscription":"abc","n":3},"wait":true}`)
		if got.State != "failed" || got.Step != "steps[2]" || got.Note != "It is gone." || !strings.Contains(got.Why, "returned 410") || !strings.Contains(got.Why, "was deleted") {
			t.Errorf("got %+v, want that steps[2] was refused with 410", got)
		}
		if len(got.Results) != 2 || got.Results[0].Status != 201 || got.Results[1].Status != 204 || got.Results[1].Did != "DELETE /fhir/"+string(r)+"/Patient?_id=p-3" {
			t.Errorf("got %+v, want 201 and 204", got.Results)
		}
		var told []string
		for _, e := range s.Journal("?kind=http,scenario&text=writes") {
			if e.HTTP != nil && e.Text != "" {
				told = append(told, fmt.Sprintf("%s %d %s", e.HTTP.Method, e.HTTP.Status, e.Text))
			} else if e.HTTP == nil {
				told = append(told, e.Type)
			}
		}
		want := "begin,PUT 201 by scenario writes, steps[0],step,DELETE 204 by scenario writes, steps[1],step,GET 410 by scenario writes, steps[2],end"
		if got := strings.Join(told, ","); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// A fault on the operation is about whoever asks for a token.
func TestScenarios_FaultsOnTheOperationAct(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"operation","action":"status","status":429}`)
	s.define("asks", `{"method":"POST","path":"/fhir/R5/Subscription/abc/$get-ws-binding-token"}`)
	if got := s.run("asks", `{"parameters":{"subscription":"abc"},"wait":true}`); got.State != "failed" || !strings.Contains(got.Why, "429") {
		t.Errorf("got %+v, want that the operation was refused", got)
	}
}

// What a parameter says cannot lead elsewhere.
func TestScenarios_ValuesStayInTheirPlace(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "/mock/scenarios/reads", `{"parameters":[{"name":"id"}],"steps":[{"method":"GET","path":"/fhir/R5/Patient/{{id}}"}]}`)
	for id, why := range map[string]string{
		"a?b#c":               "GET /fhir/R5/Patient/a%3Fb%23c returned 400",
		"..":                  "without . and ..",
		".":                   "without . and ..",
		"../../../mock/state": "without . and ..",
		"a//b":                "empty parts",
		"../":                 "without . and ..",
	} {
		got := s.run("reads", compact(map[string]any{"parameters": map[string]any{"id": id}, "wait": true}))
		if got.State != "failed" || !strings.Contains(got.Why, why) {
			t.Errorf("%s: got %s %s, want %s", id, got.State, got.Why, why)
		}
	}
	s.Must(201, "PUT", "/mock/scenarios/anywhere", `{"parameters":[{"name":"id"}],"steps":[{"method":"POST","path":"/mock/{{id}}"}]}`)
	for id, forbidden := range map[string]string{"reset": "/mock/reset", "scenarios/x": "/mock/scenarios", "journal/stream": "/mock/journal/stream"} {
		if got := s.run("anywhere", `{"parameters":{"id":"`+id+`"},"wait":true}`); got.State != "failed" || !strings.Contains(got.Why, "cannot use "+forbidden) {
			t.Errorf("got %+v, want that %s is refused", got, forbidden)
		}
	}
}

// The faults of a scenario have its name. They and its settings end with it.
func TestScenarios_TidiesUp(t *testing.T) {
	t.Parallel()
	const steps = `
		{"method":"PUT","path":"/mock/%73ettings","body":{"replay":"all"}},
		{"method":"POST","path":"/mock/%66aults","body":{"name":"lose","on":"frame","action":"drop","subscription":"{{subscription}}"}},
		{"method":"POST","path":"/mock/faults","body":{"faults":[{"on":"frame","action":"duplicate"},{"name":"late","on":"message","action":"ignore"}]}},
		{"method":"DELETE","path":"/mock/f%61ults/l%61te"},
		{"await":{"tokenTaken":{"subscription":"{{subscription}}"},"timeout":"5m"}}`
	for _, keep := range []bool{false, true} {
		s := vectorServer(t, fhir.R5)
		s.Must(200, "PUT", "/mock/settings", `{"replay":"missed"}`)
		s.faults(`{"name":"mine","on":"frame","action":"drop","type":"pong"}`)
		s.Must(201, "PUT", "/mock/scenarios/messy", `{"keep":`+fmt.Sprint(keep)+`,"parameters":[{"name":"subscription"}],"steps":[`+steps+`]}`)
		s.Must(202, "POST", "/mock/scenarios/messy", `{"parameters":{"subscription":"abc"}}`)
		s.AwaitEntry("?kind=scenario&text=steps%5B3%5D")
		during := s.counts()
		if want := "mine 0/0, scenario:messy:lose 0/0, scenario:messy:2-1 0/0"; during != want {
			t.Errorf("got %s, want %s", during, want)
		}
		if got := s.runIn(s.Must(200, "GET", "/mock/scenarios/messy", nil)); got.State != "running" || got.Step != "steps[4]" || !strings.Contains(got.WaitsFor, `"tokenTaken":{"subscription":"abc"}`) || got.Since == nil || len(got.Results) != 4 {
			t.Errorf("got %+v, want that it waits", got)
		}
		s.wantProblem(s.Do("POST", "/mock/scenarios/messy", `{"parameters":{"subscription":"abc"}}`), 409, "", "running already")
		s.wantProblem(s.Do("PUT", "/mock/scenarios/messy", `{"steps":[{"advance":"1s"}]}`), 409, "", "running")
		s.Must(204, "DELETE", "/mock/scenarios/messy", nil)
		after, replay := "mine 0/0", "missed"
		if keep {
			after, replay = during, "all"
		}
		if got := s.counts(); got != after {
			t.Errorf("keep is %v: got %s, want %s", keep, got, after)
		}
		if got := s.Must(200, "GET", "/mock/settings", nil).At("replay"); got != replay {
			t.Errorf("keep is %v: got the policy %v, want %s", keep, got, replay)
		}
		if got := s.runIn(s.Must(200, "GET", "/mock/scenarios/messy", nil)); got.State != "stopped" || got.Step != "steps[4]" || got.Ended == nil || got.WaitsFor != "" || !strings.Contains(got.Why, "DELETE") {
			t.Errorf("got %+v, want that it was stopped at steps[4]", got)
		}
	}
}

// An await counts what came after the await before it; of a list, in any order.
func TestScenarios_AwaitsPassOn(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.events("abc", 1) // before the scenario, so it does not count
	s.define("waits", `
		{"await":{"journal":{"kind":"appended","text":""},"timeout":"1ms","since":null}},
		{"await":[{"journal":{"kind":"appended","count":2}},{"tokenTaken":{"subscription":"abc"}}]},
		{"await":{"journal":{"kind":"appended"}}},
		{"await":{"journal":{"kind":"appended","count":3},"since":"{{begin}}","timeout":"1ms"}},
		{"await":{"journal":{"kind":"appended"},"timeout":"1ms"}}`)
	s.Must(202, "POST", "/mock/scenarios/waits", `{"parameters":{"subscription":"abc"}}`)
	s.Token("abc") // the second of the list comes first
	s.events("abc", 1)
	s.events("abc", 1)
	s.AwaitEntry("?kind=scenario&text=steps%5B1%5D")
	if got := s.Journal("?kind=scenario&text=steps%5B2%5D"); len(got) > 0 {
		t.Errorf("got %v, want that the third event is waited for", got)
	}
	s.events("abc", 1)
	s.AwaitEntry("?kind=scenario&text=waits:+failed")
	got := s.runIn(s.Must(200, "GET", "/mock/scenarios/waits", nil))
	if got.State != "failed" || got.Step != "steps[4]" || !strings.Contains(got.Why, "0 of 1") {
		t.Errorf("got %+v, want that only the last await is in vain", got)
	}
}

func TestScenarios_RepeatsAreBounded(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.define("often", `{"repeat":"{{n}}","steps":[{"repeat":3,"steps":[{"advance":"0s"}]}]}`)
	if got := s.run("often", `{"parameters":{"subscription":"abc"},"wait":true}`); len(got.Results) != 6 || got.Results[5].Step != "steps[0].round[1].steps[0].round[2].steps[0]" {
		t.Errorf("got %+v, want 6 steps", got.Results)
	}
	if got := s.run("often", `{"parameters":{"subscription":"abc","n":100},"wait":true}`); got.State != "done" || len(got.Results) != 200 || got.Omitted != 100 {
		t.Errorf("got %d and %d, want 200 results and that 100 are left out", len(got.Results), got.Omitted)
	}
	if got := s.run("often", `{"parameters":{"subscription":"abc","n":0},"wait":true}`); got.State != "done" || len(got.Results) != 0 {
		t.Errorf("got %+v, want no step", got)
	}
	s.define("empty", `{"repeat":10000,"steps":[{"repeat":10000,"steps":[{"repeat":0,"steps":[{"advance":"0s"}]}]}]}`)
	if got := s.run("empty", `{"parameters":{"subscription":"abc"},"wait":true}`); got.State != "failed" || !strings.Contains(got.Why, "at most 10000 steps; a repeat of no rounds is one") {
		t.Errorf("got %+v, want that rounds of nothing are bounded", got)
	}
	for n, why := range map[string]string{"10000": "at most 10000 steps", "10001": "from 0 to 10000", "-1": "from 0 to 10000", "1.5": "a whole number"} {
		if got := s.run("often", `{"parameters":{"subscription":"abc","n":`+n+`},"wait":true}`); got.State != "failed" || !strings.Contains(got.Why, why) {
			t.Errorf("%s: got %s %s, want %s", n, got.State, got.Why, why)
		}
	}
}

// A wait that is over leaves the scenario running; a reset and the end of the room stop it.
func TestScenarios_EndWithTheRoom(t *testing.T) {
	t.Parallel()
	process := startProcess(t)
	process.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
	s := &server{wiretest.New(t, process.URL+"/rooms/demo"), process.log}
	s.Admission()
	for _, step := range []string{`{"advance":"24h"}`, `{"await":{"connected":{"count":9},"timeout":"5m"}}`} {
		s.define("long", `{"method":"POST","path":"/mock/faults","body":{"on":"frame","action":"drop"}},`+step)
		s.wantProblem(s.Do("POST", "/mock/scenarios/long", `{"parameters":{"subscription":"abc"},"wait":true,"timeout":"1ms"}`), 408, "", "it goes on")
		s.AwaitEntry("?kind=scenario&text=steps%5B0%5D")
		s.Must(204, "POST", "/mock/reset", nil)
		s.wantTold("scenario", "long: stopped at steps[1]: the room was reset")
		s.Must(404, "GET", "/mock/scenarios/long", nil)
		if got := s.counts(); got != "" {
			t.Errorf("got the faults %s, want none", got)
		}
		s.Admission()
	}
	s.define("waited", `{"advance":"24h"}`)
	waiting := s.Begin("POST", "/mock/scenarios/waited", `{"parameters":{"subscription":"abc"},"wait":true}`)
	s.AwaitEntry("?kind=scenario&text=waited:+with")
	s.Must(204, "POST", "/mock/reset", nil)
	if got := s.runIn(<-waiting); got.State != "stopped" || got.Why != "the room was reset" {
		t.Errorf("got %+v, want that the wait ends with the reset", got)
	}
	s.Admission()
	s.define("long", `{"advance":"24h"}`)
	s.Must(202, "POST", "/mock/scenarios/long", `{"parameters":{"subscription":"abc"}}`)
	process.Must(204, "DELETE", "/rooms/demo", nil)
	process.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
	if got := s.Journal("?kind=scenario"); len(got) > 0 {
		t.Errorf("got %v in another room", got)
	}
}

// The steps need no sign-in: whoever started the scenario has signed in.
func TestScenarios_AreLetIn(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--auth-token", "0123456789abcdef-secret")
	bearer := []string{"Authorization", "Bearer 0123456789abcdef-secret"}
	body := `{"steps":[{"method":"POST","path":"/fhir/R5/Patient","body":{"resourceType":"Patient"}}]}`
	s.Must(201, "PUT", "/mock/scenarios/own", body, bearer...)
	s.Must(401, "POST", "/mock/scenarios/own", `{"wait":true}`)
	if got := s.runIn(s.Must(200, "POST", "/mock/scenarios/own", `{"wait":true}`, bearer...)); got.State != "done" {
		t.Errorf("got %+v, want that it is done", got)
	}
}

// A restart ends tokens and sockets, and perhaps the numbers, but no resource.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, numbers := range []string{"kept", "anew"} {
		s := vectorServer(t, fhir.R5)
		token := s.Token("abc")
		ws := s.Dial()
		ws.Send("bind-with-token " + token)
		ws.Next()
		s.events("abc", 2)
		ws.WantEvent("1")
		ws.WantEvent("2")
		other := s.Token("abc")
		a := s.Must(200, "POST", "/mock/restart", `{"numbers":"`+numbers+`"}`)
		if got := compact([]any{a.Body["sockets"], a.Body["tokens"]}); got != `[["s1"],2]` {
			t.Errorf("got %s, want s1 and two tokens", got)
		}
		if code, reason := ws.Closed(); code != 1001 || reason != "the server restarts" {
			t.Errorf("got %d %s, want 1001", code, reason)
		}
		ws = s.Dial()
		for _, token := range []string{token, other} {
			ws.Send("bind-with-token " + token)
			ws.Outcome("forbidden")
		}
		ws = s.Bind("abc")
		s.events("abc", 1)
		next, kept := "3", `["1","2","3"]`
		if numbers == "anew" {
			next, kept = "1", `["1"]`
		}
		ws.WantEvent(next)
		if got := compact(s.Must(200, "GET", "Subscription/abc/$events", nil).Notification().Numbers()); got != kept {
			t.Errorf("%s: got %s, want %s", numbers, got, kept)
		}
	}
	// What waited to share a bundle is sent before the numbers begin anew.
	s := vectorServer(t, fhir.R5, "--batch-window", "1h")
	s.Must(201, "PUT", "Subscription/many", websocketSubscription("many", admissionURL, "maxCount", 10))
	ws := s.Bind("many")
	s.events("many", 1)
	s.Must(200, "POST", "/mock/restart", `{"numbers":"anew"}`)
	ws.WantEvent("1")
	if code, _ := ws.Closed(); code != 1001 {
		t.Errorf("got %d, want 1001", code)
	}
	if got := s.Journal("?kind=not-sent"); len(got) > 0 {
		t.Errorf("got %v, want that nothing is lost", got)
	}
	s.wantProblem(s.Do("POST", "/mock/restart", `{}`), 400, "numbers", "kept")
}

// These scenarios need nothing of a client, so they run on every release.
func TestScenarios_OnEveryRelease(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		if got := s.run("topic-gone", `{"wait":true}`); got.State != "done" {
			t.Fatalf("got %+v", got)
		}
		for f := ws.Next(); f.Status()["status"] != "error"; {
			f = ws.Next()
		}
		s.Must(204, "POST", "/mock/reset", nil)
		s.Admission()
		ws = s.Bind("abc")
		if got := s.run("deleted-while-bound", `{"wait":true,"parameters":{"quiet":"1ms"}}`); got.State != "done" {
			t.Fatalf("got %+v", got)
		}
		ws.Outcome("deleted")
		s.Must(410, "GET", "Subscription/abc", nil)
	})
}

// Time passes by the clock of the room: a manual one is moved, and another is waited for.
func TestScenarios_Advance(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(200, "PUT", "/mock/clock", `{"mode":"manual","now":"2026-01-01T08:00:00Z"}`)
	s.Must(201, "PUT", "/mock/scenarios/hour", `{"parameters":[{"name":"for","default":"1h"}],"steps":[{"advance":"{{for}}"}]}`)
	if got := s.run("hour", `{"wait":true}`); got.State != "done" || !got.Ended.Equal(got.Began.Add(time.Hour)) {
		t.Errorf("got %+v, want that an hour passed", got)
	}
	for _, wrong := range []string{"soon", "-1s"} {
		if got := s.run("hour", `{"wait":true,"parameters":{"for":"`+wrong+`"}}`); got.State != "failed" || !strings.Contains(got.Why, "such as 31m") {
			t.Errorf("%s: got %+v", wrong, got)
		}
	}
	s.Must(200, "PUT", "/mock/clock", `{"mode":"real"}`)
	s.Must(202, "POST", "/mock/scenarios/hour", nil)
	for len(asList(s.Must(200, "GET", "/mock/clock", nil).At("due"))) == 0 { // the step has not begun
	}
	if due := s.Must(200, "PUT", "/mock/clock", `{"mode":"manual"}`); due.At("pending") != 1.0 {
		t.Errorf("got %s, want the step of the scenario", due.Raw)
	}
	if due := s.Must(200, "GET", "/mock/clock", nil); due.At("due", 0, "scenario") != "hour" || due.At("due", 0, "kind") != "scenario" {
		t.Errorf("got %s, want the step of the scenario", due.Raw)
	}
	s.Must(200, "POST", "/mock/clock/advance", `{"by":"1h"}`)
	s.AwaitEntry("?kind=scenario&text=passed")
}
