package clock_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
)

func (d *diary) at(when time.Time, name string) clock.Timer {
	return d.clock.At(when, func() { d.note(name) })
}

// A jump forward runs calls of At in order, when the clock shows its new time. A call of
// AfterFunc keeps what is left of it.
func TestSet_Forward(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(time.Hour, "hour")
	d.at(start.Add(3*time.Hour), "three")
	d.at(start.Add(2*time.Hour), "two")
	d.at(start.Add(5*time.Hour), "five")
	d.clock.Advance(20 * time.Minute)
	d.clock.Set(nil, start.Add(4*time.Hour))
	d.want(t, call{"two", 4 * time.Hour}, call{"three", 4 * time.Hour})
	d.clock.Advance(40*time.Minute - 1)
	d.want(t, call{"two", 4 * time.Hour}, call{"three", 4 * time.Hour})
	d.clock.Advance(time.Hour)
	d.want(t, call{"two", 4 * time.Hour}, call{"three", 4 * time.Hour}, call{"hour", 4*time.Hour + 40*time.Minute}, call{"five", 5 * time.Hour})
}

func TestSet_Back(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(time.Hour, "hour")
	d.at(start.Add(time.Hour), "one")
	d.clock.Advance(30 * time.Minute)
	passed := d.clock.Elapsed()
	d.clock.Set(nil, start.Add(-24*time.Hour))
	if got := d.clock.Elapsed(); got != passed {
		t.Errorf("elapsed: got %s after a jump, want %s as before", got, passed)
	}
	d.clock.Advance(30 * time.Minute)
	d.want(t, call{"hour", -24*time.Hour + 30*time.Minute})
	d.clock.Advance(24*time.Hour + 30*time.Minute)
	d.want(t, call{"hour", -24*time.Hour + 30*time.Minute}, call{"one", time.Hour})
}

// What a jump runs may schedule more, which runs if it is due.
func TestSet_CallsMayScheduleMore(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.clock.At(start.Add(time.Hour), func() {
		d.note("first")
		d.at(start.Add(2*time.Hour), "due too")
		d.after(0, "at once")
		d.at(start.Add(4*time.Hour), "later")
		d.after(1, "soon")
	})
	d.clock.Set(nil, start.Add(3*time.Hour))
	d.want(t, call{"first", 3 * time.Hour}, call{"due too", 3 * time.Hour}, call{"at once", 3 * time.Hour})
}

func TestAt_CanBeStoppedAndBecomeADuration(t *testing.T) {
	t.Parallel()
	d := newDiary()
	stopped := d.at(start.Add(time.Hour), "stopped")
	moved := d.at(start.Add(time.Hour), "moved")
	if !stopped.Stop() || stopped.Stop() {
		t.Error("Stop: want true, and then false")
	}
	if !moved.Reset(2 * time.Hour) {
		t.Error("Reset of a pending call: got false")
	}
	d.clock.Set(nil, start.Add(100*time.Hour)) // nothing depends on the time of day any more
	d.want(t)
	d.clock.Advance(2 * time.Hour)
	d.want(t, call{"moved", 102 * time.Hour})
}

// What is due at the same time runs in the order in which it was scheduled, of both kinds.
func TestManual_TiesRunInOrder(t *testing.T) {
	t.Parallel()
	d := newDiary()
	d.after(time.Second, "a")
	d.at(start.Add(time.Second), "b")
	d.after(time.Second, "c")
	d.at(start.Add(time.Second), "d")
	d.clock.Advance(time.Second)
	d.want(t, call{"a", time.Second}, call{"b", time.Second}, call{"c", time.Second}, call{"d", time.Second})
}

// Times far away, and durations of centuries, neither overflow nor come early.
func TestManual_Forever(t *testing.T) {
	t.Parallel()
	const forever = time.Duration(1<<63 - 1)
	d := newDiary()
	d.at(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "9999")
	d.at(time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), "9000")
	d.clock.Advance(time.Hour)
	d.after(forever, "forever")
	due := d.clock.Due()
	if len(due) != 3 || due[1].At.Year() != 9000 || due[2].At.Year() != 9999 {
		t.Errorf("due: got %v, want the years 2318, 9000 and 9999", due)
	}
	d.after(time.Minute, "minute")
	d.clock.Advance(200 * 365 * 24 * time.Hour)
	d.want(t, call{"minute", time.Hour + time.Minute})
	d.clock.Set(nil, time.Date(9500, 1, 1, 0, 0, 0, 0, time.UTC))
	if len(d.calls) != 2 || d.calls[1].name != "9000" {
		t.Errorf("got %v, want the call of the year 9000 too", d.calls)
	}
}

