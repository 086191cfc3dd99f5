package subscription_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

// Vector 17: off while bound gives a last heartbeat, then nothing (WS-34).
func TestPut_OffEndsTheBindingsWithAHeartbeat(t *testing.T) {
	t.Parallel()
	for _, code := range []string{fhir.StatusOff, fhir.StatusEnteredInError} {
		r := newRig(t)
		r.Put(spec("s", heartbeat(time.Second)))
		a := newSocket("a")
		r.bind(t, "s", a)
		r.happen(1)
		a.take()
		r.Put(spec("s", heartbeat(time.Second), inStatus(code)))
		a.want(t, "heartbeat "+code+" 1")
		a.wantEnded(t, "s: subscription is off")
		r.happen(1)
		r.clock.Advance(time.Minute)
		a.want(t)
		if got := counter(t, r, "s"); got != 1 {
			t.Errorf("%s: the counter is %d, want 1: it must not move", code, got)
		}
		err := r.Bind("s", a, "k", r.in(time.Hour))
		if err == nil || fhir.AsError(err).Status != http.StatusUnprocessableEntity || !strings.Contains(err.Error(), "requested") {
			t.Errorf("%s: binding gives %v, want a 422 that says what to do", code, err)
		}
		if _, err := r.AppendTo("s", occurrence()); err == nil || fhir.CodeOf(err) != "business-rule" {
			t.Errorf("%s: AppendTo gives %v, want business-rule", code, err)
		}
	}
}

// Counter and log survive off and on again (LC-13).
func TestPut_OnAgainContinuesToCount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	r.happen(2)
	r.Put(spec("s", inStatus(fhir.StatusOff)))
	r.happen(5)
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.happen(1)
	a.want(t, "handshake active 2", "event-notification active 3 [3]")
	if n, _ := r.Events("s", 0, -1, ""); len(n.Events) != 3 {
		t.Errorf("the log has %d events, want 3", len(n.Events))
	}
}

func TestPut_KeepsBindingsCounterAndLog(t *testing.T) { // LC-12
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.happen(1)
	a.take()
	r.Put(spec("s", onTopic("u")))
	r.Append("t", occurrence(), state) // no longer its topic
	r.Append("u", occurrence(), state)
	a.want(t, "event-notification active 2 [2]")
	if r.HasTopic("t") || !r.HasTopic("u") {
		t.Error("the index by topic did not follow")
	}
}

// In status error events are counted and kept but not delivered; heartbeats and
// $status report the error (LC-7, LC-8, NB-27). Putting it again ends it (LC-9).
func TestSetError_CountsWithoutDelivering(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(10*time.Second)))
	a := newSocket("a")
	r.bind(t, "s", a)
	a.take()
	r.wantObserved(t, "s is active", "s bound a", "a sent handshake 0-0")
	r.SetError("s", "no-response", "websocket write timed out")
	r.SetError("s", "no-response", "again") // reported once
	r.happen(2)
	r.wantObserved(t, "s is error",
		"s appended 1", "s not sent 1-1: the subscription is in status error; $events has the event",
		"s appended 2", "s not sent 2-2: the subscription is in status error; $events has the event")
	a.want(t)
	r.clock.Advance(10 * time.Second)
	frames := a.take()
	if len(frames) != 1 {
		t.Fatalf("got %d frames, want a heartbeat", len(frames))
	}
	got := read(t, frames[0].Bytes)
	if got.String() != "heartbeat error 2" || len(got.Error) != 1 || got.Error[0].Coding[0].Code != "no-response" || got.Error[0].Text != "again" {
		t.Errorf("got %+v, want a heartbeat with the error", got)
	}
	n, _ := r.Status("s")
	if got := read(t, fhir.R5.EncodeNotification(n)); got.String() != "query-status error 2" || len(got.Error) != 1 {
		t.Errorf("$status: got %+v", got)
	}
	b := newSocket("b")
	r.bind(t, "s", b)
	b.want(t, "handshake error 2") // WS-27

	r.Put(spec("s", heartbeat(10*time.Second)))
	r.happen(1)
	a.want(t, "event-notification active 3 [3]")
	if s, _ := r.State("s"); s.Errors != nil || s.Status != fhir.StatusActive {
		t.Errorf("after being put again: %s with %v", s.Status, s.Errors)
	}
}

