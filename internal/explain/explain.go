// Package explain explains why a subscription was, was not, or would be notified of a
// change.
//
// It reads the journal and the state of a room, evaluates topics, criteria and filters
// again, and describes the results. It changes nothing, and no write waits for it: it
// holds a lock of a room only while it copies. If a write runs at the same time, an
// explanation may contain part of its changes.
package explain

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// Explanation is the effect that a change has or would have: the result of the criteria of
// each topic for its type, and of the filters of each subscription on the topic.
type Explanation struct {
	Resource    string         `json:"resource"`
	Release     string         `json:"release"`
	Interaction string         `json:"interaction"`
	Version     string         `json:"version,omitempty"`
	Topics      []TopicVerdict `json:"topics"`
	Criteria    []Verdict      `json:"criteria,omitempty"` // of classic subscriptions on the type
}

// TopicVerdict is the decision of a topic.
type TopicVerdict struct {
	Topic         string    `json:"topic"`
	Status        string    `json:"status"`
	Fires         bool      `json:"fires"`
	Steps         []Step    `json:"steps"`
	Subscriptions []Verdict `json:"subscriptions"`
	More          int       `json:"more,omitempty"` // subscriptions on the topic that are not listed
}

// Verdict is the decision of a subscription about an event.
type Verdict struct {
	Subscription string   `json:"subscription"`
	Numbered     bool     `json:"numbered"` // it gets the next number, and $events returns it
	Sent         bool     `json:"sent"`     // to the sockets
	Sockets      []string `json:"sockets"`
	Steps        []Step   `json:"steps"`
}

// Step is one question and its answer. A verdict has its steps in order.
type Step struct {
	Step string `json:"step"` // topic, type, interaction, criteria, filter, subscription, bindings or delivery
	OK   bool   `json:"ok"`
	Text string `json:"text"` // the answer, in words
}

// maxVerdicts bounds the subscriptions that an explanation lists per topic.
const maxVerdicts = 1000

// Change explains the effect of the change of a resource from previous to current on a base.
// It stores, numbers and sends nothing. previous is nil for a create, current for a delete.
// Both must have the same type and, if both have an id, the same id. If a subscription is
// named, the explanation is about that subscription only. What the budget has no time for
// does not fire, and the explanation says so.
func Change(b *room.Base, previous, current *fhir.Object, subscription string, within *budget.Budget) (*Explanation, error) {
	change, err := hypothetical(b, previous, current, within)
	if err != nil {
		return nil, err
	}
	if subscription != "" {
		if _, err := b.Read("Subscription", subscription); err != nil {
			return nil, err
		}
	}
	return explain(b, change, subscription, outcomes{}, within), nil
}

// version explains the change to a version of a resource by the present topics and filters.
// It returns nil if that version, or the one before it, is no longer kept. then is what the
// journal says of the topics.
func version(b *room.Base, reference, version, subscription string, then outcomes, within *budget.Budget) *Explanation {
	change := b.ChangeTo(reference, version)
	if change == nil {
		return nil
	}
	return explain(b, change, subscription, then, within)
}

func explain(b *room.Base, change *store.Change, subscription string, then outcomes, within *budget.Budget) *Explanation {
	state := change.State()
	a := asking{b, change, topic.NewEvaluation(change, within), then}
	e := &Explanation{Resource: state.Reference(), Release: string(b.Release()), Interaction: string(change.Interaction), Version: change.VersionID, Topics: []TopicVerdict{}}
	if subscription != "" {
		e.Topics = append(e.Topics, a.topicVerdictFor(subscription)...)
	} else {
		for _, t := range b.TopicsFor(state.Type) {
			e.Topics = append(e.Topics, a.topicVerdict(t, ""))
		}
	}
	for _, c := range criteria(b, state.Type, subscription) {
		if assessed, ok := b.AssessOne(c.Subscription, state); ok {
			e.Criteria = append(e.Criteria, criteriaVerdict(c, assessed, change))
		}
	}
	return e
}

