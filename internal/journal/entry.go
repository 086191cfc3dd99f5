package journal

import (
	"bytes"
	"encoding/json"
	"time"
)

// The kinds of entry.
const (
	HTTP     = "http"      // a request and its response
	Opened   = "opened"    // a socket opened; Text has its path and the host of the client
	Closed   = "closed"    // a socket closed; Code and Text say how
	Received = "received"  // a frame came in; Type is its verb
	Sent     = "sent"      // a frame was queued for a socket; Type is the notification's, or outcome, pong, or custom if the control API gave its text
	Overflow = "overflow"  // a socket did not keep up and was closed with 1013
	Token    = "token"     // a token was issued, renewed, revoked, or expired: Type
	Bound    = "bound"     // a socket was bound to a subscription
	Unbound  = "unbound"   // a binding ended; Text says why
	Status   = "status"    // a subscription changed its status: Text
	Change   = "change"    // a resource was written or deleted
	Fired    = "fired"     // a change, or a trigger, fired a topic
	NotFired = "not-fired" // a change did not fire a topic; Text says why
	Appended = "appended"  // an event was numbered and logged
	NotSent  = "not-sent"  // an event concerns a subscription but was not sent to a socket; Text says why
	Events   = "events"    // $events of a subscription was called; First and Last are the bounds it was called with
	Refused  = "refused"   // a message on a socket was refused; Text says why
	Lenient  = "lenient"   // something was accepted that is wrong in strict mode; Text says what
	Reset    = "reset"     // the room went back to its seed; tallies start again
	Memory   = "memory"    // something was dropped because the server is at its ceiling of memory; Text says what
	Fault    = "fault"     // a fault acted; Type is its action, Text says what it did
	Control  = "control"   // the control API changed something of the room: Type, and Text says what
	Clock    = "clock"     // the clock was moved: Type is its mode now, Text says how
	Scenario = "scenario"  // a scenario began, did a step or ended: Type, and Text says what
	Rooms    = "room"      // in the default room: another one was opened or closed: Type
)

// Budget is the Type of a [NotFired] entry if the budget of the request had no time for the
// criteria, so that the topic did not fire whatever they say.
const Budget = "budget"

// Kinds lists every kind.
func Kinds() []string {
	return []string{HTTP, Opened, Closed, Received, Sent, Overflow, Token, Bound, Unbound, Status, Change, Fired, NotFired, Appended, NotSent, Events, Refused, Lenient, Reset, Memory, Fault, Control, Clock, Scenario, Rooms}
}

// Entry is one thing that happened. Which fields are set depends on the kind. No
// field ever holds a token, only the fingerprint of one.
type Entry struct {
	Seq          uint64    // 1, 2, 3 …; set by the journal
	Time         time.Time // set by the journal if it is zero
	Kind         string
	Subscription string
	Socket       string
	Topic        string // canonical URL
	Resource     string // "Encounter/1"
	Release      string // of Resource, "R5"
	Version      string // of Resource after a change
	Interaction  string // create, update or delete
	Type         string
	Dialect      string
	Token        string // fingerprint
	Code         int    // of a close
	First, Last  int64  // numbers of the events it carries
	Text         string
	Frame        []byte    // as sent or received; shared, never modified
	Exchange     *Exchange // of kind HTTP; never modified
	Size         int       // bytes of Frame or of both bodies
	Shared       bool      // of kind Sent: the frame is that of another entry, so it is not counted again
	Dropped      bool      // the frame, or headers and bodies, and what is long of address and text, were dropped to bound memory

	// Count is the number of sockets bound to the subscription after a [Bound] or [Unbound],
	// of open sockets after an [Opened] or [Closed], and of notifications of the Type that
	// were sent for the subscription since the last reset, this one included. The journal
	// sets it.
	Count int32

	cost int // bytes charged to this entry
}

// Exchange is a request and its response. Bodies are truncated to what the
// recorder keeps.
type Exchange struct {
	Method          string
	Path            string // with the query
	Status          int
	Took            time.Duration // by the clock of the room
	RequestHeaders  map[string]string
	RequestBody     []byte
	ResponseHeaders map[string]string
	ResponseBody    []byte
	Truncated       bool // a body was truncated
}

// wireEntry is an entry as JSON.
type wireEntry struct {
	Seq          uint64        `json:"seq"`
	Time         time.Time     `json:"time"`
	Kind         string        `json:"kind"`
	Subscription string        `json:"subscription,omitempty"`
	Socket       string        `json:"socket,omitempty"`
	Topic        string        `json:"topic,omitempty"`
	Resource     string        `json:"resource,omitempty"`
	Release      string        `json:"release,omitempty"`
	Version      string        `json:"version,omitempty"`
	Interaction  string        `json:"interaction,omitempty"`
	Type         string        `json:"type,omitempty"`
	Dialect      string        `json:"dialect,omitempty"`
	Token        string        `json:"token,omitempty"`
	Code         int           `json:"code,omitempty"`
	First        int64         `json:"first,omitempty"`
	Last         int64         `json:"last,omitempty"`
	Text         string        `json:"text,omitempty"`
	Size         int           `json:"size,omitempty"`
	Dropped      bool          `json:"dropped,omitempty"`
	Frame        string        `json:"frame,omitempty"`
	HTTP         *wireExchange `json:"http,omitempty"`
}

type wireExchange struct {
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Status          int               `json:"status"`
	Took            float64           `json:"took"` // milliseconds
	RequestHeaders  map[string]string `json:"requestHeaders,omitempty"`
	RequestBody     string            `json:"requestBody,omitempty"`
	ResponseHeaders map[string]string `json:"responseHeaders,omitempty"`
	ResponseBody    string            `json:"responseBody,omitempty"`
	Truncated       bool              `json:"truncated,omitempty"`
}

// JSON returns the entry as one line without a line feed. If bodies is true, it
// includes frame, headers and bodies.
func (e *Entry) JSON(bodies bool) []byte {
	w := wireEntry{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind,
		Subscription: e.Subscription, Socket: e.Socket, Topic: e.Topic, Resource: e.Resource, Release: e.Release,
		Version: e.Version, Interaction: e.Interaction, Type: e.Type, Dialect: e.Dialect, Token: e.Token,
		Code: e.Code, First: e.First, Last: e.Last, Text: e.Text,
		Size: e.Size, Dropped: e.Dropped,
	}
	if x := e.Exchange; x != nil {
		w.HTTP = &wireExchange{Method: x.Method, Path: x.Path, Status: x.Status, Took: milliseconds(x.Took)}
		if bodies {
			w.HTTP.RequestHeaders, w.HTTP.RequestBody = x.RequestHeaders, string(x.RequestBody)
			w.HTTP.ResponseHeaders, w.HTTP.ResponseBody = x.ResponseHeaders, string(x.ResponseBody)
			w.HTTP.Truncated = x.Truncated
		}
	}
	if bodies {
		w.Frame = string(e.Frame)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(w) // no value in it can fail to encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
