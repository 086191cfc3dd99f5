package testkit_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// spy is a test that records its failure instead of failing.
type spy struct {
	testing.TB
	failed   bool
	fatal    string
	logged   strings.Builder
	cleanups []func()
}

func (s *spy) Helper()          {}
func (s *spy) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *spy) Failed() bool     { return s.failed }
func (s *spy) Logf(format string, args ...any) {
	fmt.Fprintf(&s.logged, format+"\n", args...)
}

func (s *spy) Errorf(format string, args ...any) {
	s.failed = true
	s.Logf(format, args...)
}

func (s *spy) Fatalf(format string, args ...any) {
	s.failed = true
	s.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// spyOn runs a test to its end, including its cleanups.
func spyOn(t *testing.T, test func(t testing.TB)) *spy {
	t.Helper()
	s := &spy{TB: t}
	run := func(f func()) {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		<-done
	}
	run(func() { test(s) })
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		run(s.cleanups[i])
	}
	return s
}
