package protocol

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/testkit"
)

// How built-in scenarios judge clients, good ones and others.

// startScenario starts a scenario and goes on when a step of it is over.
func (s *server) startScenario(name, parameters, until string) {
	s.T.Helper()
	s.Must(202, "POST", "/mock/scenarios/"+name, `{"parameters":`+parameters+`}`)
	if until != "" {
		s.awaitsStep(name, until)
	}
}

// awaitsStep goes on when a step of the last run of a scenario is over, which its note names.
func (s *server) awaitsStep(name, note string) {
	s.T.Helper()
	s.awaits(int(s.how(name).Begin), `"journal":{"kind":"scenario","type":"step","text":`+compact(note)+`}`)
}

// ended returns how a scenario went, when it has ended.
func (s *server) ended(name string) testkit.ScenarioRun {
	s.T.Helper()
	s.awaits(int(s.how(name).Begin), `"journal":{"kind":"scenario","type":"end","text":"`+name+`: "}`)
	return s.how(name)
}

func (s *server) how(name string) testkit.ScenarioRun {
	s.T.Helper()
	return s.runIn(s.Must(200, "GET", "/mock/scenarios/"+name, nil))
}

// waitsFor goes on when a scenario waits for something.
func (s *server) waitsFor(name, what string) {
	s.T.Helper()
	for got := s.how(name); !strings.Contains(got.WaitsFor, what); got = s.how(name) {
		if got.State != "running" {
			s.T.Fatalf("got %+v, want that it waits for %s", got, what)
		}
	}
}

func (s *server) wantDone(name string) {
	s.T.Helper()
	if got := s.ended(name); got.State != "done" {
		s.T.Errorf("%s: got %+v, want that it is done", name, got)
	}
}

// A client that has to miss heartbeats gets the time for it.
func TestScenarios_PatienceFollowsTheHeartbeats(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for period, want := range map[int]string{0: "30s", 30: "2m0s", 3600: "5m0s"} {
		id := fmt.Sprint("every-", period)
		sub := websocketSubscription(id, admissionURL)
		if period > 0 {
			sub["heartbeatPeriod"] = period
		}
		s.Must(201, "PUT", "Subscription/"+id, sub)
		s.Bind(id)
		for _, name := range []string{"half-open", "token-expires-unnoticed"} {
			s.startScenario(name, `{"subscription":"`+id+`"}`, "")
			if got := s.how(name).Parameters["patience"]; got != want {
				t.Errorf("%s with a period of %d: got the patience %v, want %s", name, period, got, want)
			}
			s.Must(204, "DELETE", "/mock/scenarios/"+name, nil)
		}
	}
	s.wantProblem(s.Do("POST", "/mock/scenarios/half-open", `{"parameters":{"subscription":"abc","patience":"soon"}}`), 400, "parameters.patience", "such as 30s")
	s.Must(201, "PUT", "/mock/scenarios/alone", `{"parameters":[{"name":"patience"}],"steps":[{"advance":"0s"}]}`)
	s.wantProblem(s.Do("POST", "/mock/scenarios/alone", nil), 400, "parameters.patience", "needs the parameter")
}

// It does not matter how a client gets what it missed.
func TestScenarios_AClientHasWhatItMissed(t *testing.T) {
	t.Parallel()
	for how, get := range map[string]func(s *server){
		"asked": func(s *server) { s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1", nil) },
		"resent": func(s *server) {
			s.Must(200, "POST", "Subscription/abc/$resend", `{"resourceType":"Parameters","parameter":[{"name":"eventsSinceNumber","valueString":"1"}]}`)
		},
		"replayed": func(*server) {}, // by the policy
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			if how == "replayed" {
				s.Must(200, "PUT", "/mock/settings", `{"replay":"missed"}`)
			}
			s.Bind("abc")
			s.startScenario("missed-events", `{"events":3}`, "Sockets are let in again.")
			s.Bind("abc")
			if how != "replayed" {
				s.waitsFor("missed-events", "caughtUp")
			}
			get(s)
			s.wantDone("missed-events")

			if how == "replayed" {
				return // a dead socket was sent them, as far as the server knows
			}
			s.startScenario("half-open", `{"events":3}`, "Events happen.")
			s.Bind("abc")
			s.waitsFor("half-open", "caughtUp")
			get(s)
			s.wantDone("half-open")
		})
	}
}

// A client that binds again and asks for nothing has not survived.
func TestScenarios_BindingAgainIsNotEnough(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flaky-wifi", "server-restart"} {
		s := vectorServer(t, fhir.R5)
		s.Bind("abc")
		s.startScenario(name, `{"events":3}`, "Events happen, perhaps before the client is back.")
		s.Bind("abc")
		s.waitsFor(name, "caughtUp")
		s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=2", nil)
		s.waitsFor(name, "caughtUp")
		s.Must(204, "DELETE", "/mock/scenarios/"+name, nil)
	}
}

