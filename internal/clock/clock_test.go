package clock_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// call is a callback that ran, and the time it saw.
type call struct {
	name string
	at   time.Duration // since start
}

// diary records the calls of a clock.
type diary struct {
	clock *clock.Adjustable
	calls []call
}

func newDiary() *diary { return &diary{clock: clock.NewManual(start)} }

func (d *diary) note(name string) {
	d.calls = append(d.calls, call{name, d.clock.Now().Sub(start)})
}

func (d *diary) after(delay time.Duration, name string) clock.Timer {
	return d.clock.AfterFunc(delay, func() { d.note(name) })
}

func (d *diary) want(t *testing.T, calls ...call) {
	t.Helper()
	if !slices.Equal(d.calls, calls) {
		t.Errorf("calls: got %v, want %v", d.calls, calls)
	}
}

func TestManual_StandsStillUntilMoved(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(0, "due at once")
	if now := d.clock.Now(); !now.Equal(start) {
		t.Errorf("now: got %s, want %s", now, start)
	}
	d.want(t)
	d.clock.Advance(0)
	d.want(t, call{"due at once", 0})
}

func TestManual_RunsEachCallAtItsTimeInOrder(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(3*time.Second, "c")
	d.after(time.Second, "a")
	d.after(2*time.Second, "b1")
	d.after(2*time.Second, "b2")
	d.after(5*time.Second, "later")

	d.clock.Advance(4 * time.Second)
	d.want(t, call{"a", time.Second}, call{"b1", 2 * time.Second}, call{"b2", 2 * time.Second}, call{"c", 3 * time.Second})
	if got := d.clock.Now().Sub(start); got != 4*time.Second {
		t.Errorf("now: got start+%s, want start+4s", got)
	}
	if got := d.clock.Pending(); got != 1 {
		t.Errorf("pending: got %d, want 1", got)
	}
	d.clock.Advance(time.Second)
	if got := len(d.calls); got != 5 {
		t.Errorf("a call due exactly at the end of a move must run: got %d calls, want 5", got)
	}
}

func TestManual_CallsMayScheduleMore(t *testing.T) {
	t.Parallel()
	d := newDiary()
	var tick func()
	tick = func() {
		d.note("tick")
		d.clock.AfterFunc(10*time.Second, tick)
	}
	d.clock.AfterFunc(10*time.Second, tick)
	d.clock.Advance(35 * time.Second)
	d.want(t, call{"tick", 10 * time.Second}, call{"tick", 20 * time.Second}, call{"tick", 30 * time.Second})
}

func TestManual_CallsMayStopAndResetOthers(t *testing.T) {
	t.Parallel()
	d := newDiary()
	var stopped, moved clock.Timer
	d.clock.AfterFunc(time.Second, func() {
		d.note("first")
		if !stopped.Stop() {
			t.Error("Stop of a pending call: got false")
		}
		if stopped.Stop() {
			t.Error("Stop of a stopped call: got true")
		}
		if !moved.Reset(3 * time.Second) {
			t.Error("Reset of a pending call: got false")
		}
	})
	stopped = d.after(time.Second, "stopped")
	moved = d.after(2*time.Second, "moved")
	d.clock.Advance(10 * time.Second)
	d.want(t, call{"first", time.Second}, call{"moved", 4 * time.Second})
	if moved.Reset(time.Second) {
		t.Error("Reset of a call that ran: got true")
	}
	d.clock.Advance(time.Second)
	d.want(t, call{"first", time.Second}, call{"moved", 4 * time.Second}, call{"moved", 11 * time.Second})
}

func TestManual_ATimerMayResetItself(t *testing.T) {
	t.Parallel()
	d := newDiary()
	var self clock.Timer
	self = d.clock.AfterFunc(time.Second, func() {
		d.note("self")
		self.Reset(time.Second)
	})
	d.clock.Advance(2 * time.Second)
	d.want(t, call{"self", time.Second}, call{"self", 2 * time.Second})
}

func TestManual_AdvanceNeverGoesBack(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(time.Hour, "hour")
	d.clock.Advance(2 * time.Hour)
	d.clock.Advance(-time.Hour)
	if now := d.clock.Now(); !now.Equal(start.Add(2 * time.Hour)) {
		t.Errorf("now after a negative Advance: got %s, want two hours after the start", now)
	}
	d.want(t, call{"hour", time.Hour})
}

