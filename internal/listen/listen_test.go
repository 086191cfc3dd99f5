package listen

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// step is an incoming frame and the server's event log at that time.
type step struct {
	says  string // what happens, for readers of the golden file
	frame string
	log   eventLog
}

// Each transcript is a golden file: what a user of "signalfhir listen" sees.
func TestListener_Transcripts(t *testing.T) {
	t.Parallel()
	notified := func(numbers ...int64) string {
		return string(bundle("event-notification", numbers[len(numbers)-1], numbers...))
	}
	uncounted := func(members string) string {
		return `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus","status":"active",` + members + `}},{"fullUrl":"http://test/Encounter/e1","request":{"method":"PUT"}}]}`
	}
	greeted := func(total int64) string { return string(bundle("handshake", total)) }
	scenarios := []struct {
		name    string
		options Options
		steps   []step
	}{
		{"every-kind", Options{}, []step{
			{says: "a handshake while the status is requested", frame: handshakeFrame},
			{says: "an event at level empty", frame: emptyFrame},
			{says: "an event with a focus and context", frame: idOnlyFrame},
			{says: "a batch of an update and a delete", frame: batchFrame},
			{says: "an event with errors", frame: errorFrame},
			{says: "a heartbeat", frame: heartbeatFrame},
			{says: "a status that tells neither type nor status", frame: `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus"}}]}`},
		}},
		{"gaps", Options{}, []step{
			{says: "a handshake", frame: greeted(3)},
			{says: "the last event from before", frame: notified(3)},
			{says: "an event too far", frame: notified(6), log: eventLog{total: 6}},
			{says: "a batch with a hole, of which one was forgotten", frame: notified(7, 10), log: eventLog{total: 10, lost: map[int64]bool{8: true}}},
			{says: "a batch in the wrong order", frame: notified(12, 11), log: eventLog{total: 12}},
			{says: "a handshake with all forgotten", frame: greeted(14), log: eventLog{total: 14, lost: map[int64]bool{13: true, 14: true}}},
			{says: "a handshake with the last ones forgotten", frame: greeted(17), log: eventLog{total: 17, lost: map[int64]bool{16: true, 17: true}}},
			{says: "a handshake with nothing missed", frame: greeted(17)},
			{says: "a handshake of a server that was restarted", frame: greeted(2), log: eventLog{total: 2}},
			{says: "an event of it", frame: notified(3)},
		}},
		{"noise", Options{}, []step{
			{says: "no JSON", frame: "pong"},
			{says: "long noise", frame: strings.Repeat("x", 200)},
			{says: "another resource", frame: `{"resourceType":"Encounter"}`},
			{says: "a refusal", frame: `{"resourceType":"OperationOutcome","issue":[{"code":"expired","diagnostics":"the token expired"},{"code":"throttled"}]}`},
			{says: "an outcome of no issues", frame: `{"resourceType":"OperationOutcome"}`},
		}},
		{"a-server-that-does-not-count", Options{}, []step{
			{says: "a handshake without a total", frame: uncounted(`"type":"handshake"`)},
			{says: "an event", frame: uncounted(`"type":"event-notification","notificationEvent":[{"eventNumber":"0","focus":{"reference":"Encounter/e1"}}]`)},
			{says: "another, which has no other number", frame: uncounted(`"type":"event-notification","notificationEvent":[{"eventNumber":"0","focus":{"reference":"Encounter/e1"}}]`)},
			{says: "a heartbeat", frame: uncounted(`"type":"heartbeat"`)},
		}},
		{"a-server-that-counts-events-but-tells-no-total", Options{}, []step{
			{says: "an event", frame: uncounted(`"type":"event-notification","notificationEvent":[{"eventNumber":3}]`)},
			{says: "a handshake without a total", frame: uncounted(`"type":"handshake"`)},
			{says: "an event too far", frame: uncounted(`"type":"event-notification","notificationEvent":[{"eventNumber":5}]`), log: eventLog{total: 5}},
		}},
		{"turned-off", Options{}, []step{
			{says: "a handshake", frame: handshakeFrame},
			{says: "the subscription is turned off", frame: offFrame},
		}},
		{"raw", Options{JSON: true}, []step{
			{says: "a handshake", frame: handshakeFrame},
			{says: "an event too far", frame: notified(2), log: eventLog{total: 2}},
			{says: "no JSON", frame: "pong"},
		}},
		{"count-in-a-batch", Options{Count: 2}, []step{
			{says: "a handshake", frame: greeted(0)},
			{says: "a batch of three", frame: notified(1, 2, 3)},
		}},
		{"count-while-recovering", Options{Count: 2}, []step{
			{says: "a handshake", frame: greeted(0)},
			{says: "an event too far", frame: notified(4), log: eventLog{total: 4}},
		}},
		{"server-away", Options{}, []step{
			{says: "a handshake", frame: greeted(0)},
			{says: "an event too far while $events is not there", frame: notified(3), log: eventLog{down: true}},
			{says: "the handshake after it", frame: greeted(3), log: eventLog{total: 3}},
		}},
	}
	for _, scenario := range scenarios {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			var seen transcript
			var log eventLog
			l := &listener{
				options: scenario.options,
				server:  fakeServer(func(r *http.Request) (int, string) { return log.respond(r) }).server(),
				print:   seen.printer(scenario.options.JSON),
				id:      "abc",
			}
			var text strings.Builder
			for _, step := range scenario.steps {
				log = step.log
				err := l.frame(context.Background(), []byte(step.frame))
				text.WriteString("-- " + step.says + "\n")
				for _, line := range seen.take() {
					text.WriteString(line + "\n")
				}
				if err != nil {
					text.WriteString("! " + err.Error() + "\n")
				}
			}
			if len(seen.bad) > 0 {
				t.Errorf("lines without a time: %q", seen.bad)
			}
			golden(t, scenario.name, text.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// A run with a limit of events ends after the last one, and a subscription that was
// turned off ends it for good; anything else is retried.
func TestListener_FrameReturnsWhatEndsTheRun(t *testing.T) {
	t.Parallel()
	outcome := `{"resourceType":"OperationOutcome","issue":[{"code":"expired"}]}`
	for name, row := range map[string]struct {
		frame         string
		done, refused bool
	}{
		"the last requested event": {emptyFrame, true, false},
		"turned off":               {offFrame, false, true},
		"an OperationOutcome":      {outcome, false, false},
	} {
		var seen transcript
		l := &listener{options: Options{Count: 1}, server: silent(t).server(), print: seen.printer(false)}
		err := l.frame(context.Background(), []byte(row.frame))
		if err == nil || errors.Is(err, errDone) != row.done || refused(err) != row.refused {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A $events response with extra events, duplicates and disorder is still read
// correctly.
func TestListener_RecoverTakesOnlyMissedEvents(t *testing.T) {
	t.Parallel()
	var seen transcript
	l := &listener{
		server: fakeServer(func(*http.Request) (int, string) {
			return http.StatusOK, string(bundle("query-event", 9, 9, 6, 5, 6, 3, 8))
		}).server(),
		print: seen.printer(false), id: "abc", track: tracker{last: 4, known: true},
	}
	if err := l.frame(context.Background(), bundle("handshake", 7)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"handshake           abc  total 7",
		"# missed #5 to #7; calling $events",
		"query-event         abc  #5  recovered",
		"query-event         abc  #6  recovered",
		"# lost #7: the server no longer has them",
	}
	if diff := cmp.Diff(want, seen.take()); diff != "" {
		t.Errorf("the transcript differs (-want +got):\n%s", diff)
	}
}

// A subscription that replaces a forgotten one counts from 1: events before its first
// handshake are missed, whatever the old one had counted.
func TestListener_ANewSubscriptionIsCountedFromItsStart(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]tracker{
		"the first":                   {},
		"after one with fewer events": {last: 2, known: true},
		"after one with more events":  {last: 9, known: true},
	} {
		log := eventLog{total: 3}
		var seen transcript
		l := &listener{
			options: Options{Topic: "http://example.org/topic"},
			server: fakeServer(func(r *http.Request) (int, string) {
				if r.Method == http.MethodPost && r.URL.Path == "/fhir/R5/Subscription" {
					return http.StatusCreated, `{"resourceType":"Subscription","id":"abc"}`
				}
				return log.respond(r)
			}).server(),
			print: seen.printer(false), track: before,
		}
		if err := l.subscribe(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := l.frame(context.Background(), bundle("handshake", 3)); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, line := range seen.take() {
			numbers, _ := accounted(line)
			got = append(got, numbers...)
		}
		if diff := cmp.Diff([]int64{1, 2, 3}, got); diff != "" {
			t.Errorf("%s: the events shown differ (-want +got):\n%s", name, diff)
		}
	}
}

// A server that was restarted may have counted as far again. The last event says so: it is
// another one now. That is asked once for each bind.
func TestListener_NumbersThatCameAsFarAgain(t *testing.T) {
	t.Parallel()
	told := func(kind, at string, numbers ...int) string {
		var events []string
		for _, n := range numbers {
			events = append(events, fmt.Sprintf(`{"eventNumber":"%d","timestamp":"2026-01-01T08:00:0%sZ"}`, n, at))
		}
		return fmt.Sprintf(`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"%s","eventsSinceSubscriptionStart":"2","notificationEvent":[%s]}}]}`, kind, strings.Join(events, ","))
	}
	for name, c := range map[string]struct {
		now  string // of the events that the server has
		want []string
	}{
		"they are others": {"9", []string{
			"handshake           abc  total 2",
			"# ask 2 to 2",
			"# the numbering started again: the server was restarted",
			"# missed #1 to #2; calling $events",
			"# ask 1 to 2",
			"query-event         abc  #1  recovered",
			"query-event         abc  #2  recovered",
			"handshake           abc  total 2",
		}},
		"they are the same": {"0", []string{"handshake           abc  total 2", "# ask 2 to 2", "handshake           abc  total 2"}},
	} {
		var seen transcript
		l := &listener{
			server: fakeServer(func(r *http.Request) (int, string) {
				from, to := r.URL.Query().Get("eventsSinceNumber"), r.URL.Query().Get("eventsUntilNumber")
				seen.lines = append(seen.lines, "# ask "+from+" to "+to)
				if from == "1" {
					return http.StatusOK, told("query-event", c.now, 1, 2)
				}
				return http.StatusOK, told("query-event", c.now, 2)
			}).server(),
			print: seen.printer(false), id: "abc", track: tracker{known: true},
		}
		for i, frame := range []string{told("event-notification", "0", 1, 2), told("handshake", "0"), told("handshake", "0")} {
			if i == 1 {
				seen.take()
				l.unsure = true // it has bound again
			}
			if err := l.frame(context.Background(), []byte(frame)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(c.want, seen.take()); diff != "" {
			t.Errorf("%s: the transcript differs (-want +got):\n%s", name, diff)
		}
	}
}

// A bad filter is the caller's mistake: a retry would not help.
func TestListener_SubscribeRefusesABadFilter(t *testing.T) {
	t.Parallel()
	var seen transcript
	l := &listener{options: Options{Topic: "http://example.org/topic", Filters: []string{"x"}}, server: silent(t).server(), print: seen.printer(false)}
	if err := l.subscribe(context.Background()); !refused(err) || !strings.Contains(err.Error(), "--filter x") {
		t.Errorf("got %v, want the filter refused", err)
	}
}

func TestRenewal_IsFourFifthsOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	const most = 1<<63 - 1
	now := time.Now()
	for name, row := range map[string]struct {
		expiration  time.Time
		least, most time.Duration
	}{
		"far away":    {now.Add(time.Hour), 48 * time.Minute, 48 * time.Minute},
		"in the past": {now.Add(-time.Hour), 100 * time.Millisecond, 100 * time.Millisecond},
		"not given":   {time.Time{}, most, most},
	} {
		if got := renewal(row.expiration, now); got < row.least || got > row.most {
			t.Errorf("%s: got %v, want %v to %v", name, got, row.least, row.most)
		}
	}
}

// A token is renewed by the time of the server, which has nothing to do with the one here.
func TestLease_FollowsTheClockOfTheServer(t *testing.T) {
	t.Parallel()
	then := time.Date(2001, 1, 1, 8, 0, 0, 0, time.UTC)
	held := lease{expires: then.Add(time.Hour)}
	for _, row := range []struct{ at, want time.Duration }{
		{0, 48 * time.Minute},
		{8 * time.Minute, 40 * time.Minute},
		{48*time.Minute - time.Second, time.Second}, // however often a frame comes, the time comes too
		{50 * time.Minute, 0},
		{-time.Hour, 108 * time.Minute}, // the clock was set back
	} {
		if got, known := held.wait(then.Add(row.at)); got != row.want || !known {
			t.Errorf("after %s: got %s, want %s", row.at, got, row.want)
		}
	}
	if _, known := held.wait(time.Time{}); known {
		t.Error("a notification without a time changes when the token is renewed")
	}
	if _, known := (&lease{}).wait(then); known {
		t.Error("a token without an expiration is renewed")
	}
}

func TestPatience_IsTwoAndAHalfHeartbeats(t *testing.T) {
	t.Parallel()
	const forever = 1<<63 - 1
	for _, row := range []struct {
		name    string
		options Options
		status  int
		body    string // of the subscription, as the server has it
		want    time.Duration
	}{
		{"one that it creates", Options{Topic: "http://example.org/topic", Heartbeat: 20}, 500, "", 50 * time.Second},
		{"one that it creates, without heartbeats", Options{Topic: "http://example.org/topic"}, 500, "", forever},
		{"another", Options{Subscription: "abc", Heartbeat: 20}, 200, `{"heartbeatPeriod":1}`, 2500 * time.Millisecond},
		{"another, in R4", Options{Subscription: "abc"}, 200, `{"channel":{"extension":[{"url":"x"},{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period","valueUnsignedInt":2}]}}`, 5 * time.Second},
		{"another, without heartbeats", Options{Subscription: "abc"}, 200, `{}`, forever},
		{"one that it may not read", Options{Subscription: "abc"}, 403, ``, forever},
	} {
		requests := 0
		l := &listener{options: row.options, created: row.options.Topic != "", id: "abc", server: fakeServer(func(r *http.Request) (int, string) {
			requests++
			return row.status, row.body
		}).server()}
		for range 2 {
			if err := l.askHeartbeat(context.Background()); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if got := l.patience(); got != row.want || requests > 1 {
			t.Errorf("%s: got %v after %d requests, want %v", row.name, got, requests, row.want)
		}
	}
	for _, status := range []int{404, 410, 429, 503} {
		l := &listener{id: "abc", server: fakeServer(func(*http.Request) (int, string) { return status, "" }).server()}
		if err := l.askHeartbeat(context.Background()); err == nil || l.asked {
			t.Errorf("%d: got %v, want that it is asked again", status, err)
		}
	}
}

// If no handshake says how many events there were, $status does, once for each bind. Without
// it, or without numbers, the client says what it cannot know.
func TestListener_CatchesUpWithoutAHandshake(t *testing.T) {
	t.Parallel()
	const keepalive, zero = "keepalive", `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"event-notification","notificationEvent":[{"eventNumber":"0"}]}}]}`
	const ignored = "# a frame that is not a notification: keepalive"
	for name, row := range map[string]struct {
		frames []string
		status string // what $status returns; "": 404
		want   []string
	}{
		"missed": {[]string{keepalive, keepalive}, string(bundle("query-status", 6)), []string{
			ignored, "# missed #5 to #6; calling $events", "query-event         abc  #5  recovered", "query-event         abc  #6  recovered", ignored,
		}},
		"nothing missed": {[]string{string(bundle("heartbeat", 4))}, string(bundle("query-status", 4)), []string{"heartbeat           abc  total 4"}},
		"an event shows it": {[]string{string(bundle("event-notification", 6, 6)), keepalive}, "", []string{
			"# missed #5; calling $events", "query-event         abc  #5  recovered", "event-notification  abc  #6", ignored,
		}},
		"restarted": {[]string{keepalive}, string(bundle("query-status", 1)), []string{
			ignored, "# the numbering started again: the server was restarted", "# missed #1; calling $events", "query-event         abc  #1  recovered",
		}},
		"no $status": {[]string{keepalive, keepalive}, "", []string{
			ignored, "# whether events were missed is not known: GET Subscription/abc/$status returned 404 Not Found", ignored,
		}},
		"no total": {[]string{keepalive}, strings.Replace(string(bundle("query-status", 6)), "eventsSince", "x", 1), []string{
			ignored, "# whether events were missed is not known: $status of Subscription/abc does not say how many events there were",
		}},
		"no numbers": {[]string{zero, keepalive}, "", []string{
			"event-notification  abc  #0", ignored, "# the server does not number events, so what happened while there was no connection cannot be fetched",
		}},
	} {
		log, seen := eventLog{total: 6}, transcript{}
		l := &listener{
			server: fakeServer(func(r *http.Request) (int, string) {
				switch {
				case !strings.HasSuffix(r.URL.Path, "/$status"):
					return log.respond(r)
				case row.status == "":
					return http.StatusNotFound, ""
				}
				return http.StatusOK, row.status
			}).server(),
			print: seen.printer(false), id: "abc", track: tracker{last: 4, known: true}, unsure: true,
		}
		for _, frame := range row.frames {
			if err := l.frame(context.Background(), []byte(frame)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if diff := cmp.Diff(row.want, seen.take()); diff != "" {
			t.Errorf("%s: the transcript differs (-want +got):\n%s", name, diff)
		}
	}
}
