package socket

import (
	"fmt"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/dialect"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
)

// inbox holds the messages of a client that a fault delays, and those behind them. Its lock
// is a leaf: messages are carried out without it, one at a time and in order.
type inbox struct {
	used bool // messages pass it; only the reader touches it

	mu    sync.Mutex // guards all below
	queue []message
	busy  bool // somebody carries out a message
	ended bool
	timer clock.Timer // looks for what is due; nil if nothing will be
}

// maxDelayed is how many messages of a client wait at most.
const maxDelayed = 100

// message is a command of a client with what faults make of it.
type message struct {
	command, shown dialect.Command
	about          fault.About
	by             *fault.Rule   // that delays it; nil if none does
	due            time.Duration // of what has passed in the room
	refusal        error         // by a fault
}

// messageTypes are the names of verbs that faults are narrowed by.
var messageTypes = map[dialect.Verb]string{
	dialect.Bind: "bind", dialect.LegacyBind: "bind", dialect.Unbind: "unbind", dialect.LegacyUnbind: "unbind",
	dialect.Ping: "ping", dialect.Unknown: "unknown",
}

// take carries out a command, or does what faults make of it. It reports whether the socket
// stays open, as far as that is known now.
func (s *Socket) take(command, shown dialect.Command) bool {
	rules := s.faults.On(fault.OnMessage)
	if len(rules) == 0 && !s.in.used {
		return s.execute(command, shown, nil)
	}
	s.in.used = true
	m := message{command: command, shown: shown, about: fault.About{Socket: s.id, Dialect: command.Dialect, Path: s.route, Type: messageTypes[command.Verb]}}
	for _, r := range rules {
		if !r.Applies(m.about) {
			continue
		}
		done := func(format string, args ...any) {
			s.faults.Record(r, m.about, fmt.Sprintf("the message "+m.about.Type+" "+format+" by fault "+r.Name, args...))
		}
		switch r.Action {
		case fault.Ignore:
			done("was ignored")
			return true
		case fault.Refuse:
			done("was refused")
			m.refusal = r.Refusal()
		case fault.Delay:
			wait := r.Wait()
			done("was delayed for %s", wait)
			m.by, m.due = r, max(m.due, s.faults.Elapsed()+wait)
		}
	}
	if !s.in.add(m) {
		s.refuse(fhir.Refuse(0, fhir.CodeThrottled, "%d messages wait behind one that a fault delays; this one was dropped", maxDelayed))
		return true
	}
	return s.in.carryOut(s)
}

func (in *inbox) add(m message) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) >= maxDelayed {
		return false
	}
	in.queue = append(in.queue, m)
	return true
}

// carryOut carries out the messages that are due, unless somebody does so already. It
// reports whether the socket stays open.
func (in *inbox) carryOut(s *Socket) bool {
	for {
		m, is := in.next(s)
		if !is {
			return true
		}
		open := s.execute(m.command, m.shown, m.refusal)
		in.mu.Lock()
		in.busy = false
		if !open {
			in.queue = nil
		}
		in.mu.Unlock()
		if !open {
			return false
		}
	}
}

// next takes out the first message if it is due, and otherwise sets the timer for it.
func (in *inbox) next(s *Socket) (message, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	if in.busy || in.ended || len(in.queue) == 0 {
		return message{}, false
	}
	m := in.queue[0]
	if m.by != nil && !m.by.Gone() {
		if left := m.due - s.faults.Elapsed(); left > 0 {
			in.timer = s.faults.Clock().AfterFunc(left, func() { in.carryOut(s) }, clock.What{Kind: clock.Fault, Of: m.by.Name})
			return message{}, false
		}
	}
	in.queue = in.queue[1:]
	in.busy = true
	return m, true
}

// drop gives up the messages that wait.
func (in *inbox) drop(s *Socket, why string) {
	in.mu.Lock()
	dropped := in.queue
	in.queue = nil
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	in.mu.Unlock()
	for _, m := range dropped {
		by := m.by
		if by == nil {
			by = dropped[0].by
		}
		if by != nil {
			s.faults.Record(by, m.about, "the message "+m.about.Type+" was delayed by fault "+by.Name+" and then dropped: "+why)
		}
	}
}

// end is drop when the socket has ended.
func (in *inbox) end(s *Socket, why string) {
	in.mu.Lock()
	in.ended = true
	in.mu.Unlock()
	in.drop(s, why)
}
