package subscription

import (
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Options are the settings of a registry. Clock and Random are required.
type Options struct {
	Clock       clock.Clock
	Random      *random.Source
	BatchWindow time.Duration // how long events wait to share a bundle; 0: each goes at once (NB-16)
	LogSize     int           // events kept per subscription; 1000 where 0 (OPE-2)
	KeepExpired bool          // a binding outlives its tokens (WS-33); else it ends with the last of them
	Observer    Observer
	// OnEnd is called when the end of a subscription has come (LC-11). It is
	// called without locks, on a goroutine of the clock, and is expected to put
	// the subscription again with status off. nil: ends are ignored.
	OnEnd func(id string)
}

const defaultLogSize = 1000

// Observer is told what happens; nil functions are skipped. They are called
// with the lock of a subscription held, so that they hear of things in the
// order they happened: they must not block and must not call back.
type Observer struct {
	// Appended tells of an event that was numbered and logged.
	Appended func(subscription string, e fhir.Event)
	// Sent tells of a frame that was queued on a socket.
	Sent func(socket string, f Frame)
	// NotSent tells what was not delivered to whom and why: nothing is dropped
	// silently. first and last are the numbers of the events; both are 0 where a
	// frame without events found its socket closing. What was not even numbered,
	// [Registry.Append] answers.
	NotSent func(subscription string, first, last int64, why string)
	// Bound and Unbound tell of bindings.
	Bound   func(subscription, socket, tokenKey string)
	Renewed func(subscription, socket, tokenKey string) // a binding is held by another token, too
	Unbound func(subscription, socket, why string)
	// Status tells of a new status.
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
		o.Unbound = func(string, string, string) {}
	}
	if o.Status == nil {
		o.Status = func(string, string) {}
	}
	return o
}

// Filter decides whether an event concerns a subscription. It must be safe for
// concurrent use.
type Filter interface {
	// Match answers whether a resource passes and how each condition compared.
	Match(*fhir.Resource) (bool, []string)

	// Index answers a name of what the filter looks at first and the values of
	// which a resource has to have one there; "" where it has to be asked about
	// every resource. Filters on one topic with one name look at the same thing.
	Index() (name string, values []string)

	// Values answers what a resource has where Index looks; applies is false
	// where the filter has to be asked about it.
	Values(*fhir.Resource) (values []string, applies bool)
}

// Spec is a subscription as the registry takes it. What it points to must not
// be modified afterwards.
type Spec struct {
	Subscription *fhir.Subscription
	Base         string // absolute URL of the FHIR base in its notifications, no trailing slash
	TopicKey     string // names the topic in [Registry.Append]
	Filter       Filter // nil: everything passes
}
