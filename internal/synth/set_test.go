package synth_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC)

// recorder records writes with their times.
type recorder struct {
	clock  clock.Clock
	refuse func(n int) error // nil: nothing; n counts from 1
	busy   func()            // called for each write, without a lock

	mu     sync.Mutex // guards writes and times
	writes []string
	times  []time.Duration // since noon
}

func (r *recorder) Apply(w synth.Write) error {
	if r.busy != nil {
		r.busy()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = append(r.writes, fmt.Sprintf("%s %s/%s %s %s", w.Method, w.Type, w.ID, w.Note, w.Object.AppendJSON(nil)))
	r.times = append(r.times, r.clock.Now().Sub(noon))
	if r.refuse != nil {
		return r.refuse(len(r.writes))
	}
	return nil
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.writes)
}

// world is a set on a manual clock.
func world(t *testing.T) (*clock.Adjustable, *recorder, *synth.Set) {
	t.Helper()
	c := clock.NewManual(noon)
	w := &recorder{clock: c}
	s := synth.NewSet(c, w)
	t.Cleanup(s.Close)
	return c, w, s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRefusal(t *testing.T, err error, status int, text string) {
	t.Helper()
	if err == nil || fhir.AsError(err).Status != status || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %d and %q", err, status, text)
	}
}

func wantWrites(t *testing.T, w *recorder, n int) {
	t.Helper()
	if got := len(w.all()); got != n {
		t.Errorf("%d writes, want %d", got, n)
	}
}

func ward(rate string, running bool) synth.Spec {
	return synth.Spec{Name: "ward", Scenario: "admission-to-discharge", Rate: rate, Patients: 4, Seed: 7, Running: running}
}

func TestGenerator_WritesAtItsRate(t *testing.T) {
	t.Parallel()
	for rate, want := range map[string]int{"10/min": 10, "2/s": 120, "30/h": 0, "1000/s": 60_000, "0.5/s": 30, "": 10, "500ms": 120, "7/s": 420} {
		t.Run(rate, func(t *testing.T) {
			t.Parallel()
			c, w, s := world(t)
			must(t, s.Add(ward(rate, true)))
			c.Advance(time.Minute)
			wantWrites(t, w, want)
		})
	}
}

func TestGenerator_SpreadsWritesEvenly(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	must(t, s.Add(ward("20/min", true)))
	c.Advance(10 * time.Second)
	if want := []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second}; !slices.Equal(w.times, want) {
		t.Errorf("writes at %v, want %v", w.times, want)
	}
}

func TestGenerator_RepeatsToTheByte(t *testing.T) {
	t.Parallel()
	tell := func(advance ...time.Duration) string {
		c, w, s := world(t)
		must(t, s.Add(ward("2/s", true)))
		must(t, s.Add(synth.Spec{Name: "lab", Scenario: "lab-results", Rate: "3/s", Seed: 1, Running: true}))
		for _, d := range advance {
			c.Advance(d)
		}
		return strings.Join(w.all(), "\n")
	}
	if at, bits := tell(time.Minute), tell(20*time.Second, time.Millisecond, 39999*time.Millisecond); at != bits {
		t.Error("how the clock was moved changed the sequence")
	}
}

func TestGenerator_StopsAndContinuesWhereItStopped(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	must(t, s.Add(ward("1/s", false)))
	c.Advance(time.Minute)
	wantWrites(t, w, 0)
	must(t, s.Start("ward"))
	must(t, s.Start("ward")) // does not start a second chain of timers
	c.Advance(5 * time.Second)
	wantWrites(t, w, 5)
	must(t, s.Stop("ward"))
	must(t, s.Stop("ward"))
	c.Advance(time.Hour)
	wantWrites(t, w, 5)
	if pending := c.Pending(); pending != 0 {
		t.Errorf("%d timers left by a stopped generator", pending)
	}
	must(t, s.Start("ward"))
	c.Advance(time.Second)
	wantWrites(t, w, 6)
	if got := w.all(); got[5] == got[0] {
		t.Error("the story started again")
	}
}

func TestGenerator_ChangesItsRate(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	must(t, s.Add(ward("1/h", true)))
	c.Advance(59 * time.Minute)
	must(t, s.SetRate("ward", "10/s"))
	c.Advance(time.Second)
	wantWrites(t, w, 10)
	if got := s.List()[0].Rate; got != "10/s" {
		t.Errorf("the rate is reported as %s", got)
	}
	wantRefusal(t, s.SetRate("ward", "1001/s"), http.StatusBadRequest, "at most 1000/s")
	c.Advance(time.Second)
	wantWrites(t, w, 20)
}

