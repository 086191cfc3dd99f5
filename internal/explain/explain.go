// Package explain says why a subscription was, was not, or would be notified of a
// change.
//
// It sits outside the flow: it reads the journal and what a room hands out, asks
// topics, criteria and filters once more, and words what they say. It changes nothing,
// and no write waits for it: it takes no lock of a room for longer than it takes to
// copy. Beside a write, an explanation may know part of what the write changes.
package explain

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// Explanation is what one change does, or would do: each topic of its type with
// how its criteria compare, and each subscription on it with how its filters do.
type Explanation struct {
	Resource    string         `json:"resource"`
	Release     string         `json:"release"`
	Interaction string         `json:"interaction"`
	Version     string         `json:"version,omitempty"`
	Topics      []TopicVerdict `json:"topics"`
	Criteria    []Verdict      `json:"criteria,omitempty"` // of classic subscriptions on the type
}

// TopicVerdict is how one topic decides.
type TopicVerdict struct {
	Topic         string    `json:"topic"`
	Status        string    `json:"status"`
	Fires         bool      `json:"fires"`
	Steps         []Step    `json:"steps"`
	Subscriptions []Verdict `json:"subscriptions"`
	More          int       `json:"more,omitempty"` // subscriptions on the topic that are not listed
}

// Verdict is what a subscription does with an event.
type Verdict struct {
	Subscription string   `json:"subscription"`
	Numbered     bool     `json:"numbered"` // it gets the next number, and stands in $events
	Sent         bool     `json:"sent"`     // and goes to the sockets
	Sockets      []string `json:"sockets"`
	Steps        []Step   `json:"steps"`
}

// Step is one question that was asked, in the order they are.
type Step struct {
	Step string `json:"step"` // topic, type, interaction, criteria, filter, subscription, bindings or delivery
	OK   bool   `json:"ok"`
	Text string `json:"text"` // the answer, in words
}

// maxVerdicts bounds the subscriptions an explanation lists of one topic.
const maxVerdicts = 1000

// Change explains what the change from one state of a resource to another would do on
// a base. Nothing is stored, numbered or sent. previous is nil for a create, current
// for a delete; both have to be of one type and, if both have one, one id. If a
// subscription is named, the explanation is about that alone.
func Change(b *room.Base, previous, current *fhir.Object, subscription string) (*Explanation, error) {
	change, err := imagine(b, previous, current)
	if err != nil {
		return nil, err
	}
	if subscription != "" {
		if _, err := b.Read("Subscription", subscription); err != nil {
			return nil, err
		}
	}
	return explain(b, change, subscription), nil
}

// version explains what the change to a version of a resource does by the topics and
// filters there are now. It is nil if that version, or the one before it, is no longer
// kept.
func version(b *room.Base, reference, version, subscription string) *Explanation {
	change := b.ChangeTo(reference, version)
	if change == nil {
		return nil
	}
	return explain(b, change, subscription)
}

func explain(b *room.Base, change *store.Change, subscription string) *Explanation {
	state := change.State()
	e := &Explanation{Resource: state.Reference(), Release: string(b.Release()), Interaction: string(change.Interaction), Version: change.VersionID, Topics: []TopicVerdict{}}
	if subscription != "" {
		e.Topics = append(e.Topics, topicVerdictFor(b, change, subscription)...)
	} else {
		for _, t := range b.TopicsFor(state.Type) {
			e.Topics = append(e.Topics, topicVerdict(b, t, change, ""))
		}
	}
	for _, c := range criteria(b, state.Type, subscription) {
		if stand, ok := b.AssessOne(c.Subscription, state); ok {
			e.Criteria = append(e.Criteria, criteriaVerdict(c, stand, change))
		}
	}
	return e
}

// topicVerdictFor is the verdict on one subscription by its topic, none if it is not
// on a topic of the base.
func topicVerdictFor(b *room.Base, change *store.Change, subscription string) []TopicVerdict {
	if t, ok := b.TopicOf(subscription); ok {
		return []TopicVerdict{topicVerdict(b, t, change, subscription)}
	}
	if b.CriteriaOf(subscription) != nil {
		return nil
	}
	name, known := b.TopicName(subscription)
	stand, ok := b.AssessOne(subscription, change.State())
	if !known || !ok {
		return nil
	}
	return []TopicVerdict{{
		Topic:         name,
		Steps:         []Step{{"topic", false, "the server no longer has the topic"}},
		Subscriptions: []Verdict{verdictOf(stand, false, change.State().Type)},
	}}
}