func TestManual_NegativeDelayDoesNotOvertake(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(0, "first")
	d.after(-time.Hour, "second")
	d.clock.Advance(time.Nanosecond)
	d.want(t, call{"first", 0}, call{"second", 0})
}

func TestManual_ConcurrentMovesAddUp(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(start)
	ran := 0 // calls run one at a time, so no lock; -race proves it
	for i := range 100 {
		c.AfterFunc(time.Duration(i)*time.Second, func() { ran++ })
	}
	var movers sync.WaitGroup
	for range 10 {
		movers.Go(func() {
			for range 10 {
				c.Advance(time.Second)
			}
		})
	}
	movers.Wait()
	if got := c.Now().Sub(start); got != 100*time.Second {
		t.Errorf("now: got start+%s, want start+100s", got)
	}
	if ran != 100 {
		t.Errorf("calls: got %d, want 100", ran)
	}
}

func TestManual_APanickingCallLeavesTheClockUsable(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.clock.AfterFunc(time.Second, func() { panic("boom") })
	d.after(2*time.Second, "next")
	func() {
		defer func() { _ = recover() }()
		d.clock.Advance(time.Hour)
	}()
	d.clock.Advance(time.Hour)
	d.want(t, call{"next", 2 * time.Second})
}

// Whatever is scheduled, stopped and moved: calls run at their time and in order, and
// each call that became due and was not stopped ran exactly once.
func TestManual_AnySequenceRunsInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type timer struct {
			timer clock.Timer
			due   time.Duration
			ran   int
			live  bool
		}
		c := clock.NewManual(start)
		var all []*timer
		last := time.Duration(0)
		schedule := func(delay time.Duration) {
			tm := &timer{due: c.Now().Sub(start) + max(delay, 0), live: true}
			tm.timer = c.AfterFunc(delay, func() {
				now := c.Now().Sub(start)
				if now != tm.due || now < last || !tm.live {
					t.Fatalf("a call due at %s ran at %s after one at %s (live %v)", tm.due, now, last, tm.live)
				}
				last, tm.live = now, false
				tm.ran++
			})
			all = append(all, tm)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"schedule", "stop", "reset", "advance"}).Draw(t, "step") {
			case "schedule":
				schedule(time.Duration(rapid.IntRange(-5, 50).Draw(t, "delay")))
			case "stop":
				if len(all) > 0 {
					tm := rapid.SampledFrom(all).Draw(t, "timer")
					if got := tm.timer.Stop(); got != tm.live {
						t.Fatalf("Stop: got %v, want %v", got, tm.live)
					}
					tm.live = false
				}
			case "reset":
				if len(all) > 0 {
					tm := rapid.SampledFrom(all).Draw(t, "timer")
					delay := time.Duration(rapid.IntRange(0, 50).Draw(t, "delay"))
					if got := tm.timer.Reset(delay); got != tm.live {
						t.Fatalf("Reset: got %v, want %v", got, tm.live)
					}
					tm.due, tm.live = c.Now().Sub(start)+delay, true
				}
			case "advance":
				c.Advance(time.Duration(rapid.IntRange(0, 40).Draw(t, "by")))
			}
			live := 0
			for _, tm := range all {
				if tm.live {
					live++
				}
			}
			if got := c.Pending(); got != live {
				t.Fatalf("pending: got %d, want %d", got, live)
			}
		}
		c.Advance(time.Hour)
		if got := c.Pending(); got != 0 {
			t.Fatalf("pending after an hour: got %d, want 0", got)
		}
	})
}

func TestReal_CallsBackAndStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		begin := c.Now()
		ran := make(chan time.Duration)
		timer := c.AfterFunc(time.Minute, func() { ran <- c.Now().Sub(begin) })
		stopped := c.AfterFunc(time.Second, func() { t.Error("a stopped call ran") })
		if !stopped.Stop() {
			t.Error("Stop of a pending call: got false")
		}
		if got := <-ran; got != time.Minute {
			t.Errorf("called after %s, want 1m0s", got)
		}
		if timer.Stop() {
			t.Error("Stop of a call that ran: got true")
		}
	})
}