// asking asks topics and subscriptions about a change.
type asking struct {
	base       *room.Base
	change     *store.Change
	evaluation *topic.Evaluation
	then       outcomes
}

// outcomes are what topics did when a change happened, by their URLs. It has none for a
// topic of which the journal says nothing, or not one thing.
type outcomes map[string]outcome

type outcome struct {
	fired bool
	late  bool // the budget of the write had no time for the criteria
	text  string
}

// match returns the verdict of a topic. If the budget of the write had no time for its
// criteria, or that of the explanation has none, the verdict is what happened.
func (a *asking) match(t *topic.Topic) topic.Verdict {
	then, known := a.then[t.URL()]
	happened := func(text string) topic.Verdict {
		return topic.Verdict{Fired: then.fired, Steps: []topic.Step{{Trigger: -1, Name: "criteria", Passed: then.fired, Text: text}}}
	}
	if then.late {
		return happened("it did not fire then: " + then.text)
	}
	v := t.Explain(a.change, a.evaluation)
	switch {
	case v.Fired || v.Late == nil || !known:
		return v
	case then.fired:
		return happened("it fired then; its criteria were not evaluated again: " + v.Late.Error())
	}
	return happened("it did not fire then: " + then.text + "; its criteria were not evaluated again: " + v.Late.Error())
}

// topicVerdictFor returns the verdict of the topic of one subscription, or none if it is not
// on a topic of the base.
func (a *asking) topicVerdictFor(subscription string) []TopicVerdict {
	b, change := a.base, a.change
	if t, ok := b.TopicOf(subscription); ok {
		return []TopicVerdict{a.topicVerdict(t, subscription)}
	}
	if b.CriteriaOf(subscription) != nil {
		return nil
	}
	name, known := b.TopicName(subscription)
	assessed, ok := b.AssessOne(subscription, change.State())
	if !known || !ok {
		return nil
	}
	return []TopicVerdict{{
		Topic:         name,
		Steps:         []Step{{"topic", false, "the server no longer has the topic"}},
		Subscriptions: []Verdict{verdictOf(assessed, false, change.State().Type)},
	}}
}

func (a *asking) topicVerdict(t *topic.Topic, wanted string) TopicVerdict {
	v, change := a.match(t), a.change
	verdict := TopicVerdict{Topic: t.URL(), Status: t.Status(), Fires: v.Fired, Subscriptions: []Verdict{}}
	verdict.Steps = append(verdict.Steps, Step{"topic", true, "the topic is " + cmp.Or(t.Status(), "without status")})
	for _, s := range v.Steps {
		text := s.Text
		if t.Triggers() > 1 && s.Trigger >= 0 {
			text = fmt.Sprintf("trigger %d: %s", s.Trigger, text)
		}
		verdict.Steps = append(verdict.Steps, Step{s.Name, s.Passed, text})
	}
	assessments, more := a.base.Assess(t, change.State(), wanted, maxVerdicts)
	for _, one := range assessments {
		verdict.Subscriptions = append(verdict.Subscriptions, verdictOf(one, v.Fired, change.State().Type))
	}
	verdict.More = more
	return verdict
}

// criteria returns the criteria of the classic subscriptions on a type, or those of the
// wanted subscription, whatever its type.
func criteria(b *room.Base, typ, wanted string) []*room.Criteria {
	if wanted != "" {
		if c := b.CriteriaOf(wanted); c != nil {
			return []*room.Criteria{c}
		}
		return nil
	}
	var about []*room.Criteria
	for _, c := range b.Criteria() {
		if c.Type == typ {
			about = append(about, c)
		}
	}
	return about
}

// verdictOf returns the verdict of a subscription on a topic.
func verdictOf(a subscription.Assessment, fires bool, typ string) Verdict {
	v := Verdict{Subscription: a.Subscription, Sockets: a.Sockets}
	if !fires {
		v.ask("topic", false, "the topic does not fire")
	}
	switch {
	case a.Filtered:
		for _, reason := range a.Reasons {
			v.ask("filter", a.Passes, strings.TrimPrefix(reason, "filter "))
		}
	case a.Passes:
		v.ask("filter", true, "it has no filters about "+typ)
	}
	return v.decided(a, fires && a.Passes)
}

