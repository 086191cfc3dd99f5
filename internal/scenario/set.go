package scenario

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// Options are what the scenarios of a room know of it. All are required.
type Options struct {
	Clock  *clock.Adjustable
	Record func(journal.Entry)
	Seq    func() uint64 // of the last entry of the journal
	Keeps  bool          // the journal keeps entries, without which only states can be awaited
	Faults *fault.Set

	// Target returns a subscription, or with "" the only one that a socket is bound to.
	Target func(id string) (Target, error)
	Socket func(subscription string) (string, error) // the one that was bound last
	Token  func(subscription string) (string, error) // fingerprint of the one that was issued last

	Sockets func(subscription string) ([]string, error) // that are bound
	Tokens  func(subscription string) []string          // fingerprints of the valid ones

	Settings func() Settings // those that the room has now
}

// Settings are what a scenario changes of the settings of its room.
type Settings interface {
	Change()       // is called before each change
	Changed()      // is called after it
	Restore() bool // takes the changes back, unless somebody else has changed the settings since
}

// Target is a subscription.
type Target struct {
	ID, Release   string
	Topic         string // canonical URL; "": none
	TopicResource string // "SubscriptionTopic/1"; "": there is none

	HeartbeatPeriod time.Duration // 0: none
	Tokenless       bool          // sockets are bound to it, and without a token
}

// patience is how long a client of the subscription may need: it notices that a connection is
// dead when no heartbeat comes for some periods.
func (t *Target) patience() string {
	const least, periods, most = 30 * time.Second, 3, 5 * time.Minute
	return min(least+periods*t.HeartbeatPeriod, most).String()
}

// lacks says why a subscription has no topic, or its topic no resource.
func (t *Target) lacks() string {
	if t.Topic == "" {
		return "Subscription/" + t.ID + " is on no topic: its criteria are a search"
	}
	return "the topic of Subscription/" + t.ID + " is not a resource: on R4 those of a seed are none"
}

// Set holds the scenarios of a room and those that run. It is safe for concurrent use.
type Set struct {
	options Options

	mu     sync.Mutex // guards all below
	own    map[string]*Definition
	runs   map[string]*run // the last of each name
	claim  *run            // the only one that may change the settings of the room; nil: none does
	closed bool
}

// New returns a set with the built-in scenarios.
func New(o Options) *Set {
	return &Set{options: o, own: map[string]*Definition{}, runs: map[string]*run{}}
}

// Detail is a scenario with its state.
type Detail struct {
	*Definition
	Builtin bool  `json:"builtin"`
	Run     State `json:"run"`
}

func noScenario(name string) error {
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no scenario %.70q; GET /mock/scenarios lists them", name)
}

func builtin(name string) *Definition {
	for _, d := range Builtin() {
		if d.Name == name {
			return d
		}
	}
	return nil
}

func (s *Set) findLocked(name string) (d *Definition, is bool) {
	if d := builtin(name); d != nil {
		return d, true
	}
	return s.own[name], false
}

func (s *Set) detailLocked(d *Definition, builtin bool) Detail {
	state := State{State: Idle}
	if r := s.runs[d.Name]; r != nil {
		state = r.snapshot()
	}
	return Detail{d, builtin, state}
}

// List returns all scenarios, in order of their names.
func (s *Set) List() []Detail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Detail
	for _, d := range Builtin() {
		list = append(list, s.detailLocked(d, true))
	}
	for _, d := range s.own {
		list = append(list, s.detailLocked(d, false))
	}
	slices.SortFunc(list, func(a, b Detail) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Get returns a scenario.
func (s *Set) Get(name string) (Detail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, is := s.findLocked(name)
	if d == nil {
		return Detail{}, noScenario(name)
	}
	return s.detailLocked(d, is), nil
}

// Put defines a scenario of the user's own, or replaces it. It refuses the name of a
// built-in one and a scenario that runs. The set owns d.
func (s *Set) Put(d *Definition) (created bool, err error) {
	if err := d.Check(); err != nil {
		return false, err
	}
	if data, err := json.Marshal(d); err != nil || len(data) > maxSize { // err: never, it was read from JSON
		return false, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "the scenario has %d bytes, at most %d are kept", len(data), maxSize)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case builtin(d.Name) != nil:
		return false, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "%s is built in; use another name", d.Name).At("name")
	case s.runningLocked(d.Name):
		return false, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the scenario %s is running; DELETE /mock/scenarios/%[1]s stops it", d.Name)
	case s.own[d.Name] == nil && len(s.own) == maxOwn:
		return false, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "a room has at most %d scenarios of its own; remove some", maxOwn)
	}
	created = s.own[d.Name] == nil
	s.own[d.Name] = d
	delete(s.runs, d.Name)
	return created, nil
}

