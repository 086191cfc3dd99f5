package socket

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

// A frame that several faults hold waits for all of them, and each releases what it held.
func TestLine_EachHoldCounts(t *testing.T) {
	t.Parallel()
	slow := fault.Fault{Name: "slow", Action: fault.Delay, By: "1h"}
	quick := fault.Fault{Name: "quick", Action: fault.Delay, By: "1s"}
	loose := fault.Fault{Name: "loose", Action: fault.Delay, By: "2h", Overtake: true, Number: events(1, 1)}
	swap := fault.Fault{Name: "swap", Action: fault.Swap, Number: events(1, 1)}
	for name, c := range map[string]struct {
		faults []fault.Fault
		steps  string // faults that are removed, and times that pass
		want   string // what comes after each
	}{
		"the longest goes":            {[]fault.Fault{slow, quick}, "-slow 1s", "; 1,2,3"},
		"the longest, first of two":   {[]fault.Fault{quick, slow}, "1s -slow", "; 1,2,3"},
		"the shorter goes":            {[]fault.Fault{slow, quick}, "-quick 1s 1h", "; ; 1,2,3"},
		"none goes":                   {[]fault.Fault{quick, slow}, "1s 3599s", "; 1,2,3"},
		"one lets others pass":        {[]fault.Fault{loose, quick}, "1s 2h", "2,3; 1"},
		"the one that does not goes":  {[]fault.Fault{loose, quick}, "-quick -loose", "2,3; 1"},
		"a swap and a delay":          {[]fault.Fault{quick, swap}, "1s", "2,1,3"},
		"a swap without its delay":    {[]fault.Fault{swap, slow}, "-slow", "2,1,3"},
		"a delay without its swap":    {[]fault.Fault{swap, quick}, "-swap 1s", "; 1,2,3"},
		"two delays at the same time": {[]fault.Fault{quick, {Name: "other", Action: fault.Delay, By: "1s"}}, "-quick -other", "; 1,2,3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, moved := withFaults(t, func(*Options) {})
			s, _ := p.dial()
			q := &sent{}
			p.put(c.faults...)
			q.send(t, s, 1, 2, 3)
			q.want(t, "at first", "")
			wants := strings.Split(c.want, ";")
			for i, step := range strings.Fields(c.steps) {
				if gone, is := strings.CutPrefix(step, "-"); is {
					if err := p.faults.Remove(gone); err != nil {
						t.Fatal(err)
					}
				} else if d, err := time.ParseDuration(step); err != nil {
					t.Fatal(err)
				} else {
					moved.Advance(d)
				}
				q.want(t, "after "+step, strings.TrimSpace(wants[i]))
			}
			p.put()
			q.want(t, "without faults", "")
			if moved.Pending() != 0 || s.waiting.Load() != 0 {
				t.Errorf("%d timers and %d frames are left", moved.Pending(), s.waiting.Load())
			}
		})
	}
}

// A frame that waits for the next one leaves after it, whatever holds that, and copies stay
// together.
func TestLine_Swaps(t *testing.T) {
	t.Parallel()
	swap := fault.Fault{Name: "swap", Action: fault.Swap}
	for name, c := range map[string]struct {
		faults []fault.Fault
		passes time.Duration
		want   string
		counts string
	}{
		"copies":                    {[]fault.Fault{swap, {Action: fault.Duplicate}}, 0, "2,2,1,1,4,4,3,3", "4/2 4/4"},
		"copies first":              {[]fault.Fault{{Action: fault.Duplicate}, swap}, 0, "2,2,1,1,4,4,3,3", "4/4 4/2"},
		"two swaps":                 {[]fault.Fault{swap, {Action: fault.Swap}}, 0, "2,1,4,3", "4/2 4/2"},
		"the next one is late":      {[]fault.Fault{swap, {Action: fault.Delay, By: "1h", Number: events(2, 2)}}, time.Hour, "2,1,4,3", "4/2 1/1"},
		"the next one is overtaken": {[]fault.Fault{swap, {Action: fault.Delay, By: "1h", Overtake: true, Number: events(2, 2)}}, time.Hour, "4,3,2,1", "4/2 1/1"},
		"the next one is dropped":   {[]fault.Fault{{Action: fault.Drop, Number: events(2, 2)}, swap}, 0, "3,1", "1/1 3/2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, moved := withFaults(t, func(*Options) {})
			s, _ := p.dial()
			q := &sent{}
			p.put(c.faults...)
			q.send(t, s, 1, 2, 3, 4)
			moved.Advance(c.passes)
			q.want(t, "in the end", c.want)
			var counts []string
			for _, f := range p.faults.List() {
				counts = append(counts, fmt.Sprintf("%d/%d", f.Matched, f.Applied))
			}
			if got := strings.Join(counts, " "); got != c.counts {
				t.Errorf("got the counts %s, want %s", got, c.counts)
			}
		})
	}
}

