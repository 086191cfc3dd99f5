package room

import (
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// observer records in the journal what happens to subscriptions.
func (r *Room) observer() subscription.Observer {
	j := r.journal
	return subscription.Observer{
		Appended: func(id string, e fhir.Event) {
			j.Record(journal.Entry{Kind: journal.Appended, Subscription: id, Resource: e.Focus.Reference(), First: e.Number, Last: e.Number})
		},
		Sent: func(socket string, f subscription.Frame) {
			e := sent(socket, &f)
			j.Record(e)
			for _, other := range f.Also {
				j.Record(alsoSent(e, other))
			}
		},
		Replayed: func(socket string, f subscription.Frame) {
			e := sent(socket, &f)
			e.Text = "replayed"
			if f.Note != "" {
				e.Text += "; " + f.Note
			}
			j.Record(e)
		},
		NotSent: func(id string, first, last int64, why string) {
			j.Record(journal.Entry{Kind: journal.NotSent, Subscription: id, First: first, Last: last, Text: why})
		},
		Bound: func(id, socket, secret string) {
			j.Record(journal.Entry{Kind: journal.Bound, Subscription: id, Socket: socket, Token: token.Fingerprint(secret), Text: r.withoutHandshake()})
		},
		Renewed: func(id, socket, secret string) {
			j.Record(journal.Entry{Kind: journal.Token, Type: "renewed", Subscription: id, Socket: socket, Token: token.Fingerprint(secret), Text: r.withoutHandshake()})
		},
		Unbound: func(id, socket, secret, why string) {
			j.Record(journal.Entry{Kind: journal.Unbound, Subscription: id, Socket: socket, Token: token.Fingerprint(secret), Text: why})
		},
		Status: func(id, status string) {
			j.Record(journal.Entry{Kind: journal.Status, Subscription: id, Text: status})
		},
	}
}

// sent is the entry of a frame that is queued for a socket.
func sent(socket string, f *subscription.Frame) journal.Entry {
	return journal.Entry{Kind: journal.Sent, Time: f.At, Subscription: f.Subscription, Socket: socket, Type: string(f.Type), First: f.First, Last: f.Last, Frame: f.Bytes, Text: f.Note}
}

// alsoSent is the entry of another subscription that a frame is a heartbeat of. The entry of the
// first one has the frame.
func alsoSent(e journal.Entry, subscription string) journal.Entry {
	e.Text = manners.AddNote("", "one with the heartbeat of Subscription/"+e.Subscription)
	e.Subscription, e.Frame, e.Shared = subscription, nil, true
	return e
}

// Record adds an entry to the journal of the room.
func (r *Room) Record(e journal.Entry) { r.journal.Record(e) }

// Counts are the sizes of a room.
type Counts struct {
	Resources, Subscriptions, Tokens int
	EventLogBytes                    int64 // of the events kept for $events
	TokenBytes                       int64 // of the lists of subscriptions of valid tokens
}

// Counts returns the sizes of the room.
func (r *Room) Counts() Counts {
	c := Counts{Subscriptions: r.subscriptions.Len(), Tokens: r.tokens.Len(), EventLogBytes: r.subscriptions.LogBytes(), TokenBytes: r.tokens.Bytes()}
	for _, b := range r.bases {
		c.Resources += b.store.Count()
	}
	return c
}

// SubscriptionState describes a subscription, including what its resource does not say.
type SubscriptionState struct {
	ID        string     `json:"id"`
	Release   string     `json:"release"`
	Status    string     `json:"status"`
	Topic     string     `json:"topic"`
	Content   string     `json:"content"`
	Heartbeat int        `json:"heartbeatPeriod,omitempty"` // seconds
	Events    int64      `json:"events"`                    // number of the last event
	FirstKept int64      `json:"firstKept,omitempty"`       // number of the oldest event that $events still returns
	Replay    string     `json:"replay,omitempty"`          // policy of its own
	Sockets   []string   `json:"sockets"`
	LastFrame *time.Time `json:"lastFrame,omitempty"`
	Errors    []string   `json:"errors,omitempty"`
}

// Subscriptions returns the state of every subscription, by base, in order of creation.
func (r *Room) Subscriptions() []SubscriptionState {
	states := []SubscriptionState{}
	for _, b := range r.bases {
		for _, res := range b.store.List("Subscription") {
			s, ok := r.subscriptions.State(res.ID)
			if !ok {
				continue
			}
			states = append(states, shown(&s))
		}
	}
	return states
}

// TokenState describes a valid token.
type TokenState struct {
	Token         string    `json:"token,omitempty"`
	Fingerprint   string    `json:"fingerprint"` // its name in the journal and logs
	Subscriptions []string  `json:"subscriptions"`
	Issued        time.Time `json:"issued"`
	Expires       time.Time `json:"expires"`
}

// fingerprints returns the valid tokens without the tokens themselves.
func (r *Room) fingerprints() []TokenState {
	states := r.Tokens()
	for i := range states {
		states[i].Token = ""
	}
	return states
}

// Tokens returns the valid tokens, the first to expire first.
func (r *Room) Tokens() []TokenState {
	states := []TokenState{}
	for _, t := range r.tokens.Valid() {
		ids := make([]string, len(t.Subscriptions))
		for i, generation := range t.Subscriptions {
			ids[i] = idOf(generation)
		}
		states = append(states, TokenState{t.Secret, token.Fingerprint(t.Secret), ids, t.Issued, t.Expires})
	}
	return states
}