// few lets so many calls run.
type few struct {
	left int
	ran  []clock.Call
}

func (f *few) Next() bool       { f.left--; return f.left >= 0 }
func (f *few) Ran(c clock.Call) { f.ran = append(f.ran, c) }
func (f *few) want(t *testing.T, want ...clock.Call) {
	t.Helper()
	if !slices.Equal(f.ran, want) {
		t.Errorf("the follower saw %v, want %v", f.ran, want)
	}
}

func TestFollower_StopsAMove(t *testing.T) {
	t.Parallel()
	d := newDiary()
	a, b := clock.What{Kind: clock.Heartbeat, Of: "a"}, clock.What{Kind: clock.End, Of: "b"}
	d.clock.AfterFunc(time.Second, func() { d.note("a") }, a)
	d.clock.At(start.Add(2*time.Second), func() { d.note("b") }, b)
	f := &few{left: 1}
	if d.clock.AdvanceWith(f, time.Minute) {
		t.Error("got true from a move that was stopped")
	}
	f.want(t, clock.Call{At: start.Add(time.Second), What: a})
	// The clock shows when the next call is due, and has not run it.
	d.want(t, call{"a", time.Second})
	if got := d.clock.Now().Sub(start); got != 2*time.Second {
		t.Errorf("now: got start+%s, want start+2s", got)
	}
	f = &few{left: 1}
	if !d.clock.AdvanceWith(f, time.Minute) {
		t.Error("got false from a move that ran all there was")
	}
	f.want(t, clock.Call{At: start.Add(2 * time.Second), What: b})
	d.at(start, "late")
	if f = (&few{}); d.clock.Set(f, start) || !d.clock.Now().Equal(start) {
		t.Errorf("a jump that was stopped: now is %s, want %s and false", d.clock.Now(), start)
	}
	if got := d.clock.Pending(); got != 1 {
		t.Errorf("pending: got %d, want the call that is still due", got)
	}
}

// What the follower does between two calls may stop the second one.
func TestFollower_MayStopWhatIsDue(t *testing.T) {
	t.Parallel()
	d := newDiary()
	timer := d.after(time.Second, "stopped")
	d.after(2*time.Second, "other")
	asked := 0
	if !d.clock.AdvanceWith(follower(func() bool {
		if asked++; asked == 1 {
			timer.Stop()
		}
		return true
	}), 3*time.Second) {
		t.Error("got false, want true")
	}
	d.want(t, call{"other", 2 * time.Second})
}

type follower func() bool

func (f follower) Next() bool     { return f() }
func (f follower) Ran(clock.Call) {}

func TestDue_IsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		begin := c.Now()
		c.AfterFunc(3*time.Second, func() {}, clock.What{Kind: clock.Batch, Of: "c"})
		c.At(begin.Add(2*time.Second), func() {}, clock.What{Kind: clock.Token, Of: "b"})
		c.AfterFunc(time.Second, func() {}).Stop()
		c.AfterFunc(2*time.Second, func() {})
		want := fmt.Sprint([]clock.Call{
			{At: begin.Add(2 * time.Second), What: clock.What{Kind: clock.Token, Of: "b"}},
			{At: begin.Add(2 * time.Second)},
			{At: begin.Add(3 * time.Second), What: clock.What{Kind: clock.Batch, Of: "c"}},
		})
		if got := c.Due(); fmt.Sprint(got) != want || c.Pending() != 3 {
			t.Errorf("real: got %v, want %s", got, want)
		}
		c.Set(nil, time.Time{})
		got := c.Due()
		for i := range got {
			got[i].At = got[i].At.Local()
		}
		if len(got) != 3 || got[0].Of != "b" || got[1].Of != "" || got[2].Of != "c" || !got[2].At.Equal(begin.Add(3*time.Second)) || c.Pending() != 3 {
			t.Errorf("manual: got %v, want %s", got, want)
		}
		c.Advance(time.Hour)
	})
}

