package testkit

import (
	"net/http"
	"net/url"
	"time"
)

// Scenario is a list of steps that a server does to a client: docs/mock.md has those that
// are built in.
type Scenario struct {
	Name        string              `json:"name"`
	Description string              `json:"description,omitempty"` // what happens
	Tests       string              `json:"tests,omitempty"`       // the behaviour of a client that it tests
	Good        string              `json:"good,omitempty"`        // what a good client does
	Keep        bool                `json:"keep,omitempty"`        // its faults stay when it ends
	Parameters  []ScenarioParameter `json:"parameters,omitempty"`
	Steps       []ScenarioStep      `json:"steps"`
}

// ScenarioParameter is a value that a start may give. A Default of nil means that it has to,
// except the parameter subscription: without it, a scenario is about the only one that a
// socket is bound to.
type ScenarioParameter struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Default     any      `json:"default,omitempty"` // a string, a number or a boolean
	Least       *float64 `json:"least,omitempty"`   // of a number
	Most        *float64 `json:"most,omitempty"`
}

// ScenarioStep is a request, a wait, or a list of steps that is repeated: one of Method and
// Path, Await, Advance, and Repeat and Steps. In its texts {{name}} is a parameter.
type ScenarioStep struct {
	Note    string         `json:"note,omitempty"`
	Method  string         `json:"method,omitempty"`
	Path    string         `json:"path,omitempty"`    // below /mock or /fhir of the room
	Body    any            `json:"body,omitempty"`    // of the request
	Each    string         `json:"each,omitempty"`    // socket or token: a request for each that the subscription has
	Await   any            `json:"await,omitempty"`   // body of POST /mock/await, or a list of those
	Advance string         `json:"advance,omitempty"` // time that passes on the clock of the room
	Repeat  any            `json:"repeat,omitempty"`  // how often Steps are done: a number or "{{name}}"
	Steps   []ScenarioStep `json:"steps,omitempty"`
}

// ScenarioRun says how far a scenario is.
type ScenarioRun struct {
	State      string           `json:"state"` // idle, running, done, failed or stopped
	Why        string           `json:"why"`   // it failed or was stopped
	Parameters map[string]any   `json:"parameters"`
	Began      *time.Time       `json:"began"`
	Ended      *time.Time       `json:"ended"`
	Begin      uint64           `json:"begin"`    // the entries of the journal after this one are of it
	Step       string           `json:"step"`     // that is being done, or at which it ended early: "steps[2]"
	Note       string           `json:"note"`     // of that step
	Since      *time.Time       `json:"since"`    // when that step began
	WaitsFor   string           `json:"waitsFor"` // what that step waits for
	Results    []ScenarioResult `json:"results"`  // of the steps that are over
	Omitted    int              `json:"omitted"`  // results that are not listed
}

// ScenarioResult is what became of a step.
type ScenarioResult struct {
	Step   string `json:"step"`
	Did    string `json:"did"`
	Note   string `json:"note"`
	Status int    `json:"status"` // of the response
	Seq    uint64 `json:"seq"`    // of the entry of the journal that ended an await
}

// ScenarioDetail is a scenario and how far it is.
type ScenarioDetail struct {
	Scenario
	Builtin bool        `json:"builtin"`
	Run     ScenarioRun `json:"run"`
}

// Scenarios returns all scenarios.
func (s *Server) Scenarios() []ScenarioDetail {
	s.t.Helper()
	var out struct{ Scenarios []ScenarioDetail }
	s.control(http.MethodGet, "scenarios", nil, &out)
	return out.Scenarios
}

// Scenario returns a scenario and how far it is.
func (s *Server) Scenario(name string) ScenarioDetail {
	s.t.Helper()
	var out ScenarioDetail
	s.control(http.MethodGet, "scenarios/"+url.PathEscape(name), nil, &out)
	return out
}

// PutScenario defines a scenario, or replaces it.
func (s *Server) PutScenario(d Scenario) {
	s.t.Helper()
	s.control(http.MethodPut, "scenarios/"+url.PathEscape(d.Name), d, nil)
}

// StartScenario starts a scenario. A parameter that is left out has its default.
func (s *Server) StartScenario(name string, parameters map[string]any) ScenarioRun {
	s.t.Helper()
	return s.startScenario(name, map[string]any{"parameters": parameters})
}

// RunScenario starts a scenario and returns when it has ended. It fails the test unless the
// scenario is done: if the client did not do what the scenario waited for, for example. It
// takes at most 45 seconds, so a client that has to notice that its connection is dead needs
// a subscription with a heartbeatPeriod of a few seconds.
func (s *Server) RunScenario(name string, parameters map[string]any) ScenarioRun {
	s.t.Helper()
	return s.wantDone(name, s.startScenario(name, map[string]any{"parameters": parameters, "wait": true, "timeout": (requestPatience * 3 / 4).String()}))
}

// AwaitScenario returns when a scenario that was started has ended. It fails the test unless
// the scenario is done.
func (s *Server) AwaitScenario(name string) ScenarioRun {
	s.t.Helper()
	begin := s.Scenario(name).Run.Begin
	s.Since(begin).awaitNext("journal", map[string]any{"kind": "scenario", "type": "end", "text": name + ": "})
	return s.wantDone(name, s.Scenario(name).Run)
}

// StopScenario stops a scenario and removes its faults. One that does not run is removed,
// unless it is built in.
func (s *Server) StopScenario(name string) {
	s.t.Helper()
	s.control(http.MethodDelete, "scenarios/"+url.PathEscape(name), nil, nil)
}

func (s *Server) startScenario(name string, body map[string]any) ScenarioRun {
	s.t.Helper()
	if p, _ := body["parameters"].(map[string]any); p == nil {
		delete(body, "parameters")
	}
	var out ScenarioDetail
	s.control(http.MethodPost, "scenarios/"+url.PathEscape(name), body, &out)
	return out.Run
}

func (s *Server) wantDone(name string, run ScenarioRun) ScenarioRun {
	s.t.Helper()
	if run.State != "done" {
		s.t.Fatalf("testkit: the scenario %s is %s at %s (%s): %s", name, run.State, run.Step, run.Note, run.Why)
	}
	return run
}

// Restarted says what [Server.Restart] did.
type Restarted struct {
	Sockets       []string `json:"sockets"`       // that were closed with 1001
	Tokens        int      `json:"tokens"`        // that were revoked
	Subscriptions []string `json:"subscriptions"` // whose numbers begin anew
}

// Restart does what clients see of a server that restarts and has kept its resources. With
// anew it has lost the numbers of events, and the events, too.
func (s *Server) Restart(anew bool) Restarted {
	s.t.Helper()
	numbers := "kept"
	if anew {
		numbers = "anew"
	}
	var out Restarted
	s.control(http.MethodPost, "restart", map[string]any{"numbers": numbers}, &out)
	return out
}
