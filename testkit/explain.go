package testkit

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Happening is a change, or a trigger, and what it led to.
type Happening struct {
	Seq         uint64       `json:"seq"` // of the entry of the journal
	Time        time.Time    `json:"time"`
	Resource    string       `json:"resource"`
	Release     Release      `json:"release"`
	Interaction string       `json:"interaction"`
	Version     string       `json:"version"` // "" for a trigger
	Steps       []Entry      `json:"steps"`   // the entries of the journal that belong to it
	Verdict     *Explanation `json:"verdict"` // nil if Note says why
	Note        string       `json:"note"`
}

// Explanation says what a change does, or would do.
type Explanation struct {
	Resource    string         `json:"resource"`
	Release     Release        `json:"release"`
	Interaction string         `json:"interaction"`
	Version     string         `json:"version"`
	Topics      []TopicVerdict `json:"topics"`
	Criteria    []Verdict      `json:"criteria"` // of classic subscriptions
}

// TopicVerdict says whether a topic fires, and for which subscriptions.
type TopicVerdict struct {
	Topic         string    `json:"topic"`
	Status        string    `json:"status"`
	Fires         bool      `json:"fires"`
	Steps         []Step    `json:"steps"`
	Subscriptions []Verdict `json:"subscriptions"`
	More          int       `json:"more"` // subscriptions that are not listed
}

// Verdict says whether a subscription is notified.
type Verdict struct {
	Subscription string   `json:"subscription"`
	Numbered     bool     `json:"numbered"` // it gets the event, for $events at least
	Sent         bool     `json:"sent"`     // and the event goes to its sockets
	Sockets      []string `json:"sockets"`
	Steps        []Step   `json:"steps"`
}

// Step is one check of a verdict.
type Step struct {
	Step string `json:"step"` // topic, type, interaction, criteria, filter, subscription, bindings or delivery
	OK   bool   `json:"ok"`
	Text string `json:"text"` // with the values that were compared
}

// For returns the verdict about a subscription, and whether there is one.
func (e *Explanation) For(subscription string) (Verdict, bool) {
	lists := [][]Verdict{e.Criteria}
	for _, t := range e.Topics {
		lists = append(lists, t.Subscriptions)
	}
	for _, list := range lists {
		for _, v := range list {
			if v.Subscription == subscription {
				return v, true
			}
		}
	}
	return Verdict{}, false
}

// String returns the checks, one a line.
func (v Verdict) String() string {
	lines := []string{"Subscription/" + v.Subscription}
	for _, step := range v.Steps {
		mark := "no "
		if step.OK {
			mark = "yes"
		}
		lines = append(lines, "  "+mark+" "+step.Step+": "+step.Text)
	}
	return strings.Join(lines, "\n")
}

// Explain returns what the changes and triggers of a resource, such as "Encounter/1",
// led to for a subscription, the newest last. One of the two may be empty.
func (s *Server) Explain(resource, subscription string) []Happening {
	s.t.Helper()
	q := url.Values{}
	if resource != "" {
		q.Set("resource", resource)
	}
	if subscription != "" {
		q.Set("subscription", subscription)
	}
	var out struct{ Changes []Happening }
	s.control(http.MethodGet, "explain?"+q.Encode(), nil, &out)
	return out.Changes
}

// WhatIf returns what a change would do, without doing it. previous is the resource
// before the change, nil for a create; current is the resource after it, nil for a
// delete.
func (s *Server) WhatIf(previous, current any) *Explanation {
	s.t.Helper()
	in := map[string]any{}
	for name, resource := range map[string]any{"previous": previous, "current": current} {
		if resource != nil {
			in[name] = json.RawMessage(encode(s.t, resource))
		}
	}
	if s.release != "" {
		in["release"] = s.release
	}
	out := &Explanation{}
	s.control(http.MethodPost, "explain", in, out)
	return out
}