// The rate may change during a long write.
func TestGenerator_ChangesItsRateDuringAWrite(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	w.busy = sync.OnceFunc(func() { must(t, s.SetRate("ward", "1/min")) })
	must(t, s.Add(ward("1/s", true)))
	c.Advance(61 * time.Second)
	if want := []time.Duration{time.Second, 61 * time.Second}; !slices.Equal(w.times, want) {
		t.Errorf("writes at %v, want %v", w.times, want)
	}
}

func TestSet_StepsAtOnce(t *testing.T) {
	t.Parallel()
	_, w, s := world(t)
	must(t, s.Add(ward("1/h", false)))
	must(t, s.Step("ward", 25))
	wantWrites(t, w, 25)
	wantRefusal(t, s.Step("ward", 0), http.StatusBadRequest, "1 to 10000")
	wantRefusal(t, s.Step("ward", 10_001), http.StatusBadRequest, "1 to 10000")
	wantRefusal(t, s.Step("war", 1), http.StatusNotFound, "the generators are ward")
}

func TestSet_ReportsRefusals(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	w.refuse = func(n int) error {
		if n == 3 || n == 6 {
			return fhir.Refuse(http.StatusTooManyRequests, "too-costly", "the store is full")
		}
		return nil
	}
	must(t, s.Add(ward("1/s", true)))
	c.Advance(4 * time.Second) // a refusal does not stop it
	wantRefusal(t, s.Step("ward", 5), http.StatusTooManyRequests, "write 2 of 5 was refused: the store is full")
	state := s.List()[0]
	if state.Written != 6 || state.Refused != 2 || !strings.Contains(state.LastError, "the store is full") || !strings.HasPrefix(state.LastError, "PUT ") {
		t.Errorf("got %+v", state)
	}
	if state.Last == nil || !state.Last.At.Equal(noon.Add(4*time.Second)) || state.Last.Reference == "" {
		t.Errorf("the last write is reported as %+v", state.Last)
	}
}

func TestSet_ListsInOrder(t *testing.T) {
	t.Parallel()
	_, _, s := world(t)
	if got := s.List(); got == nil || len(got) != 0 {
		t.Errorf("an empty set lists %v", got)
	}
	for _, name := range []string{"b", "a", "c"} {
		must(t, s.Add(synth.Spec{Name: name, Scenario: "tasks", Running: name == "a"}))
	}
	must(t, s.Remove("b"))
	var got []string
	for _, state := range s.List() {
		got = append(got, fmt.Sprint(state.Name, state.Running, state.Rate, state.Patients))
	}
	if want := []string{"atrue10/min8", "cfalse10/min8"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSet_RefusesBadSpecs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*synth.Spec)
		member string
		text   string
	}{
		{"no name", func(s *synth.Spec) { s.Name = "" }, "name", "1 to 40 letters"},
		{"name of a path", func(s *synth.Spec) { s.Name = "a/b" }, "name", `"a/b"`},
		{"long name", func(s *synth.Spec) { s.Name = strings.Repeat("a", 41) }, "name", "1 to 40"},
		{"scenario", func(s *synth.Spec) { s.Scenario = "birth" }, "scenario", "admission-to-discharge, lab-results, tasks"},
		{"patients", func(s *synth.Spec) { s.Patients = 1001 }, "patients", "1 to 1000"},
		{"negative patients", func(s *synth.Spec) { s.Patients = -1 }, "patients", "got -1"},
		{"words", func(s *synth.Spec) { s.Rate = "fast" }, "rate", `"10/min"`},
		{"unit", func(s *synth.Spec) { s.Rate = "1/day" }, "rate", `"30/h"`},
		{"zero", func(s *synth.Spec) { s.Rate = "0/s" }, "rate", "writes per unit of time"},
		{"negative", func(s *synth.Spec) { s.Rate = "-5/s" }, "rate", "writes per unit of time"},
		{"not a number", func(s *synth.Spec) { s.Rate = "NaN/s" }, "rate", "writes per unit of time"},
		{"as Go writes it", func(s *synth.Spec) { s.Rate = "1_0/s" }, "rate", "writes per unit of time"},
		{"hexadecimal", func(s *synth.Spec) { s.Rate = "0x1p4/s" }, "rate", "writes per unit of time"},
		{"too fast", func(s *synth.Spec) { s.Rate = "1001/s" }, "rate", "at most 1000/s"},
		{"infinite", func(s *synth.Spec) { s.Rate = "Inf/s" }, "rate", "at most 1000/s"},
		{"too slow", func(s *synth.Spec) { s.Rate = "0.9/h" }, "rate", "at least 1/h"},
		{"nearly never", func(s *synth.Spec) { s.Rate = "1e-300/s" }, "rate", "at least 1/h"},
		{"too long", func(s *synth.Spec) { s.Rate = "61m" }, "rate", "at least 1/h"},
		{"too short", func(s *synth.Spec) { s.Rate = "1us" }, "rate", "at most 1000/s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, s := world(t)
			spec := ward("1/s", true)
			must(t, spec.Check())
			tt.change(&spec)
			err := s.Add(spec)
			wantRefusal(t, err, http.StatusBadRequest, tt.text)
			if err != nil && (len(fhir.AsError(err).Issues) != 1 || !slices.Equal(fhir.AsError(err).Issues[0].Expression, []string{tt.member})) {
				t.Errorf("issues are %+v", fhir.AsError(err).Issues)
			}
			if len(s.List()) != 0 {
				t.Error("it was added nevertheless")
			}
		})
	}
}

