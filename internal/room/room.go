// Package room holds one isolated world: its resources, topics,
// subscriptions, tokens, clock, randomness, generators and journal.
//
// Every write takes the same path: the room checks it, stores it, matches it against
// the topics of its type and appends events to the subscriptions it concerns. All of
// this happens under the write lock of the room, so that the order of events is the
// order of versions. Reads do not take that lock. What takes long is computed before, in
// a rehearsal of the write, and used under the lock if it is still true.
//
// The package knows FHIR's rules for interactions and subscriptions. It does not know
// HTTP, Echo, melody or how a frame reaches a client.
package room

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/memory"
	"signalfhir/internal/random"
	"signalfhir/internal/scenario"
	"signalfhir/internal/seed"
	"signalfhir/internal/subscription"
	"signalfhir/internal/synth"
	"signalfhir/internal/token"
)

// Options are the settings of a room. A zero value means the default.
type Options struct {
	Clock      *clock.Adjustable // a real one or, unless ClockStart is zero, a manual one
	ClockStart time.Time         // what a manual clock shows when the room begins, and after a reset; zero: the clock is real

	Random           *random.Source  // unpredictable
	TokenTTL         time.Duration   // lifetime of a binding token; 30 min (OPW-5)
	MaxTokens        int             // valid tokens; 2 million
	Issued           *token.Index    // the tokens of all rooms of the process, which none of them shows; only its own
	MaxSubscriptions int             // 100 000
	BatchWindow      time.Duration   // how long an event may wait to share a bundle with others; 0: not at all (NB-16)
	LogSize          int             // events that every subscription keeps for $events; 1000 (OPE-2)
	LogBytes         int64           // bytes up to which the room keeps more than that; 64 MiB
	Memory           *memory.Ceiling // of the process; nil: none
	MaxTokenBytes    int64           // that the lists of subscriptions of valid tokens take; 64 MiB
	JournalSize      int             // journal entries kept; 10 000. Below zero: entries are only counted
	Strict           bool            // warnings become errors
	KeepExpired      bool            // a binding does not end when its token expires (WS-33)
	SkipInvariants   bool            // do not check the invariants of resources that are written
	PreferQuery      bool            // queryCriteria decides if there is fhirPathCriteria too (TOP-8)
	AnyFilter        bool            // subscriptions may filter by every search parameter (FLT-4)
	Releases         []fhir.Release  // offered; all
	URL              string          // root of the server without a trailing slash, for writes that no request asks for
	Manners          manners.Choice  // with which the room begins, also after a reset
	Settings         Settings        // with which the room begins, also after a reset; the seed does not depend on them
	Seed             *seed.Seed      // content of a new or reset room; nil: nothing
	GeneratorsOff    bool            // the generators of a seed do not start by themselves
}

// Room is one isolated world. It is safe for concurrent use.
type Room struct {
	options   Options
	clock     *clock.Adjustable
	random    *random.Source
	journal   *journal.Journal
	tokens    *token.Store
	faults    *fault.Set
	bases     []*Base // in the order of the releases offered
	scenarios *scenario.Set

	// generations has the version that created each subscription, by id. It
	// distinguishes a subscription from an earlier one with the same id. A token is for
	// one generation.
	generations sync.Map

	orphans orphans
	turns   turns // to move the clock

	settings atomic.Pointer[Settings]

	manners     manners.Current
	mannersName atomic.Pointer[string] // that was chosen

	users atomic.Pointer[[]User] // replaced, never modified; nil: everybody is the same

	instance string          // names this room among others that had its name
	began    atomic.Int64    // when the room last held nothing but its seed, in Unix nanoseconds
	open     context.Context // ends when the room closes
	end      func()          // ends it

	// write serialises changes: it is held from the check of a write until its events
	// are appended. It also guards pending. Readers do not take it: store, topics,
	// classic subscriptions, registry and journal can be read during a write. The
	// searches of conditional writes, patches and FHIRPath criteria run before it is
	// taken; see [condition] and [Base.rehearse]. Lock order: write, then a
	// subscription, then a socket.
	write         sync.Mutex
	subscriptions *subscription.Registry
	generators    *synth.Set
	pending       map[*pendingTrigger]struct{}
}

