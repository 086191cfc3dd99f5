package fault

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
)

// Set holds the faults of a room. It is safe for concurrent use. A nil Set has none.
//
// LOCKS. Under mu only that of a stay is taken: sockets are called without it.
type Set struct {
	ended  <-chan struct{} // closed with the room
	clock  clock.Clock
	random *random.Source
	record func(journal.Entry)
	active atomic.Pointer[map[string][]*Rule] // by place; nil if there are none; never modified
	held   atomic.Uint64                      // frames that were held, ever

	mu    sync.Mutex // guards all below
	rules []*Rule

	delayed []*stay           // requests, in the order in which they came
	sockets map[Socket]uint64 // when each joined
	joined  uint64            // sockets, ever
}

// Socket is a socket on which faults act.
type Socket interface {
	// FaultsChanged is called after a change of the list. What is held for a fault that is
	// gone is released.
	FaultsChanged()
	// DropHeld gives up what is held for whatever fault, and why.
	DropHeld(why string)
}

// New returns a set without faults of a room, which is open as long as the context. record
// writes to the journal.
func New(open context.Context, c clock.Clock, r *random.Source, record func(journal.Entry)) *Set {
	return &Set{ended: open.Done(), clock: c, random: r, record: record, sockets: map[Socket]uint64{}}
}

// Idle reports whether there are no faults.
func (s *Set) Idle() bool { return s == nil || s.active.Load() == nil }

// On returns the faults that act on a place, in order; nil if there are none.
func (s *Set) On(place string) []*Rule {
	if s == nil {
		return nil
	}
	active := s.active.Load()
	if active == nil {
		return nil
	}
	return (*active)[place]
}

// NoteHeld notes that a frame is held.
func (s *Set) NoteHeld() { s.held.Add(1) }

// Held returns how many frames were held, ever. The journal says that they were sent only
// when they are.
func (s *Set) Held() uint64 { return s.held.Load() }

// DelayRequests reports whether a fault may delay requests.
func (s *Set) DelayRequests() bool {
	delays := func(r *Rule) bool { return r.Action == Delay }
	return !s.Idle() && (slices.ContainsFunc(s.On(OnOperation), delays) || slices.ContainsFunc(s.On(OnRequest), delays))
}

// Clock returns the clock of the room.
func (s *Set) Clock() clock.Clock { return s.clock }

// Elapsed returns how much time has passed in the room.
func (s *Set) Elapsed() time.Duration { return s.clock.Elapsed() }

// Wait waits for a time of the room's clock, as long as there is the fault that wants it. It
// calls record when it waits, so that who reads the entry can move the clock, and
// returns an error if the context or the room ends first. A request with a context of [WithStay] holds
// the clock afterwards. Requests that may go on at the same time do so one after the other.
func (s *Set) Wait(ctx context.Context, r *Rule, d time.Duration, record func()) error {
	in, _ := ctx.Value(stayKey{}).(*stay)
	if in == nil {
		in = &stay{ended: true}
	}
	before := in.begin(r)
	leave := s.await(in, r)
	defer leave()
	over := make(chan struct{})
	timer := s.clock.AfterFunc(d, func() {
		in.end(s.clock, r)
		close(over)
	}, clock.What{Kind: clock.Fault, Of: r.Name})
	defer timer.Stop()
	record()
	before.Release()
	select {
	case <-over:
	case <-r.left:
	case <-ctx.Done():
		return interrupted(r)
	case <-s.ended:
		return interrupted(r)
	}
	in.turn()
	return nil
}

func interrupted(r *Rule) error {
	return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the request ended while fault %s delayed it", r.Name)
}

// await lists a request that r delays, until leave is called.
func (s *Set) await(in *stay, r *Rule) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delayed = append(s.delayed, in)
	if r.Gone() {
		in.end(s.clock, r)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := slices.Index(s.delayed, in)
		s.delayed = slices.Delete(s.delayed, at, at+1)
	}
}

// Record writes to the journal what a fault did. about says what it did it to.
func (s *Set) Record(r *Rule, about About, text string) {
	of := about.Subscription
	if slices.Contains(about.Also, r.Subscription) { // who asks for that subscription finds it
		of = r.Subscription
	}
	s.record(journal.Entry{Kind: journal.Fault, Type: r.Action, Subscription: of, Socket: about.Socket,
		Release: about.Release, Dialect: about.Dialect, Token: about.Token, First: about.First, Last: about.Last, Text: text})
}

