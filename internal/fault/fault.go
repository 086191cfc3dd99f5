// Package fault makes a server misbehave on purpose, so that a client can be tested
// against what it must survive. A [Fault] says where, when and what; a [Set] holds those of
// a room, decides which apply, and counts them.
//
// The package decides and changes bytes. It moves none: sockets and handlers ask the set
// and do what the fault says. A set without faults costs one atomic load.
package fault

import (
	"time"
)

// Where a fault acts.
const (
	OnFrame     = "frame"     // what the server sends on a socket
	OnMessage   = "message"   // what a client sends on a socket
	OnSocket    = "socket"    // a socket itself
	OnOperation = "operation" // $get-ws-binding-token
	OnRequest   = "request"   // any request over HTTP
)

// The actions.
const (
	Drop           = "drop"            // frame: it is not sent
	Delay          = "delay"           // frame: it is sent later; message: it is answered later; request, operation: likewise
	Duplicate      = "duplicate"       // frame: it is sent more than once
	Swap           = "swap"            // frame: it is sent after the next one of its subscription
	SkipNumber     = "skip-number"     // frame: from here on, numbers are one higher
	RepeatNumber   = "repeat-number"   // frame: from here on, numbers are one lower
	SetNumber      = "set-number"      // frame: it has this number
	Truncate       = "truncate"        // frame: only its beginning is sent
	Replace        = "replace"         // frame: something else is sent
	HeartbeatFirst = "heartbeat-first" // frame: a heartbeat is sent before the handshake
	NoHandshake    = "no-handshake"    // frame: drop, of handshakes
	NoHeartbeat    = "no-heartbeat"    // frame: drop, of heartbeats
	Ignore         = "ignore"          // message: it has no effect
	Refuse         = "refuse"          // message: it is refused; socket: the upgrade is
	Close          = "close"           // socket: it is closed with a code
	Cut            = "cut"             // socket: its connection ends without a close frame; request, operation: in the middle of the body
	HalfOpen       = "half-open"       // socket: neither read nor written any more
	Stall          = "stall"           // socket: not written any more
	Status         = "status"          // request, operation: refused with a status
	WrongType      = "content-type"    // request, operation: the response has this Content-Type
	Empty          = "empty"           // request, operation: the response has no body
	RefusedToken   = "refused-token"   // operation: a token that no bind accepts
	ExpiredToken   = "expired-token"   // operation: a token that has expired already
	NoExpiration   = "no-expiration"   // operation: the response has no expiration
	TextExpiration = "text-expiration" // operation: expiration is a string, not a dateTime
	OtherURL       = "other-url"       // operation: websocket-url is of another server
	OldNames       = "old-names"       // operation: the response has the parameter names of drafts
)

// Fault is one misbehaviour. Which members it may have depends on where it acts and on its
// action; [Fault.check] has the tables. Times are texts such as "250ms", of the room's clock.
type Fault struct {
	Name   string `json:"name,omitempty"` // its name in routes and journal; "fault-1" by default
	On     string `json:"on"`
	Action string `json:"action"`

	// What it is about. All that is set must match.
	Subscription string   `json:"subscription,omitempty"` // id
	Socket       string   `json:"socket,omitempty"`       // id
	Dialect      string   `json:"dialect,omitempty"`
	Release      string   `json:"release,omitempty"`
	Method       string   `json:"method,omitempty"`
	Path         string   `json:"path,omitempty"` // in the room; a star stands for any characters
	Operation    string   `json:"operation,omitempty"`
	Type         string   `json:"type,omitempty"`        // of a frame or message
	Number       *Numbers `json:"number,omitempty"`      // an event that a frame carries
	Nth          *int64   `json:"nth,omitempty"`         // from the n-th match on
	Times        *int64   `json:"times,omitempty"`       // at most so often
	Probability  *float64 `json:"probability,omitempty"` // of each match

	// When a fault on a socket acts; without both, once it is open.
	Frames *int64 `json:"frames,omitempty"` // after so many frames to the client
	After  string `json:"after,omitempty"`  // after so much time since it opened

	// What its action takes.
	By          string `json:"by,omitempty"`
	Jitter      string `json:"jitter,omitempty"`   // at most so much is added to by
	Overtake    bool   `json:"overtake,omitempty"` // later frames do not wait for a delayed one
	Count       *int64 `json:"count,omitempty"`    // copies
	Value       *int64 `json:"value,omitempty"`    // a number
	Bytes       *int64 `json:"bytes,omitempty"`
	With        string `json:"with,omitempty"`
	Text        string `json:"text,omitempty"`
	Status      *int64 `json:"status,omitempty"`
	RetryAfter  *int64 `json:"retryAfter,omitempty"` // seconds
	Code        *int64 `json:"code,omitempty"`       // of a close
	Reason      string `json:"reason,omitempty"`     // likewise
	For         string `json:"for,omitempty"`        // how long a socket stays like that
	ContentType string `json:"contentType,omitempty"`
	URL         string `json:"url,omitempty"`
}

// Numbers are the numbers of events from From to To, both included. Without To there is no
// end.
type Numbers struct {
	From int64  `json:"from,omitempty"`
	To   *int64 `json:"to,omitempty"`
}

// State is a fault with its counts.
type State struct {
	Fault
	Matched int64 `json:"matched"` // how often it was about something
	Applied int64 `json:"applied"` // how often it acted
}

// About is what a fault may be about. What is not known is zero.
type About struct {
	Subscription, Socket, Dialect, Release, Method, Path, Operation, Type string

	First, Last int64  // numbers of the events of a frame
	Token       string // of a message: its fingerprint, for the journal only

	Also []string // other subscriptions of a frame, which is a heartbeat of all of them
}

// Implied values, which are shown as if they had been set.
const (
	defaultCount     = 1
	defaultStatus    = 503
	defaultCloseCode = 1011
	defaultURL       = "ws://127.0.0.1:9/ws" // of a port where nobody listens
)

func valueOf(p *int64, fallback int64) int64 {
	if p == nil {
		return fallback
	}
	return *p
}

// duration returns the time that a member of a checked fault says.
func duration(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}
