package room

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Base is the part of a room that belongs to one release: the resources written to
// its FHIR base, and their topics. A resource cannot be seen on another base, because
// its form would be wrong there. Subscriptions of all bases share one registry, so
// that tokens, sockets, the journal and control routes can name them by id alone. A
// base refuses an id that another base uses.
type Base struct {
	room    *Room
	release fhir.Release
	store   *store.Store
	topics  *topic.Catalogue // by the reference of the resource that defines it
	classic classics         // subscriptions whose criteria is a search (4.7)
}

func (r *Room) newBase(release fhir.Release) *Base {
	return &Base{
		room:    r,
		release: release,
		store:   store.New(release, r.clock, r.random, store.Options{}),
		topics:  topic.NewCatalogue(),
	}
}

// scope returns the scope in which queries on the base are evaluated.
func (b *Base) scope() search.Scope { return search.Scope{Release: b.release, Source: stored{b.store}} }

// compile compiles a topic of the base with the options of the room.
func (b *Base) compile(read *fhir.Topic) (*topic.Topic, []fhir.Issue) {
	var options []topic.Option
	if b.room.options.PreferQuery {
		options = append(options, topic.PreferQuery())
	}
	if b.room.options.AnyFilter {
		options = append(options, topic.AnyFilter())
	}
	return topic.Compile(b.scope(), read, options...)
}

// stored gives queries access to a store. It implements search.Source.
type stored struct{ store *store.Store }

// Lookup returns the current version of the resource that a relative reference names,
// or nil if there is none.
func (s stored) Lookup(reference string) *fhir.Resource {
	typ, id, _ := strings.Cut(reference, "/")
	res, err := s.store.Read(typ, id)
	if err != nil {
		return nil
	}
	return res
}

// List returns the current resources of a type in order of creation.
func (s stored) List(typ string) []*fhir.Resource { return s.store.List(typ) }

// Base returns the base of a release, or nil if the room does not offer the release.
func (r *Room) Base(release fhir.Release) *Base {
	for _, b := range r.bases {
		if b.release == release {
			return b
		}
	}
	return nil
}

// baseOf returns the base to which a subscription was written.
func (r *Room) baseOf(id string) (*Base, error) {
	if state, ok := r.subscriptions.State(id); ok {
		return r.Base(state.Release), nil
	}
	// The base that had the subscription refuses with 410, the others with 404. Return
	// the 410 if there is one.
	var refused error
	for _, b := range r.bases {
		_, err := b.store.Read("Subscription", id)
		if err == nil {
			return b, nil
		}
		if fhir.StatusOf(err) > fhir.StatusOf(refused) {
			refused = err
		}
	}
	return nil, refused
}

// Subscription returns the resource of a subscription of any base.
func (r *Room) Subscription(id string) (*fhir.Resource, error) {
	b, err := r.baseOf(id)
	if err != nil {
		return nil, err
	}
	return b.store.Read("Subscription", id)
}

// url returns the URL of the base, for writes that no request asks for.
func (b *Base) url() string { return b.room.options.URL + "/fhir/" + string(b.release) }

// topicKey returns the key of a topic of the base in the registry of subscriptions.
func (b *Base) topicKey(t *topic.Topic) string { return string(b.release) + "/" + t.Key() }

// topicByKey returns the topic of the base that has a key made by topicKey.
func (b *Base) topicByKey(key string) (*topic.Topic, bool) {
	id, _ := strings.CutPrefix(key, string(b.release)+"/")
	return b.topics.ByKey(id)
}

// topicURLs returns the URLs of the topics of all bases, sorted, without duplicates.
func (r *Room) topicURLs() []string {
	var urls []string
	for _, b := range r.bases {
		urls = append(urls, b.topics.URLs()...)
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// TopicURLs returns the canonical URLs that subscriptions of the base can use.
func (b *Base) TopicURLs() []string {
	return b.topics.URLs()
}
