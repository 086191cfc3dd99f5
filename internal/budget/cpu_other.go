//go:build !linux

package budget

import "time"

// threadTime returns the time that has passed: the package does not know how this system
// tells the processor time of a thread.
func threadTime() time.Duration { return time.Since(began) }
