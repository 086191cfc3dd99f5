package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

// "Why was I not notified?"

// explain answers POST /mock/explain: what a change would do. Nothing is stored.
func (s *server) explain(c echo.Context) error {
	var in struct {
		Release      string          `json:"release"`
		Subscription string          `json:"subscription"`
		Previous     json.RawMessage `json:"previous"`
		Current      json.RawMessage `json:"current"`
	}
	if err := control(c, &in); err != nil {
		return err
	}
	if err := onlyParameters(c, "format"); err != nil {
		return err
	}
	base := s.room.Base(s.options.releases()[0])
	if in.Release != "" {
		release, _ := fhir.ParseRelease(in.Release)
		if base = s.room.Base(release); base == nil {
			return fhir.Refuse(http.StatusBadRequest, "code-invalid", "got %q, expected one of %v", in.Release, s.options.releases()).At("release")
		}
	}
	var states [2]*fhir.Object
	for i, data := range []json.RawMessage{in.Previous, in.Current} {
		if len(data) == 0 || string(data) == "null" {
			continue
		}
		var refused *fhir.Error
		if states[i], refused = fhir.Parse(data); refused != nil {
			return refused
		}
	}
	explanation, refused := base.Explain(states[0], states[1], in.Subscription)
	if refused != nil {
		return refused
	}
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, explanation.String())
	}
	return answerJSON(c, explanation)
}

// wantsText tells whether the answer is to be read in a terminal.
func wantsText(c echo.Context) (bool, error) {
	switch format := c.QueryParam("format"); format {
	case "", "json":
		return false, nil
	case "text":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, "value", "format: got %q, expected json or text", format)
	}
}

func orText(c echo.Context, err error, text string) error {
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, text)
}

