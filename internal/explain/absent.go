package explain

import (
	"slices"
	"strings"

	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
)

// absent knows which faults keep sockets from being bound: those that ended the last binding
// of a subscription, and those that acted on a bind since. It reads the journal in order.
type absent struct {
	tokens  map[string][]string               // the subscriptions of a token, by its fingerprint
	sockets map[string]Consequence            // the fault that ended a socket, by its id
	reasons map[string]map[string]Consequence // by subscription, and by what ended or did not begin
}

func newAbsent() *absent {
	return &absent{map[string][]string{}, map[string]Consequence{}, map[string]map[string]Consequence{}}
}

// What keeps a subscription without a socket.
const (
	bindingEnded = "ended"
	notBound     = "bind"
)

func (a *absent) read(e *journal.Entry) {
	step := Consequence{Seq: e.Seq, Kind: e.Kind, Socket: e.Socket, Text: e.Text}
	switch e.Kind {
	case journal.Token:
		if ids, _, is := strings.Cut(strings.TrimPrefix(e.Text, "for "), " until "); is && e.Type == "issued" {
			a.tokens[e.Token] = strings.Split(ids, ", ")
		}
	case journal.Bound:
		delete(a.reasons, e.Subscription)
	case journal.Unbound:
		if ended, is := a.sockets[e.Socket]; is {
			a.note(e.Subscription, bindingEnded, ended)
		}
	case journal.Reset:
		clear(a.reasons) // the subscriptions that had these names are gone
	case journal.Fault:
		switch {
		case e.First > 0:
		case strings.HasPrefix(e.Text, "the message bind "):
			for _, id := range slices.Concat(a.tokens[e.Token], []string{e.Subscription}) {
				a.note(id, notBound, step)
			}
		case e.Type == fault.Cut || e.Type == fault.Close:
			a.sockets[e.Socket] = step
		}
	}
}

func (a *absent) note(subscription, what string, step Consequence) {
	if subscription == "" {
		return
	}
	if a.reasons[subscription] == nil {
		a.reasons[subscription] = map[string]Consequence{}
	}
	step.Subscription = subscription
	a.reasons[subscription][what] = step
}

// of returns the faults because of which an event of a subscription had no socket.
func (a *absent) of(notSent *journal.Entry) (steps []Consequence) {
	if !strings.HasPrefix(notSent.Text, "no socket is bound") {
		return nil
	}
	for _, what := range []string{bindingEnded, notBound} {
		if step, is := a.reasons[notSent.Subscription][what]; is {
			steps = append(steps, step)
		}
	}
	return steps
}
