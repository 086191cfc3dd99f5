package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

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

// On a clock that stands still, a slow server is slow until somebody lets the time pass.
func TestListen_SurvivesASlowServerOnAManualClock(t *testing.T) {
	t.Parallel()
	begin := time.Date(2101, 1, 1, 8, 0, 0, 0, time.UTC)
	s := testkit.Start(t, testkit.WithClock(begin))
	l := listens(t, s, "task-id-only")
	s.StartScenario("slow-server", map[string]any{"latency": "20m", "lateness": "5m"})
	s.AwaitEntry(testkit.JournalFilter{Kinds: []string{"fault"}, Type: "delay", Text: "$get-ws-binding-token was delayed for 20m0s"})
	if got := s.Scenario("slow-server").Run.State; got != "running" {
		t.Fatalf("the scenario is %s", got)
	}
	s.Advance(20 * time.Minute)
	s.AwaitScenario("slow-server")
	l.says("#4  ")
	if now, want := s.Clock().Now, begin.Add(25*time.Minute); !now.Equal(want) {
		t.Errorf("the clock shows %s, want %s", now, want)
	}
}

// Without a handshake, $status says what was missed.
func TestListen_SurvivesScenariosWithoutHandshakes(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]string{"missed-events": "#1 #2 #3 #4 #5", "half-open": "#1 #2", "token-expires-unnoticed": "#1 #2", "rate-limited": "#1 #2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Argonaut}))
			l := listen(t, s.URL, "--topic", taskTopic, "--heartbeat", "1")
			l.says("keepalive")
			s.RunScenario(name, nil)
			all := strings.Fields(events)
			l.says(all[len(all)-1] + "  ")
			var shown []string
			for _, event := range shownEvent.FindAllStringSubmatch(l.String(), -1) {
				shown = append(shown, event[1])
			}
			if got := strings.Join(shown, " "); got != events {
				t.Errorf("got %s, want %s", got, events)
			}
		})
	}
}

// Without numbers, what was missed is not known, and the client says so.
func TestListen_SaysWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithManners(testkit.Manners{Name: testkit.Medplum, JSONMessages: testkit.Switch(false)}))
	l := listen(t, s.URL, "--topic", taskTopic)
	l.says("handshake")
	s.Trigger(testkit.Trigger{Topic: taskTopic})
	l.says("#0")
	for _, open := range s.Sockets() {
		s.CutSocket(open.ID)
	}
	l.says("does not number events, so what happened while there was no connection cannot be fetched")
}

// What is replayed at the first bind was not shown before.
func TestListen_ShowsWhatIsReplayedAtTheFirstBind(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithSettings(testkit.Settings{Replay: "all"}))
	s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 2})
	l := listens(t, s, "task-id-only")
	l.says("#2  Task")
	s.Trigger(testkit.Trigger{Subscription: "task-id-only"})
	l.says("#3  ")
	s.CutSocket(s.Sockets()[0].ID)
	l.says("event #3 came again")
	var shown []string
	for _, event := range shownEvent.FindAllStringSubmatch(l.String(), -1) {
		shown = append(shown, event[1])
	}
	if got := strings.Join(shown, " "); got != "#1 #2 #3" {
		t.Errorf("got %s, want each once", got)
	}
}

// What cannot be survived ends the client, with a message.
func TestListen_EndsWhenItsSubscriptionIsDeleted(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	l := listens(t, s, "task-id-only")
	s.RunScenario("deleted-while-bound", nil)
	l.says("subscription was deleted")
	if err := l.command.Wait(); err == nil || !strings.Contains(l.String(), "the subscription is gone: GET Subscription/task-id-only returned 410") && !strings.Contains(l.String(), "the subscription is gone: POST Subscription/task-id-only/$get-ws-binding-token returned 410") {
		t.Errorf("got %v and\n%s", err, l)
	}
}

// A subscription of its own is created again.
func TestListen_CreatesItsSubscriptionAgain(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	l := listen(t, s.URL, "--topic", taskTopic)
	l.says("handshake")
	s.RunScenario("deleted-while-bound", nil)
	l.says("creating it again")
	s.Trigger(testkit.Trigger{Topic: taskTopic})
	l.says("#1  ")
}

func TestListen_ShowsThatTheTopicIsGone(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	l := listens(t, s, "task-id-only")
	s.RunScenario("topic-gone", nil)
	l.says("error")
}

func TestListen_WaitsForActivation(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	s.StartScenario("activation-delayed", map[string]any{"after": "300ms"})
	l := listen(t, s.URL, "--topic", taskTopic)
	s.AwaitScenario("activation-delayed")
	l.says("requested")
	s.Trigger(testkit.Trigger{Topic: taskTopic})
	l.says("#1  ")
}

// The numbers begin anew, and the client shows the events it has not seen.
func TestListen_NoticesThatNumbersBeginAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after int // events
		restart       map[string]any
	}{
		"fewer":               {5, 3, map[string]any{"numbers": "anew"}},
		"as far as they were": {2, 3, map[string]any{"numbers": "anew", "events": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			l := listens(t, s, "task-id-only")
			s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: c.before})
			l.says(fmt.Sprintf("#%d  ", c.before))
			s.RunScenario("server-restart", c.restart)
			l.says("the numbering started again")
			l.prints("the events before and after", func(printed string) bool {
				return len(shownEvent.FindAllString(printed, -1)) == c.before+c.after
			})
		})
	}
}

// Its own heartbeat is what a subscription says, in every release.
func TestListen_LearnsTheHeartbeatOfASubscription(t *testing.T) {
	t.Parallel()
	for _, release := range []testkit.Release{testkit.R5, testkit.R4} {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			first := listen(t, s.URL+"/fhir/"+string(release), "--topic", taskTopic, "--heartbeat", "1")
			first.says("handshake")
			id := s.Sockets()[0].Bindings[0]
			_ = first.command.Process.Kill() // so that the subscription stays
			s.AwaitBound(id, 0)
			l := listen(t, s.URL+"/fhir/"+string(release), "--subscription", id)
			l.says("handshake")
			s.RunScenario("half-open", nil)
			l.says("no heartbeat for 2.5s")
			l.says("#2  ")
		})
	}
}

// A frame that is no notification, or lacks its status, does no harm.
func TestListen_SurvivesBadFrames(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"not-json", "no-bundle", "no-status", "wrong-type"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			l := listens(t, s, "task-id-only")
			s.AddFault(testkit.Fault{On: "frame", Action: "replace", With: with, Type: "event-notification", Number: &testkit.EventNumbers{From: 2, To: 2}})
			s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 3})
			l.says("#3  ")
			if with != "wrong-type" {
				l.says("not a notification")
				l.says("calling $events")
			}
			l.prints("three events", func(printed string) bool { return len(shownEvent.FindAllString(printed, -1)) == 3 })
		})
	}
}

// Retry-After is a promise to wait so long, not a hint.
func TestListen_WaitsAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	listens(t, s, "task-id-only")
	run := s.RunScenario("rate-limited", map[string]any{"times": 2, "retryAfter": 1})
	var asked []time.Time
	for _, e := range s.Journal(testkit.Filter{}) {
		if e.Kind == "fault" && e.Seq > run.Begin {
			asked = append(asked, e.Time)
		}
	}
	if len(asked) != 2 || asked[1].Sub(asked[0]) < time.Second {
		t.Errorf("tokens were asked for at %v, want twice, a second apart", asked)
	}
}
