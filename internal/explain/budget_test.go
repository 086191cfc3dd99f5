package explain_test

import (
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/explain"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

const costly = "http://example.org/topic/costly"

// withCostly returns a base with a topic that decides by FHIRPath and a subscription to it.
func withCostly(t *testing.T) *room.Base {
	t.Helper()
	r, err := room.New(room.Options{Releases: []fhir.Release{fhir.R5}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	b := r.Base(fhir.R5)
	put(t, b, "SubscriptionTopic", "costly", `"url":"`+costly+`","status":"active","resourceTrigger":[{"resource":"Patient","fhirPathCriteria":"active"}]`)
	put(t, b, "Subscription", "s", `"status":"requested","topic":"`+costly+`","channelType":{"code":"websocket"},"content":"id-only"`)
	return b
}

func TestBudget_ExplainsWhatWouldNotFire(t *testing.T) {
	t.Parallel()
	b := withCostly(t)
	patient := parse(t, "Patient", "p", `"active":true`)
	for limit, fires := range map[time.Duration]bool{0: false, time.Hour: true} {
		e, err := explain.Change(b, nil, patient, "", budget.New("explanation", limit))
		if err != nil {
			t.Fatal(err)
		}
		got := e.Topics[0]
		late := strings.Contains(got.Steps[len(got.Steps)-1].Text, "the explanation has used up its 0s")
		if got.Fires != fires || late == fires || got.Subscriptions[0].Numbered != fires {
			t.Errorf("with %s: got %+v, want fires %v", limit, got, fires)
		}
	}
}

// What happened stays as it was, whatever a budget has time for now.
func TestBudget_ExplainsWhatHappened(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		then, now  time.Duration
		fires      bool
		want, sent string
	}{
		{"time then and now", time.Hour, time.Hour, true, "fhirPathCriteria is true", "it got event 1"},
		{"time then", time.Hour, 0, true, "it fired then; its criteria were not evaluated again: the explanation has used up", "it got event 1"},
		{"time now", 0, time.Hour, false, "it did not fire then: trigger 0: fhirPathCriteria was not evaluated, so it does not fire: the write has used up", "it got no event"},
		{"no time", 0, 0, false, "it did not fire then: trigger 0: fhirPathCriteria was not evaluated, so it does not fire: the write has used up", "it got no event"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := withCostly(t)
			if _, err := b.Update("Patient", "p", parse(t, "Patient", "p", `"active":true`), room.Request{Budget: budget.New("write", tt.then)}); err != nil {
				t.Fatal(err)
			}
			changes := explain.Happened(b.Room(), explain.About{Resource: "Patient/p"}, budget.New("explanation", tt.now))
			if len(changes) != 1 || changes[0].Verdict == nil {
				t.Fatalf("got %v, want one change", changes)
			}
			topic := changes[0].Verdict.Topics[0]
			if text := topic.Steps[len(topic.Steps)-1].Text; topic.Fires != tt.fires || !strings.HasPrefix(text, tt.want) {
				t.Errorf("got fires %v: %s, want %v: %s…", topic.Fires, text, tt.fires, tt.want)
			}
			steps := topic.Subscriptions[0].Steps
			if text := steps[len(steps)-1].Text; !strings.HasPrefix(text, tt.sent) || strings.Contains(text, "though it would now") {
				t.Errorf("delivery: got %s, want %s", text, tt.sent)
			}
		})
	}
}
