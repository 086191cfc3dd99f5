package room

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

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
		Seq:    func() uint64 { _, last := r.journal.Span(); return last },
		Target: r.scenarioTarget,
		Socket: r.lastSocket,
		Token:  r.lastToken,
		Settings: func() func() error {
			before := r.Settings()
			return func() error { return r.SetSettings(before) }
		},
	})
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
	t := scenario.Target{ID: s.ID, Release: s.Release, Topic: s.Topic}
	if b, err := r.baseOf(s.ID); err == nil {
		if topic, is := b.topics.Resolve(s.Topic); is {
			t.TopicResource, _ = b.topics.DefinedBy(topic.URL(), topic.Version())
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
	state, _ := r.subscriptions.State(id)
	if len(state.Sockets) == 0 {
		return "", fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "no socket is bound to Subscription/%s", id)
	}
	return slices.MaxFunc(state.Sockets, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // s2 before s10
	}), nil
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
	done := Restarted{Sockets: closeSockets(), Tokens: len(valid), Subscriptions: []string{}}
	r.AwaitHeld(r.open) // their bindings end with them, not with the tokens
	for _, t := range valid {
		r.journal.Record(journal.Entry{Kind: journal.Token, Type: "revoked", Token: token.Fingerprint(t.Secret)})
		r.subscriptions.Revoke(t.Secret)
	}
	numbers := "kept"
	if anew {
		numbers = "begun anew"
		for _, s := range r.Subscriptions() {
			if _, err := r.subscriptions.SetCounter(s.ID, 0); err == nil {
				done.Subscriptions = append(done.Subscriptions, s.ID)
			}
		}
	}
	r.controlled("restart", "", "as after a restart of the server: %d sockets were closed, %d tokens revoked, numbers %s", len(done.Sockets), done.Tokens, numbers)
	return done, nil
}