func TestBind_AgainSendsAnotherHandshake(t *testing.T) { // WS-25
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	_ = r.Bind("s", a, "k1", r.in(time.Minute))
	r.happen(2)
	_ = r.Bind("s", a, "k1", r.in(time.Minute))
	r.happen(1)
	a.want(t, "handshake active 0", "event-notification active 1 [1]", "event-notification active 2 [2]",
		"handshake active 2", "event-notification active 3 [3]") // once per socket
	_ = r.Bind("s", a, "k2", r.in(time.Hour))
	a.want(t, "handshake active 3")
	r.clock.Advance(30 * time.Minute)
	r.happen(1)
	a.want(t, "event-notification active 4 [4]")
	r.clock.Advance(30 * time.Minute)
	r.happen(1)
	a.want(t)
	a.wantEnded(t, "s: token expired")
}

// A shorter renewal does not shorten (WS-25: the later expiration).
func TestBind_TheLongerTokenHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	_ = r.Bind("s", a, "long", r.in(time.Hour))
	_ = r.Bind("s", a, "short", r.in(time.Minute))
	r.clock.Advance(time.Hour - 1)
	a.wantEnded(t)
	r.clock.Advance(1)
	a.wantEnded(t, "s: token expired")
}

func TestUnbind_EndsWhatTheTokenKeeps(t *testing.T) { // WS-17
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	a := newSocket("a")
	_ = r.Bind("s", a, "k1", r.in(time.Hour))
	_ = r.Bind("s", a, "k2", r.in(time.Minute))
	a.take()
	r.Unbind("s", a, "k1")
	r.Unbind("s", a, "other")
	r.happen(1)
	a.want(t, "event-notification active 1 [1]")
	r.clock.Advance(time.Minute) // only k2 keeps it now, and k2 expires
	a.wantEnded(t, "s: token expired")
	r.Unbind("s", a, "k2") // not bound: no effect
	_ = r.Bind("s", a, "k2", r.in(time.Minute))
	r.Unbind("s", a, "k2")
	r.happen(1)
	a.want(t, "handshake active 1")
	a.wantEnded(t, "s: token expired") // the client knows that it unbound
}

func TestRevoke_EndsWhatOnlyTheTokenKeeps(t *testing.T) { // WS-35
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s1"))
	r.Put(spec("s2"))
	a, b := newSocket("a"), newSocket("b")
	_ = r.Bind("s1", a, "bad", r.in(time.Hour))
	_ = r.Bind("s2", a, "bad", r.in(time.Hour))
	_ = r.Bind("s2", a, "good", r.in(time.Hour))
	_ = r.Bind("s1", b, "good", r.in(time.Hour))
	a.take()
	b.take()
	r.Revoke("bad")
	a.wantEnded(t, "s1: token revoked")
	b.wantEnded(t)
	r.happen(1)
	a.want(t, "event-notification active 1 [1]") // of s2
	b.want(t, "event-notification active 1 [1]") // of s1
}

func TestGone_EndsEveryBindingOfASocket(t *testing.T) { // WS-36
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s1", heartbeat(time.Second)))
	r.Put(spec("s2"))
	a := newSocket("a")
	r.bind(t, "s1", a)
	r.bind(t, "s2", a)
	a.close()
	r.Gone(a)
	if left := r.clock.Pending(); left != 0 {
		t.Errorf("%d timers are left", left)
	}
	for _, id := range []string{"s1", "s2"} {
		if s, _ := r.State(id); len(s.Sockets) != 0 || s.Status != fhir.StatusActive {
			t.Errorf("%s is %s with sockets %v, want active without sockets", id, s.Status, s.Sockets)
		}
	}
	a.wantEnded(t) // a closed socket gets no report
	r.Gone(a)
}