func topicVerdict(b *room.Base, t *topic.Topic, change *store.Change, wanted string) TopicVerdict {
	v := t.Explain(change)
	verdict := TopicVerdict{Topic: t.URL(), Status: t.Status(), Fires: v.Fired, Subscriptions: []Verdict{}}
	verdict.Steps = append(verdict.Steps, Step{"topic", true, "the topic is " + cmp.Or(t.Status(), "without status")})
	for _, s := range v.Steps {
		text := s.Text
		if t.Triggers() > 1 {
			text = fmt.Sprintf("trigger %d: %s", s.Trigger, text)
		}
		verdict.Steps = append(verdict.Steps, Step{s.Name, s.Passed, text})
	}
	stands, more := b.Assess(t, change.State(), wanted, maxVerdicts)
	for _, stand := range stands {
		verdict.Subscriptions = append(verdict.Subscriptions, verdictOf(stand, v.Fired, change.State().Type))
	}
	verdict.More = more
	return verdict
}

// criteria lists those of classic subscriptions about a type, or of the one that is
// wanted, whatever its type.
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

// verdictOf words how a subscription stands to an event.
func verdictOf(stand subscription.Assessment, fires bool, typ string) Verdict {
	v := Verdict{Subscription: stand.Subscription, Sockets: stand.Sockets}
	if !fires {
		v.ask("topic", false, "the topic does not fire")
	}
	switch {
	case stand.Filtered:
		for _, reason := range stand.Reasons {
			v.ask("filter", stand.Passes, strings.TrimPrefix(reason, "filter "))
		}
	case stand.Passes:
		v.ask("filter", true, "it has no filters about "+typ)
	}
	return v.decided(stand, fires && stand.Passes)
}

// criteriaVerdict words how a classic subscription stands to a change.
func criteriaVerdict(c *room.Criteria, stand subscription.Assessment, change *store.Change) Verdict {
	v := Verdict{Subscription: stand.Subscription, Sockets: stand.Sockets}
	state := change.State()
	selects, why := true, "criteria "+c.Text+" selects it"
	switch {
	case c.Type != state.Type:
		selects, why = false, "criteria "+c.Text+" is about "+c.Type+", the resource is a "+state.Type
	case change.Current == nil:
		selects, why = false, "a classic subscription is not told of a deletion"
	default:
		if passes, reasons := c.Explain(state); !passes {
			selects, why = false, "criteria "+c.Text+" does not select it: "+strings.Join(reasons, "; ")
		}
	}
	v.ask("criteria", selects, why)
	return v.decided(stand, selects)
}

func (v *Verdict) ask(step string, ok bool, text string) {
	v.Steps = append(v.Steps, Step{step, ok, text})
}

// decided adds the questions every subscription is asked.
func (v Verdict) decided(stand subscription.Assessment, concerns bool) Verdict {
	active := stand.Status == fhir.StatusActive
	v.ask("subscription", active, "its status is "+stand.Status)
	bound := "no socket is bound"
	if n := len(stand.Sockets); n > 0 {
		bound = fmt.Sprintf("%d bound: %s", n, strings.Join(stand.Sockets, ", "))
	}
	v.ask("bindings", len(stand.Sockets) > 0, bound)
	v.Numbered = concerns && !stand.Dormant
	v.Sent = v.Numbered && active && len(stand.Sockets) > 0
	switch {
	case !v.Numbered:
		v.ask("delivery", false, "so it gets no event")
	case v.Sent:
		v.ask("delivery", true, fmt.Sprintf("it gets event %d, sent to %d socket(s)", stand.Next, len(stand.Sockets)))
	case !active:
		v.ask("delivery", false, fmt.Sprintf("it gets event %d for $events; nothing is delivered in this status", stand.Next))
	default:
		v.ask("delivery", false, fmt.Sprintf("it gets event %d for $events; no socket is bound", stand.Next))
	}
	return v
}

// imagine makes the change between two states, under the checks of a write.
func imagine(b *room.Base, previous, current *fhir.Object) (*store.Change, error) {
	if previous == nil && current == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "give the state after the change as current, the one before it as previous, or both")
	}
	id := cmp.Or(current.Text("id"), previous.Text("id"), "new")
	resource := func(member string, o *fhir.Object) (*fhir.Resource, error) {
		if o == nil {
			return nil, nil
		}
		if err := b.Check(o.Text("resourceType"), o); err != nil {
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
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "previous is %s, current %s; a change is of one resource", before.Reference(), after.Reference())
	}
	return change, nil
}