// New returns a room with its seed loaded. It fails if the seed cannot be loaded.
func New(o Options) (*Room, error) {
	if o.Clock == nil && o.ClockStart.IsZero() {
		o.Clock = clock.Real()
	} else if o.Clock == nil {
		o.Clock = clock.NewManual(o.ClockStart)
	}
	if o.Random == nil {
		o.Random = random.Secure()
	}
	if o.Issued == nil {
		o.Issued = token.NewIndex(token.Remembered)
	}
	o.TokenTTL = orDefault(o.TokenTTL, 30*time.Minute)
	o.MaxSubscriptions = orDefault(o.MaxSubscriptions, 100_000)
	o.LogSize = orDefault(o.LogSize, 1000)
	if len(o.Releases) == 0 {
		o.Releases = fhir.Releases
	}

	r := &Room{
		options: o,
		clock:   o.Clock,
		random:  o.Random,
		pending: map[*pendingTrigger]struct{}{},
		// Not of the room's own source: a seeded one repeats itself.
		instance: random.Secure().ID(),
	}
	r.began.Store(o.Clock.Now().UnixNano())
	r.open, r.end = context.WithCancel(context.Background())
	r.turns.turn = make(chan struct{}, 1)
	r.newRound()
	r.tokens = token.New(o.Clock, o.Random, o.Issued, token.Limits{Tokens: o.MaxTokens, Bytes: o.MaxTokenBytes}, r.expired)
	r.journal = journal.New(o.Clock, journal.Options{Size: o.JournalSize, Payload: journalPayload(o.Memory), Redact: o.Issued, Full: o.Memory.Over})
	r.faults = fault.New(r.open, o.Clock, o.Random, r.journal.Record)
	r.scenarios = r.newScenarios()
	for _, release := range o.Releases {
		r.bases = append(r.bases, r.newBase(release))
	}
	r.subscriptions = subscription.New(subscription.Options{
		Clock:       o.Clock,
		Random:      o.Random,
		BatchWindow: o.BatchWindow,
		LogSize:     o.LogSize,
		LogBytes:    o.LogBytes,
		KeepExpired: o.KeepExpired,
		Observer:    r.observer(),
		Manners:     &r.manners,
		OnEnd:       r.subscriptionEnded,
		OnActivate:  r.subscriptionActivated,
	})
	r.generators = synth.NewSet(o.Clock, generatorWrites{r})
	err := r.useSettings(o.Settings)
	if err == nil {
		err = r.useManners(o.Manners)
	}
	if err == nil {
		err = r.load(o.Seed)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// journalPayload returns how many bytes of payload the journal of a room may keep: what it
// keeps cannot be deleted, so it is a small part of the memory there is.
func journalPayload(c *memory.Ceiling) int { return int(min(64<<20, c.Limit()/16)) }

func orDefault[T int | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

// Close stops the generators and timers of the room and ends its bindings.
func (r *Room) Close() {
	r.end()
	r.scenarios.Close()
	r.faults.Reset("the room was closed")
	r.generators.Close()
	r.write.Lock()
	r.stopTriggersLocked(r.checkOpen())
	r.write.Unlock()
	r.subscriptions.Close()
	r.tokens.Reset()
}

// Admit refuses what makes the room hold more if the process is at its ceiling of memory.
// Callers hold no locks.
func (r *Room) Admit() error { return r.options.Memory.Check() }

// much is how many bytes are worth a collection.
const much = 8 << 20

// heldMuch reports whether the room holds so much, besides its journal, that it is worth a
// collection when it is let go.
func (r *Room) heldMuch() bool {
	held := r.subscriptions.LogBytes() + r.tokens.Bytes()
	for _, b := range r.bases {
		held += int64(b.store.Bytes())
	}
	return held >= much
}

// relieve drops the old versions of all resources, and reports whether there were any.
func (r *Room) relieve() bool {
	versions := 0
	for _, b := range r.bases {
		versions += b.store.DropOldVersions()
	}
	if versions > 0 {
		r.journal.Record(journal.Entry{Kind: journal.Memory, Text: fmt.Sprintf("%d old versions of resources were dropped, because the server is at --max-memory", versions)})
	}
	return versions > 0
}

// checkOpen refuses what would start a timer in a room that has closed.
func (r *Room) checkOpen() error {
	if r.open.Err() != nil {
		return fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "the room was closed")
	}
	return nil
}

// Context returns a context that ends when the room closes, and with it every wait in the
// room.
func (r *Room) Context() context.Context { return r.open }

// Instance returns a name that no other room has, not even a later one with the same name
// and settings. The numbers of its journal start at 1.
func (r *Room) Instance() string { return r.instance }

// Began returns when the room opened, or was reset last. Versions count from 1 since.
func (r *Room) Began() time.Time { return time.Unix(0, r.began.Load()) }

// Journal returns the journal of the room.
func (r *Room) Journal() *journal.Journal { return r.journal }

// Now returns the time of the room.
func (r *Room) Now() time.Time { return r.clock.Now() }

// Clock returns the clock of the room.
func (r *Room) Clock() clock.Clock { return r.clock }

// Hold keeps a move of the clock from going on until the hold is released, for a while at
// most.
func (r *Room) Hold() *clock.Hold { return r.clock.Hold() }

// AwaitHeld waits until what holds the clock now is over, or ctx ends: sockets that close, for
// example. So a room on a manual clock repeats itself, although others end what a request
// begins. On a real clock it returns at once.
func (r *Room) AwaitHeld(ctx context.Context) { r.clock.AwaitHeld(ctx) }

// Generators returns the generators of the room.
func (r *Room) Generators() *synth.Set { return r.generators }
