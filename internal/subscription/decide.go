package subscription

import "signalfhir/internal/fhir"

// Stand is what decides whether a subscription gets an event now.
type Stand struct {
	Subscription string
	Status       string
	Filtered     bool     // it has filters that are about the resource
	Passes       bool     // its filters let the resource pass
	Reasons      []string // how each filter compared, in words
	Next         int64    // number of its next event
	Sockets      []string // bound to it
}

// Stands tells how the subscriptions on a topic stand to an event about a
// resource, in order of creation: the first most of them, and of those whose id
// is wanted alone where that is not "". Nothing changes.
func (r *Registry) Stands(topicKey string, state *fhir.Resource, wanted string, most int) []Stand {
	r.mu.RLock()
	var on []*subscription
	if index := r.byTopic[topicKey]; index != nil {
		on = index.all
	}
	r.mu.RUnlock()
	stands := []Stand{}
	for _, s := range on {
		if len(stands) < most && (wanted == "" || s.id == wanted) {
			stands = append(stands, s.stand(state))
		}
	}
	return stands
}

// StandOf is [Registry.Stands] of one subscription, whatever its topic.
func (r *Registry) StandOf(id string, state *fhir.Resource) (Stand, bool) {
	s := r.get(id)
	if s == nil {
		return Stand{}, false
	}
	return s.stand(state), true
}

func (s *subscription) stand(state *fhir.Resource) Stand {
	s.mu.Lock()
	defer s.mu.Unlock()
	stand := Stand{Subscription: s.id, Status: s.status, Passes: true, Next: s.counter + 1, Sockets: []string{}}
	if s.spec.Filter != nil {
		stand.Passes, stand.Reasons = s.spec.Filter.Match(state)
		stand.Filtered = len(stand.Reasons) > 0
	}
	for _, b := range s.bindings {
		stand.Sockets = append(stand.Sockets, b.socket.ID())
	}
	return stand
}
