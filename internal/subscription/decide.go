package subscription

import "signalfhir/internal/fhir"

// Stand is the assessment of one subscription: what decides whether it gets an
// event now.
type Stand struct {
	Subscription string
	Status       string
	Filtered     bool     // it has filters on the resource
	Passes       bool     // the resource passes its filters
	Reasons      []string // how each filter compared, in words
	Next         int64    // number of its next event
	Sockets      []string // sockets bound to it
}

// Stands assesses the subscriptions on a topic for an event about a resource, in
// order of creation, at most the first most of them. If wanted is not "", it
// assesses only the subscription with that id. It changes nothing.
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

// StandOf assesses one subscription, whatever its topic.
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
