package subscription_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

// machine is a registry with a model of it, which checks every callback.
type machine struct {
	t     *rapid.T
	reg   *subscription.Registry
	clock *clock.Adjustable
	ends  int

	subs    map[string]*modelled
	sockets map[string]*machineSocket
}

// modelled is the expected state of a subscription.
type modelled struct {
	period   time.Duration
	status   string
	counter  int64
	bindings map[string]*modelledBinding // by socket id
	owed     map[int64]map[string]bool   // sockets that an event has to reach, by its number
	reported map[int64]bool              // events that the observer reported as not sent
}

type modelledBinding struct {
	tokens     map[string]time.Time
	handshaken bool
	next       int64 // number that the next event frame must begin with
	lastFrame  time.Time
}

type machineSocket struct {
	m      *machine
	id     string
	refuse bool
}

func (s *machineSocket) ID() string { return s.id }

func (s *machineSocket) Send(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	if s.refuse {
		return false
	}
	sent(s.id, f)
	sub := s.m.subs[f.Subscription]
	b := sub.bindings[s.id]
	if b == nil {
		s.m.t.Fatalf("socket %s, not bound to %s, is sent a %s", s.id, f.Subscription, f.Type)
	}
	b.lastFrame = s.m.clock.Now()
	switch f.Type {
	case fhir.Handshake:
		if f.First != 0 || f.Last != 0 {
			s.m.t.Fatalf("a handshake carries %d to %d", f.First, f.Last)
		}
		b.handshaken, b.next = true, read(s.m.t, f.Bytes).total(s.m.t)+1
		if b.next != sub.counter+1 {
			s.m.t.Fatalf("the handshake of %s counts %d events, there were %d", f.Subscription, b.next-1, sub.counter)
		}
	case fhir.Heartbeat:
	case fhir.EventNotification:
		if !b.handshaken || f.Last < f.First || f.First < b.next {
			s.m.t.Fatalf("socket %s, handshaken %v, expects %d of %s and gets %d to %d", s.id, b.handshaken, b.next, f.Subscription, f.First, f.Last)
		}
		for n := b.next; n < f.First; n++ {
			if !sub.reported[n] {
				s.m.t.Fatalf("socket %s misses event %d of %s, which was not reported", s.id, n, f.Subscription)
			}
		}
		for n := f.First; n <= f.Last; n++ {
			delete(sub.owed[n], s.id)
		}
		b.next = f.Last + 1
	}
	return true
}

func (*machineSocket) Ready(int64) <-chan struct{}      { return nil }
func (*machineSocket) Lost(string, int64) (int64, bool) { return 0, true }
func (*machineSocket) WhyClosing() string               { return "" }

func (s *machineSocket) Unbound(string, subscription.Reason, int) {}

func (m *machine) observer() subscription.Observer {
	return subscription.Observer{
		Appended: func(id string, e fhir.Event) {
			s, n := m.subs[id], e.Number
			if s.counter++; n != s.counter {
				m.t.Fatalf("event %d of %s follows %d", n, id, s.counter-1)
			}
			s.owed[n] = map[string]bool{}
			for socket := range s.bindings {
				s.owed[n][socket] = true
			}
		},
		Sent: func(string, subscription.Frame) {},
		NotSent: func(id string, first, last int64, why string) {
			if why == "" {
				m.t.Fatalf("%s: events %d to %d are not sent, without a reason", id, first, last)
			}
			for n := first; n <= last; n++ {
				m.subs[id].reported[n] = true
			}
		},
		Bound: func(id, socket, _ string) {
			if m.subs[id].bindings[socket] != nil {
				m.t.Fatalf("%s is bound to %s twice", socket, id)
			}
			m.subs[id].bindings[socket] = &modelledBinding{tokens: map[string]time.Time{}}
		},
		Unbound: func(id, socket, _, why string) {
			if m.subs[id].bindings[socket] == nil || why == "" {
				m.t.Fatalf("%s is unbound from %s, which it was not bound to (%s)", socket, id, why)
			}
			delete(m.subs[id].bindings, socket)
		},
		Status: func(id, status string) { m.subs[id].status = status },
	}
}

// check compares the registry with the model between two steps.
func (m *machine) check() {
	for id, s := range m.subs {
		got, ok := m.reg.State(id)
		if !ok {
			m.t.Fatalf("%s is gone", id)
		}
		want := slices.Sorted(maps.Keys(s.bindings))
		if sockets := slices.Sorted(slices.Values(got.Sockets)); !slices.Equal(sockets, want) {
			m.t.Fatalf("%s has sockets %v, observer saw %v", id, sockets, want)
		}
		if got.Status != s.status || got.Counter != s.counter {
			m.t.Fatalf("%s is %s at %d, observer saw %s at %d", id, got.Status, got.Counter, s.status, s.counter)
		}
		if dormant := s.status == fhir.StatusOff; dormant && len(want) > 0 {
			m.t.Fatalf("%s is off with sockets %v (WS-34)", id, want)
		}
		for socket, b := range s.bindings {
			if silence := m.clock.Now().Sub(b.lastFrame); s.period > 0 && silence >= s.period {
				m.t.Fatalf("socket %s got no frame of %s for %s (NB-21)", socket, id, silence)
			}
			if !slices.ContainsFunc(slices.Collect(maps.Values(b.tokens)), func(expires time.Time) bool { return expires.After(m.clock.Now()) }) {
				m.t.Fatalf("socket %s is bound to %s through no valid token: %v", socket, id, b.tokens)
			}
		}
	}
}

