package guide

import (
	"testing"
	"time"

	"signalfhir/testkit"
)

func TestClient_ShowsEvents(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)                           // a room of its own
	client := Connect(t, s.FHIR.R5, "task-id-only") // your client
	s.AwaitBound("task-id-only", 1)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 3})
	client.WantEvents(1, 2, 3)
}

func TestClient_ComesBack(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	client := Connect(t, s.FHIR.R5, "task-id-only")
	s.AwaitBound("task-id-only", 1)
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	client.WantEvents(1)
	s.CutSocket(s.Sockets()[0].ID)
	s.AwaitBoundAgain("task-id-only")
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	client.WantEvents(2)
}

func TestClient_TakesAnotherToken(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithClock(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)))
	Connect(t, s.FHIR.R5, "task-id-only")
	s.AwaitBound("task-id-only", 1)
	s.Advance(31 * time.Minute)
	s.AwaitBoundAgain("task-id-only")
}

func TestClient_AsksForWhatWasLost(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	client := Connect(t, s.FHIR.R5, "task-id-only")
	s.AwaitBound("task-id-only", 1)
	s.SetFaults(testkit.Fault{On: "frame", Action: "drop", Number: &testkit.EventNumbers{From: 2, To: 2}})
	s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 3})
	s.AwaitEventsCalledFrom("task-id-only", 2)
	client.WantEvents(1, 2, 3)
}

func TestClient_SurvivesFlakyWifi(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	client := Connect(t, s.FHIR.R5, "task-id-only")
	s.AwaitBound("task-id-only", 1)
	s.RunScenario("flaky-wifi", map[string]any{"times": 2, "events": 1}) // fails the test if it fails
	client.WantEvents(1, 2, 3)
}
