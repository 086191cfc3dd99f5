package room

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// Base is what a room holds in one release: the resources written to its FHIR
// base and the topics among them. A resource belongs to the base it was written
// to and is seen on no other, as its form would be wrong there. Subscriptions of
// all bases share one registry, so that tokens, sockets, journal and control
// routes can name them by id alone: an id that one base uses is refused on the
// others.
type Base struct {
	room    *Room
	release fhir.Release
	store   *store.Store
	topics  *topic.Catalogue // by the reference of the resource that defines each
	classic classics         // the subscriptions whose criteria is a search (4.7)
}

func (r *Room) newBase(release fhir.Release) *Base {
	return &Base{
		room:    r,
		release: release,
		store:   store.New(release, r.clock, r.random, store.Options{}),
		topics:  topic.NewCatalogue(),
	}
}

// scope is where queries on the base are asked.
func (b *Base) scope() search.Scope { return search.Scope{Release: b.release, Source: stored{b.store}} }

// compile compiles a topic of the base as the room's options say.
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

// stored is what a store holds, as queries look it up. It implements
// search.Source.
type stored struct{ store *store.Store }

// Lookup finds the current version of a relative reference, nil where there is
// none.
func (s stored) Lookup(reference string) *fhir.Resource {
	typ, id, _ := strings.Cut(reference, "/")
	res, err := s.store.Read(typ, id)
	if err != nil {
		return nil
	}
	return res
}

// List answers the current resources of a type in order of their creation.
func (s stored) List(typ string) []*fhir.Resource { return s.store.List(typ) }

// Base answers what the room holds in a release; nil where it is not offered.
func (r *Room) Base(release fhir.Release) *Base {
	for _, b := range r.bases {
		if b.release == release {
			return b
		}
	}
	return nil
}

// baseOf finds the base a subscription was written to.
func (r *Room) baseOf(id string) (*Base, *fhir.Error) {
	if state, ok := r.subscriptions.State(id); ok {
		return r.Base(state.Release), nil
	}
	// What was deleted is told from what never was by the base that had it; where
	// none had, each says the same.
	var unknown *fhir.Error
	for _, b := range r.bases {
		_, err := b.store.Read("Subscription", id)
		if err == nil {
			return b, nil
		}
		if unknown == nil || err.Status > unknown.Status { // 410 is more than 404
			unknown = err
		}
	}
	return nil, unknown
}

// Subscription reads the resource of a subscription of any base.
func (r *Room) Subscription(id string) (*fhir.Resource, *fhir.Error) {
	b, err := r.baseOf(id)
	if err != nil {
		return nil, err
	}
	return b.store.Read("Subscription", id)
}

// url is the FHIR base where no request tells another.
func (b *Base) url() string { return b.room.options.URL + "/fhir/" + string(b.release) }

// topicKey names a topic of the base in the registry of subscriptions.
func (b *Base) topicKey(t *topic.Topic) string { return string(b.release) + "/" + t.Key() }

// topicByKey finds a topic of the base by what topicKey named it.
func (b *Base) topicByKey(key string) (*topic.Topic, bool) {
	id, _ := strings.CutPrefix(key, string(b.release)+"/")
	return b.topics.ByKey(id)
}

// topicURLs lists the topics of all bases, each once.
func (r *Room) topicURLs() []string {
	var urls []string
	for _, b := range r.bases {
		urls = append(urls, b.topics.URLs()...)
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// TopicURLs lists the canonical URLs subscriptions of the base can name.
func (b *Base) TopicURLs() []string {
	return b.topics.URLs()
}
