package subscription_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
)

// policy reads a policy.
func policy(t testing.TB, text string) subscription.Replay {
	t.Helper()
	p, err := subscription.ParseReplay(text)
	if err != nil || p.String() != text {
		t.Fatalf("%s: got %v, %v", text, p, err)
	}
	return p
}

func TestParseReplay_RefusesWhatIsNoPolicy(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "last", "last:", "last:0", "last:-1", "last:01", "last:+1", "last:1000001", "all:1", "none:", "Missed"} {
		if p, err := subscription.ParseReplay(text); err == nil {
			t.Errorf("%q is taken as %v", text, p)
		}
	}
	if got := (subscription.Replay{}).String(); got != "none" {
		t.Errorf("the zero value is %s", got)
	}
}

func TestReplay_FollowsTheHandshake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy string
		first  []string // after the handshake of the first bind, with 4 events
		again  []string // of another socket, after 2 more that the first one got and 1 that none got
	}{
		{"none", nil, nil},
		{"missed", numbered(1, 4), numbered(7, 7)},
		{"last:1", numbered(4, 4), numbered(7, 7)},
		{"last:3", numbered(2, 4), numbered(5, 7)},
		{"last:9", numbered(1, 4), numbered(1, 7)},
		{"all", numbered(1, 4), numbered(1, 7)},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			r := newRig(t)
			r.SetReplay(policy(t, tt.policy))
			r.Put(spec("s"))
			r.happen(4)
			a, b := newSocket("a"), newSocket("b")
			r.bind(t, "s", a)
			a.want(t, append([]string{"handshake active 4"}, tt.first...)...)
			r.happen(2)
			a.want(t, numbered(5, 6)...)
			r.Gone(a)
			r.happen(1)
			r.bind(t, "s", b)
			b.want(t, append([]string{"handshake active 7"}, tt.again...)...)
			r.happen(1)
			b.want(t, numbered(8, 8)...)
		})
	}
}

// numbered returns the notifications of single events.
func numbered(first, last int) (all []string) {
	for n := first; n <= last; n++ {
		all = append(all, fmt.Sprintf("event-notification active %d [%[1]d]", n))
	}
	return all
}

func TestReplay_OfASubscriptionTakesPrecedence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Put(spec("s"))
	r.happen(3)
	r.SetReplay(policy(t, "all"))
	one := policy(t, "last:1")
	if err := r.SetReplayOf("s", &one); err != nil {
		t.Fatal(err)
	}
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake active 3", "event-notification active 3 [3]")
	if err := r.SetReplayOf("s", nil); err != nil {
		t.Fatal(err)
	}
	b := newSocket("b")
	r.bind(t, "s", b)
	b.want(t, append([]string{"handshake active 3"}, numbered(1, 3)...)...)
	if err := r.SetReplayOf("none", nil); fhir.StatusOf(err) != 404 {
		t.Errorf("got %v", err)
	}
}

// A renewal gives a socket only what it has not been sent.
func TestReplay_OnRenewalSendsNothingTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s"))
	r.happen(2)
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, append([]string{"handshake active 2"}, numbered(1, 2)...)...)
	r.SetError("s", "", "x")
	r.happen(1)
	r.Put(spec("s"))
	if err := r.Bind("s", a, "k2", r.in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	a.want(t, append([]string{"handshake active 3"}, numbered(3, 3)...)...)
	if err := r.Bind("s", a, "k3", r.in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	a.want(t, "handshake active 3")
}

func TestReplay_SplitsByMaxCount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s", maxCount(2)))
	r.happen(5)
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake active 5", "event-notification active 2 [1 2]", "event-notification active 4 [3 4]", "event-notification active 5 [5]")
}

// Nothing is delivered unless the status is active (LC-7).
func TestReplay_NotInStatusError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s"))
	r.happen(2)
	r.SetError("s", "", "x")
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, "handshake error 2")
}

func TestReplay_IsMarked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s"))
	r.happen(1)
	r.wantObserved(t, "s is active", "s appended 1", "s not sent 1-1: no socket is bound; $events has the event")
	r.bind(t, "s", newSocket("a"))
	r.happen(1)
	r.wantObserved(t, "s bound a", "a sent handshake 0-0", "a sent again event-notification 1-1", "s appended 2", "a sent event-notification 2-2")
}

// gatedSocket has no room for more frames until it is opened.
type gatedSocket struct {
	*socket
	lost    int64 // returned by Lost
	mayLose bool  // more
	gate    chan struct{}
	came    *sync.Cond // of the lock of socket
	count   int        // frames that came, ever; guarded by that lock
}