func TestRemove_EndsEverything(t *testing.T) { // LC-14, LC-13
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s", heartbeat(time.Second), func(s *subscription.Spec) { s.Subscription.End = start.Add(time.Hour) }))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.happen(2)
	a.take()
	r.Remove("s")
	a.want(t)
	a.wantEnded(t, "s: subscription was deleted")
	if left := r.clock.Pending(); left != 0 {
		t.Errorf("%d timers are left", left)
	}
	if _, ok := r.State("s"); ok || r.HasTopic("t") {
		t.Error("it is still there")
	}
	if err := r.Bind("s", a, "k", r.in(time.Hour)); err == nil || fhir.AsError(err).Status != http.StatusNotFound {
		t.Errorf("binding gives %v, want 404", err)
	}
	if _, err := r.Events("s", 0, -1, ""); err == nil || fhir.CodeOf(err) != "not-found" {
		t.Errorf("$events gives %v, want not-found", err)
	}
	if _, ok := r.Status("s"); ok {
		t.Error("$status succeeds")
	}
	if _, err := r.AppendTo("s", occurrence()); err == nil || fhir.AsError(err).Status != http.StatusNotFound {
		t.Errorf("AppendTo gives %v, want 404", err)
	}
	r.Remove("s")
	r.Put(spec("s"))
	if got := counter(t, r, "s"); got != 0 {
		t.Errorf("created again, it counts from %d, want 0", got)
	}
}

func TestReset_NotifiesEverySocket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s1"))
	a := newSocket("a")
	r.bind(t, "s1", a)
	r.Reset()
	a.wantEnded(t, "s1: room was reset")
	if r.Len() != 0 {
		t.Errorf("%d subscriptions are left", r.Len())
	}
}

func TestEnd_CallsOnEndAtItsTime(t *testing.T) { // LC-11
	t.Parallel()
	ending := func(d time.Duration) func(*subscription.Spec) {
		return func(s *subscription.Spec) { s.Subscription.End = start.Add(d) }
	}
	r := newRig(t)
	r.Put(spec("s", ending(time.Hour)))
	r.Put(spec("moved", ending(time.Hour)))
	r.Put(spec("moved", ending(2*time.Hour)))
	r.Put(spec("off", ending(time.Hour)))
	r.Put(spec("off", ending(time.Hour), inStatus(fhir.StatusOff)))
	r.Put(spec("endless", ending(time.Hour)))
	r.Put(spec("endless"))
	r.clock.Advance(time.Hour - 1)
	if r.ends != nil {
		t.Errorf("ended early: %v", r.ends)
	}
	r.clock.Advance(1)
	if !slices.Equal(r.ends, []string{"s"}) {
		t.Errorf("ended: %v, want s", r.ends)
	}
	r.clock.Advance(time.Hour)
	if !slices.Equal(r.ends, []string{"s", "moved"}) {
		t.Errorf("ended: %v, want s and moved", r.ends)
	}
}

func TestLog_KeepsTheLast(t *testing.T) { // OPE-2, OPE-3
	t.Parallel()
	r := newRig(t, func(o *subscription.Options) { o.LogSize, o.LogBytes = 10, 1 })
	r.Put(spec("s"))
	if s, _ := r.State("s"); s.FirstKept != 0 {
		t.Errorf("an empty log keeps from %d, want 0", s.FirstKept)
	}
	r.happen(25)
	if s, _ := r.State("s"); s.FirstKept != 16 || s.Counter != 25 {
		t.Errorf("kept from %d of %d, want 16 of 25", s.FirstKept, s.Counter)
	}
	n, _ := r.Events("s", 0, -1, "")
	if len(n.Events) != 10 || n.Events[0].Number != 16 || n.Events[9].Number != 25 || n.EventsSinceStart != 25 {
		t.Errorf("$events: %d events of %d", len(n.Events), n.EventsSinceStart)
	}
}

