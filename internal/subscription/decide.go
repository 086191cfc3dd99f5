package subscription

import "signalfhir/internal/fhir"

// Stand is what decides whether a subscription gets an event now.
type Stand struct {
	Subscription string
	Status       string
	Dormant      bool     // in this status no event is numbered
	Filtered     bool     // it has filters that are about the resource
	Passes       bool     // its filters let the resource pass
	Reasons      []string // how each filter compared, in words
	Next         int64    // number of its next event
	Sockets      []string // bound to it
}

// Stands reports how the subscriptions on a topic stand to an event about a
// resource, in order of creation: the first most of them and how many more there are;
// if wanted is not "", only the one that has this id. Nothing changes, and no lock is
// held while filters are asked.
func (r *Registry) Stands(topicKey string, state *fhir.Resource, wanted string, most int) (stands []Stand, more int) {
	r.mu.RLock()
	var on []*subscription
	if index := r.byTopic[topicKey]; index != nil {
		on = index.all
	}
	r.mu.RUnlock()
	stands = []Stand{}
	for i, s := range on {
		if wanted != "" && s.id != wanted {
			continue
		}
		if len(stands) == most {
			return stands, len(on) - i
		}
		// It may have been removed, or moved to another topic, since the index was read.
		if stand, spec := s.stand(); spec != nil && spec.TopicKey == topicKey {
			stands = append(stands, stand.asking(spec.Filter, state))
		}
	}
	return stands, 0
}

// StandOf is [Registry.Stands] of one subscription, whatever its topic.
func (r *Registry) StandOf(id string, state *fhir.Resource) (Stand, bool) {
	s := r.get(id)
	if s == nil {
		return Stand{}, false
	}
	stand, spec := s.stand()
	if spec == nil {
		return Stand{}, false
	}
	return stand.asking(spec.Filter, state), true
}

// stand copies what of a stand does not depend on the resource. Of a subscription
// that was removed spec is nil.
func (s *subscription) stand() (stand Stand, spec *Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return Stand{}, nil
	}
	stand = Stand{Subscription: s.id, Status: s.status, Dormant: dormant(s.status), Next: s.counter + 1, Sockets: make([]string, 0, len(s.bindings))}
	for _, b := range s.bindings {
		stand.Sockets = append(stand.Sockets, b.socket.ID())
	}
	now := s.spec
	return stand, &now
}

// asking completes a stand with what the filter says of a resource. That may take
// long, so the lock of the subscription must not be held.
func (s Stand) asking(filter Filter, state *fhir.Resource) Stand {
	s.Passes = true
	if filter != nil {
		s.Passes, s.Reasons = filter.Match(state)
		s.Filtered = len(s.Reasons) > 0
	}
	return s
}