// Join makes a socket follow the changes of the list until it leaves.
func (s *Set) Join(socket Socket) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined++
	s.sockets[socket] = s.joined
}

// Leave ends what Join began.
func (s *Set) Leave(socket Socket) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, socket)
}

// Put replaces all faults. The counts of the new ones begin at zero, whatever their names.
// in is the member that has the list, for refusals; "" if the fault is the body itself.
func (s *Set) Put(faults []Fault, in string) error { return s.set(faults, in, false) }

// Add adds faults behind those that there are.
func (s *Set) Add(faults []Fault, in string) error { return s.set(faults, in, true) }

func (s *Set) set(faults []Fault, in string, keep bool) error {
	faults = slices.Clone(faults)
	if err := checkAll(faults, in); err != nil {
		return err
	}
	if err := s.replace(faults, in, keep); err != nil {
		return err
	}
	s.tell(Socket.FaultsChanged)
	return nil
}

func (s *Set) replace(faults []Fault, in string, keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rules []*Rule
	if keep {
		rules = slices.Clone(s.rules)
	}
	if n := len(rules) + len(faults); n > MaxFaults {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "there would be %d faults, at most %d are possible; remove some with DELETE /mock/faults", n, MaxFaults).At(in)
	}
	taken := map[string]bool{}
	for _, r := range rules {
		taken[r.Name] = true
	}
	for i, f := range faults {
		if f.Name != "" && taken[f.Name] {
			at := "name"
			if in != "" {
				at = fmt.Sprintf("%s[%d].name", in, i)
			}
			return fhir.Refuse(http.StatusConflict, fhir.CodeDuplicate, "there is a fault %q already; use another name, or remove it first", f.Name).At(at)
		}
		taken[f.Name] = true
	}
	for _, f := range faults {
		for made := 1; f.Name == ""; made++ {
			if name := "fault-" + strconv.Itoa(made); !taken[name] {
				f.Name, taken[name] = name, true
			}
		}
		rules = append(rules, &Rule{Fault: f, random: s.random, left: make(chan struct{})})
	}
	s.useLocked(rules)
	return nil
}

// useLocked puts a list to work.
func (s *Set) useLocked(rules []*Rule) {
	for _, r := range s.rules {
		if !slices.Contains(rules, r) {
			r.gone.Store(true)
			for _, in := range s.delayed {
				in.end(s.clock, r)
			}
			close(r.left)
		}
	}
	s.rules = rules
	if len(rules) == 0 {
		s.active.Store(nil)
		return
	}
	active := map[string][]*Rule{}
	for _, r := range rules {
		active[r.On] = append(active[r.On], r)
	}
	s.active.Store(&active)
}

// tell calls all sockets, without the lock, in the order in which they joined.
func (s *Set) tell(f func(Socket)) {
	s.mu.Lock()
	order := maps.Clone(s.sockets)
	s.mu.Unlock()
	sockets := slices.SortedFunc(maps.Keys(order), func(a, b Socket) int { return cmp.Compare(order[a], order[b]) })
	for _, socket := range sockets {
		f(socket)
	}
}

// Remove removes a fault, or all with "". What they held is released.
func (s *Set) Remove(name string) error {
	if !s.remove(name) && name != "" {
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no fault %q", shorten(name))
	}
	s.tell(Socket.FaultsChanged)
	return nil
}

func (s *Set) remove(name string) (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []*Rule
	for _, r := range s.rules {
		if name != "" && r.Name != name {
			left = append(left, r)
		}
	}
	was = len(left) < len(s.rules)
	s.useLocked(left)
	return was
}

// Reset removes all faults and drops what they held: why says why. Sockets that were cut off
// are as before.
func (s *Set) Reset(why string) {
	s.tell(func(socket Socket) { socket.DropHeld(why) })
	s.remove("")
	s.tell(Socket.FaultsChanged)
}

// List returns the faults with their counts, in order.
func (s *Set) List() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := []State{}
	for _, r := range s.rules {
		states = append(states, r.state())
	}
	return states
}

func (r *Rule) state() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return State{r.Fault, r.matched, r.applied}
}