// The logs of a room keep more than the least while they are small together, and what
// one subscription gives up is what is oldest.
func TestLog_KeepsMoreWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const least, limit = 5, 200_000
		r := subscription.New(subscription.Options{Clock: clock.NewManual(start), Random: random.Seeded(1), LogSize: least, LogBytes: limit})
		defer r.Close()
		sizes := map[string][]int{} // of the events of each subscription
		total := func() (bytes int) {
			for id, all := range sizes {
				state, _ := r.State(id)
				for _, size := range all[max(0, state.FirstKept-1):] {
					bytes += size
				}
			}
			return bytes
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "subscription")
			if sizes[id] == nil {
				r.Put(spec(id))
			}
			size := rapid.SampledFrom([]int{0, 1000, 30_000}).Draw(t, "size")
			for range rapid.IntRange(1, 40).Draw(t, "events") {
				resource := fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Encounter", "id", "2", "x", strings.Repeat("x", size)))
				if _, err := r.AppendTo(id, fhir.NewOccurrence(start, &fhir.Entry{Type: "Encounter", ID: "2", Method: "POST", Resource: resource}, nil)); err != nil {
					t.Fatal(err)
				}
				sizes[id] = append(sizes[id], size)
			}
			kept := 0
			for id, all := range sizes {
				n, err := r.Events(id, 0, -1, "")
				if err != nil || len(n.Events) < min(least, len(all)) {
					t.Fatalf("%s keeps %d of %d events (%v), want at least %d", id, len(n.Events), len(all), err, least)
				}
				for i, e := range n.Events {
					if want := int64(len(all) - len(n.Events) + i + 1); e.Number != want {
						t.Fatalf("%s: event %d of the log has the number %d, want %d", id, i, e.Number, want)
					}
				}
				kept += max(0, len(n.Events)-least)
			}
			if bytes := total(); bytes > limit && kept > 0 {
				t.Fatalf("%d bytes are kept, of them %d events beyond the least; want at most %d", bytes, kept, limit)
			}
			if rapid.IntRange(0, 9).Draw(t, "removed") == 0 {
				r.Remove(id)
				delete(sizes, id)
			}
		}
		for id := range sizes {
			r.Remove(id)
		}
		r.Put(spec("last")) // has all the room
		for range 10 * least {
			if _, err := r.AppendTo("last", occurrence()); err != nil {
				t.Fatal(err)
			}
		}
		if s, _ := r.State("last"); s.FirstKept != 1 {
			t.Fatalf("kept from %d, want all, since the other logs are gone", s.FirstKept)
		}
	})
}

func TestLog_KeepsABurst(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent)
	r.Put(spec("s"))
	r.happen(20_000)
	if s, _ := r.State("s"); s.FirstKept != 1 {
		t.Errorf("kept from %d, want all of 20000 small events", s.FirstKept)
	}
}

// Bounds of $events are inclusive (OPE-4, OPE-7, OPE-8; vector 18).
func TestEvents_Bounds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	r.happen(5)
	tests := []struct {
		since, until int64
		want         []int64
	}{
		{0, -1, []int64{1, 2, 3, 4, 5}},
		{2, 3, []int64{2, 3}},
		{5, -1, []int64{5}},
		{5, 5, []int64{5}},
		{0, 0, nil},
		{6, -1, nil},
		{4, 99, []int64{4, 5}},
	}
	for _, tt := range tests {
		n, err := r.Events("s", tt.since, tt.until, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range n.Events {
			got = append(got, e.Number)
		}
		if !slices.Equal(got, tt.want) || n.EventsSinceStart != 5 {
			t.Errorf("%d to %d: got %v of %d, want %v of 5", tt.since, tt.until, got, n.EventsSinceStart, tt.want)
		}
	}
	if _, err := r.Events("s", 3, 2, ""); err == nil || fhir.AsError(err).Status != http.StatusBadRequest || fhir.CodeOf(err) != "value" {
		t.Errorf("3 to 2: got %v, want 400 value", err)
	}
	if n, _ := r.Events("s", 0, -1, fhir.Empty); n.Content != fhir.Empty { // OPE-6
		t.Errorf("content: got %s, want the requested one", n.Content)
	}
}

