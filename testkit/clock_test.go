package testkit_test

import (
	"strings"
	"testing"
	"time"

	"signalfhir/testkit"
)

func TestClock_MovesAsItIsTold(t *testing.T) {
	t.Parallel()
	morning := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	s := testkit.Start(t, testkit.WithClock(morning), testkit.WithoutSeed())
	if c := s.Clock(); c.Mode != "manual" || !c.Now.Equal(morning) || c.Pending != 0 {
		t.Errorf("got %+v, want a manual clock at %s", c, morning)
	}
	s.Post(s.URL+"/mock/generators", `{"name":"ward","scenario":"tasks","rate":"1/min","running":true}`, nil)
	if c := s.Clock(); c.Pending != 1 || len(c.Due) != 1 || c.Due[0].Generator != "ward" || !c.Due[0].At.Equal(morning.Add(time.Minute)) {
		t.Errorf("got %+v, want one write that is due after a minute", c)
	}
	m := s.Advance(2 * time.Minute)
	if m.Calls != 2 || len(m.Happened) != 2 || m.Happened[1].Kind != "generator" || m.Happened[1].Generator != "ward" || !m.Now.Equal(morning.Add(2*time.Minute)) {
		t.Errorf("got %+v, want two writes", m)
	}
	if changes := s.Journal(testkit.Filter{Kinds: []string{"change"}, Since: m.Since}); len(changes) != 2 || !changes[0].Time.Equal(m.Happened[0].At) {
		t.Errorf("got %+v, want the two writes at their times", changes)
	}
	if m := s.SetClock(morning); !m.Now.Equal(morning) || m.Calls != 0 {
		t.Errorf("got %+v, want the clock set back", m)
	}
	if m := s.SetClock(time.Time{}); !m.Now.Equal(morning) {
		t.Errorf("got %+v, want the clock where it was", m)
	}
	if m := s.SetRealClock(); m.Mode != "real" || !m.Now.After(morning) {
		t.Errorf("got %+v, want a real clock", m)
	}
	failed := spyOn(t, func(tb testing.TB) { testkit.Start(tb, testkit.WithoutSeed()).Advance(time.Minute) })
	if !strings.Contains(failed.fatal, "the clock is real") {
		t.Errorf("got %q, want the refusal to advance a real clock", failed.fatal)
	}
}
