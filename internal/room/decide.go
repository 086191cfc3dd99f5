package room

import (
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// The methods below give access to what decides whether a change makes events. None of
// them takes the write lock, so they never delay a write. Between two calls a write may
// happen.

// Room returns the room of the base.
func (b *Base) Room() *Room { return b.room }

// Release returns the release of the base.
func (b *Base) Release() fhir.Release { return b.release }

// ChangeTo returns the change that made a version of a resource. It is nil if that
// version, or the one before it, is no longer kept.
func (b *Base) ChangeTo(reference, version string) *store.Change {
	typ, id, _ := strings.Cut(reference, "/")
	return b.store.ChangeTo(typ, id, version)
}

// TopicsFor returns the topics that have a trigger on a resource type, in the order in
// which a write matches them.
func (b *Base) TopicsFor(typ string) []*topic.Topic { return b.topics.ForType(typ) }

// TopicOf returns the topic of a subscription. It returns false if the subscription is
// not on a topic of the base, or if the topic was deleted.
func (b *Base) TopicOf(subscription string) (*topic.Topic, bool) {
	state, ok := b.room.subscriptions.State(subscription)
	if !ok {
		return nil, false
	}
	return b.topicByKey(state.TopicKey)
}

// TopicName returns the canonical of the topic that a subscription of the base names,
// even if there is no such topic. It returns false if the base has no such
// subscription.
func (b *Base) TopicName(subscription string) (string, bool) {
	state, ok := b.room.subscriptions.State(subscription)
	if !ok || state.Release != b.release {
		return "", false
	}
	return state.Topic, true
}

// Criteria returns the criteria of the classic subscriptions of the base in order of
// their ids, which is the order in which a write matches them.
func (b *Base) Criteria() []*Criteria { return b.classic.all() }

// CriteriaOf returns the criteria of a classic subscription, or nil if it is not one.
func (b *Base) CriteriaOf(subscription string) *Criteria { return b.classic.find(subscription) }

// Assess reports which subscriptions on a topic get an event about a resource, and why;
// see [subscription.Registry.Assess].
func (b *Base) Assess(t *topic.Topic, state *fhir.Resource, wanted string, limit int) (assessments []subscription.Assessment, more int) {
	return b.room.subscriptions.Assess(b.topicKey(t), state, wanted, limit)
}

// AssessOne reports whether one subscription gets an event about a resource, and why. It
// does not look at the topic. It returns false if there is no such subscription.
func (b *Base) AssessOne(id string, state *fhir.Resource) (subscription.Assessment, bool) {
	return b.room.subscriptions.AssessOne(id, state)
}