// A clock that becomes manual waits for a call under way, and takes over the others: none
// runs by itself any more.
func TestSet_WaitsForCallsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		begun, proceed := make(chan bool), make(chan bool)
		done := false
		c.AfterFunc(time.Second, func() {
			begun <- true
			<-proceed
			done = true
		})
		var ran atomic.Bool
		c.AfterFunc(2*time.Second, func() { ran.Store(true) })
		<-begun
		held := make(chan bool)
		go func() {
			c.Set(nil, time.Time{})
			close(held)
		}()
		synctest.Wait()
		select {
		case <-held:
			t.Error("the clock did not wait for the call under way")
		default:
		}
		proceed <- true
		<-held
		time.Sleep(time.Hour)
		if !done || ran.Load() || c.Pending() != 1 {
			t.Errorf("done %v, ran %v, %d pending; want the first call done and the second one pending", done, ran.Load(), c.Pending())
		}
		c.SetReal(nil)
		if got := c.Elapsed(); got != time.Second {
			t.Errorf("elapsed: got %s, want 1s: the hour did not pass on the clock", got)
		}
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if ran.Load() {
			t.Error("the second call came early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !ran.Load() {
			t.Error("the second call did not come when the clock was real again")
		}
	})
}

func TestSetReal_RunsWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewManual(time.Now().Add(-time.Hour))
		var ran atomic.Pointer[string]
		ran.Store(new(string))
		add := func(name string) func() {
			return func() {
				all := *ran.Load() + name
				ran.Store(&all)
			}
		}
		c.At(time.Now().Add(-time.Minute), add("b"))
		c.At(time.Now().Add(-2*time.Minute), add("a"))
		c.At(time.Now().Add(time.Minute), add("c"))
		c.SetReal(nil)
		if got := *ran.Load(); c.IsManual() || got != "ab" {
			t.Errorf("manual %v, ran %s; want a real clock and ab", c.IsManual(), got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := *ran.Load(); got != "abc" {
			t.Errorf("ran %s, want abc", got)
		}
		if c.AdvanceWith(nil, time.Hour) {
			t.Error("a real clock was advanced")
		}
	})
}

// A timer that is scheduled again while it fires does not come early.
func TestReal_ResetWhileItFires(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	for i := range 20_000 {
		var ran atomic.Bool
		timer := c.AfterFunc(time.Duration(i%20)*time.Microsecond, func() { ran.Store(true) })
		for range i % 5 {
			runtime.Gosched()
		}
		if !timer.Reset(time.Hour) {
			timer.Stop()
			continue // it has run
		}
		runtime.Gosched()
		if !timer.Stop() || ran.Load() {
			t.Fatal("a call that is due in an hour has run")
		}
	}
}

// Everybody uses the clock at once; -race and the count of calls prove that nothing is lost.
func TestAdjustable_Concurrently(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	var mu sync.Mutex
	ran := map[int]int{}
	var users sync.WaitGroup
	const each = 300
	for u := range 4 {
		users.Go(func() {
			for i := range each {
				f := func() {
					mu.Lock()
					defer mu.Unlock()
					ran[u*each+i]++
				}
				if i%2 == 0 {
					c.AfterFunc(time.Duration(i%7)*time.Microsecond, f)
				} else {
					c.At(c.Now().Add(time.Duration(i%7)*time.Microsecond), f)
				}
				_, _ = c.Now(), c.Elapsed()
				stopped := c.AfterFunc(time.Hour, f)
				stopped.Reset(2 * time.Hour)
				if !stopped.Stop() {
					t.Error("a call of the next hour has run")
				}
				if i%50 == 0 {
					c.Due()
				}
			}
		})
	}
	for range 2 {
		users.Go(func() {
			for range 50 {
				c.Set(nil, time.Time{})
				c.Advance(time.Microsecond)
				c.SetReal(nil)
			}
		})
	}
	users.Wait()
	c.Set(nil, time.Time{})
	c.Set(nil, c.Now().Add(time.Minute))
	c.Advance(time.Minute)
	mu.Lock()
	defer mu.Unlock()
	for i := range 4 * each {
		if ran[i] != 1 {
			t.Fatalf("call %d ran %d times, want once", i, ran[i])
		}
	}
	if got := c.Pending(); got != 0 {
		t.Errorf("pending: got %d, want none", got)
	}
}

