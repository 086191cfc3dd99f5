package socket

import (
	"fmt"
	"sync"

	"signalfhir/internal/clock"
	"signalfhir/internal/dialect"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
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
	holds          []hold // delays
	refusal        error  // by a fault
}

// last returns the hold that ends last, or nil if none is left.
func (m *message) last() (last *hold) {
	for i := range m.holds {
		if one := &m.holds[i]; !one.by.Gone() && (last == nil || one.due > last.due) {
			last = one
		}
	}
	return last
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
	m := message{command: command, shown: shown, about: s.aboutMessage(command, shown)}
	var acts []act
	undo := func() {
		for _, one := range acts {
			one.rule.Undo()
		}
		acts = nil
	}
	for _, r := range rules {
		if !r.Applies(m.about) {
			continue
		}
		done := func(format string, args ...any) {
			acts = append(acts, act{rule: r, text: fmt.Sprintf("the message "+m.about.Type+" "+format+" by fault "+r.Name, args...)})
		}
		switch r.Action {
		case fault.Ignore:
			undo() // what was done to it before comes to nothing
			done("was ignored")
			s.faults.Record(r, m.about, acts[0].text)
			return true
		case fault.Refuse:
			if m.refusal != nil {
				r.Undo() // one refusal is enough
				continue
			}
			done("was refused")
			m.refusal = r.Refusal()
		case fault.Delay:
			wait := r.Wait()
			done("was delayed for %s", wait)
			m.holds = append(m.holds, hold{by: r, due: s.faults.Elapsed() + wait})
		}
	}
	if s.in.isFull() {
		undo()
		s.refuse(fhir.Refuse(0, fhir.CodeThrottled, "%d messages wait behind one that a fault delays; this one was dropped", maxDelayed))
		return true
	}
	s.in.add(s, m, acts)
	return s.in.carryOut(s)
}

// aboutMessage returns what a fault may want to know of a command. The journal finds by it
// which subscription the command was about.
func (s *Socket) aboutMessage(command, shown dialect.Command) fault.About {
	about := fault.About{Socket: s.id, Dialect: command.Dialect, Path: s.route, Type: messageTypes[command.Verb], Subscription: token.RedactLong(shown.ID)}
	if command.Token != "" {
		about.Token = token.Fingerprint(command.Token)
	}
	return about
}

// isFull reports whether no more messages may wait. Only the reader adds some, so there is
// room until it does.
func (in *inbox) isFull() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.queue) >= maxDelayed
}

// add adds a message, and then records what faults did to it: who reads that may move the
// clock.
func (in *inbox) add(s *Socket, m message, acts []act) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue = append(in.queue, m)
	in.setTimerLocked(s)
	for _, one := range acts {
		s.faults.Record(one.rule, m.about, one.text)
	}
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
	if in.setTimerLocked(s) || in.busy || in.ended || len(in.queue) == 0 {
		return message{}, false
	}
	m := in.queue[0]
	in.queue = in.queue[1:]
	in.busy = true
	return m, true
}

// setTimerLocked sets the timer for the first message. It reports whether there is one that
// is not due.
func (in *inbox) setTimerLocked(s *Socket) bool {
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	if in.busy || in.ended || len(in.queue) == 0 {
		return false
	}
	last := in.queue[0].last()
	if last == nil {
		return false
	}
	left := last.due - s.faults.Elapsed()
	if left <= 0 {
		return false
	}
	in.timer = s.faults.Clock().AfterFunc(left, func() { in.carryOut(s) }, clock.What{Kind: clock.Fault, Of: last.by.Name})
	return true
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
	for i := range dropped {
		m := &dropped[i]
		by, behind := m.last(), ""
		if by == nil && i > 0 {
			by, behind = dropped[0].last(), " behind another"
		}
		if by != nil {
			s.faults.Record(by.by, m.about, "the message "+m.about.Type+" was delayed"+behind+" by fault "+by.by.Name+" and then dropped: "+why)
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
