package testkit

import (
	"net/http"
	"net/url"
)

// Fault is a misbehaviour of the server: where, when and what. docs/mock.md lists what is
// possible. Times are texts such as "250ms".
type Fault struct {
	Name   string `json:"name,omitempty"` // in the journal; "fault-1" by default
	On     string `json:"on"`             // frame, message, socket, operation or request
	Action string `json:"action"`

	// What it is about. All that is set must match.
	Subscription string        `json:"subscription,omitempty"` // id
	Socket       string        `json:"socket,omitempty"`       // id
	Dialect      string        `json:"dialect,omitempty"`
	Release      Release       `json:"release,omitempty"`
	Method       string        `json:"method,omitempty"`
	Path         string        `json:"path,omitempty"` // in the room; a star stands for any characters
	Operation    string        `json:"operation,omitempty"`
	Type         string        `json:"type,omitempty"`   // of a frame (event-notification) or message (bind)
	Number       *EventNumbers `json:"number,omitempty"` // of an event that a frame carries
	Nth          int64         `json:"nth,omitempty"`    // from the n-th match on
	Times        int64         `json:"times,omitempty"`  // at most so often
	Probability  float64       `json:"probability,omitempty"`

	// When a fault on a socket acts; by default once the socket is open.
	Frames int64  `json:"frames,omitempty"` // after so many frames to the client
	After  string `json:"after,omitempty"`  // after so much time; "0s" is for open sockets too

	// What the action takes.
	By          string `json:"by,omitempty"`
	Jitter      string `json:"jitter,omitempty"`
	Overtake    bool   `json:"overtake,omitempty"`
	Count       int64  `json:"count,omitempty"`
	Value       *int64 `json:"value,omitempty"`
	Bytes       int64  `json:"bytes,omitempty"`
	With        string `json:"with,omitempty"`
	Text        string `json:"text,omitempty"`
	Status      int    `json:"status,omitempty"`
	RetryAfter  int    `json:"retryAfter,omitempty"` // seconds
	Code        int    `json:"code,omitempty"`       // of a close frame
	Reason      string `json:"reason,omitempty"`
	For         string `json:"for,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	URL         string `json:"url,omitempty"`
}

// EventNumbers are the numbers of events from From to To, both included. A To of 0 means no
// end.
type EventNumbers struct {
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
}

// FaultState is a fault with its counts.
type FaultState struct {
	Fault
	Matched int64 `json:"matched"` // how often it was about something
	Applied int64 `json:"applied"` // how often it acted
}

// SetFaults replaces the faults of the server; without any, it removes them. Their counts
// begin at zero.
func (s *Server) SetFaults(faults ...Fault) {
	s.t.Helper()
	if faults == nil {
		faults = []Fault{}
	}
	s.control(http.MethodPut, "faults", map[string]any{"faults": faults}, nil)
}

// AddFault adds a fault and returns its name.
func (s *Server) AddFault(f Fault) (name string) {
	s.t.Helper()
	var out struct{ Faults []FaultState }
	s.control(http.MethodPost, "faults", f, &out)
	if len(out.Faults) == 0 {
		s.t.Fatal("testkit: the server has no fault after one was added")
	}
	return out.Faults[len(out.Faults)-1].Name
}

// Faults returns the faults in order, with how often each matched and acted.
func (s *Server) Faults() []FaultState {
	s.t.Helper()
	var out struct{ Faults []FaultState }
	s.control(http.MethodGet, "faults", nil, &out)
	return out.Faults
}

// ClearFaults removes all faults. What they held is sent, in order.
func (s *Server) ClearFaults() {
	s.t.Helper()
	s.control(http.MethodDelete, "faults", nil, nil)
}

// RemoveFault removes a fault. What it held is sent, in order.
func (s *Server) RemoveFault(name string) {
	s.t.Helper()
	s.control(http.MethodDelete, "faults/"+url.PathEscape(name), nil, nil)
}
