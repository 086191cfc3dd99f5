package e2e

import (
	"regexp"
	"strings"
	"testing"

	"signalfhir/testkit"
)

// shownEvent finds the lines of events in what the client prints.
var shownEvent = regexp.MustCompile(`(?m)^\S+  (?:event-notification|query-event) .* (#\d+)  `)

const taskTopic = "http://example.org/FHIR/R5/SubscriptionTopic/task-status"

// "signalfhir listen" survives every scenario that can be survived.
func TestListen_SurvivesScenarios(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		parameters map[string]any
		events     []string // each shown once, in this order
		says       []string
	}{
		{name: "flaky-wifi", events: []string{"#1", "#2", "#3", "#4", "#5", "#6", "#7"}, says: []string{"trying again"}},
		{name: "missed-events", events: []string{"#1", "#2", "#3", "#4", "#5"}, says: []string{"calling $events", "recovered"}},
		{name: "token-expires-unnoticed", events: []string{"#1", "#2"}, says: []string{"no heartbeat for", "recovered"}},
		{name: "server-restart", events: []string{"#1", "#2", "#3"}, says: []string{"1001"}},
		{name: "duplicate-storm", parameters: map[string]any{"copies": 3, "events": 2}, events: []string{"#1", "#2"}, says: []string{"#2 came again"}},
		{name: "out-of-order", events: []string{"#1", "#2", "#3", "#4", "#5", "#6"}, says: []string{"recovered", "came again"}},
		{name: "slow-server", parameters: map[string]any{"latency": "300ms", "lateness": "300ms"}, events: []string{"#1", "#2", "#3", "#4"}},
		{name: "half-open", events: []string{"#1", "#2"}, says: []string{"no heartbeat for", "recovered"}},
		{name: "no-handshake", events: []string{"#1", "#2"}},
		{name: "rate-limited", events: []string{"#1", "#2"}, says: []string{"429", "trying again in 1s"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			l := listen(t, s.URL, "--topic", taskTopic, "--heartbeat", "1")
			l.says("handshake")
			s.RunScenario(row.name, row.parameters)
			for _, text := range append(row.says, row.events[len(row.events)-1]+"  ") {
				l.says(text)
			}
			var shown []string
			for _, event := range shownEvent.FindAllStringSubmatch(l.String(), -1) {
				shown = append(shown, event[1])
			}
			if got, want := strings.Join(shown, " "), strings.Join(row.events, " "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