type filterFunc func(*fhir.Resource) (bool, []string)

func (f filterFunc) Match(res *fhir.Resource) (bool, []string) { return f(res) }

func (filterFunc) Index() (string, []string) { return "", nil }

func (filterFunc) Values(*fhir.Resource) ([]string, bool) { return nil, false }

// Vector 6: an event that a filter rejects is not counted (FLT-16).
func TestAppend_FiltersBeforeItCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pass := false
	r.Put(spec("s", func(s *subscription.Spec) {
		s.Filter = filterFunc(func(res *fhir.Resource) (bool, []string) {
			if res != state {
				t.Errorf("FLT-14: the filter looks at %v", res)
			}
			return pass, []string{"no", "never"}
		})
	}))
	if got, _ := r.Append("t", occurrence(), state); !slices.Equal(got, []subscription.Delivery{{Subscription: "s", Why: "no; never"}}) {
		t.Errorf("got %v, want no event and the reason", got)
	}
	r.wantObserved(t, "s is active")
	pass = true
	if got, _ := r.Append("t", occurrence(), state); len(got) != 1 || got[0] != (subscription.Delivery{Subscription: "s", Number: 1}) {
		t.Errorf("got %v, want event 1 of s", got)
	}
	pass = false
	if n, err := r.AppendTo("s", occurrence()); err != nil || n != 2 {
		t.Errorf("AppendTo, which ignores filters: got %d, %v", n, err)
	}
}

func TestAppend_ReachesEachSubscriptionOnTheTopicOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s1"))
	r.Put(spec("other", onTopic("u")))
	r.Put(spec("s2"))
	r.Put(spec("off", inStatus(fhir.StatusOff)))
	got, _ := r.Append("t", occurrence(), state)
	if !slices.Equal(got, []subscription.Delivery{{Subscription: "s1", Number: 1}, {Subscription: "s2", Number: 1}, {Subscription: "off", Why: "the subscription is off"}}) {
		t.Errorf("got %v, want event 1 of s1 and s2, and off as the reason for the third", got)
	}
}

// The journal names a token by what Unbound reports, whoever ends the binding.
func TestUnbound_NamesTheTokenUsedLast(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig, *socket){
		"unbound": func(r *rig, a *socket) { r.Unbind("s", a, "k2"); r.Unbind("s", a, "k1") },
		"revoked": func(r *rig, _ *socket) { r.Revoke("k1"); r.Revoke("k2") },
		"expired": func(r *rig, _ *socket) { r.clock.Advance(time.Hour) },
		"gone":    func(r *rig, a *socket) { r.Gone(a) },
		"deleted": func(r *rig, _ *socket) { r.Remove("s") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tokens []string
			r := newRig(t, func(o *subscription.Options) {
				o.Observer.Unbound = func(_, _, tokenKey, _ string) { tokens = append(tokens, tokenKey) }
			})
			r.Put(spec("s"))
			a := newSocket("a")
			_ = r.Bind("s", a, "k1", r.in(time.Minute))
			_ = r.Bind("s", a, "k2", r.in(time.Second))
			end(r, a)
			if !slices.Equal(tokens, []string{"k2"}) {
				t.Errorf("got %q, want k2 once", tokens)
			}
		})
	}
}
