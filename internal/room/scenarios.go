package room

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/scenario"
	"signalfhir/internal/token"
)

// Scenarios returns the scenarios of the room. A new or reset room has the built-in ones.
func (r *Room) Scenarios() *scenario.Set { return r.scenarios }

func (r *Room) newScenarios() *scenario.Set {
	return scenario.New(scenario.Options{
		Clock: r.clock, Record: r.journal.Record, Faults: r.faults,
		Seq:      func() uint64 { _, last := r.journal.Span(); return last },
		Target:   r.scenarioTarget,
		Socket:   r.lastSocket,
		Token:    r.lastToken,
		Sockets:  r.boundSockets,
		Tokens:   r.validTokens,
		Keeps:    r.journal.Keeps(),
		Settings: func() scenario.Settings { return &settingsOf{room: r} },
	})
}

// settingsOf are the settings of a room while a scenario changes them. It belongs to one
// goroutine.
type settingsOf struct {
	room          *Room
	before, after *Settings // of the change; nil before the first
}

// Change notes the settings that somebody else has made.
func (s *settingsOf) Change() {
	if now := s.room.settings.Load(); now != s.after {
		s.before = now
	}
}

// Changed notes the settings that the scenario has made.
func (s *settingsOf) Changed() { s.after = s.room.settings.Load() }

// Restore implements [scenario.Settings].
func (s *settingsOf) Restore() bool {
	if s.room.settings.Load() != s.after {
		return false
	}
	return s.room.SetSettings(*s.before) == nil // they were in use, so they are not refused
}

// scenarioTarget returns a subscription, or with "" the only one that a socket is bound to.
func (r *Room) scenarioTarget(id string) (scenario.Target, error) {
	var all, bound []SubscriptionState
	for _, s := range r.Subscriptions() {
		if s.ID == id {
			return r.target(s), nil
		}
		if all = append(all, s); len(s.Sockets) > 0 {
			bound = append(bound, s)
		}
	}
	switch {
	case id != "":
		return scenario.Target{}, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no Subscription/%.70s; there are %s", id, listed(all))
	case len(bound) == 0:
		return scenario.Target{}, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeRequired, "no socket is bound to a subscription yet, so say which one it is about; there are %s", listed(all))
	case len(bound) > 1:
		return scenario.Target{}, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeMultipleMatches, "sockets are bound to several subscriptions, so say which one it is about: %s", listed(bound))
	}
	return r.target(bound[0]), nil
}

func (r *Room) target(s SubscriptionState) scenario.Target {
	t := scenario.Target{ID: s.ID, Release: s.Release, Topic: s.Topic, HeartbeatPeriod: time.Duration(s.Heartbeat) * time.Second}
	keys := r.subscriptions.Tokens(s.ID)
	t.Tokenless = len(keys) == 1 && keys[0] == legacyKey
	if b, err := r.baseOf(s.ID); err == nil {
		if topic, is := b.topics.Resolve(s.Topic); is {
			reference, _ := b.topics.DefinedBy(topic.URL(), topic.Version())
			typ, name, _ := strings.Cut(reference, "/")
			if _, err := b.store.Read(typ, name); err == nil {
				t.TopicResource = reference
			}
		}
	}
	return t
}

// listed returns the ids of subscriptions in words.
func listed(states []SubscriptionState) string {
	const most = 20
	var ids []string
	for _, s := range states[:min(len(states), most)] {
		ids = append(ids, s.ID)
	}
	if len(states) > most {
		ids = append(ids, "…")
	}
	return cmp.Or(strings.Join(ids, ", "), "none")
}

// lastSocket returns the socket with the highest id of those that are bound to a
// subscription.
func (r *Room) lastSocket(id string) (string, error) {
	sockets, err := r.boundSockets(id)
	if err != nil {
		return "", err
	}
	return slices.MaxFunc(sockets, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // s2 before s10
	}), nil
}

// boundSockets returns the sockets that are bound to a subscription, one at least.
func (r *Room) boundSockets(id string) ([]string, error) {
	state, _ := r.subscriptions.State(id)
	if len(state.Sockets) == 0 {
		return nil, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "no socket is bound to Subscription/%s", id)
	}
	return state.Sockets, nil
}

// validTokens returns the fingerprints of the valid tokens for a subscription.
func (r *Room) validTokens(id string) (fingerprints []string) {
	for _, t := range r.fingerprints() {
		if slices.Contains(t.Subscriptions, id) {
			fingerprints = append(fingerprints, t.Fingerprint)
		}
	}
	return fingerprints
}

// lastToken returns the fingerprint of the token that was issued for a subscription last.
func (r *Room) lastToken(id string) (string, error) {
	var last *TokenState
	for _, t := range r.fingerprints() {
		if slices.Contains(t.Subscriptions, id) && (last == nil || !t.Issued.Before(last.Issued)) {
			last = &t
		}
	}
	if last == nil {
		return "", fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "there is no valid token for Subscription/%s", id)
	}
	return last.Fingerprint, nil
}

// Restarted says what a restart did.
type Restarted struct {
	Sockets       []string `json:"sockets"`       // that were closed
	Tokens        int      `json:"tokens"`        // that were revoked
	Subscriptions []string `json:"subscriptions"` // whose numbers begin anew
}

// Restart does what clients see of a server that restarts with its resources: no token is
// valid any more, then closeSockets closes the sockets and returns their ids, and with them
// go their bindings. If anew, every subscription counts its events from 1 again and has none
// for $events, as if they had been kept in memory.
func (r *Room) Restart(anew bool, closeSockets func() []string) (Restarted, error) {
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.checkOpen(); err != nil {
		return Restarted{}, err
	}
	valid := r.tokens.Valid()
	for _, t := range valid {
		r.tokens.Revoke(t.Secret) // nobody binds with it any more
	}
	done := Restarted{Tokens: len(valid), Subscriptions: []string{}}
	numbers := "kept"
	if anew { // before the sockets close, so that they still get what waits to share a bundle
		numbers = "begun anew"
		for _, s := range r.Subscriptions() {
			if _, err := r.subscriptions.SetCounter(s.ID, 0); err == nil {
				done.Subscriptions = append(done.Subscriptions, s.ID)
			}
		}
	}
	done.Sockets = closeSockets()
	r.AwaitHeld(r.open) // their bindings end with them, not with the tokens
	for _, t := range valid {
		r.journal.Record(journal.Entry{Kind: journal.Token, Type: "revoked", Token: token.Fingerprint(t.Secret)})
		r.subscriptions.Revoke(t.Secret)
	}
	r.controlled("restart", "", "as after a restart of the server: %d sockets were closed, %d tokens revoked, numbers %s", len(done.Sockets), done.Tokens, numbers)
	return done, nil
}
