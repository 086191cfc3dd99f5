package room

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sort"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// The bounds of a move of the clock.
const (
	maxCalls    = 100_000 // that one move runs
	maxHappened = 1000    // that its result names
	maxDue      = 20      // that the state of the clock names
	paceCalls   = 16      // after how many a move waits for readers
)

// The times that the clock of a room can show.
var (
	firstTime = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// The modes of a clock.
const (
	RealClock   = "real"
	ManualClock = "manual"
)

// ParseTime reads a time that the clock of a room can show.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time with a time zone such as 2026-01-01T08:00:00Z", text)
	}
	if t.Before(firstTime) || t.After(lastTime) {
		return t, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %s, expected a time from %s to %s", text, stamp(firstTime), stamp(lastTime))
	}
	return t.UTC(), nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ClockState is what the clock of a room shows.
type ClockState struct {
	Mode    string    `json:"mode"` // RealClock or ManualClock
	Now     time.Time `json:"now"`
	Pending int       `json:"pending"` // calls that wait for their time
}

// ClockDetail is a [ClockState] with what is due.
type ClockDetail struct {
	ClockState
	Next    *NextCalls  `json:"next,omitempty"`
	Due     []ClockCall `json:"due"` // the first of those pending
	Omitted int         `json:"omitted,omitempty"`
}

// NextCalls are the calls that are due next.
type NextCalls struct {
	At    time.Time `json:"at"`
	Calls int       `json:"calls"`
}

// ClockCall is something that happens, or has happened, at its time. It names what it
// concerns.
type ClockCall struct {
	At           time.Time `json:"at"`
	Kind         string    `json:"kind"` // such as heartbeat: see package clock
	Subscription string    `json:"subscription,omitempty"`
	Topic        string    `json:"topic,omitempty"` // canonical URL
	Generator    string    `json:"generator,omitempty"`
	Token        string    `json:"token,omitempty"` // fingerprint
	Fault        string    `json:"fault,omitempty"`
	Scenario     string    `json:"scenario,omitempty"`
}

func clockCall(c clock.Call) ClockCall {
	call := ClockCall{At: c.At.UTC(), Kind: c.Kind}
	switch {
	case c.Kind == clock.Generator:
		call.Generator = c.Of
	case c.Kind == clock.Token:
		call.Token = c.Of
	case c.Kind == clock.Fault:
		call.Fault = c.Of
	case c.Kind == clock.Scenario:
		call.Scenario = c.Of
	case c.Kind == clock.Trigger && !fhir.IsID(c.Of):
		call.Topic = c.Of
	default:
		call.Subscription = c.Of
	}
	return call
}

// ClockState returns what the clock of the room shows.
func (r *Room) ClockState() ClockState {
	mode := RealClock
	if r.clock.IsManual() {
		mode = ManualClock
	}
	return ClockState{mode, r.clock.Now().UTC(), r.clock.Pending()}
}

// ClockDetail returns what the clock of the room shows, and what is due. Its cost grows
// with all that is pending.
func (r *Room) ClockDetail() ClockDetail {
	d := ClockDetail{ClockState: r.ClockState(), Due: []ClockCall{}}
	due := r.clock.Due()
	d.Pending = len(due)
	d.Omitted = max(len(due)-maxDue, 0)
	if len(due) == 0 {
		return d
	}
	next := due[0].At
	d.Next = &NextCalls{next.UTC(), sort.Search(len(due), func(i int) bool { return due[i].At.After(next) })}
	for _, c := range due[:len(due)-d.Omitted] {
		d.Due = append(d.Due, clockCall(c))
	}
	return d
}

// ClockMove is what a move of the clock did.
type ClockMove struct {
	ClockState
	Done     bool        `json:"done"`              // the clock shows what was asked for, and all that was due has happened
	Note     string      `json:"note,omitempty"`    // why it is not done, and how to go on
	Calls    int         `json:"calls"`             // that ran
	Happened []ClockCall `json:"happened"`          // those that had an effect: an entry in the journal, or a frame that a fault holds
	Omitted  int         `json:"omitted,omitempty"` // that Happened leaves out
	Since    uint64      `json:"since"`             // the entries of the journal after this one say what exactly happened
}

// turns order the moves of a clock. One of them holds the turn at a time.
type turns struct {
	turn  chan struct{}
	moved bool // the clock is not as the room began; guarded by the turn

	mu    sync.Mutex      // guards all below; a leaf
	round context.Context // ends with a reset, and when the room closes
	end   context.CancelCauseFunc
}

// newRound lets the clock be moved until the next reset.
func (r *Room) newRound() {
	t := &r.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round, t.end = context.WithCancelCause(r.open)
}

