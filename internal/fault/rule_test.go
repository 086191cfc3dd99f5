package fault

import (
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
)

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"/ws", "/ws", true},
		{"/ws", "/ws2", false},
		{"/ws", "/w", false},
		{"/ws*", "/ws2/a", true},
		{"*", "", true},
		{"*", "/anything/at/all", true},
		{"/fhir/*/Encounter", "/fhir/R5/Encounter", true},
		{"/fhir/*/Encounter", "/fhir/R5/Encounter/1", false},
		{"/fhir/*/Encounter/*", "/fhir/R5/Encounter/1", true},
		{"*/a*a", "/a", false},
		{"*/a*a", "/aa", true},
		{"*$status", "/fhir/R4/Subscription/$status", true},
		{"/a*b*c", "/a_b_b_c", true},
		{"/a*b*c", "/a_c_b", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("%s and %s: got %v", c.pattern, c.text, got)
		}
	}
}

func TestInRoom(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/ws": "/ws", "/rooms/a/ws": "/ws", "/rooms/a": "/rooms/a", "/rooms/a/fhir/R5/Patient": "/fhir/R5/Patient"} {
		if got := inRoom(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// nth and times count matches; what could not be done is taken back.
func TestRule_Counts(t *testing.T) {
	t.Parallel()
	two, three := int64(2), int64(3)
	r := &Rule{Fault: Fault{Type: "pong", Nth: &three, Times: &two}}
	got := ""
	for range 6 {
		if r.Applies(About{Type: "outcome"}) {
			t.Error("it is about another type")
		}
		if r.Applies(About{Type: "pong"}) {
			got += "x"
		} else {
			got += "."
		}
	}
	if got != "..xx.." {
		t.Errorf("got %s", got)
	}
	r.Undo()
	if state := r.state(); state.Matched != 6 || state.Applied != 1 {
		t.Errorf("got %+v", state)
	}
	if !r.Applies(About{Type: "pong"}) || r.Applies(About{Type: "pong"}) {
		t.Error("want one more")
	}
	r.gone.Store(true)
	if r.Undo(); r.Applies(About{Type: "pong"}) {
		t.Error("a fault that is gone acts")
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n           *Numbers
		first, last int64
		want        bool
	}{
		{nil, 0, 0, true},
		{&Numbers{}, 0, 0, false},
		{&Numbers{}, 1, 1, true},
		{&Numbers{From: 3, To: to(4)}, 1, 2, false},
		{&Numbers{From: 3, To: to(4)}, 1, 3, true},
		{&Numbers{From: 3, To: to(4)}, 4, 9, true},
		{&Numbers{From: 3, To: to(4)}, 1, 9, true},
		{&Numbers{From: 3, To: to(4)}, 5, 5, false},
		{&Numbers{From: 3}, 9, 9, true},
		{&Numbers{To: to(3)}, 4, 4, false},
	} {
		if got := c.n.has(c.first, c.last); got != c.want {
			t.Errorf("%+v and %d to %d: got %v", c.n, c.first, c.last, got)
		}
	}
}

// The journal asks, which otherwise holds up its readers for a request that goes on.
func TestSet_DelayRequests(t *testing.T) {
	t.Parallel()
	s := New(t.Context(), clock.NewManual(time.Unix(0, 0)), random.Seeded(1), func(journal.Entry) {})
	for _, c := range []struct {
		fault Fault
		want  bool
	}{
		{Fault{On: OnOperation, Action: Delay, By: "1s"}, true},
		{Fault{On: OnRequest, Action: Delay, By: "1s"}, true},
		{Fault{On: OnRequest, Action: Status}, false},
		{Fault{On: OnFrame, Action: Delay, By: "1s"}, false},
	} {
		if err := s.Put([]Fault{{On: OnRequest, Action: Empty}, c.fault}, ""); err != nil {
			t.Fatal(err)
		}
		if got := s.DelayRequests(); got != c.want {
			t.Errorf("%s on %s: got %v", c.fault.Action, c.fault.On, got)
		}
	}
	if s.Reset(""); s.DelayRequests() {
		t.Error("without faults: got true")
	}
}

// Every member of the tables is one that a fault has.
func TestPlaces_NameMembers(t *testing.T) {
	t.Parallel()
	for _, p := range places {
		for _, a := range p.actions {
			f := Fault{On: p.on, Action: a.name}
			for _, issue := range f.check("") {
				if issue.Code != "required" {
					t.Errorf("%s %s: %s", p.on, a.name, issue.Diagnostics)
				}
			}
		}
	}
}

func TestSet_Idle(t *testing.T) {
	t.Parallel()
	var none *Set
	s := New(t.Context(), clock.NewManual(time.Unix(0, 0)), random.Seeded(1), func(journal.Entry) {})
	if !none.Idle() || none.On(OnFrame) != nil || !s.Idle() {
		t.Error("want no faults")
	}
	if err := s.Put([]Fault{{On: OnMessage, Action: Ignore}}, ""); err != nil {
		t.Fatal(err)
	}
	if s.Idle() || s.On(OnFrame) != nil || len(s.On(OnMessage)) != 1 {
		t.Error("want one fault on messages")
	}
	s.Reset("")
	if !s.Idle() {
		t.Error("want no faults after a reset")
	}
}

func to(n int64) *int64 { return &n }
