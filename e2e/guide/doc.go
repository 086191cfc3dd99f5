// Package guide has the examples in Go of docs/testing.md, which are guide_test.go, and the
// client that they test. A test of e2e compares the two.
package guide
