package room

import (
	"net/http"
	"strings"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/synth"
	"signalfhir/internal/topic"
)

// Trigger describes synthetic events: notifications without a stored write.
type Trigger struct {
	Topic        string        // canonical: every subscription on it whose filters let the focus pass
	Subscription string        // or one subscription, whatever its filters
	Focus        *fhir.Object  // the resource it is about; nil: see Reference
	Reference    string        // "Encounter/1", stored or not; "": one is made up
	Interaction  string        // create, update or delete; "": create
	Count        int           // how many events; 0: one
	Interval     time.Duration // between them; 0: at once
}

// Fired is one event a trigger made.
type Fired struct {
	Subscription string `json:"subscription"`
	Number       int64  `json:"number"`
}

// maxTriggers bounds the events of one call.
const maxTriggers = 100_000

// pendingTrigger is a trigger that still has events to fire.
type pendingTrigger struct{ timer clock.Timer }

// Trigger fires the events of t. The first (or, without an interval, all) are
// appended when it returns; the others follow on the room's clock.
func (r *Room) Trigger(t Trigger) (fired []Fired, scheduled int, err *fhir.Error) {
	if t.Count == 0 {
		t.Count = 1
	}
	switch {
	case (t.Topic == "") == (t.Subscription == ""):
		return nil, 0, fhir.Refuse(http.StatusBadRequest, "required", "name either a topic (its canonical url) or a subscription (its id)")
	case t.Count < 0 || t.Count > maxTriggers:
		return nil, 0, fhir.Refuse(http.StatusBadRequest, "value", "count: got %d, expected 1 to %d", t.Count, maxTriggers)
	case t.Interval < 0:
		return nil, 0, fhir.Refuse(http.StatusBadRequest, "value", "interval: got %s, expected zero or more", t.Interval)
	}
	method, ok := map[string]string{"": http.MethodPost, "create": http.MethodPost, "update": http.MethodPut, "delete": http.MethodDelete}[t.Interaction]
	if !ok {
		return nil, 0, fhir.Refuse(http.StatusBadRequest, "code-invalid", "interaction: got %q, expected create, update or delete", t.Interaction)
	}

	r.write.Lock()
	defer r.write.Unlock()
	on, err := r.triggerTopicLocked(t)
	if err != nil {
		return nil, 0, err
	}
	if err := r.checkFocusLocked(t, on); err != nil {
		return nil, 0, err
	}
	if t.Interval == 0 {
		for range t.Count {
			more, err := r.fireLocked(t, on, method)
			if err != nil {
				return fired, 0, err
			}
			fired = append(fired, more...)
		}
		return fired, 0, nil
	}
	if fired, err = r.fireLocked(t, on, method); err != nil {
		return nil, 0, err
	}
	if t.Count > 1 {
		r.scheduleLocked(t, on, method, t.Count-1)
	}
	return fired, t.Count - 1, nil
}

// triggerTopicLocked finds the topic the events of t belong to.
func (r *Room) triggerTopicLocked(t Trigger) (*topic.Topic, *fhir.Error) {
	if t.Topic != "" {
		on, ok := r.topics.Resolve(t.Topic)
		if !ok {
			return nil, fhir.Refuse(http.StatusNotFound, "not-found", "this server has no topic %s; it has %s", t.Topic, strings.Join(r.topics.URLs(), ", "))
		}
		return on, nil
	}
	if _, err := r.store.Read("Subscription", t.Subscription); err != nil {
		return nil, err
	}
	state, _ := r.subscriptions.State(t.Subscription)
	if dormant(state.Status) {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "Subscription/%s is %s and makes no events; set its status to \"requested\" first", t.Subscription, state.Status)
	}
	on, _ := r.topics.ByKey(state.TopicKey)
	return on, nil // nil where the topic was deleted
}