func TestSet_AcceptsTheLimits(t *testing.T) {
	t.Parallel()
	c, _, s := world(t)
	for i, rate := range []string{"1/h", "60m", "1000/s", "1ms", "3600000/h"} {
		must(t, s.Add(synth.Spec{Name: fmt.Sprintf("%s%d", strings.Repeat("n", 39), i), Scenario: "admission-to-discharge", Rate: rate, Patients: 1000, Running: true}))
	}
	c.Advance(200 * time.Millisecond)
}

func TestSet_RefusesATakenNameAndTooMany(t *testing.T) {
	t.Parallel()
	_, _, s := world(t)
	must(t, s.Add(ward("1/s", false)))
	wantRefusal(t, s.Add(ward("2/s", false)), http.StatusConflict, `already a generator "ward"`)
	for i := range synth.MaxGenerators - 1 {
		must(t, s.Add(synth.Spec{Name: fmt.Sprint("g", i), Scenario: "tasks"}))
	}
	wantRefusal(t, s.Add(synth.Spec{Name: "more", Scenario: "tasks"}), http.StatusUnprocessableEntity, "limit")
}

func TestSet_RefusesTooManyPatients(t *testing.T) {
	t.Parallel()
	_, _, s := world(t)
	for i := range 10 {
		must(t, s.Add(synth.Spec{Name: fmt.Sprint("g", i), Scenario: "tasks", Patients: 1000}))
	}
	wantRefusal(t, s.Add(synth.Spec{Name: "more", Scenario: "tasks"}), http.StatusUnprocessableEntity, "10008 patients, at most 10000 in all")
	must(t, s.Remove("g1"))
	must(t, s.Add(synth.Spec{Name: "more", Scenario: "tasks"}))
}

func TestSet_RefusesUnknownNames(t *testing.T) {
	t.Parallel()
	_, _, s := world(t)
	for _, err := range []error{s.Start("x"), s.Stop("x"), s.Remove("x"), s.SetRate("x", "1/s"), s.Step("x", 1)} {
		wantRefusal(t, err, http.StatusNotFound, `no generator named "x"`)
	}
}

func TestSet_ResetRestartsStories(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	specs := []synth.Spec{ward("1/s", true), {Name: "idle", Scenario: "tasks"}}
	must(t, s.Reset(specs))
	must(t, s.Add(synth.Spec{Name: "extra", Scenario: "tasks", Rate: "1/s", Running: true}))
	c.Advance(10 * time.Second)
	must(t, s.Reset(specs))
	wantWrites(t, w, 20)
	if states := s.List(); len(states) != 2 || states[0].Written != 0 || !states[0].Running || states[1].Running {
		t.Errorf("after the reset: %+v", states)
	}
	c.Advance(time.Second)
	wantWrites(t, w, 21)
	if w.all()[20] != w.all()[0] { // a ward does not depend on the time
		t.Errorf("began with %s, then with %s", w.all()[0], w.all()[20])
	}
}

func TestSet_ResetChangesNothingIfASpecIsWrong(t *testing.T) {
	t.Parallel()
	_, _, s := world(t)
	must(t, s.Add(ward("1/s", true)))
	err := s.Reset([]synth.Spec{{Name: "a", Scenario: "tasks"}, {Name: "b", Scenario: "none"}})
	wantRefusal(t, err, http.StatusBadRequest, "generators[1].scenario")
	wantRefusal(t, s.Reset([]synth.Spec{{Name: "a", Scenario: "tasks"}, {Name: "a", Scenario: "tasks"}}), http.StatusConflict, "generators[1].name")
	if states := s.List(); len(states) != 1 || !states[0].Running {
		t.Errorf("left: %+v", states)
	}
}