// What waits says for what: in the journal when it begins to wait, and when it is dropped.
func TestLine_SaysWhatAFrameWaitsFor(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	told := []string{}
	p.faults = fault.New(t.Context(), moved, random.Seeded(1), func(e journal.Entry) { told = append(told, e.Text) })
	s, _ := p.dial()
	q := &sent{}
	p.put(fault.Fault{Name: "a", Action: fault.Delay, By: "1h", Number: events(1, 1)}, fault.Fault{Name: "b", Action: fault.Delay, By: "1s", Number: events(1, 2)})
	q.send(t, s, 1, 2, 3)
	if err := p.faults.Add([]fault.Fault{{Name: "still", On: fault.OnSocket, Action: fault.Stall, After: "0s"}}, ""); err != nil {
		t.Fatal(err)
	}
	q.send(t, s, 4)
	moved.Advance(time.Second)
	want := []string{
		"event 1 was delayed for 1h0m0s by fault a", "event 1 was delayed for 1s by fault b",
		"event 2 was delayed for 1s by fault b",
		"event 3 was held behind event 1 by faults a and b",
		"the socket was no longer written by fault still",
		"event 4 was held by fault still",
	}
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	s.Close(ServerStopping.With())
	room := s.room.(*record)
	<-room.ended
	var lost []string
	for _, e := range room.of(journal.NotSent) {
		lost = append(lost, e.Text)
	}
	want = []string{
		"event 1 was held by faults still and a and then dropped: the server is stopping; $events has it",
		"event 2 was held by fault still and then dropped: the server is stopping; $events has it",
		"event 3 was held by fault still and then dropped: the server is stopping; $events has it",
		"event 4 was held by fault still and then dropped: the server is stopping; $events has it",
	}
	if got := strings.Join(lost, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	q.want(t, "in all", "")
}

// Events that a socket has not got are those that were held or not written, not those that
// overtook them.
func TestSocket_LostOfWhatWasOvertaken(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	q := &sent{}
	p.put(fault.Fault{Action: fault.Delay, By: "1h", Overtake: true, Number: events(3, 3)}, fault.Fault{Action: fault.Delay, By: "1h", Number: events(7, 7)})
	q.send(t, s, 1, 2, 3, 4, 5, 6, 7, 8)
	q.want(t, "at once", "1,2,4,5,6")
	for range 5 {
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	for s.out.written.Load() < 5 {
		runtime.Gosched() // until it is noted that they are written
	}
	conn.Close()
	<-s.room.(*record).ended
	for last, want := range map[int64]int64{8: 7, 7: 7, 6: 0, 4: 0, 3: 3, 2: 0} {
		if got, _ := s.Lost("a", last); got != want {
			t.Errorf("up to %d: got %d, want %d", last, got, want)
		}
	}
}

// What a fault closes names it to the journal, whatever the client is told.
func TestTrouble_CloseNamesTheFault(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	q := &sent{}
	p.put(fault.Fault{Name: "slow", Action: fault.Delay, By: "1h", Number: events(2, 3)}, fault.Fault{Name: "bye", On: fault.OnSocket, Action: fault.Close, Code: number(4000), Reason: "so long", Frames: number(2)},
		fault.Fault{Name: "over", Action: fault.Delay, By: "1h", Overtake: true, Number: events(2, 2)})
	q.send(t, s, 1, 2, 3)
	q.want(t, "at first", "1")
	if err := p.faults.Remove("slow"); err != nil { // event 3 passes, and the socket closes
		t.Fatal(err)
	}
	q.want(t, "then", "3")
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4000) || !strings.Contains(err.Error(), "so long") {
		t.Errorf("got %v, want 4000", err)
	}
	if got := s.WhyClosing(); got != "the socket was closed with 4000 by fault bye" {
		t.Errorf("got %q, want the fault", got)
	}
	if lost := s.room.(*record).of(journal.NotSent); len(lost) != 1 || lost[0].Text != "event 2 was held by fault over and then dropped: the socket was closed with 4000 by fault bye; $events has it" {
		t.Errorf("got %+v", lost)
	}
}

func TestInbox_EachHoldCounts(t *testing.T) {
	t.Parallel()
	slow := fault.Fault{Name: "slow", On: fault.OnMessage, Action: fault.Delay, By: "1h"}
	quick := fault.Fault{Name: "quick", On: fault.OnMessage, Action: fault.Delay, By: "1s"}
	for _, c := range []struct {
		remove         string
		before, passes time.Duration // until it is carried out
	}{{"slow", time.Second - 1, 1}, {"quick", time.Hour - 1, 1}, {"", time.Hour - 1, 1}} {
		p, moved := withFaults(t, func(*Options) {})
		s, conn := p.dial()
		p.put(slow, quick)
		if err := conn.WriteMessage(websocket.TextMessage, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		for !s.in.holds(1) {
			runtime.Gosched()
		}
		if c.remove != "" {
			if err := p.faults.Remove(c.remove); err != nil {
				t.Fatal(err)
			}
		}
		moved.Advance(c.before)
		if !s.in.holds(1) {
			t.Errorf("without %q: the message was carried out too early", c.remove)
		}
		moved.Advance(c.passes)
		if _, data, err := conn.ReadMessage(); string(data) != "pong" {
			t.Fatalf("without %q: got %q, %v; want a pong", c.remove, data, err)
		}
	}
}

// Messages that find no room were not delayed.
func TestInbox_CountsWhatWasDelayed(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	_, conn := p.dial()
	p.put(fault.Fault{On: fault.OnMessage, Action: fault.Delay, By: "1h"})
	for _, pings := range []int{maxDelayed, 20} { // a message has a limit
		if err := conn.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("ping\n", pings))); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if _, data, err := conn.ReadMessage(); !strings.Contains(string(data), "throttled") {
			t.Fatalf("got %q, %v; want a refusal", data, err)
		}
	}
	if f := p.faults.List()[0]; f.Matched != maxDelayed+20 || f.Applied != maxDelayed {
		t.Errorf("got %d/%d, want that %d were delayed", f.Matched, f.Applied, maxDelayed)
	}
}

