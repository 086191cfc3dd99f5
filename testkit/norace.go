//go:build !race

package testkit

// raceDetector reports whether the test runs with the race detector; then the
// server does too.
const raceDetector = false
