// Package bench measures the real program from outside, each figure beside a
// baseline of the same run. docs/performance.md says how to read it.
package bench
