package subscription

import (
	"sync/atomic"
	"time"

	"signalfhir/internal/fhir"
)

// Frame is one encoded notification on its way to a socket. Sockets bound to
// the same subscription share Bytes; do not modify them.
type Frame struct {
	Bytes        []byte
	Subscription string
	Also         []string // other subscriptions that it is a heartbeat of; never modified
	Type         fhir.NotificationType
	Release      fhir.Release  // of the subscription
	Dialect      string        // of the binding
	First, Last  int64         // event numbers it carries; 0 if it carries none
	At           time.Time     // when it was queued
	Timeout      time.Duration // longest the write may take; 0: the socket's default (NB-25)
	Waiting      *atomic.Int32 // for sockets that share Bytes to count how many of them hold it; nil if only one gets it
	Note         string        // how manners have changed it; "": not
	Silent       bool          // it is not sent: it only asks whether the socket takes frames
}

// Socket is a connected client. The hub implements it with a pointer type,
// because sockets are compared. A subscription calls its methods while it holds
// its lock: they must not block and must not call back into this package.
type Socket interface {
	// ID names the socket in journal and log.
	ID() string
	// Send queues a frame behind those already queued. It calls sent before, so
	// that a client that has the frame finds it in the journal. Send returns false,
	// and does not call sent, if the socket is closing or could not keep up (it then
	// closes itself with 1013 and a reason); the caller drops the binding. Once
	// [Registry.Gone] is called, Send always returns false, so a concurrent bind
	// cannot outlive its socket.
	Send(f Frame, sent func(socket string, f Frame)) bool
	// Ready returns nil if the socket has room for many more frames and at most so many
	// bytes wait in it, and otherwise a channel that is closed once that is so, or once the
	// socket takes no more.
	Ready(bytes int64) <-chan struct{}
	// Lost returns the number of the first of the events of a subscription, up to the one
	// with the number last and in a row, that were queued and will not be written because
	// the socket closes or has closed. It returns 0 if last is not lost, and whether that is
	// all: a socket that has not ended may still lose what waits in it.
	Lost(subscription string, last int64) (first int64, all bool)
	// WhyClosing says why the socket takes no more frames, or returns "" if nobody knows.
	WhyClosing() string
	// Unbound reports that the server ended the binding to a subscription, and how
	// many bindings the socket has left.
	Unbound(subscription string, why Reason, left int)
}

// Reason says why a binding ended.
type Reason string

// The reasons why the server ends a binding that the client did not ask to end.
const (
	TokenExpired        Reason = "token expired"
	TokenRevoked        Reason = "token revoked"
	SubscriptionOff     Reason = "subscription is off"
	SubscriptionDeleted Reason = "subscription was deleted"
	RoomReset           Reason = "room was reset"
)

// Other reasons. The socket is not notified.
const (
	clientUnbound Reason = "the client unbound"
	socketClosed  Reason = "the socket closed"
	frameRefused  Reason = "the socket could not take a frame"
)

// byServer reports whether the server ended a binding that its socket could have
// kept.
func (r Reason) byServer() bool {
	switch r {
	case clientUnbound, socketClosed, frameRefused:
		return false
	}
	return true
}
