// Package room composes one isolated world: its resources, topics,
// subscriptions, tokens, clock, randomness, generators and journal.
//
// A room is where the one street of the design runs: a write is checked, made
// durable in the store, matched against the topics of its type and appended to
// the subscriptions it concerns, all under the room's write lock, so that the
// order of events is the order of versions. Reads do not take that lock.
//
// The package knows FHIR's rules for interactions and subscriptions; it does
// not know HTTP, Echo, melody or how a frame reaches a client.
package room

import (
	"context"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
	"signalfhir/internal/seed"
	"signalfhir/internal/subscription"
	"signalfhir/internal/synth"
	"signalfhir/internal/token"
)

// Options are the settings of a room. The zero value of each means its default.
type Options struct {
	Clock            clock.Clock    // the machine's
	Random           *random.Source // unpredictable
	TokenTTL         time.Duration  // lifetime of a binding token; 30 min (OPW-5)
	MaxTokens        int            // live tokens; 2 million
	MaxSubscriptions int            // 100 000
	BatchWindow      time.Duration  // how long events may wait to share a bundle; 0: not at all (NB-16)
	LogSize          int            // events kept per subscription for $events; 1000 (OPE-2)
	JournalSize      int            // journal entries kept; 10 000. Below zero they are only counted
	Strict           bool           // leniency becomes an error
	KeepExpired      bool           // a binding outlives its tokens (WS-33)
	SkipInvariants   bool           // of resources that are written only the form is checked
	PreferQuery      bool           // queryCriteria decides before fhirPathCriteria (TOP-8)
	AnyFilter        bool           // every search parameter is a filter, offered or not (FLT-4)
	Releases         []fhir.Release // offered; all
	URL              string         // root of the server, used where no request tells another, no trailing slash
	Seed             *seed.Seed     // what a new or reset room holds; nil: nothing
}

// Room is one isolated world. It is safe for concurrent use.
type Room struct {
	options Options
	clock   clock.Clock
	random  *random.Source
	journal *journal.Journal
	tokens  *token.Store
	bases   []*Base // in the order of the releases offered

	// lives tells one subscription from another that had its id before: the
	// version it came into being with, by id. A token is for one life.
	lives sync.Map

	orphans orphans

	instance string          // names this room among others that had its name
	open     context.Context // ends when the room closes
	end      func()          // ends it

	// write serialises changes: it is held from the check of a write to the
	// append of its events, and guards pending. Readers do not take it: store, topics,
	// classic subscriptions, registry and journal can each be read beside a write. Lock
	// order: write, then a subscription, then a socket.
	write         sync.Mutex
	subscriptions *subscription.Registry
	generators    *synth.Set
	pending       map[*pendingTrigger]struct{}
}

// New makes a room and loads its seed. It fails where the seed does.
func New(o Options) (*Room, *fhir.Error) {
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Random == nil {
		o.Random = random.Secure()
	}
	o.TokenTTL = orDefault(o.TokenTTL, 30*time.Minute)
	o.MaxTokens = orDefault(o.MaxTokens, 2_000_000)
	o.MaxSubscriptions = orDefault(o.MaxSubscriptions, 100_000)
	o.LogSize = orDefault(o.LogSize, 1000)
	if len(o.Releases) == 0 {
		o.Releases = fhir.Releases
	}

	r := &Room{
		options: o,
		clock:   o.Clock,
		random:  o.Random,
		journal: journal.New(o.Clock, journal.Options{Size: o.JournalSize}),
		pending: map[*pendingTrigger]struct{}{},
		// Not of the room's own source: a seeded one repeats itself.
		instance: random.Secure().ID(),
	}
	r.open, r.end = context.WithCancel(context.Background())
	r.tokens = token.New(o.Clock, o.Random, o.MaxTokens, r.expired)
	for _, release := range o.Releases {
		r.bases = append(r.bases, r.newBase(release))
	}
	r.subscriptions = subscription.New(subscription.Options{
		Clock:       o.Clock,
		Random:      o.Random,
		BatchWindow: o.BatchWindow,
		LogSize:     o.LogSize,
		KeepExpired: o.KeepExpired,
		Observer:    r.observer(),
		OnEnd:       r.subscriptionEnded,
	})
	r.generators = synth.NewSet(o.Clock, generatorWrites{r})
	if err := r.load(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

// Close ends everything the room runs by itself: generators, timers, bindings.
func (r *Room) Close() {
	r.end()
	r.generators.Close()
	r.write.Lock()
	r.stopTriggersLocked()
	r.write.Unlock()
	r.subscriptions.Close()
	r.tokens.Reset()
}

// Context ends when the room closes. Whoever waits for something in the room waits no
// longer.
func (r *Room) Context() context.Context { return r.open }

// Instance names this room. Another one, even one with the same name and settings, has
// another instance, and the numbers of its journal start anew.
func (r *Room) Instance() string { return r.instance }

// Journal is the record of the room.
func (r *Room) Journal() *journal.Journal { return r.journal }

// Clock is the time of the room.
func (r *Room) Clock() clock.Clock { return r.clock }

// Generators are the running scenarios of the room.
func (r *Room) Generators() *synth.Set { return r.generators }
