package subscription

import (
	"time"

	"signalfhir/internal/fhir"
)

// Frame is one encoded notification on its way to a socket. Sockets bound to
// the same subscription share Bytes, which nobody may modify.
type Frame struct {
	Bytes        []byte
	Subscription string
	Type         fhir.NotificationType
	First, Last  int64         // event numbers it carries; 0 where it carries none
	At           time.Time     // when it was queued
	Timeout      time.Duration // longest the write may take; 0: the socket's default (NB-25)
}

// Socket is a connected client as a subscription sees it. The hub implements
// it, as a pointer: sockets are compared. Its methods are called with the lock
// of a subscription held: they must not block and must not call back into this
// package.
type Socket interface {
	// ID names the socket in journal and log.
	ID() string
	// Send queues a frame behind those already queued. It reports false when
	// the socket is closing or could not keep up (it then closes itself with
	// 1013 and a reason); the binding is dropped by the caller. From the call of
	// [Registry.Gone] on it reports false for good: that is what keeps a bind
	// that is under way from outliving its socket.
	Send(Frame) bool
	// Unbound tells that the server ended the binding to a subscription.
	Unbound(subscription string, why Reason)
}

// Reason says why the server ended a binding.
type Reason string

// Why bindings end without the client asking.
const (
	TokenExpired        Reason = "token expired"
	TokenRevoked        Reason = "token revoked"
	SubscriptionOff     Reason = "subscription is off"
	SubscriptionDeleted Reason = "subscription was deleted"
	RoomReset           Reason = "room was reset"
)
