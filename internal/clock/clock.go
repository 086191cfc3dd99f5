// Package clock provides the time of a room: real time, or a manual clock that moves
// only when told. Token expiry, heartbeats, batching and the end of a subscription all
// run on it, so a test can let ten minutes pass at once.
package clock

import "time"

// Clock returns the time and calls back.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once d has passed, on a goroutine of the clock's choice.
	// f must not block.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of AfterFunc.
type Timer interface {
	// Stop prevents the call; it reports whether it was still pending.
	Stop() bool
	// Reset makes the call due d from now, whether or not it was pending.
	Reset(d time.Duration) bool
}