// A frame is read and written once, however many faults change it.
func TestLine_ChangesCostOneReading(t *testing.T) {
	p, _ := withFaults(t, func(*Options) {})
	s, _ := p.dial()
	at := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	n := &fhir.Notification{ID: "b", StatusID: "s", Base: "http://h/fhir", Subscription: "a", Topic: "http://t", Status: "active", Type: fhir.EventNotification, Content: fhir.IDOnly, Timestamp: at, EventsSinceStart: 1,
		Events: []fhir.Event{{Number: 1, Occurrence: fhir.NewOccurrence(at, &fhir.Entry{Type: "Encounter", ID: "e", Method: "PUT"}, nil)}}}
	f := subscription.Frame{Bytes: fhir.R5.EncodeNotification(n), Subscription: "a", Type: fhir.EventNotification, First: 1, Last: 1}
	cost := func(faults int) float64 {
		all := make([]fault.Fault, faults)
		for i := range all {
			all[i] = fault.Fault{Action: fault.SetNumber, Value: number(int64(i))}
		}
		p.put(all...)
		s.mu.Lock()
		defer s.mu.Unlock()
		l := s.lineLocked()
		return testing.AllocsPerRun(10, func() {
			s.tamperLocked(l, &held{frame: f, about: s.aboutLocked(f), copies: 1})
		})
	}
	one, hundred := cost(1), cost(fault.MaxFaults)
	perFault := (hundred - one) / (fault.MaxFaults - 1)
	if perFault > one/3 {
		t.Errorf("one fault costs %v allocations, and each more %v; want that the frame is read once", one, perFault)
	}
}

// BenchmarkLine_Held sends frames while so many are held. A frame costs about the same
// however many those are.
func BenchmarkLine_Held(b *testing.B) {
	for _, many := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			s := &Socket{options: &Options{QueueBytes: 1 << 50, Pool: NewPool(1 << 50)}, room: &record{}, faults: fault.New(context.Background(), clock.NewManual(time.Unix(0, 0)), nil, func(journal.Entry) {})}
			if err := s.faults.Put([]fault.Fault{{On: fault.OnFrame, Action: fault.Delay, By: "1h"}}, ""); err != nil {
				b.Fatal(err)
			}
			l := s.lineLocked()
			send := func(n int) {
				f := event(n, 10)
				for _, h := range s.tamperLocked(l, &held{frame: f, about: s.aboutLocked(f), copies: 1}) {
					l.join(h)
				}
				s.moveLocked()
			}
			for n := range many {
				send(n + 1)
			}
			for b.Loop() {
				send(1)
			}
		})
	}
}
