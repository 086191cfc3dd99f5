package room

import (
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// What decides whether a change makes events, for readers outside the flow. None of
// these takes the write lock, so a write is never held up by a question. Who asks
// several may get one answer from before a write and the next from after it.

// Room is the room of the base.
func (b *Base) Room() *Room { return b.room }

// Release is the release of the base.
func (b *Base) Release() fhir.Release { return b.release }

// ChangeTo returns the change that made a version of a resource. It is nil if that
// version, or the one before it, is no longer kept.
func (b *Base) ChangeTo(reference, version string) *store.Change {
	typ, id, _ := strings.Cut(reference, "/")
	return b.store.ChangeTo(typ, id, version)
}

// TopicsFor lists the topics that have a trigger on a resource type, in the order in
// which a write asks them.
func (b *Base) TopicsFor(typ string) []*topic.Topic { return b.topics.ForType(typ) }

// TopicOf returns the topic a subscription is on; false if the subscription is not on
// a topic of the base, or the topic was deleted.
func (b *Base) TopicOf(subscription string) (*topic.Topic, bool) {
	state, ok := b.room.subscriptions.State(subscription)
	if !ok {
		return nil, false
	}
	return b.topicByKey(state.TopicKey)
}

// TopicName is the canonical a subscription of the base names its topic by, whether
// there is such a topic or not; false if the base has no such subscription.
func (b *Base) TopicName(subscription string) (string, bool) {
	state, ok := b.room.subscriptions.State(subscription)
	if !ok || state.Release != b.release {
		return "", false
	}
	return state.Topic, true
}

// Criteria lists what the classic subscriptions of the base look for, in order of
// their ids, which is the order in which a write asks them.
func (b *Base) Criteria() []*Criteria { return b.classic.all() }

// CriteriaOf returns what a classic subscription looks for, nil if it is not one.
func (b *Base) CriteriaOf(subscription string) *Criteria { return b.classic.find(subscription) }

// Assess reports how the subscriptions on a topic stand to an event about a resource;
// see [subscription.Registry.Assess].
func (b *Base) Assess(t *topic.Topic, state *fhir.Resource, wanted string, most int) (stands []subscription.Assessment, more int) {
	return b.room.subscriptions.Assess(b.topicKey(t), state, wanted, most)
}

// AssessOne reports how one subscription stands to an event about a resource, whatever
// its topic; false if there is no such subscription.
func (b *Base) AssessOne(id string, state *fhir.Resource) (subscription.Assessment, bool) {
	return b.room.subscriptions.AssessOne(id, state)
}
