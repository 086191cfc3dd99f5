package room

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
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

// Explain tells what the change from one state of a resource to another would
// do. Nothing is stored, numbered or sent. previous is nil for a create, current
// for a delete; both have to be of one type and, where both have one, one id.
// Where a subscription is named, it is about that alone.
func (b *Base) Explain(previous, current *fhir.Object, subscription string) (*Explanation, *fhir.Error) {
	change, err := b.imagine(previous, current)
	if err != nil {
		return nil, err
	}
	if subscription != "" {
		if _, err := b.store.Read("Subscription", subscription); err != nil {
			return nil, err
		}
	}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	return b.explainLocked(change, subscription), nil
}

// ExplainVersion tells what the change to a version of a resource does by the
// topics and filters there are now. It is nil where that version, or the one
// before it, is no longer kept.
func (b *Base) ExplainVersion(reference, version, subscription string) *Explanation {
	typ, id, _ := strings.Cut(reference, "/")
	change := b.store.ChangeTo(typ, id, version)
	if change == nil {
		return nil
	}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	return b.explainLocked(change, subscription)
}

func (b *Base) explainLocked(change *store.Change, subscription string) *Explanation {
	state := change.State()
	e := &Explanation{Resource: state.Reference(), Release: string(b.release), Interaction: string(change.Interaction), Version: change.VersionID, Topics: []TopicVerdict{}}
	topics := b.topics.ForType(state.Type)
	if subscription != "" {
		topics = b.topicsOfLocked(subscription)
	}
	for _, t := range topics {
		e.Topics = append(e.Topics, b.verdictLocked(t, change, subscription))
	}
	if subscription != "" && len(topics) == 0 && b.classic[subscription] == nil {
		e.Topics = append(e.Topics, b.withoutTopicLocked(subscription, state)...)
	}
	for _, id := range slices.Sorted(maps.Keys(b.classic)) {
		if c := b.classic[id]; subscription == id || subscription == "" && c.typ == state.Type {
			stand, ok := b.room.subscriptions.StandOf(id, state)
			if ok {
				e.Criteria = append(e.Criteria, c.verdict(stand, change))
			}
		}
	}
	return e
}

// topicsOfLocked is the topic of one subscription, none where it has none.
func (b *Base) topicsOfLocked(subscription string) []*topic.Topic {
	state, ok := b.room.subscriptions.State(subscription)
	if !ok {
		return nil
	}
	t, ok := b.topicByKey(state.TopicKey)
	if !ok {
		return nil
	}
	return []*topic.Topic{t}
}

// withoutTopicLocked is the verdict on a subscription of the base whose topic was
// deleted.
func (b *Base) withoutTopicLocked(subscription string, state *fhir.Resource) []TopicVerdict {
	is, _ := b.room.subscriptions.State(subscription)
	stand, ok := b.room.subscriptions.StandOf(subscription, state)
	if !ok || is.Release != b.release {
		return nil
	}
	return []TopicVerdict{{
		Topic:         is.Topic,
		Steps:         []Step{{"topic", false, "the server no longer has the topic"}},
		Subscriptions: []Verdict{verdictOf(stand, false, state.Type)},
	}}
}

func (b *Base) verdictLocked(t *topic.Topic, change *store.Change, wanted string) TopicVerdict {
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
	stands := b.room.subscriptions.Stands(b.topicKey(t), change.State(), wanted, maxVerdicts)
	for _, stand := range stands {
		verdict.Subscriptions = append(verdict.Subscriptions, verdictOf(stand, v.Fired, change.State().Type))
	}
	if wanted == "" {
		verdict.More = b.room.subscriptions.OnTopic(b.topicKey(t)) - len(stands)
	}
	return verdict
}

// verdictOf words how a subscription stands to an event.
func verdictOf(stand subscription.Stand, fires bool, typ string) Verdict {
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

// verdict words how a classic subscription stands to a change.
func (c *classic) verdict(stand subscription.Stand, change *store.Change) Verdict {
	v := Verdict{Subscription: stand.Subscription, Sockets: stand.Sockets}
	state := change.State()
	selects, why := true, "criteria "+c.text+" selects it"
	switch {
	case c.typ != state.Type:
		selects, why = false, "criteria "+c.text+" is about "+c.typ+", the resource is a "+state.Type
	case change.Current == nil:
		selects, why = false, "a classic subscription is not told of a deletion"
	case c.query != nil:
		passes, reasons := c.query.Explain(state)
		if !passes {
			selects, why = false, "criteria "+c.text+" does not select it: "+strings.Join(reasons, "; ")
		}
	}
	v.ask("criteria", selects, why)
	return v.decided(stand, selects)
}

func (v *Verdict) ask(step string, ok bool, text string) {
	v.Steps = append(v.Steps, Step{step, ok, text})
}

// decided adds the questions every subscription is asked.
func (v Verdict) decided(stand subscription.Stand, concerns bool) Verdict {
	active := stand.Status == fhir.StatusActive
	v.ask("subscription", active, "its status is "+stand.Status)
	bound := "no socket is bound"
	if n := len(stand.Sockets); n > 0 {
		bound = fmt.Sprintf("%d bound: %s", n, strings.Join(stand.Sockets, ", "))
	}
	v.ask("bindings", len(stand.Sockets) > 0, bound)
	v.Numbered = concerns && !dormant(stand.Status)
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
func (b *Base) imagine(previous, current *fhir.Object) (*store.Change, *fhir.Error) {
	if previous == nil && current == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, "required", "give the state after the change as current, the one before it as previous, or both")
	}
	id := cmp.Or(current.Text("id"), previous.Text("id"), "new")
	resource := func(member string, o *fhir.Object) (*fhir.Resource, *fhir.Error) {
		if o == nil {
			return nil, nil
		}
		if err := b.check(o.Text("resourceType"), o); err != nil {
			for i := range err.Issues {
				err.Issues[i].Diagnostics = member + ": " + err.Issues[i].Diagnostics
			}
			return nil, err
		}
		o = o.Clone()
		if o.Text("id") == "" {
			o.Set("id", id)
		}
		return fhir.NewResource(b.release, o), nil
	}
	before, err := resource("previous", previous)
	if err != nil {
		return nil, err
	}
	after, err := resource("current", current)
	if err != nil {
		return nil, err
	}
	change := &store.Change{Interaction: store.Update, Method: http.MethodPut, Previous: before, Current: after, At: b.room.clock.Now()}
	switch {
	case before == nil:
		change.Interaction, change.Method = store.Create, http.MethodPost
	case after == nil:
		change.Interaction, change.Method = store.Delete, http.MethodDelete
	case before.Reference() != after.Reference():
		return nil, fhir.Refuse(http.StatusBadRequest, "invalid", "previous is %s, current %s; a change is of one resource", before.Reference(), after.Reference())
	}
	return change, nil
}
