package room

import (
	"sync"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// observer hands what happens to subscriptions to the journal.
func (r *Room) observer() subscription.Observer {
	j := r.journal
	// What a binding rested on last, by subscription and socket: its end is told
	// without a token.
	var holders sync.Map
	return subscription.Observer{
		Appended: func(id string, e fhir.Event) {
			j.Record(journal.Entry{Kind: journal.Appended, Subscription: id, Resource: e.Focus.Reference(), First: e.Number, Last: e.Number})
		},
		Sent: func(socket string, f subscription.Frame) {
			j.Record(journal.Entry{Kind: journal.Sent, Time: f.At, Subscription: f.Subscription, Socket: socket, Type: string(f.Type), First: f.First, Last: f.Last, Frame: f.Bytes})
		},
		NotSent: func(id string, first, last int64, why string) {
			j.Record(journal.Entry{Kind: journal.NotSent, Subscription: id, First: first, Last: last, Text: why})
		},
		Bound: func(id, socket, secret string) {
			name := token.Fingerprint(secret)
			holders.Store(id+" "+socket, name)
			j.Record(journal.Entry{Kind: journal.Bound, Subscription: id, Socket: socket, Token: name})
		},
		Renewed: func(id, socket, secret string) {
			name := token.Fingerprint(secret)
			holders.Store(id+" "+socket, name)
			j.Record(journal.Entry{Kind: journal.Token, Type: "renewed", Subscription: id, Socket: socket, Token: name})
		},
		Unbound: func(id, socket, why string) {
			held, _ := holders.LoadAndDelete(id + " " + socket)
			name, _ := held.(string)
			j.Record(journal.Entry{Kind: journal.Unbound, Subscription: id, Socket: socket, Token: name, Text: why})
		},
		Status: func(id, status string) {
			j.Record(journal.Entry{Kind: journal.Status, Subscription: id, Text: status})
		},
	}
}

// Record writes to the journal of the room.
func (r *Room) Record(e journal.Entry) { r.journal.Record(e) }

// Counts is how much a room holds.
type Counts struct{ Resources, Subscriptions, Tokens int }

// Counts tells how much the room holds.
func (r *Room) Counts() Counts {
	c := Counts{Subscriptions: r.subscriptions.Len(), Tokens: r.tokens.Len()}
	for _, b := range r.bases {
		c.Resources += b.store.Count()
	}
	return c
}

// SubscriptionState is what the server knows of a subscription beyond its
// resource.
type SubscriptionState struct {
	ID        string     `json:"id"`
	Release   string     `json:"release"`
	Status    string     `json:"status"`
	Topic     string     `json:"topic"`
	Content   string     `json:"content"`
	Heartbeat int        `json:"heartbeatPeriod,omitempty"` // seconds
	Events    int64      `json:"events"`                    // number of the last one
	FirstKept int64      `json:"firstKept,omitempty"`       // number of the oldest one $events still has
	Sockets   []string   `json:"sockets"`
	LastFrame *time.Time `json:"lastFrame,omitempty"`
	Errors    []string   `json:"errors,omitempty"`
}

// Subscriptions lists the state of every subscription in order of creation.
func (r *Room) Subscriptions() []SubscriptionState {
	states := []SubscriptionState{}
	for _, b := range r.bases {
		for _, res := range b.store.List("Subscription") {
			s, ok := r.subscriptions.State(res.ID)
			if !ok {
				continue
			}
			state := SubscriptionState{ID: s.ID, Release: string(s.Release), Status: s.Status, Topic: s.Topic, Content: string(s.Content), Heartbeat: int(s.Heartbeat / time.Second), Events: s.Counter, FirstKept: s.FirstKept, Sockets: s.Sockets}
			if s.Sockets == nil {
				state.Sockets = []string{}
			}
			if !s.LastFrame.IsZero() {
				state.LastFrame = &s.LastFrame
			}
			for _, e := range s.Errors {
				state.Errors = append(state.Errors, e.Text)
			}
			states = append(states, state)
		}
	}
	return states
}

// TokenState is one valid token.
type TokenState struct {
	Token         string    `json:"token"`
	Fingerprint   string    `json:"fingerprint"` // as logs name it
	Subscriptions []string  `json:"subscriptions"`
	Issued        time.Time `json:"issued"`
	Expires       time.Time `json:"expires"`
}

// Tokens lists the valid tokens, the earliest to expire first.
func (r *Room) Tokens() []TokenState {
	states := []TokenState{}
	for _, t := range r.tokens.Valid() {
		ids := make([]string, len(t.Subscriptions))
		for i, life := range t.Subscriptions {
			ids[i] = idOf(life)
		}
		states = append(states, TokenState{t.Secret, token.Fingerprint(t.Secret), ids, t.Issued, t.Expires})
	}
	return states
}