// The binding ends, whoever keeps it: each socket falls silent, and each token ends.
func TestScenarios_EveryTokenExpiresUnnoticed(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	first := s.Bind("abc")
	s.Bind("abc")
	first.Send("bind-with-token " + s.Token("abc")) // renewed
	first.Next()
	s.Token("abc") // nobody uses it
	s.startScenario("token-expires-unnoticed", `{}`, "Events happen.")
	s.Bind("abc")
	s.Must(200, "GET", "Subscription/abc/$events", nil)
	s.wantDone("token-expires-unnoticed")
	if got := s.how("token-expires-unnoticed").Results; len(got) < 7 || got[2].Step != "steps[1].each[1]" || got[6].Step != "steps[2].each[3]" {
		t.Errorf("got %+v, want two sockets that fall silent and four tokens that end", got)
	}
}

// A client that asks again at once is refused for as long as it does.
func TestScenarios_RateLimitedUntilTheClientWaits(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	old := s.Token("abc")
	ws := s.Dial()
	ws.Send("bind-with-token " + old)
	ws.Next()
	s.startScenario("rate-limited", `{"times":1,"quiet":"4m","patience":"5m"}`, "Events happen.")
	ws = s.Dial()
	ws.Send("bind-with-token " + old)
	ws.Outcome("expired")
	for range 3 {
		s.Must(429, "GET", "Subscription/abc/$get-ws-binding-token", nil)
	}
	s.waitsFor("rate-limited", "quiet")
	s.Must(429, "GET", "Subscription/abc/$get-ws-binding-token", nil)
	s.Must(204, "DELETE", "/mock/scenarios/rate-limited", nil)
	s.Bind("abc")
	s.startScenario("rate-limited", `{"times":1,"quiet":"1ms"}`, "Events happen.")
	s.Must(429, "GET", "Subscription/abc/$get-ws-binding-token", nil)
	s.awaitsStep("rate-limited", "Tokens are issued again.")
	s.Bind("abc")
	s.waitsFor("rate-limited", "caughtUp")
	s.Must(200, "GET", "Subscription/abc/$events", nil)
	s.wantDone("rate-limited")
}

// The subscription that was created is the one that has to be bound.
func TestScenarios_ActivationDelayedIsAboutWhatWasCreated(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.startScenario("activation-delayed", `{"match":"mine-*","after":"1ms"}`, "New subscriptions stay requested.")
	s.Must(201, "PUT", "Subscription/mine-1", websocketSubscription("mine-1", admissionURL))
	s.Bind("abc")
	s.waitsFor("activation-delayed", `"bound":{"subscription":"mine-1"}`)
	s.Bind("mine-1")
	s.wantDone("activation-delayed")
}

// A client that binds without a token can do nothing about a scenario that wants one.
func TestScenarios_NeedABindWithAToken(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.classic("classic")
	ws := s.Dial()
	ws.Send("bind classic")
	s.awaits(-1, `"bound":{"subscription":"classic"}`)
	s.wantProblem(s.Do("POST", "/mock/scenarios/missed-events", nil), 422, "parameters.subscription", "was bound with bind")
	if got := s.run("duplicate-storm", `{"wait":true}`); got.State != "done" {
		t.Errorf("got %+v, want that it is done", got)
	}
	s.Bind("classic")
	s.startScenario("missed-events", `{}`, "")
	s.Must(204, "DELETE", "/mock/scenarios/missed-events", nil)
}

