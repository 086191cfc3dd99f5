package room

import (
	"net/http"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
)

// Explanation is what one change does, or would do: each topic of its type with
// how its criteria compare, and each subscription on it with how its filters do.
type Explanation struct {
	Resource    string                  `json:"resource"`
	Release     string                  `json:"release"`
	Interaction string                  `json:"interaction"`
	Topics      []TopicVerdict          `json:"topics"`
	Criteria    []subscription.Decision `json:"criteria,omitempty"` // of classic subscriptions on the type
}

// TopicVerdict is how one topic decides.
type TopicVerdict struct {
	Topic         string                  `json:"topic"`
	Status        string                  `json:"status"`
	Fires         bool                    `json:"fires"`
	Steps         []string                `json:"steps"` // how each trigger came to its answer
	Subscriptions []subscription.Decision `json:"subscriptions"`
}

// Explain tells what the change from one state of a resource to another would
// do. Nothing is stored, numbered or sent. previous is nil for a create, current
// for a delete; both have to be of one type and, where both have one, one id.
func (b *Base) Explain(previous, current *fhir.Object) (*Explanation, *fhir.Error) {
	change, err := b.imagine(previous, current)
	if err != nil {
		return nil, err
	}
	state := change.State()
	e := &Explanation{Resource: state.Reference(), Release: string(b.release), Interaction: string(change.Interaction), Topics: []TopicVerdict{}}
	b.room.write.Lock()
	defer b.room.write.Unlock()
	for _, t := range b.topics.ForType(state.Type) {
		verdict := t.Match(change)
		e.Topics = append(e.Topics, TopicVerdict{
			Topic:         t.URL(),
			Status:        t.Status(),
			Fires:         verdict.Fired,
			Steps:         verdict.Steps,
			Subscriptions: b.room.subscriptions.Decide(b.topicKey(t), state, verdict.Fired),
		})
	}
	for _, res := range b.store.List("Subscription") {
		c := b.classic[res.ID]
		if c == nil || c.typ != state.Type {
			continue
		}
		selects, why := change.Current != nil, "criteria "+c.text+" selects it"
		if !selects {
			why = "a classic subscription is not told of a deletion"
		} else if c.query != nil {
			ok, err := c.query.Match(state)
			switch {
			case err != nil:
				selects, why = false, "criteria "+c.text+": "+err.Error()
			case !ok:
				selects, why = false, "criteria "+c.text+" does not select it"
			}
		}
		if decision, ok := b.room.subscriptions.DecideOne(res.ID, selects, why); ok {
			e.Criteria = append(e.Criteria, decision)
		}
	}
	return e, nil
}

// imagine makes the change between two states, under the checks of a write.
func (b *Base) imagine(previous, current *fhir.Object) (*store.Change, *fhir.Error) {
	if previous == nil && current == nil {
		return nil, fhir.Refuse(http.StatusBadRequest, "required", "give the state after the change as current, the one before it as previous, or both")
	}
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
			o.Set("id", "new")
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
	case before.Type != after.Type:
		return nil, fhir.Refuse(http.StatusBadRequest, "invalid", "previous is a %s, current a %s; a change is of one resource", before.Type, after.Type)
	}
	return change, nil
}