// checkFocusLocked refuses a focus the server could not send.
func (r *Room) checkFocusLocked(t Trigger, on *topic.Topic) *fhir.Error {
	if t.Focus != nil && t.Reference != "" {
		return fhir.Refuse(http.StatusBadRequest, "invalid", "give the focus as a resource or as a reference, not both")
	}
	if t.Focus != nil {
		typ := t.Focus.Text("resourceType")
		if !r.release.IsResourceType(typ) {
			return fhir.Refuse(http.StatusBadRequest, "invalid", "focus.resourceType: %q is not a resource type of FHIR %s", typ, r.release)
		}
		return fhir.RefuseAll(r.release.Validate(t.Focus))
	}
	if t.Reference != "" {
		typ, id, ok := strings.Cut(t.Reference, "/")
		if !ok || !r.release.IsResourceType(typ) || !fhir.IsID(id) {
			return fhir.Refuse(http.StatusBadRequest, "value", "reference: got %q, expected Type/id such as Encounter/1", t.Reference)
		}
		return nil
	}
	if on == nil || len(on.Resources()) == 0 {
		return fhir.Refuse(http.StatusUnprocessableEntity, "required", "the topic names no resource type to make a focus of; give a focus or a reference")
	}
	return nil
}

// fireLocked appends one synthetic occurrence.
func (r *Room) fireLocked(t Trigger, on *topic.Topic, method string) ([]Fired, *fhir.Error) {
	now := r.clock.Now()
	state := r.focusLocked(t, on, now)
	focus := &fhir.Entry{Type: state.Type, ID: state.ID, Method: method, Resource: state}
	if t.Interaction == "delete" || state.Object == nil {
		focus.Resource = nil
	}
	occurrence := r.occurrence(on, focus, state, now)
	if t.Subscription != "" {
		number, err := r.subscriptions.AppendTo(t.Subscription, occurrence)
		if err != nil {
			return nil, err
		}
		return []Fired{{t.Subscription, number}}, nil
	}
	fired := []Fired{}
	for _, d := range r.subscriptions.Append(on.Key(), occurrence, state) {
		fired = append(fired, Fired{d.Subscription, d.Number})
	}
	return fired, nil
}

// focusLocked is the resource a synthetic event is about: the one given, the
// stored one, or one made up. One that is only named has no Object.
func (r *Room) focusLocked(t Trigger, on *topic.Topic, now time.Time) *fhir.Resource {
	o := t.Focus
	switch {
	case o != nil:
		o = o.Clone()
	case t.Reference != "":
		typ, id, _ := strings.Cut(t.Reference, "/")
		if res, err := r.store.Read(typ, id); err == nil {
			return res
		}
		return &fhir.Resource{Release: r.release, Type: typ, ID: id}
	default:
		typ := on.Resources()[0]
		if o = synth.Example(typ, r.random, now); o == nil {
			return &fhir.Resource{Release: r.release, Type: typ, ID: r.random.ID()}
		}
		o.Set("id", r.random.ID())
	}
	if o.Text("id") == "" {
		o.Set("id", r.random.ID())
	}
	return fhir.NewResource(r.release, store.Stamp(o, o.Text("id"), "1", now))
}

// scheduleLocked fires the rest of a trigger, one event an interval.
func (r *Room) scheduleLocked(t Trigger, on *topic.Topic, method string, left int) {
	p := &pendingTrigger{}
	r.pending[p] = struct{}{}
	p.timer = r.clock.AfterFunc(t.Interval, func() {
		r.write.Lock()
		defer r.write.Unlock()
		if _, running := r.pending[p]; !running {
			return
		}
		left--
		if _, err := r.fireLocked(t, on, method); err != nil || left == 0 {
			delete(r.pending, p)
			return
		}
		p.timer.Reset(t.Interval)
	})
}

func (r *Room) stopTriggersLocked() {
	for p := range r.pending {
		p.timer.Stop()
		delete(r.pending, p)
	}
}

// occurrence is what happened, with the resources the topic's shape adds.
func (r *Room) occurrence(t *topic.Topic, focus *fhir.Entry, state *fhir.Resource, at time.Time) *fhir.Occurrence {
	var context []fhir.Entry
	if t != nil && state.Object != nil {
		for _, res := range t.Context(state, r.lookup, r.store.List) {
			context = append(context, fhir.Entry{Type: res.Type, ID: res.ID, Method: http.MethodGet, Resource: res})
		}
	}
	return fhir.NewOccurrence(at, focus, context)
}

// lookup finds the current version of a relative reference, nil where there is none.
func (r *Room) lookup(reference string) *fhir.Resource {
	typ, id, ok := strings.Cut(reference, "/")
	if !ok {
		return nil
	}
	res, err := r.store.Read(typ, id)
	if err != nil {
		return nil
	}
	return res
}
