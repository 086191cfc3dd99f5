package room

import (
	"cmp"
	"slices"
	"time"

	"signalfhir/internal/journal"
	"signalfhir/internal/synth"
)

// TopicState describes a topic and counts how often it fired.
type TopicState struct {
	URL       string   `json:"url"`
	Title     string   `json:"title,omitempty"`
	Version   string   `json:"version,omitempty"`
	Status    string   `json:"status"`
	Releases  []string `json:"releases"`
	Resources []string `json:"resources"`
	Events    uint64   `json:"events"` // fired since the start or the last reset
}

// TypeCount counts the resources of a type on a base.
type TypeCount struct {
	Release string `json:"release"`
	Type    string `json:"type"`
	Count   int    `json:"count"`
}

// State is a snapshot of the room for the page.
type State struct {
	Now           time.Time           `json:"now"`
	Clock         ClockState          `json:"clock"`
	Subscriptions []SubscriptionState `json:"subscriptions"`
	Tokens        []TokenState        `json:"tokens"`
	Topics        []TopicState        `json:"topics"`
	Types         []TypeCount         `json:"types"`
	Generators    []synth.State       `json:"generators"`
	Scenarios     []string            `json:"scenarios"`
	Totals        journal.Totals      `json:"totals"`
	Rates         *journal.Rates      `json:"rates"`
}

// State returns a snapshot of the room. Its cost depends on what it lists, not on the
// number of resources. It does not delay writes, so one part may be from before a
// concurrent write and another from after it.
func (r *Room) State() *State {
	s := &State{
		Now:           r.clock.Now(),
		Clock:         r.ClockState(),
		Subscriptions: r.Subscriptions(),
		Tokens:        r.fingerprints(),
		Topics:        []TopicState{},
		Types:         []TypeCount{},
		Generators:    r.generators.List(),
		Scenarios:     synth.Scenarios(),
		Rates:         r.journal.Rates(),
	}
	totals, fired := r.journal.Totals()
	s.Totals = totals
	places := map[string]int{}
	for _, b := range r.bases {
		for _, t := range b.topics.All() {
			key := t.URL() + "|" + t.Version()
			at, known := places[key]
			if !known {
				at = len(s.Topics)
				places[key] = at
				s.Topics = append(s.Topics, TopicState{URL: t.URL(), Title: t.Title(), Version: t.Version(), Status: t.Status(), Resources: t.Resources(), Events: fired[t.URL()]})
			}
			s.Topics[at].Releases = append(s.Topics[at].Releases, string(b.release))
		}
		for typ, n := range b.store.Types() {
			s.Types = append(s.Types, TypeCount{string(b.release), typ, n})
		}
	}
	slices.SortFunc(s.Types, func(a, b TypeCount) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Release, b.Release))
	})
	return s
}