// happened is one thing the journal says of a change.
type happened struct {
	Seq          uint64 `json:"seq"`
	Kind         string `json:"kind"`
	Topic        string `json:"topic,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Socket       string `json:"socket,omitempty"`
	First        int64  `json:"first,omitempty"`
	Last         int64  `json:"last,omitempty"`
	Text         string `json:"text,omitempty"`
}

// whatHappened is one change with all it led to.
type whatHappened struct {
	Seq         uint64     `json:"seq"`
	Time        time.Time  `json:"time"`
	Resource    string     `json:"resource"`
	Release     string     `json:"release,omitempty"`
	Interaction string     `json:"interaction,omitempty"`
	Version     string     `json:"version,omitempty"` // "" for an event that was triggered
	Steps       []happened `json:"steps"`

	// By the topics and filters there are now; nil where the versions are no
	// longer kept, and for what no write caused.
	Verdict *room.Explanation `json:"verdict,omitempty"`
	Note    string            `json:"note,omitempty"`
}

// maxExplained bounds the changes one answer explains.
const maxExplained = 100

// explained answers GET /mock/explain: what the changes and triggers of a
// resource led to, or of every resource, for a subscription or all of them, or the
// one a journal entry belongs to; as far as the journal goes back, the newest last.
func (s *server) explained(c echo.Context) error {
	if err := onlyParameters(c, "resource", "subscription", "seq", "format"); err != nil {
		return err
	}
	resource, subscription := c.QueryParam("resource"), c.QueryParam("subscription")
	seq, err := eventNumber(given(c, "seq"), 0)
	if err != nil {
		return err
	}
	if resource == "" && subscription == "" && seq == 0 {
		return fhir.Refuse(http.StatusBadRequest, "required", "name a resource (Encounter/1), a subscription (its id), both, or an entry of the journal (seq)")
	}
	changes := s.happenings(subscription, func(h *whatHappened) bool {
		return (resource == "" || h.Resource == resource) && (seq == 0 || h.Seq == uint64(seq) || slices.ContainsFunc(h.Steps, func(step happened) bool { return step.Seq == uint64(seq) }))
	})
	changes = changes[max(0, len(changes)-maxExplained):]
	for _, h := range changes {
		s.judge(h, subscription)
	}
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, told(changes))
	}
	return answerJSON(c, struct {
		Changes []*whatHappened `json:"changes"`
	}{changes})
}

// told is what happened as people read it in a terminal.
func told(changes []*whatHappened) string {
	var text strings.Builder
	for _, h := range changes {
		if h.Verdict != nil {
			text.WriteString(h.Verdict.String())
			continue
		}
		fmt.Fprintf(&text, "%s %s, %s\n  %s\n", h.Interaction, h.Resource, h.Release, h.Note)
		for _, step := range h.Steps {
			fmt.Fprintf(&text, "  %s %s %s\n", step.Kind, step.Subscription, step.Text)
		}
	}
	if len(changes) == 0 {
		return "the journal knows of no such change\n"
	}
	return text.String()
}

// judge adds the verdict on a change as topics and filters are now.
func (s *server) judge(h *whatHappened, subscription string) {
	release, _ := fhir.ParseRelease(h.Release)
	base := s.room.Base(release)
	switch {
	case h.Version == "":
		h.Note = "it was triggered by /mock/trigger, so no criteria were asked"
	case base == nil:
	default:
		if h.Verdict = base.ExplainVersion(h.Resource, h.Version, subscription); h.Verdict == nil {
			h.Note = "the versions before and after it are no longer kept, so the criteria cannot be asked again"
			return
		}
		for i := range h.Verdict.Topics {
			for j := range h.Verdict.Topics[i].Subscriptions {
				h.settle(&h.Verdict.Topics[i].Subscriptions[j])
			}
		}
		for i := range h.Verdict.Criteria {
			h.settle(&h.Verdict.Criteria[i])
		}
	}
}

// settle puts what really became of an event in the place of what would become of
// it now.
func (h *whatHappened) settle(v *room.Verdict) {
	would := v.Numbered
	v.Numbered, v.Sent, v.Sockets = false, false, []string{}
	v.Steps = slices.DeleteFunc(v.Steps, func(s room.Step) bool { return s.Step == "bindings" || s.Step == "delivery" })
	number, reason := int64(0), ""
	for _, step := range h.Steps {
		switch {
		case step.Subscription != v.Subscription:
		case step.Kind == journal.Appended:
			v.Numbered, number = true, step.First
		case step.Kind == journal.Sent:
			v.Sent, v.Sockets = true, append(v.Sockets, step.Socket)
		case step.Kind == journal.NotSent:
			reason = step.Text
		}
	}
	last := room.Step{Step: "delivery", OK: v.Sent}
	switch {
	case v.Sent:
		last.Text = fmt.Sprintf("it got event %d, sent to %s", number, strings.Join(v.Sockets, ", "))
	case v.Numbered:
		last.Text = fmt.Sprintf("it got event %d; %s", number, reason)
	case would:
		last.Text = "it got no event then, though it would now: the subscription or its topic came or changed since"
	case reason != "":
		last.Text = "it got no event: " + reason
	default:
		last.Text = "it got no event"
	}
	v.Steps = append(v.Steps, last)
}

// happenings reads from the journal which changes led to what; of what concerns
// subscriptions only what concerns one, where it is named.
func (s *server) happenings(subscription string, wanted func(*whatHappened) bool) []*whatHappened {
	var all []*whatHappened
	about := map[string]*whatHappened{} // the latest change of a resource, by release and reference
	type event struct {
		subscription string
		number       int64
	}
	led := map[event]*whatHappened{} // which change an event is of
	for _, e := range s.room.Journal().Entries(journal.Filter{Kinds: []string{journal.Change, journal.Fired, journal.NotFired, journal.Appended, journal.NotSent, journal.Sent}}) {
		mine := subscription == "" || e.Subscription == "" || e.Subscription == subscription
		step := happened{e.Seq, e.Kind, e.Topic, e.Subscription, e.Socket, e.First, e.Last, e.Text}
		if e.Kind == journal.Sent || e.Kind == journal.NotSent && e.First > 0 {
			// Of a delivery only the numbers tell what it was about.
			for n := max(e.First, 1); mine && n <= e.Last; n++ {
				if change := led[event{e.Subscription, n}]; change != nil {
					change.Steps = append(change.Steps, step)
				}
			}
			continue
		}
		change := about[e.Release+e.Resource]
		if e.Kind == journal.Appended { // which names no release: its change is the one before
			change = about[e.Resource]
		}
		if change == nil || e.Kind == journal.Change || e.Kind == journal.Fired && e.Type == "trigger" {
			change = &whatHappened{Seq: e.Seq, Time: e.Time, Resource: e.Resource, Release: e.Release, Interaction: e.Interaction, Version: e.Version, Steps: []happened{}}
			about[e.Release+e.Resource] = change
			all = append(all, change)
		}
		about[e.Resource] = change
		if e.Kind == journal.Appended {
			led[event{e.Subscription, e.First}] = change
		}
		if mine && e.Kind != journal.Change {
			change.Steps = append(change.Steps, step)
		}
	}
	found := []*whatHappened{}
	for _, h := range all {
		if wanted(h) {
			found = append(found, h)
		}
	}
	return found
}