func newGatedSocket(id string) *gatedSocket {
	s := &gatedSocket{socket: newSocket(id), gate: make(chan struct{})}
	s.came = sync.NewCond(&s.socket.mu)
	return s
}

func (s *gatedSocket) Lost(string, int64) (int64, bool) { return s.lost, !s.mayLose }
func (s *gatedSocket) WhyClosing() string               { return "" }
func (s *gatedSocket) Ready(int64) <-chan struct{}      { return s.gate }
func (s *gatedSocket) open()                            { close(s.gate) }

func (s *gatedSocket) Send(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	took := s.socket.Send(f, sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.came.Broadcast()
	return took
}

// await waits until so many frames have come, ever.
func (s *gatedSocket) await(frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.count < frames {
		s.came.Wait()
	}
}

// A long replay goes as fast as the socket takes it. What occurs meanwhile comes after it,
// each event once and in order; other sockets get it at once.
func TestReplay_ALongOneIsPacedAndHasNoGapAndNoDouble(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{0, time.Second} {
		r := newRig(t, batched(window))
		r.Put(spec("s", heartbeat(time.Minute)))
		r.happen(200)
		slow, other := newGatedSocket("slow"), newSocket("other")
		r.bind(t, "s", other)
		other.want(t, "handshake active 200")
		r.SetReplay(policy(t, "all"))
		r.bind(t, "s", slow)
		r.happen(1)
		r.clock.Advance(90 * time.Second) // heartbeats are due, and what waits to share a bundle
		other.want(t, "event-notification active 201 [201]", "heartbeat active 201")
		if slow.count != 65 {
			t.Errorf("%d frames came without room for them, want the handshake and a round of 64", slow.count)
		}
		r.happen(1)
		slow.open()
		slow.await(1 + 201)
		r.clock.Advance(window)
		slow.await(1 + 202)
		r.happen(1)
		r.clock.Advance(window)
		slow.await(1 + 203)
		frames := slow.take()
		want := append([]string{"handshake active 200"}, numbered(1, 203)...)
		r.mu.Lock()
		for _, line := range r.observed {
			var n int
			if _, err := fmt.Sscanf(line, "slow sent again event-notification %d-", &n); err == nil && n > 200 {
				t.Errorf("%s: it is from after the bind", line)
			} else if _, err := fmt.Sscanf(line, "slow sent event-notification %d-", &n); err == nil && n <= 200 {
				t.Errorf("%s: it is from before the bind", line)
			}
		}
		r.mu.Unlock()
		for i, f := range frames {
			if got := read(t, f.Bytes).String(); got != want[i] {
				t.Fatalf("frame %d: got %s, want %s", i, got, want[i])
			}
		}
	}
}

// A replay goes on behind numbers that no event has.
func TestReplay_AcrossACounterThatWasSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s"))
	r.happen(100)
	if _, err := r.SetCounter("s", 150); err != nil {
		t.Fatal(err)
	}
	slow := newGatedSocket("slow")
	r.bind(t, "s", slow)
	r.happen(1)
	slow.open()
	slow.await(1 + 101)
	slow.want(t, append(append([]string{"handshake active 150"}, numbered(1, 100)...), numbered(151, 151)...)...)
}

// What a replay was still to send when it ended is reported.
func TestReplay_WhatIsLeftIsReported(t *testing.T) {
	t.Parallel()
	const left = "s not sent 65-200: the replay for socket slow ended: "
	for _, tt := range []struct {
		name string
		end  func(r *rig, s *gatedSocket)
		why  string
	}{
		{"unbind", func(r *rig, s *gatedSocket) { r.Unbind("s", s, "k") }, "the client unbound; $events has the events"},
		{"gone", func(r *rig, s *gatedSocket) { r.Gone(s) }, "the socket closed; $events has the events"},
		{"expiry", func(r *rig, _ *gatedSocket) { r.clock.Advance(time.Hour) }, "token expired; $events has the events"},
		{"error", func(r *rig, _ *gatedSocket) { r.SetError("s", "", "x") }, "the subscription is error; $events has the events"},
		{"off", func(r *rig, _ *gatedSocket) { r.Put(spec("s", inStatus(fhir.StatusOff))) }, "the subscription is off; $events has the events"},
		{"counter", func(r *rig, _ *gatedSocket) { _, _ = r.SetCounter("s", 3) }, "the control API set the number of the last event back; $events has the events"},
		{"reset", func(r *rig, _ *gatedSocket) { r.Reset() }, "room was reset; $events has the events"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.SetReplay(policy(t, "all"))
			r.Put(spec("s"))
			r.happen(200)
			slow := newGatedSocket("slow")
			r.bind(t, "s", slow)
			tt.end(r, slow)
			r.Close() // waits for what replays
			r.mu.Lock()
			defer r.mu.Unlock()
			found := 0
			for _, line := range r.observed {
				if strings.HasPrefix(line, "s not sent 65-200") {
					if found++; line != left+tt.why {
						t.Errorf("got %q, want %q", line, left+tt.why)
					}
				}
			}
			if found != 1 || slow.count != 65 && tt.name != "off" {
				t.Errorf("got %d reports and %d frames, want one and 65", found, slow.count)
			}
		})
	}
}

