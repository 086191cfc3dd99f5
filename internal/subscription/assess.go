package subscription

import "signalfhir/internal/fhir"

// Assessment is what decides whether a subscription gets an event now.
type Assessment struct {
	Subscription string
	Status       string
	Dormant      bool     // events are not numbered in this status
	Filtered     bool     // it has filters on the resource
	Passes       bool     // the resource passes its filters
	Reasons      []string // how each filter compared, in words
	Next         int64    // number of its next event
	Sockets      []string // sockets bound to it
}

// Assess assesses the subscriptions on a topic for an event about a resource, in
// order of creation. It returns at most the first most assessments and how many
// subscriptions follow. If wanted is not "", it assesses only the subscription
// with that id. It changes nothing and holds no lock while filters run.
func (r *Registry) Assess(topicKey string, state *fhir.Resource, wanted string, most int) (list []Assessment, more int) {
	r.mu.RLock()
	var on []*subscription
	if index := r.byTopic[topicKey]; index != nil {
		on = index.all
	}
	r.mu.RUnlock()
	list = []Assessment{}
	for i, s := range on {
		if wanted != "" && s.id != wanted {
			continue
		}
		if len(list) == most {
			return list, len(on) - i
		}
		// It may have been removed, or moved to another topic, since the index was read.
		if a, spec := s.snapshot(); spec != nil && spec.TopicKey == topicKey {
			list = append(list, a.filtered(spec.Filter, state))
		}
	}
	return list, 0
}

// AssessOne assesses one subscription, whatever its topic.
func (r *Registry) AssessOne(id string, state *fhir.Resource) (Assessment, bool) {
	s := r.get(id)
	if s == nil {
		return Assessment{}, false
	}
	a, spec := s.snapshot()
	if spec == nil {
		return Assessment{}, false
	}
	return a.filtered(spec.Filter, state), true
}

// snapshot returns the part of an assessment that does not depend on the resource.
// spec is nil if the subscription was removed.
func (s *subscription) snapshot() (a Assessment, spec *Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return Assessment{}, nil
	}
	a = Assessment{Subscription: s.id, Status: s.status, Dormant: dormant(s.status), Next: s.counter + 1, Sockets: make([]string, 0, len(s.bindings))}
	for _, b := range s.bindings {
		a.Sockets = append(a.Sockets, b.socket.ID())
	}
	now := s.spec
	return a, &now
}

// filtered returns the assessment with the result of a filter. That may take long,
// so the lock of the subscription must not be held.
func (a Assessment) filtered(filter Filter, state *fhir.Resource) Assessment {
	a.Passes = true
	if filter != nil {
		a.Passes, a.Reasons = filter.Match(state)
		a.Filtered = len(a.Reasons) > 0
	}
	return a
}
