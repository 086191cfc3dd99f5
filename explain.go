package main

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// "Why was I not notified?"

// explain answers POST /mock/explain: what a change would do. Nothing is stored.
func (s *server) explain(c echo.Context) error {
	var in struct {
		Release  string          `json:"release"`
		Previous json.RawMessage `json:"previous"`
		Current  json.RawMessage `json:"current"`
	}
	if err := control(c, &in); err != nil {
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
	explanation, refused := base.Explain(states[0], states[1])
	if refused != nil {
		return refused
	}
	return answerJSON(c, explanation)
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
	Resource    string     `json:"resource"`
	Release     string     `json:"release,omitempty"`
	Interaction string     `json:"interaction,omitempty"`
	Steps       []happened `json:"steps"`
}

// explained answers GET /mock/explain?resource=&subscription=: what the changes
// and triggers of a resource led to, or of every resource, for a subscription or
// all of them, as far as the journal goes back. The newest comes last.
func (s *server) explained(c echo.Context) error {
	if err := onlyParameters(c, "resource", "subscription"); err != nil {
		return err
	}
	resource, subscription := c.QueryParam("resource"), c.QueryParam("subscription")
	if resource == "" && subscription == "" {
		return fhir.Refuse(http.StatusBadRequest, "required", "name a resource (Encounter/1), a subscription (its id), or both")
	}
	changes := []*whatHappened{}
	about := map[string]*whatHappened{} // the latest change of a resource, by reference
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
		change := about[e.Resource]
		if change == nil || e.Kind == journal.Change || e.Kind == journal.Fired && e.Type == "trigger" {
			change = &whatHappened{Seq: e.Seq, Resource: e.Resource, Release: e.Release, Interaction: e.Interaction, Steps: []happened{}}
			about[e.Resource] = change
			if resource == "" || e.Resource == resource {
				changes = append(changes, change)
			}
		}
		if e.Kind == journal.Appended {
			led[event{e.Subscription, e.First}] = change
		}
		if mine && e.Kind != journal.Change {
			change.Steps = append(change.Steps, step)
		}
	}
	return answerJSON(c, struct {
		Changes []*whatHappened `json:"changes"`
	}{changes})
}