func (s *Set) runningLocked(name string) bool {
	r := s.runs[name]
	if r == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// Started is a scenario that was started.
type Started struct {
	Ended <-chan struct{} // closed when it has ended

	run     *run
	builtin bool
}

// Detail returns the scenario and how far it is, also after the room forgot it.
func (s *Started) Detail() Detail { return Detail{s.run.of, s.builtin, s.run.snapshot()} }

// Start starts a scenario. do serves its requests, and over is called when it has ended. It
// refuses one that runs.
func (s *Set) Start(name string, given map[string]json.RawMessage, do Do, over func()) (*Started, error) {
	s.mu.Lock()
	d, is := s.findLocked(name)
	s.mu.Unlock()
	if d == nil {
		return nil, noScenario(name)
	}
	values, err := d.values(given)
	if err != nil {
		return nil, err
	}
	if !s.options.Keeps && d.awaits() {
		return nil, fhir.Refuse(http.StatusConflict, fhir.CodeNotSupported, "the journal keeps no entries (--journal-size 0), so the scenario %s could not see what the client does", name)
	}
	if id, is := values[subscriptionName]; is {
		id, _ := id.(string)
		t, err := s.options.Target(id)
		if err != nil {
			return nil, fhir.At(err, "parameters."+subscriptionName)
		}
		if t.Tokenless && d.awaits("tokenTaken", "renewed", "eventsCalled", "caughtUp") {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "the socket of Subscription/%s was bound with bind, which needs no token and has no numbers; the scenario %s is about clients that take tokens and ask $events", t.ID, name).At("parameters." + subscriptionName)
		}
		for name, has := range map[string]bool{topicName: t.Topic != "", resourceName: t.TopicResource != ""} {
			if !has && d.uses(name) {
				return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "the scenario %s needs {{%s}}, but %s", d.Name, name, t.lacks()).At("parameters." + subscriptionName)
			}
		}
		values[subscriptionName], values[releaseName] = t.ID, t.Release
		if p, is := values[patienceName]; is && p == nil {
			values[patienceName] = t.patience()
		}
		if t.Topic != "" {
			values[topicName] = t.Topic
		}
		if t.TopicResource != "" {
			values[resourceName] = t.TopicResource
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &run{set: s, of: d, do: do, values: values, cancel: cancel, ended: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.runningLocked(name) {
		cancel(nil)
		if s.closed {
			return nil, fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "the room was closed")
		}
		return nil, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the scenario %s is running already; GET /mock/scenarios/%[1]s says how far it is, DELETE stops it", name)
	}
	if changesSettings(d.Steps) {
		if err := s.claimLocked(r); err != nil {
			cancel(nil)
			return nil, err
		}
	}
	r.since = s.options.Seq()
	r.state = State{State: Running, Parameters: maps.Clone(values), Began: r.now(), Begin: r.since}
	s.runs[name] = r
	go func() {
		defer cancel(nil)
		defer close(r.ended)
		defer over()
		r.run(ctx)
	}()
	return &Started{r.ended, r, is}, nil
}

const settingsPath = "/mock/settings"

// changesSettings reports whether steps say that they change the settings of the room.
func changesSettings(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		p, _ := checkPath(s.Path, "") // "" if it has none
		return p == settingsPath && s.Method != http.MethodGet || changesSettings(s.Steps)
	})
}

// claimLocked makes a scenario the one that may change the settings of the room.
func (s *Set) claimLocked(r *run) error {
	if s.claim != nil && s.claim != r {
		return fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the scenario %s changes the settings of the room as well, and runs; DELETE /mock/scenarios/%[1]s stops it, or run one after the other", s.claim.of.Name)
	}
	s.claim = r
	return nil
}

func (s *Set) release(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim == r {
		s.claim = nil
	}
}

// Stop stops a scenario that runs, and returns when it has ended. It removes one of the
// user's own that does not run.
func (s *Set) Stop(name string) error {
	s.mu.Lock()
	d, is := s.findLocked(name)
	r, running := s.runs[name], s.runningLocked(name)
	if !running && d != nil && !is {
		delete(s.own, name)
		delete(s.runs, name)
	}
	s.mu.Unlock()
	if d == nil {
		return noScenario(name)
	}
	if running {
		r.cancel(errStopped{why: "DELETE /mock/scenarios/" + name + " stopped it"})
		<-r.ended
	}
	return nil
}

// Reset stops all scenarios, forgets how they went and removes those of the user's own. It
// returns when they have ended.
func (s *Set) Reset(why string) { s.end(why, false) }

// Close does what Reset does, and no scenario is started any more.
func (s *Set) Close() { s.end("the room was closed", true) }

func (s *Set) end(why string, closed bool) {
	s.mu.Lock()
	s.closed = s.closed || closed
	runs := s.runs
	s.runs, s.own = map[string]*run{}, map[string]*Definition{}
	s.mu.Unlock()
	for _, r := range runs {
		r.cancel(errStopped{why, true})
	}
	for _, r := range runs {
		<-r.ended
	}
}