// Two scenarios that change the settings would take back what is not theirs. What somebody
// else changes stays.
func TestScenarios_SettingsHaveOneOwner(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	const waits = `,{"await":{"tokenTaken":{"subscription":"abc"},"timeout":"5m"}}`
	s.define("first", `{"note":"All again.","method":"PUT","path":"/mock/settings","body":{"replay":"all"}}`+waits)
	s.define("second", `{"repeat":1,"steps":[{"method":"PUT","path":"/mock/settings","body":{"replay":"missed"}}]}`)
	s.Must(201, "PUT", "/mock/scenarios/hidden", `{"parameters":[{"name":"where"}],"steps":[{"method":"PUT","path":"/mock/{{where}}","body":{"replay":"missed"}}]}`)
	replay := func(when, want string) {
		t.Helper()
		if got := s.Must(200, "GET", "/mock/settings", nil).At("replay"); got != want {
			t.Errorf("%s: got %v, want %s", when, got, want)
		}
	}
	s.startScenario("first", `{"subscription":"abc"}`, "All again.")
	s.wantProblem(s.Do("POST", "/mock/scenarios/second", `{"parameters":{"subscription":"abc"}}`), 409, "", "the scenario first changes the settings")
	if got := s.run("hidden", `{"parameters":{"where":"settings"},"wait":true}`); got.State != "failed" || !strings.Contains(got.Why, "the scenario first changes the settings") {
		t.Errorf("got %+v, want that it is refused", got)
	}
	replay("while the first runs", "all")
	s.Must(200, "PUT", "/mock/settings", `{"replay":"last:3"}`)
	s.Must(204, "DELETE", "/mock/scenarios/first", nil)
	replay("after a change by somebody else", "last:3")
	if got := s.Journal("?kind=scenario&text=changed+meanwhile,+so+they+stay"); len(got) != 1 {
		t.Errorf("got %v, want that the end says so", got)
	}
	for range 2 {
		if got := s.run("second", `{"parameters":{"subscription":"abc"},"wait":true}`); got.State != "done" {
			t.Errorf("got %+v, want that it is done", got)
		}
		replay("after the second", "last:3")
	}
	s.run("hidden", `{"parameters":{"where":"settings"},"wait":true}`)
	replay("after the hidden one", "last:3")
}

// Topics of the seed can go in every release, and stay gone. A search cannot.
func TestScenarios_TopicGoneOfTheSeed(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	for _, row := range []struct {
		release fhir.Release
		id      string
	}{{fhir.R5, "admission-id-only"}, {fhir.R4B, "r4b-admission-id-only"}, {fhir.R4, "r4-admission-full"}} {
		on := s.on(row.release)
		ws := on.Bind(row.id)
		if got := on.run("topic-gone", `{"wait":true,"parameters":{"subscription":"`+row.id+`"}}`); got.State != "done" {
			t.Fatalf("%s: got %+v", row.release, got)
		}
		for f := ws.Next(); f.Status()["status"] != "error"; {
			f = ws.Next()
		}
		s.wantProblem(s.Do("DELETE", "/mock/subscriptions/"+row.id+"/topic", nil), 404, "", "is gone already")
		s.wantProblem(s.Do("PATCH", "/mock/subscriptions/"+row.id, `{"status":"active"}`), 422, "", "admission")
	}
	s.wantProblem(s.Do("DELETE", "/mock/subscriptions/r4-encounters/topic", nil), 422, "", "its criteria are a search")
	s.wantProblem(s.Do("POST", "/mock/scenarios/topic-gone", `{"parameters":{"subscription":"r4-encounters"}}`), 422, "parameters.subscription", "its criteria are a search")
	s.Must(201, "PUT", "/mock/scenarios/resource", `{"parameters":[{"name":"subscription"}],"steps":[{"method":"GET","path":"/fhir/{{release}}/{{topicResource}}"}]}`)
	s.wantProblem(s.Do("POST", "/mock/scenarios/resource", `{"parameters":{"subscription":"r4-admission-id-only"}}`), 422, "parameters.subscription", "is not a resource")
	s.Must(204, "POST", "/mock/reset", nil)
	s.Must(204, "DELETE", "/mock/subscriptions/r4-admission-full/topic", nil)
}

// Faults that were kept do not stand in the way of the next run.
func TestScenarios_KeptFaultsAreReplaced(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "/mock/scenarios/kept", `{"keep":true,"steps":[{"method":"POST","path":"/mock/faults","body":{"name":"x","on":"frame","action":"drop"}}]}`)
	for range 2 {
		if got := s.run("kept", `{"wait":true}`); got.State != "done" {
			t.Errorf("got %+v, want that it is done", got)
		}
		if got := s.counts(); got != "scenario:kept:x 0/0" {
			t.Errorf("got %s, want its fault once", got)
		}
	}
}