// settled checks that no event is due when none is pending.
func (m *machine) settled(id string, s *modelled) {
	for n, sockets := range s.owed {
		if len(sockets) > 0 && !s.reported[n] {
			m.t.Fatalf("event %d of %s neither reached %v nor was reported", n, id, slices.Sorted(maps.Keys(sockets)))
		}
	}
}

// Any sequence of operations gives contiguous numbers and frames in their order,
// none after the end of a binding. Each event reaches each bound socket or is
// reported (NB-4, NB-19, NB-21, WS-22, WS-29, WS-33 to WS-35, LC-7, LC-13, LC-14).
func TestRegistry_AnySequenceKeepsThePromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{t: t, clock: clock.NewManual(start), subs: map[string]*modelled{}, sockets: map[string]*machineSocket{}}
		window := rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "window")
		m.reg = subscription.New(subscription.Options{
			Clock: m.clock, Random: random.Seeded(1), BatchWindow: window, LogSize: 5, LogBytes: 1,
			Observer: m.observer(), OnEnd: func(string) { m.ends++ },
		})
		ids, names, keys := []string{"s1", "s2"}, []string{"a", "b", "c"}, []string{"k1", "k2"}
		for _, name := range names {
			m.sockets[name] = &machineSocket{m: m, id: name}
		}
		put := func(id, status string) {
			s := m.subs[id]
			if s == nil {
				s = &modelled{bindings: map[string]*modelledBinding{}, owed: map[int64]map[string]bool{}, reported: map[int64]bool{}}
				if id == "s1" {
					s.period = 7 * time.Second
				}
				m.subs[id] = s
			}
			m.reg.Put(spec(id, inStatus(status), heartbeat(s.period), maxCount(2)))
		}
		remove := func(id string) {
			m.reg.Remove(id)
			if s := m.subs[id]; s != nil {
				m.settled(id, s)
				if len(s.bindings) > 0 {
					t.Fatalf("%s was removed with bindings", id)
				}
			}
			delete(m.subs, id)
		}
		put("s1", fhir.StatusActive)
		steps := []string{"append", "append", "append", "bind", "bind", "unbind", "off", "on", "error", "advance", "advance", "remove", "revoke", "gone", "refuse"}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			id := rapid.SampledFrom(ids).Draw(t, "subscription")
			name := rapid.SampledFrom(names).Draw(t, "socket")
			key := rapid.SampledFrom(keys).Draw(t, "token")
			switch rapid.SampledFrom(steps).Draw(t, "step") {
			case "append":
				active := 0
				for _, s := range m.subs {
					if s.status != fhir.StatusOff {
						active++
					}
				}
				took := 0
				deliveries, _ := m.reg.Append("t", occurrence(), state)
				for _, d := range deliveries {
					if (d.Number > 0) == (d.Why != "") {
						t.Fatalf("%+v: want a number or a reason", d)
					}
					if d.Number > 0 {
						took++
					}
				}
				if took != active {
					t.Fatalf("%d subscriptions took the event, want %d", took, active)
				}
			case "bind":
				expires := m.clock.Now().Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
				err := m.reg.Bind(id, m.sockets[name], key, expires)
				s := m.subs[id]
				if refused := s == nil || s.status == fhir.StatusOff; refused != (err != nil) {
					t.Fatalf("binding to %s: %v", id, err)
				}
				if s != nil && s.bindings[name] != nil {
					s.bindings[name].tokens[key] = expires
				}
			case "unbind":
				m.reg.Unbind(id, m.sockets[name], key)
				m.released(id, name, key)
			case "revoke":
				m.reg.Revoke(key)
				for id := range m.subs {
					for name := range m.subs[id].bindings {
						m.released(id, name, key)
					}
				}
			case "off":
				put(id, fhir.StatusOff)
			case "on":
				put(id, fhir.StatusActive)
			case "error":
				if s := m.subs[id]; s != nil && s.status != fhir.StatusOff {
					m.reg.SetError(id, "", "trouble")
				}
			case "advance":
				m.clock.Advance(time.Duration(rapid.IntRange(0, 20).Draw(t, "by")) * time.Second)
			case "remove":
				remove(id)
			case "refuse":
				m.sockets[name].refuse = true
			case "gone":
				m.sockets[name].refuse = true
				m.reg.Gone(m.sockets[name])
				for id, s := range m.subs {
					if s.bindings[name] != nil {
						t.Fatalf("socket %s closed and is bound to %s", name, id)
					}
				}
				// Unlike a socket that only refuses frames, a closed one frees its name: a
				// closing socket can still be bound.
				m.sockets[name] = &machineSocket{m: m, id: name}
			}
			m.check()
		}
		m.reg.Close()
		for id, s := range m.subs {
			m.settled(id, s)
			if len(s.bindings) > 0 {
				t.Fatalf("%s was closed with bindings", id)
			}
		}
		if left := m.clock.Pending(); left != 0 {
			t.Fatalf("%d timers are left after Close", left)
		}
	})
}

// released records that a token no longer keeps a binding.
func (m *machine) released(id, socket, key string) {
	s := m.subs[id]
	if s == nil || s.bindings[socket] == nil {
		return
	}
	b := s.bindings[socket]
	delete(b.tokens, key)
	if len(b.tokens) == 0 {
		m.t.Fatalf("%s is bound to %s without a token", socket, id)
	}
}
