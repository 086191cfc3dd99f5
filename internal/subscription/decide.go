package subscription

import (
	"fmt"

	"signalfhir/internal/fhir"
)

// Decision is what a subscription would do with an event.
type Decision struct {
	Subscription string   `json:"subscription"`
	Numbered     bool     `json:"numbered"` // it would get the next number, and stand in $events
	Sent         bool     `json:"sent"`     // and go to the sockets
	Sockets      []string `json:"sockets"`
	Steps        []string `json:"steps"` // in words, in the order they are asked
}

// Decide tells what the subscriptions on a topic would do with an event about a
// resource, where the topic fires. Nothing changes.
func (r *Registry) Decide(topicKey string, state *fhir.Resource, fires bool) []Decision {
	r.mu.RLock()
	var on []*subscription
	if index := r.byTopic[topicKey]; index != nil {
		on = index.all
	}
	r.mu.RUnlock()
	decisions := []Decision{}
	for _, s := range on {
		s.mu.Lock()
		passes, why := true, []string{"it has no filters"}
		if s.spec.Filter != nil && len(s.spec.Subscription.Filters) > 0 {
			passes, why = s.spec.Filter.Match(state)
			if len(why) == 0 {
				why = []string{"none of its filters is about " + state.Type}
			}
		}
		if !fires {
			why = append([]string{"the topic does not fire"}, why...)
		}
		decisions = append(decisions, s.decideLocked(fires && passes, why))
		s.mu.Unlock()
	}
	return decisions
}

// DecideOne is [Registry.Decide] for a subscription without a topic, whose owner
// knows whether an event concerns it.
func (r *Registry) DecideOne(id string, concerns bool, why string) (Decision, bool) {
	s := r.get(id)
	if s == nil {
		return Decision{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decideLocked(concerns, []string{why}), true
}

func (s *subscription) decideLocked(concerns bool, steps []string) Decision {
	d := Decision{Subscription: s.id, Sockets: []string{}, Steps: append(steps, "its status is "+s.status)}
	for _, b := range s.bindings {
		d.Sockets = append(d.Sockets, b.socket.ID())
	}
	d.Numbered = concerns && !dormant(s.status)
	d.Sent = d.Numbered && s.status == fhir.StatusActive && len(s.bindings) > 0
	switch {
	case !d.Numbered:
		d.Steps = append(d.Steps, "so it gets no event")
	case d.Sent:
		d.Steps = append(d.Steps, fmt.Sprintf("it gets event %d, sent to %d socket(s)", s.counter+1, len(s.bindings)))
	case s.status != fhir.StatusActive:
		d.Steps = append(d.Steps, fmt.Sprintf("it gets event %d for $events; nothing is delivered in this status", s.counter+1))
	default:
		d.Steps = append(d.Steps, fmt.Sprintf("it gets event %d for $events; no socket is bound", s.counter+1))
	}
	return d
}
