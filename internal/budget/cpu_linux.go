package budget

import (
	"syscall"
	"time"
)

// rusageThread asks for what the calling thread has used; package syscall has no name
// for it.
const rusageThread = 1

// threadTime returns the processor time that the calling thread has used.
func threadTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(rusageThread, &used) != nil {
		return time.Since(began)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