// A number is written as it is, wherever it comes from, and kept to its bounds.
func TestScenarios_Numbers(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "/mock/scenarios/numbers", `{"parameters":[{"name":"n","default":1000000},{"name":"big","default":9007199254740993},{"name":"few","default":2.0,"least":1,"most":9}],"steps":[
		{"note":"As {{n}} and {{big}}.","method":"PUT","path":"/fhir/R5/Patient/p{{n}}","body":{"resourceType":"Patient","id":"p{{n}}","multipleBirthInteger":"{{n}}","name":[{"family":"{{big}}s"}]}},
		{"method":"POST","path":"/mock/faults","body":{"on":"frame","action":"duplicate","count":"{{few}}"}}]}`)
	for _, given := range []string{`{}`, `{"n":1e6,"few":3.0}`, `{"n":1000000.0}`} {
		got := s.run("numbers", `{"parameters":`+given+`,"wait":true}`)
		if got.State != "done" || got.Results[0].Note != "As 1000000 and 9007199254740993." || got.Results[0].Did != "PUT /fhir/R5/Patient/p1000000" {
			t.Errorf("%s: got %+v", given, got)
		}
	}
	for _, few := range []string{"0", "9.5", "1e400"} {
		s.wantProblem(s.Do("POST", "/mock/scenarios/numbers", `{"parameters":{"few":`+few+`}}`), 400, "parameters.few", "at least 1, at most 9")
	}
	s.Must(201, "PUT", "/mock/scenarios/other", `{"parameters":[{"name":"n","default":1e0}],"steps":[{"repeat":"{{n}}","steps":[{"advance":"0s"}]}]}`)
	for body, row := range map[string][2]string{
		`{"name":"n","default":"a","least":1}`:  {"parameters[0]", "has to be one"},
		`{"name":"n","default":1,"least":2}`:    {"parameters[0].default", "at least 2"},
		`{"name":"n","default":1,"most":1e300}`: {"parameters[0].most", "expected a number from"},
		`{"name":"n","default":[1]}`:            {"parameters[0].default", "a string, a number"},
	} {
		s.wantProblem(s.Do("PUT", "/mock/scenarios/wrong", `{"parameters":[`+body+`],"steps":[{"advance":"1s"}]}`), 400, row[0], row[1])
	}
	if got := s.Must(200, "GET", "Patient/p1000000", nil).At("name", 0, "family"); got != "9007199254740993s" {
		t.Errorf("got %v, want 9007199254740993s", got)
	}
	s.Admission()
	s.wantProblem(s.Do("POST", "/mock/scenarios/duplicate-storm", `{"parameters":{"subscription":"abc","copies":0}}`), 400, "parameters.copies", "at least 1")
}

// Refusals hide what the scenario is shown without.
func TestScenarios_RefusalsHideSecrets(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	s.Must(201, "PUT", "/mock/scenarios/waits", `{"steps":[{"note":"For `+token+`.","await":{"journal":{"text":"`+token+` never"},"timeout":"5m"}}]}`)
	for name, refused := range map[string]response{
		"a start that takes too long": s.Do("POST", "/mock/scenarios/waits", `{"wait":true,"timeout":"1ms"}`),
		"a path":                      s.Do("PUT", "/mock/scenarios/wrong", `{"steps":[{"method":"GET","path":"/x/`+token+`"}]}`),
		"a subscription":              s.Do("POST", "/mock/scenarios/flaky-wifi", `{"parameters":{"subscription":"`+token+`"}}`),
		"a parameter":                 s.Do("POST", "/mock/scenarios/flaky-wifi", `{"parameters":{"`+token+`":1}}`),
		"a name":                      s.Do("GET", "/mock/scenarios/"+token, nil),
		"a name to stop":              s.Do("DELETE", "/mock/scenarios/"+token, nil),
	} {
		if refused.Status < 400 || strings.Contains(string(refused.Raw), token) {
			t.Errorf("%s: got %d %s, want a refusal without the token", name, refused.Status, refused.Raw)
		}
	}
	s.Must(204, "DELETE", "/mock/scenarios/waits", nil)
}

// Without a journal nobody knows what the client does, so nothing is done to it.
func TestScenarios_NeedAJournal(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--journal-size", "0")
	s.wantProblem(s.Do("POST", "/mock/scenarios/flaky-wifi", `{"parameters":{"subscription":"abc"}}`), 409, "", "--journal-size 0")
	s.define("acts", `{"method":"GET","path":"/mock/clock"}`)
	if got := s.run("acts", `{"parameters":{"subscription":"abc"},"wait":true}`); got.State != "done" {
		t.Errorf("got %+v, want that it is done", got)
	}
}

// What a client has got is what was sent to a new socket, or asked for.
func TestAwait_CaughtUp(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Bind("abc")
	s.events("abc", 1) // before
	since := s.last()
	s.Must(200, "GET", "Subscription/abc/$events", nil) // before they happen
	s.events("abc", 3)                                  // sent to the old socket
	const two = `"caughtUp":{"subscription":"abc","count":2}`
	wants := func(left int) {
		t.Helper()
		if got, want := s.inVain(since, two), fmt.Sprintf("it does not have %d", left); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	wants(3)
	s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=4", nil)
	wants(2)
	ws := s.Bind("abc")
	s.events("abc", 1)
	ws.WantEvent("5")
	wants(2)
	s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1&eventsUntilNumber=2", nil)
	wants(1)
	s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=3&eventsUntilNumber=3", nil)
	s.awaits(since, two)
	if got := s.inVain(since, `"caughtUp":{"subscription":"abc","count":5}`); !strings.Contains(got, "4 events happened, and it does not have 0") {
		t.Errorf("got %s, want that only four happened", got)
	}
}
