package clock_test

import (
	"testing"
	"time"

	"signalfhir/internal/clock"
)

// How timers of a real clock compare with those of package time.
func BenchmarkTimer(b *testing.B) {
	type timer interface {
		Stop() bool
		Reset(time.Duration) bool
	}
	real := clock.Real()
	f := func() {}
	for name, after := range map[string]func(time.Duration) timer{
		"time":  func(d time.Duration) timer { return time.AfterFunc(d, f) },
		"clock": func(d time.Duration) timer { return real.AfterFunc(d, f) },
	} {
		b.Run("start and stop/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				after(time.Hour).Stop()
			}
		})
		b.Run("reset/"+name, func(b *testing.B) {
			b.ReportAllocs()
			t := after(time.Hour)
			for b.Loop() {
				t.Reset(time.Hour)
			}
			t.Stop()
		})
		b.Run("burst of 100000/"+name, func(b *testing.B) {
			b.ReportAllocs()
			timers := make([]timer, 100_000)
			for b.Loop() {
				for i := range timers {
					timers[i] = after(time.Hour + time.Duration(i*7919%100_000)*time.Millisecond)
				}
				for _, t := range timers {
					t.Stop()
				}
			}
		})
	}
	b.Run("now/time", func(b *testing.B) {
		for b.Loop() {
			time.Now()
		}
	})
	b.Run("now/clock", func(b *testing.B) {
		for b.Loop() {
			real.Now()
		}
	})
}

// A move of a manual clock with many timers.
func BenchmarkAdvance(b *testing.B) {
	c := clock.NewManual(start)
	for i := range 100_000 {
		var t clock.Timer
		every := time.Minute + time.Duration(i)*time.Millisecond
		t = c.AfterFunc(every, func() { t.Reset(every) })
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Advance(time.Millisecond)
	}
}
