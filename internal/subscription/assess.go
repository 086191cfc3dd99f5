package subscription

import "signalfhir/internal/fhir"

// Assessment is what decides whether a subscription gets an
// event now.
type Assessment struct {
	Subscription string
	Status       string
	Filtered     bool     // it has filters on the resource
	Passes       bool     // the resource passes its filters
	Reasons      []string // how each filter compared, in words
	Next         int64    // number of its next event
	Sockets      []string // sockets bound to it
}

// Assess assesses the subscriptions on a topic for an event about a resource, in
// order of creation, at most the first most of them. If wanted is not "", it
// assesses only the subscription with that id. It changes nothing.
func (r *Registry) Assess(topicKey string, state *fhir.Resource, wanted string, most int) []Assessment {
	r.mu.RLock()
	var on []*subscription
	if index := r.byTopic[topicKey]; index != nil {
		on = index.all
	}
	r.mu.RUnlock()
	list := []Assessment{}
	for _, s := range on {
		if len(list) < most && (wanted == "" || s.id == wanted) {
			list = append(list, s.assess(state))
		}
	}
	return list
}

// AssessOne assesses one subscription, whatever its topic.
func (r *Registry) AssessOne(id string, state *fhir.Resource) (Assessment, bool) {
	s := r.get(id)
	if s == nil {
		return Assessment{}, false
	}
	return s.assess(state), true
}

func (s *subscription) assess(state *fhir.Resource) Assessment {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Assessment{Subscription: s.id, Status: s.status, Passes: true, Next: s.counter + 1, Sockets: []string{}}
	if s.spec.Filter != nil {
		a.Passes, a.Reasons = s.spec.Filter.Match(state)
		a.Filtered = len(a.Reasons) > 0
	}
	for _, b := range s.bindings {
		a.Sockets = append(a.Sockets, b.socket.ID())
	}
	return a
}
