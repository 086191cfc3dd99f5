package subscription

import (
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
	"signalfhir/internal/random"
)

// Options are the settings of a registry. Clock and Random are required.
type Options struct {
	Clock       clock.Clock
	Random      *random.Source
	BatchWindow time.Duration // how long events wait to share a bundle; 0: each goes at once (NB-16)
	LogSize     int           // events that every subscription keeps; 0 means 1000 (OPE-2)
	LogBytes    int64         // bytes up to which the room keeps more than that; 0 means 64 MiB
	KeepExpired bool          // a binding outlives its tokens (WS-33); otherwise it ends with its last one
	Observer    Observer
	Manners     *manners.Current // of the room; nil: none
	// OnEnd is called when the end of a subscription has come (LC-11). It is
	// called without locks, on a goroutine of the clock, and should put the
	// subscription again with status off. nil: ends are ignored.
	OnEnd func(id string)
	// OnActivate is called in the same way when the time of a requested subscription has
	// come, see [Activation]. It should put the subscription with status active.
	OnActivate func(id string)
}

const (
	defaultLogSize  = 1000
	defaultLogBytes = 64 << 20
)

// Observer receives what happens; nil functions are skipped. They are called
// while the lock of a subscription is held, so they see things in the order they
// happened. They must not block and must not call back.
type Observer struct {
	// Appended reports an event that was numbered and logged.
	Appended func(subscription string, e fhir.Event)
	// Sent reports a frame that is queued on a socket as soon as Sent returns.
	Sent func(socket string, f Frame)
	// Replayed is Sent for a frame with events from before the bind.
	Replayed func(socket string, f Frame)
	// NotSent reports events that were not delivered, and why: nothing is dropped
	// silently. first and last are the numbers of the events; both are 0 if a
	// frame without events found its socket closing. [Registry.Append] returns
	// what was not even numbered.
	NotSent func(subscription string, first, last int64, why string)
	// Bound, Renewed and Unbound report bindings. Unbound gets the key of the token
	// that the binding was bound or renewed with last.
	Bound   func(subscription, socket, tokenKey string)
	Renewed func(subscription, socket, tokenKey string) // another token now keeps the binding, too
	Unbound func(subscription, socket, tokenKey, why string)
	// Status reports a new status.
	Status func(subscription, status string)
}

// complete fills in the functions that are missing.
func (o Observer) complete() Observer {
	if o.Appended == nil {
		o.Appended = func(string, fhir.Event) {}
	}
	if o.Sent == nil {
		o.Sent = func(string, Frame) {}
	}
	if o.Replayed == nil {
		o.Replayed = o.Sent
	}
	if o.NotSent == nil {
		o.NotSent = func(string, int64, int64, string) {}
	}
	if o.Bound == nil {
		o.Bound = func(string, string, string) {}
	}
	if o.Renewed == nil {
		o.Renewed = func(string, string, string) {}
	}
	if o.Unbound == nil {
		o.Unbound = func(string, string, string, string) {}
	}
	if o.Status == nil {
		o.Status = func(string, string) {}
	}
	return o
}

// Filter decides whether an event concerns a subscription. It must be safe for
// concurrent use.
type Filter interface {
	// Match reports whether a resource passes and how each condition compared.
	Match(*fhir.Resource) (bool, []string)

	// Index returns a name for the element the filter looks at first, and the
	// values there that a resource can pass with. The name is "" if the filter
	// has to be evaluated for every resource. Filters on one topic that return
	// the same name look at the same element.
	Index() (name string, values []string)

	// Values returns the values a resource has in the element that Index names.
	// applies is false if the filter has to be evaluated for this resource.
	Values(*fhir.Resource) (values []string, applies bool)
}

// Spec is a subscription as the registry takes it. What it points to must not
// be modified afterwards.
type Spec struct {
	Subscription *fhir.Subscription
	Base         string // absolute URL of the FHIR base in its notifications, no trailing slash
	TopicKey     string // names the topic in [Registry.Append]
	Filter       Filter // nil: everything passes

	Activation Activation // if the status is requested
}

// Activation says what makes a requested subscription active, besides another Put. The
// zero value: nothing.
type Activation struct {
	AtBind bool          // the first bind that is done with [Registry.BindFirst]
	Due    time.Duration // that much time has elapsed on the clock; 0: no time
}
