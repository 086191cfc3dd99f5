package testkit_test

import (
	"strings"
	"testing"

	"signalfhir/testkit"
)

func TestServer_Scenarios(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	const id = "admission-id-only"
	s.PutScenario(testkit.Scenario{
		Name: "mine", Parameters: []testkit.ScenarioParameter{{Name: "subscription"}, {Name: "n", Default: 2}},
		Steps: []testkit.ScenarioStep{
			{Note: "Events happen.", Method: "POST", Path: "/mock/trigger", Body: map[string]any{"subscription": "{{subscription}}", "count": "{{n}}"}},
			{Repeat: "{{n}}", Steps: []testkit.ScenarioStep{{Advance: "0s"}}},
			{Await: map[string]any{"tokenTaken": map[string]any{"subscription": id}}},
		},
	})
	run := s.StartScenario("mine", map[string]any{"subscription": id})
	if run.Parameters["topic"] != "http://example.org/FHIR/R5/SubscriptionTopic/admission" {
		t.Errorf("got %+v, want the topic of the subscription", run)
	}
	bind(t, s, id)
	if run = s.AwaitScenario("mine"); len(run.Results) != 4 || run.Results[0].Status != 200 || run.Results[0].Note != "Events happen." || run.Results[3].Seq <= run.Begin {
		t.Errorf("got %+v, want 4 steps", run.Results)
	}
	found := false
	for _, d := range s.Scenarios() {
		found = found || d.Name == "mine" && !d.Builtin && d.Run.State == "done" && len(d.Steps) == 3
	}
	if !found {
		t.Error("the scenario is not listed")
	}
	s.StopScenario("mine")
	if d := s.Scenario("half-open"); !d.Builtin || d.Run.State != "idle" || d.Good == "" {
		t.Errorf("got %+v", d)
	}
	if got := s.Restart(true); len(got.Sockets) != 1 || got.Tokens != 1 || len(got.Subscriptions) == 0 {
		t.Errorf("got %+v, want one socket and one token", got)
	}
}

// A scenario whose client does not do what it waits for fails the test, and says at which
// step.
func TestServer_RunScenarioFailsTheTest(t *testing.T) {
	t.Parallel()
	got := spyOn(t, func(t testing.TB) {
		s := testkit.Start(t)
		s.RunScenario("missed-events", map[string]any{"subscription": "admission-id-only", "patience": "1ms"})
	})
	if want := "missed-events is failed at steps[1] (The client is bound.): POST /mock/await returned 408: waited 1ms for 1 bound socket"; !strings.Contains(got.fatal, want) {
		t.Errorf("got %q, want %q", got.fatal, want)
	}
}
