//go:build !race

package testkit

// raceDetector tells whether the test runs with the race detector; then the
// server does too.
const raceDetector = false