// Whatever is scheduled, stopped and moved, on a clock that is real or manual: a call of
// AfterFunc runs once, when its duration has elapsed; a call of At runs once, at its time,
// or when the clock jumps over it.
func TestAdjustable_AnySequence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A *testing.T has a deadline of real time.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			type timer struct {
				timer clock.Timer
				daily bool
				due   time.Duration
				when  time.Time
				live  bool
			}
			c := clock.Real()
			var mu sync.Mutex // guards all below
			var all []*timer
			var wrong []string
			from := c.Now() // what the clock showed when it began to move
			jumping := false
			run := func(tm *timer) {
				mu.Lock()
				defer mu.Unlock()
				now, elapsed := c.Now(), c.Elapsed()
				want := tm.when
				if want.Before(from) {
					want = from
				}
				switch {
				case !tm.live:
					wrong = append(wrong, "a call ran that was stopped, or has run")
				case !tm.daily && elapsed != tm.due:
					wrong = append(wrong, fmt.Sprintf("a call due after %s ran after %s", tm.due, elapsed))
				case tm.daily && (now.Before(tm.when) || !jumping && !now.Equal(want)):
					wrong = append(wrong, fmt.Sprintf("a call due at %s ran at %s", tm.when, now))
				}
				tm.live = false
			}
			span := func(name string) time.Duration {
				return time.Duration(rapid.IntRange(-5, 50).Draw(t, name)) * time.Millisecond
			}
			pick := func() *timer {
				if len(all) == 0 {
					return nil
				}
				return rapid.SampledFrom(all).Draw(t, "timer")
			}
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				mu.Lock()
				from, jumping = c.Now(), false
				mu.Unlock()
				moves := true
				switch rapid.SampledFrom([]string{"after", "at", "stop", "reset", "pass", "pass", "set", "stand", "real"}).Draw(t, "step") {
				case "after":
					moves = false
					d := span("after")
					tm := &timer{due: c.Elapsed() + max(d, 0), live: true}
					mu.Lock()
					tm.timer = c.AfterFunc(d, func() { run(tm) })
					all = append(all, tm)
					mu.Unlock()
				case "at":
					moves = false
					tm := &timer{daily: true, when: c.Now().Add(span("at")), live: true}
					mu.Lock()
					tm.timer = c.At(tm.when, func() { run(tm) })
					all = append(all, tm)
					mu.Unlock()
				case "stop":
					moves = false
					if tm := pick(); tm != nil {
						if got := tm.timer.Stop(); got != tm.live {
							t.Fatalf("Stop: got %v, want %v", got, tm.live)
						}
						tm.live = false
					}
				case "reset":
					moves = false
					if tm := pick(); tm != nil {
						d := span("reset")
						mu.Lock()
						live := tm.live
						tm.daily, tm.due, tm.live = false, c.Elapsed()+max(d, 0), true
						if got := tm.timer.Reset(d); got != live {
							t.Fatalf("Reset: got %v, want %v", got, live)
						}
						mu.Unlock()
					}
				case "pass":
					before, elapsed := c.Now(), c.Elapsed()
					d := max(span("pass"), 0)
					if c.IsManual() {
						c.Advance(d)
					} else {
						time.Sleep(d)
					}
					if now := c.Now(); !now.Equal(before.Add(d)) || c.Elapsed() != elapsed+d {
						t.Fatalf("after %s: got %s and %s elapsed, want %s and %s", d, now, c.Elapsed(), before.Add(d), elapsed+d)
					}
				case "set":
					jumping = true
					to := c.Now().Add(10 * span("jump"))
					c.Set(nil, to)
					if now := c.Now(); !now.Equal(to) || !c.IsManual() {
						t.Fatalf("got %s, want the clock to show %s", now, to)
					}
				case "stand":
					c.Set(nil, time.Time{})
					if now := c.Now(); !now.Equal(from) {
						t.Fatalf("got %s, want the clock to stand still at %s", now, from)
					}
				case "real":
					jumping = true
					c.SetReal(nil)
					if now := c.Now(); !now.Equal(time.Now()) {
						t.Fatalf("got %s, want the time of the machine", now)
					}
				}
				synctest.Wait()
				live := 0
				mu.Lock()
				for _, tm := range all {
					if !tm.live {
						continue
					}
					live++
					if overdue := !tm.daily && tm.due <= c.Elapsed() || tm.daily && !tm.when.After(c.Now()); overdue && (moves || !c.IsManual()) {
						t.Fatalf("a call has not run: daily %v, due %s of %s, or at %s of %s", tm.daily, tm.due, c.Elapsed(), tm.when, c.Now())
					}
				}
				if len(wrong) > 0 {
					t.Fatalf("%v", wrong)
				}
				mu.Unlock()
				if got := c.Pending(); got != live {
					t.Fatalf("pending: got %d, want %d", got, live)
				}
			}
			for _, tm := range all {
				tm.timer.Stop() // synctest waits for timers
			}
		})
	})
}
