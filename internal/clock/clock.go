// Package clock provides the time of a room. A room has a clock of its own, which shows
// real time or a time that moves only when it is told to. Token expiry, heartbeats,
// batching and the end of a subscription all run on it, so a test can let ten minutes pass
// at once.
//
// There are two kinds of calls. A call of AfterFunc depends on a duration, as heartbeats
// do; a call of At depends on the time of day, as the expiry of a token does. While time
// passes, there is no difference. When a clock is set to another time, a call of At comes
// if its time has come, and a call of AfterFunc keeps what is left of its duration.
package clock

import "time"

// Clock returns the time and calls back.
type Clock interface {
	Now() time.Time
	// Elapsed returns how much time has passed. Setting the clock does not change it, so
	// use it to compute what is due after a duration.
	Elapsed() time.Duration
	// Read returns what Now and Elapsed return, for the price of one.
	Read() (now time.Time, elapsed time.Duration)
	// AfterFunc calls f once d has passed, on a goroutine of the clock's choice.
	// f must not block.
	AfterFunc(d time.Duration, f func(), what ...What) Timer
	// At calls f once the clock shows t or later, as AfterFunc does.
	At(t time.Time, f func(), what ...What) Timer
	// Hold says that something goes on at this time. Whoever moves the clock, and asks
	// [Adjustable.Settle], waits until it is over.
	Hold() *Hold
}

// Timer is a pending call.
type Timer interface {
	// Stop prevents the call; it reports whether it was still pending.
	Stop() bool
	// Reset makes the call due d from now, whether or not it was pending, as AfterFunc
	// does.
	Reset(d time.Duration) bool
}

// What says what a call is for, for those who look at a clock.
type What struct {
	Kind string // one of those below; "" if nobody has said
	Of   string // what it concerns: see the kinds
}

// The kinds of calls.
const (
	Heartbeat  = "heartbeat"  // of a subscription
	Batch      = "batch"      // events of a subscription that wait for others
	Binding    = "binding"    // the end of a socket's binding to a subscription, when its token expires
	End        = "end"        // of a subscription
	Token      = "token"      // the expiry of a token: its fingerprint
	Generator  = "generator"  // the next write of a generator: its name
	Activation = "activation" // of a subscription that is requested for a time
	Fault      = "fault"      // what a fault does for a time, or delays, ends: the name of the fault
	Scenario   = "scenario"   // a step of a scenario that lets time pass: the name of the scenario
	Trigger    = "trigger"    // the next event of a subscription or, if it has a canonical URL, a topic
)

// Kinds lists every kind.
func Kinds() []string {
	return []string{Heartbeat, Batch, Binding, End, Token, Generator, Activation, Fault, Scenario, Trigger}
}

// Call is a call that is pending, or that has run.
type Call struct {
	At time.Time // when it is due, or what the clock showed when it ran
	What
}

// Follower follows a move of a clock. Its methods are called on the goroutine that moves
// the clock, without a lock.
type Follower interface {
	// Next is asked before each call. If it returns false, the move stops there, and the
	// call stays due.
	Next() bool
	// Ran is told of each call that has run.
	Ran(Call)
}
