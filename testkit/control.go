package testkit

import (
	"net/http"
	"net/url"
	"time"
)

// Reset takes the server back to its seed.
func (s *Server) Reset() {
	s.t.Helper()
	s.control(http.MethodPost, "reset", nil, nil)
}

// AwaitBound waits until at least count sockets are bound to a subscription, or with
// count 0 until none is.
func (s *Server) AwaitBound(subscription string, count int) {
	s.t.Helper()
	s.awaitState("bound", map[string]any{"subscription": subscription, "count": count})
}

// AwaitSent waits until count notifications of a type (handshake, heartbeat,
// event-notification) were sent for a subscription, since the start or the last reset.
func (s *Server) AwaitSent(subscription, kind string, count int) {
	s.t.Helper()
	s.awaitState("sent", map[string]any{"subscription": subscription, "type": kind, "count": count})
}

// Trigger describes synthetic events: of a topic, for every subscription on it, or of
// one subscription.
type Trigger struct {
	Topic        string  `json:"topic,omitempty"`
	Subscription string  `json:"subscription,omitempty"`
	Release      Release `json:"release,omitempty"`     // of a topic; every release by default
	Focus        any     `json:"focus,omitempty"`       // a resource; the server makes one by default
	Reference    string  `json:"reference,omitempty"`   // or a reference, "Encounter/1"
	Interaction  string  `json:"interaction,omitempty"` // create, update or delete
	Count        int     `json:"count,omitempty"`
	Interval     string  `json:"interval,omitempty"` // between events, "250ms"
}

// Event is an event that a trigger made.
type Event struct {
	Subscription string `json:"subscription"`
	Number       int64  `json:"number"`
}

// Trigger fires synthetic events and returns those that were made at once.
func (s *Server) Trigger(t Trigger) []Event {
	s.t.Helper()
	if t.Release == "" {
		t.Release = s.release
	}
	var out struct{ Events []Event }
	s.control(http.MethodPost, "trigger", t, &out)
	return out.Events
}

// Token is a valid binding token.
type Token struct {
	Token         string    `json:"token"`
	Fingerprint   string    `json:"fingerprint"` // its name in the journal
	Subscriptions []string  `json:"subscriptions"`
	Issued        time.Time `json:"issued"`
	Expires       time.Time `json:"expires"`
}

// Tokens returns the valid tokens, the first to expire first.
func (s *Server) Tokens() []Token {
	s.t.Helper()
	var out struct{ Tokens []Token }
	s.control(http.MethodGet, "tokens", nil, &out)
	return out.Tokens
}

// Revoke ends a token, and the bindings that have no other.
func (s *Server) Revoke(token string) {
	s.t.Helper()
	s.control(http.MethodDelete, "tokens/"+url.PathEscape(token), nil, nil)
}