func TestSet_CloseEndsAllUntilTheNextReset(t *testing.T) {
	t.Parallel()
	c, w, s := world(t)
	must(t, s.Add(ward("1/s", true)))
	s.Close()
	s.Close()
	c.Advance(time.Minute)
	wantWrites(t, w, 0)
	wantRefusal(t, s.Add(ward("1/s", true)), http.StatusServiceUnavailable, "closed")
	must(t, s.Reset(nil))
	must(t, s.Add(ward("1/s", true)))
	c.Advance(time.Second)
	wantWrites(t, w, 1)
}

// On the real clock a write runs on its own goroutine; Stop waits for it.
func TestStop_WaitsForAWriteUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		entered, leave := make(chan struct{}), make(chan struct{})
		w := &recorder{clock: c, busy: func() { entered <- struct{}{}; <-leave }}
		s := synth.NewSet(c, w)
		must(t, s.Add(ward("1/s", true)))
		<-entered
		stopped := make(chan struct{})
		go func() { s.Close(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("closed while a write was under way")
		default:
		}
		if len(s.List()) != 0 {
			t.Error("List waits or lists a removed generator")
		}
		close(leave)
		<-stopped
		time.Sleep(time.Minute) // of the bubble's clock
		wantWrites(t, w, 1)
	})
}

func TestGenerator_HoldsItsRateOnTheRealClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		// Half of each interval passes in the writer; the rate still holds.
		w := &recorder{clock: c, busy: func() { time.Sleep(50 * time.Millisecond) }}
		s := synth.NewSet(c, w)
		defer s.Close()
		must(t, s.Add(ward("10/s", true)))
		time.Sleep(10*time.Second + 60*time.Millisecond)
		wantWrites(t, w, 100)
	})
}

func TestGenerator_DoesNotCatchUpInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		w := &recorder{clock: c, busy: sync.OnceFunc(func() { time.Sleep(time.Hour) })}
		s := synth.NewSet(c, w)
		defer s.Close()
		must(t, s.Add(ward("10/s", true)))
		time.Sleep(time.Hour + 1050*time.Millisecond)
		if got := len(w.all()); got < 8 || got > 13 {
			t.Errorf("%d writes in the second after the hour, want about ten", got)
		}
	})
}

// Concurrent use of all methods: no race, no leak, no deadlock, and each generator's
// writes come one after another.
func TestSet_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	var turns sync.Map
	w := &recorder{clock: c}
	s := synth.NewSet(c, writerFunc(func(write synth.Write) error {
		name, _, _ := strings.Cut(write.ID, "-")
		turn, _ := turns.LoadOrStore(name, new(sync.Mutex))
		if !turn.(*sync.Mutex).TryLock() {
			t.Errorf("two writes of %s at once", name)
			return nil
		}
		defer turn.(*sync.Mutex).Unlock()
		return w.Apply(write)
	}))
	specs := func(names ...string) []synth.Spec {
		var all []synth.Spec
		for _, name := range names {
			all = append(all, synth.Spec{Name: name, Scenario: "tasks", Rate: "1000/s", Running: true})
		}
		return all
	}
	must(t, s.Reset(specs("a", "b", "c")))
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			name := string(rune('a' + i%3))
			for range 50 {
				_ = s.Step(name, 3)
				_ = s.Stop(name)
				_ = s.Start(name)
				_ = s.SetRate(name, "500/s")
				_ = s.List()
			}
		})
	}
	wait.Wait()
	s.Close()
	if got, stepped := len(w.all()), 6*50*3; got < stepped {
		t.Errorf("%d writes, though %d were stepped", got, stepped)
	}
}

type writerFunc func(synth.Write) error

func (f writerFunc) Apply(w synth.Write) error { return f(w) }

func TestSet_RemoveDuringAStep(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	var first sync.Once
	s := synth.NewSet(clock.NewManual(noon), writerFunc(func(synth.Write) error {
		first.Do(func() { close(entered); <-leave })
		return nil
	}))
	must(t, s.Add(ward("1/h", false)))
	done := make(chan error)
	go func() { done <- s.Step("ward", synth.MaxStep) }()
	<-entered
	removed := make(chan error)
	go func() { removed <- s.Remove("ward") }()
	for len(s.List()) > 0 { // it leaves the list before it waits for the step
		runtime.Gosched()
	}
	close(leave)
	must(t, <-removed)
	if err := <-done; err != nil { // it may have won the race for turn
		wantRefusal(t, err, http.StatusConflict, "was removed after")
	}
}