// endRound stops the moves of the clock and takes the turn. Nobody moves the clock until
// restart, which is to be called.
func (r *Room) endRound() (restart func()) {
	t := &r.turns
	t.mu.Lock()
	t.end(fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the room was reset"))
	t.mu.Unlock()
	t.turn <- struct{}{} // who has it stops after the call that is under way
	return func() {
		r.newRound()
		<-t.turn
	}
}

// takeTurn waits for its turn to move the clock, for a time at most. The context ends soon
// after ctx, a reset, or the end of the room. Halted returns at once which of them it was,
// and nil before.
func (r *Room) takeTurn(ctx context.Context, patience time.Duration) (turn context.Context, halted func() error, release func(), err error) {
	r.turns.mu.Lock()
	round := r.turns.round
	r.turns.mu.Unlock()
	turn, cancel := context.WithCancelCause(ctx)
	why := func() error { // not the result, which a refusal sets to nil
		switch {
		case r.open.Err() != nil:
			return r.checkOpen()
		case round.Err() != nil:
			return context.Cause(round)
		case turn.Err() != nil:
			return stopped(turn)
		}
		return nil
	}
	unlink := context.AfterFunc(round, func() { cancel(why()) })
	end := func() {
		unlink()
		cancel(nil)
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	err = fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "another request has been moving the clock for %s, the timeout of this one; wait for that, or try again with a longer timeout", patience)
	select {
	case r.turns.turn <- struct{}{}:
		if err = why(); err == nil {
			return turn, why, func() { <-r.turns.turn; end() }, nil
		}
		<-r.turns.turn
	case <-turn.Done():
		err = why()
	case <-over.C:
	}
	end()
	return nil, nil, nil, err
}

// resetClock takes the clock back to how the room began. What is due then stays due. The
// caller has the turn.
func (r *Room) resetClock() {
	if !r.turns.moved {
		return
	}
	r.turns.moved = false
	if r.options.ClockStart.IsZero() {
		r.clock.SetReal(still{})
	} else {
		r.clock.Set(still{}, r.options.ClockStart)
	}
	r.journal.Record(journal.Entry{Kind: journal.Clock, Type: r.ClockState().Mode, Text: "the reset took the clock back to how the room began"})
}

// still follows a move that runs nothing.
type still struct{}

func (still) Next() bool     { return false }
func (still) Ran(clock.Call) {}

// SetClock makes the clock manual and shows now, or the time it shows if now is zero. What
// depends on a time of day happens if its time has come. It takes timeout at most.
func (r *Room) SetClock(ctx context.Context, now time.Time, timeout time.Duration) (*ClockMove, error) {
	return r.moveClock(ctx, timeout, func(m *clockMove) (string, error) {
		m.result.Done = r.clock.Set(m, now)
		return "the clock is manual, and was set to " + stamp(r.clock.Now()), nil
	})
}

// SetRealClock makes the clock show the time of the machine. What depends on a time of day
// happens if its time has come.
func (r *Room) SetRealClock(ctx context.Context, timeout time.Duration) (*ClockMove, error) {
	return r.moveClock(ctx, timeout, func(m *clockMove) (string, error) {
		r.clock.SetReal(m)
		m.result.Done, m.why = true, "" // what is left happens by itself
		return "the clock is real", nil
	})
}

// AdvanceClock lets time pass on a manual clock: by a duration, or if to is not zero until
// the clock shows to. When it returns, all that was due has been handed to the sockets, in
// order of time, unless the result says otherwise. It refuses to move a real clock.
func (r *Room) AdvanceClock(ctx context.Context, by time.Duration, to time.Time, timeout time.Duration) (*ClockMove, error) {
	return r.moveClock(ctx, timeout, func(m *clockMove) (string, error) {
		now := r.clock.Now()
		switch {
		case !r.clock.IsManual():
			return "", fhir.Refuse(http.StatusConflict, fhir.CodeConflict, `the clock is real, and time passes by itself; PUT /mock/clock {"mode":"manual"} makes it stand still, then it can be advanced`)
		case to.IsZero() && (by < 0 || by > lastTime.Sub(now)):
			return "", fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %s, expected 0s to %s: the clock shows %s, and ends at %s", inWords(by), lastTime.Sub(now), stamp(now), stamp(lastTime)).At("by")
		case to.IsZero():
			to = now.Add(by)
		case to.Before(now):
			return "", fhir.Refuse(http.StatusConflict, fhir.CodeConflict, `got %s, but the clock shows %s already; PUT /mock/clock {"mode":"manual","now":"%[1]s"} sets it back`, stamp(to), stamp(now)).At("to")
		}
		m.result.Done = r.clock.AdvanceWith(m, to.Sub(now))
		text := "the clock was advanced by " + r.clock.Now().Sub(now).String() + " to " + stamp(r.clock.Now())
		if !m.result.Done {
			text += ", not yet to " + stamp(to)
			m.goOn = fmt.Sprintf(`POST /mock/clock/advance {"to":%q} goes on`, stamp(to))
		}
		return text, nil
	})
}

// inWords returns a duration. The longest stands for all that are longer.
func inWords(d time.Duration) string {
	if d == math.MaxInt64 {
		return "more than 292 years"
	}
	return d.String()
}

// clockMove follows a move.
type clockMove struct {
	room    *Room
	halted  func() error    // why the move is to stop; nil: it goes on
	limit   context.Context // ends then, and after the timeout
	after   time.Duration   // the timeout
	traces  uint64          // that there were when a call began
	settled bool            // nothing that a call began goes on
	result  ClockMove
	why     string // the follower stopped the move
	goOn    string // what to do then
}

// moveClock moves the clock when it is its turn. move returns what it has done.
func (r *Room) moveClock(ctx context.Context, timeout time.Duration, move func(*clockMove) (string, error)) (*ClockMove, error) {
	turn, halted, release, err := r.takeTurn(ctx, timeout)
	if err != nil {
		return nil, err
	}
	defer release()
	limit, cancel := context.WithTimeout(turn, timeout)
	defer cancel()
	m := &clockMove{room: r, halted: halted, limit: limit, after: timeout, goOn: `POST /mock/clock/advance {"by":"0s"} goes on`}
	expired := r.clock.Expired()
	m.settled = r.clock.Settle(limit) // what earlier requests began is not part of the move
	m.traces = m.countTraces()
	m.result.Since, m.result.Happened = r.journal.Seq(), []ClockCall{}
	text, err := move(m)
	if err != nil {
		return nil, err
	}
	r.turns.moved = r.clock.IsManual() || !r.options.ClockStart.IsZero()
	text += fmt.Sprintf("; calls that ran: %d", m.result.Calls)
	if m.why == "" && !m.settled && r.clock.IsManual() {
		m.result.Done, m.why = false, m.stop(true)
	}
	if m.why != "" {
		text += "; " + m.why
	}
	if n := r.clock.Expired() - expired; n > 0 {
		text += fmt.Sprintf("; sockets and requests that took too long to end: %d", n)
	}
	r.journal.Record(journal.Entry{Kind: journal.Clock, Type: r.ClockState().Mode, Text: text})
	if err := halted(); err != nil && !m.result.Done {
		return nil, fhir.Refuse(fhir.StatusOf(err), fhir.CodeOf(err), "%s", text)
	}
	if !m.result.Done {
		m.result.Note = text + ". " + m.goOn
	}
	m.result.ClockState = r.ClockState()
	return &m.result, nil
}

// Next implements [clock.Follower].
func (m *clockMove) Next() bool {
	read := m.result.Calls%paceCalls != 0 || m.room.subscriptions.AwaitSockets(m.limit)
	m.why = m.stop(read)
	return m.why == ""
}

// stop returns why the move is to stop; "" if it goes on. read is false if it waited in vain
// for a socket.
func (m *clockMove) stop(read bool) string {
	over := m.limit.Err() != nil // before the next question: whatever halts the move ends this context too
	switch err := m.halted(); {
	case err != nil:
		return err.Error()
	case !read:
		return fmt.Sprintf("it waited for a socket that does not read (GET /mock/sockets shows how many frames are queued), and stopped after %s, its timeout", m.after)
	case over:
		return fmt.Sprintf("it stopped after %s, its timeout", m.after)
	case m.result.Calls == maxCalls:
		return fmt.Sprintf("it stopped after %d calls, the most of one move", maxCalls)
	}
	return ""
}

// Ran implements [clock.Follower].
func (m *clockMove) Ran(c clock.Call) {
	m.result.Calls++
	m.settled = m.room.clock.Settle(m.limit)
	before := m.traces
	if m.traces = m.countTraces(); m.traces == before {
		return // a timer that was too early: a heartbeat is not due after all
	}
	if len(m.result.Happened) == maxHappened {
		m.result.Omitted++
		return
	}
	m.result.Happened = append(m.result.Happened, clockCall(c))
}

// countTraces counts what calls leave: entries of the journal, and frames that a fault holds.
func (m *clockMove) countTraces() uint64 { return m.room.journal.Seq() + m.room.faults.Held() }