// criteriaVerdict returns the verdict of a classic subscription.
func criteriaVerdict(c *room.Criteria, a subscription.Assessment, change *store.Change) Verdict {
	v := Verdict{Subscription: a.Subscription, Sockets: a.Sockets}
	state := change.State()
	selects, why := true, "criteria "+c.Text+" selects it"
	switch {
	case c.Type != state.Type:
		selects, why = false, "criteria "+c.Text+" is about "+c.Type+", the resource is a "+state.Type
	case change.Current == nil:
		selects, why = false, "a classic subscription is not notified of a deletion"
	default:
		if passes, reasons := c.Explain(state); !passes {
			selects, why = false, "criteria "+c.Text+" does not select it: "+strings.Join(reasons, "; ")
		}
	}
	v.ask("criteria", selects, why)
	return v.decided(a, selects)
}

func (v *Verdict) ask(step string, ok bool, text string) {
	v.Steps = append(v.Steps, Step{step, ok, text})
}

// decided adds the questions that are the same for every subscription.
func (v Verdict) decided(a subscription.Assessment, concerns bool) Verdict {
	active := a.Status == fhir.StatusActive
	v.ask("subscription", active, "its status is "+a.Status)
	bound := "no socket is bound"
	if n := len(a.Sockets); n > 0 {
		bound = fmt.Sprintf("%d bound: %s", n, strings.Join(a.Sockets, ", "))
	}
	v.ask("bindings", len(a.Sockets) > 0, bound)
	v.Numbered = concerns && !a.Dormant
	v.Sent = v.Numbered && active && len(a.Sockets) > 0
	switch {
	case !v.Numbered:
		v.ask("delivery", false, "so it gets no event")
	case v.Sent:
		v.ask("delivery", true, fmt.Sprintf("it gets event %d, sent to %d socket(s)", a.Next, len(a.Sockets)))
	case !active:
		v.ask("delivery", false, fmt.Sprintf("it gets event %d for $events; nothing is delivered in this status", a.Next))
	default:
		v.ask("delivery", false, fmt.Sprintf("it gets event %d for $events; no socket is bound", a.Next))
	}
	return v
}

// hypothetical returns the change between two states. It checks them like a write does.
func hypothetical(b *room.Base, previous, current *fhir.Object, within *budget.Budget) (*store.Change, error) {
	if previous == nil && current == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "give the state after the change as current, the one before it as previous, or both")
	}
	id := cmp.Or(current.Text("id"), previous.Text("id"), "new")
	resource := func(member string, o *fhir.Object) (*fhir.Resource, error) {
		if o == nil {
			return nil, nil
		}
		if _, err := b.Check(o.Text("resourceType"), o, within); err != nil {
			for i, issue := range fhir.IssuesOf(err) {
				fhir.IssuesOf(err)[i].Diagnostics = member + ": " + issue.Diagnostics
			}
			return nil, err
		}
		o = o.Clone()
		if o.Text("id") == "" {
			o.Set("id", id)
		}
		return fhir.NewResource(b.Release(), o), nil
	}
	before, err := resource("previous", previous)
	if err != nil {
		return nil, err
	}
	after, err := resource("current", current)
	if err != nil {
		return nil, err
	}
	change := &store.Change{Interaction: store.Update, Method: http.MethodPut, Previous: before, Current: after, At: b.Room().Clock().Now()}
	switch {
	case before == nil:
		change.Interaction, change.Method = store.Create, http.MethodPost
	case after == nil:
		change.Interaction, change.Method = store.Delete, http.MethodDelete
	case before.Reference() != after.Reference():
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "previous is %s, current %s; a change is about one resource", before.Reference(), after.Reference())
	}
	return change, nil
}