// Events that were queued and never written are missed.
func TestReplay_MissedAreThoseThatASocketLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "missed"))
	r.Put(spec("s"))
	lossy, steady := newGatedSocket("lossy"), newSocket("steady")
	r.bind(t, "s", lossy)
	r.happen(4)
	lossy.lost = 3
	b := newSocket("b") // while the other is still bound
	r.bind(t, "s", b)
	b.want(t, append([]string{"handshake active 4"}, numbered(3, 4)...)...)
	r.Gone(lossy)
	r.bind(t, "s", steady)
	steady.want(t, "handshake active 4") // b got them
}

// What was queued before a binding ended, and was never written, is missed.
func TestReplay_MissedAreThoseThatASocketLostLater(t *testing.T) {
	t.Parallel()
	for lost, want := range map[int64][]string{0: {}, 3: numbered(3, 4)} {
		r := newRig(t)
		r.SetReplay(policy(t, "missed"))
		r.Put(spec("s"))
		lossy := newGatedSocket("lossy")
		lossy.mayLose = true
		r.bind(t, "s", lossy)
		r.happen(4)
		r.Unbind("s", lossy, "k")
		lossy.lost, lossy.mayLose = lost, false
		for range 2 {
			b := newSocket("b")
			r.bind(t, "s", b)
			b.want(t, append([]string{"handshake active 4"}, want...)...)
			want = nil // b got them
		}
	}
}

// Going back does not leave the mark of what a socket got ahead of the counter.
func TestReplay_MissedAfterTheCounterWasSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SetReplay(policy(t, "missed"))
	r.Put(spec("s"))
	a := newSocket("a")
	r.bind(t, "s", a)
	r.happen(5)
	r.Gone(a)
	if before, err := r.SetCounter("s", 1); before != 5 || err != nil {
		t.Fatalf("got %d, %v", before, err)
	}
	r.happen(2)
	b := newSocket("b")
	r.bind(t, "s", b)
	b.want(t, append([]string{"handshake active 3"}, numbered(2, 3)...)...)
	r.Gone(b)
	r.happen(1)
	_, _ = r.SetCounter("s", 41)
	r.happen(1)
	c := newSocket("c")
	r.bind(t, "s", c)
	c.want(t, "handshake active 42", "event-notification active 4 [4]", "event-notification active 42 [42]")
}

// A replay names the events that the log has lost.
func TestReplay_NamesWhatTheLogNoLongerHas(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *subscription.Options) { o.LogSize, o.LogBytes = 3, 1 })
	r.SetReplay(policy(t, "missed"))
	r.Put(spec("s"))
	r.happen(5)
	r.mu.Lock()
	r.observed = nil
	r.mu.Unlock()
	a := newSocket("a")
	r.bind(t, "s", a)
	a.want(t, append([]string{"handshake active 5"}, numbered(3, 5)...)...)
	r.wantObserved(t, "s bound a", "a sent handshake 0-0", "s not sent 1-2: socket a is to get them again, but the log no longer has them",
		"a sent again event-notification 3-3", "a sent again event-notification 4-4", "a sent again event-notification 5-5")
}

// Sockets bind while events occur. Whatever the timing, each stream has a handshake and
// then every event there ever was, once and in order.
func TestReplay_WhileEventsOccur(t *testing.T) {
	t.Parallel()
	const events, sockets = 600, 8
	r := newRig(t, silent)
	r.SetReplay(policy(t, "all"))
	r.Put(spec("s"))
	r.happen(150)
	var working sync.WaitGroup
	working.Go(func() { r.happen(events - 150) })
	all := make([]*gatedSocket, sockets)
	for i := range all {
		all[i] = newGatedSocket(fmt.Sprint(i))
		all[i].open()
		working.Go(func() {
			if err := r.Bind("s", all[i], "k", start.Add(time.Hour)); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	for _, s := range all {
		s.await(1 + events)
		frames := s.take()
		for n, f := range frames[1:] {
			if f.First != int64(n+1) || f.Last != f.First {
				t.Fatalf("socket %s: got event %d, want %d", s.id, f.First, n+1)
			}
		}
		if len(frames) != 1+events {
			t.Errorf("socket %s got %d frames, want %d", s.id, len(frames), 1+events)
		}
	}
}
