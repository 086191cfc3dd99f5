package room_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/subscription"
	"signalfhir/internal/synth"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// reader is a client that takes every frame. Whoever asks whether it has room for more waits
// for full, unless that is nil, and is noted in asked.
type reader struct {
	client
	frames int
	full   chan struct{}
	asked  chan struct{}
}

func (r *reader) Send(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	sent("s1", f)
	r.frames++
	return true
}

func (r *reader) Ready(int64) <-chan struct{} {
	if r.full != nil {
		r.asked <- struct{}{}
	}
	return r.full
}

// bound returns a room with a manual clock, and a reader that is bound to a subscription
// with a heartbeat each second, whatever happens to its token.
func bound(t *testing.T, o room.Options) (*room.Room, *reader) {
	t.Helper()
	o.ClockStart, o.KeepExpired, o.Seed = newYear, true, builtin(t)
	r := open(t, o)
	if err := r.Generators().Reset(nil); err != nil {
		t.Fatal(err)
	}
	b := r.Base(fhir.R5)
	o5, refused := fhir.Parse([]byte(`{"resourceType":"Subscription","id":"beat","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"},"contentType":"application/fhir+json","content":"empty","heartbeatPeriod":1}`))
	if refused != nil {
		t.Fatal(refused)
	}
	if _, err := b.Update("Subscription", "beat", o5, room.Request{Base: "http://localhost/fhir/R5"}); err != nil {
		t.Fatal(err)
	}
	token, err := b.BindingToken([]string{"beat"})
	if err != nil {
		t.Fatal(err)
	}
	s := &reader{}
	if n, refused := r.Bind(s, token.Secret, ""); n != 1 {
		t.Fatal(refused)
	}
	return r, s
}

// A year of seconds does not pass at once.
func TestClock_AMoveRunsSoManyCalls(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{ClockStart: newYear, JournalSize: 10})
	ran := 0
	var tick clock.Timer
	tick = r.Clock().AfterFunc(time.Second, func() {
		ran++
		r.Record(journal.Entry{Kind: journal.Lenient, Text: "tick"})
		tick.Reset(time.Second)
	}, clock.What{Kind: clock.Heartbeat, Of: "beat"})
	const most = 100_000
	m, err := r.AdvanceClock(context.Background(), 365*24*time.Hour, time.Time{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if at := newYear.Add((most + 1) * time.Second); m.Done || m.Calls != most || ran != most || !m.Now.Equal(at) {
		t.Errorf("got %d calls until %s, %d of them ran; want %d until %s, when the next one is due", m.Calls, m.Now, ran, most, at)
	}
	if len(m.Happened) != 1000 || m.Omitted != most-1000 || m.Happened[0] != (room.ClockCall{At: newYear.Add(time.Second), Kind: "heartbeat", Subscription: "beat"}) {
		t.Errorf("%d happened, %v first, and %d were omitted; want 1000 and the rest", len(m.Happened), m.Happened[0], m.Omitted)
	}
	if want := `it stopped after 100000 calls, the most of one move. POST /mock/clock/advance {"to":"2027-01-01T00:00:00Z"} goes on`; !strings.HasSuffix(m.Note, want) {
		t.Errorf("got %q, want it to end with %q", m.Note, want)
	}
	next, err := r.AdvanceClock(context.Background(), 0, m.Now.Add(time.Minute), time.Hour)
	if err != nil || !next.Done || next.Calls != 61 || !next.Now.Equal(m.Now.Add(time.Minute)) {
		t.Errorf("got %+v, %v; want the next minute", next, err)
	}
}

// A move waits for readers, and stops with its request and its room.
func TestClock_AMoveWaitsForReaders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		timeout time.Duration
		end     func(r *room.Room, cancel func()) error
		refused string // "": none
		note    string
	}{
		"to its timeout":            {time.Millisecond, func(*room.Room, func()) error { return nil }, "", "it waited for a socket that does not read"},
		"to the end of its request": {time.Hour, func(_ *room.Room, cancel func()) error { cancel(); return nil }, "the request was cancelled", ""},
		"to a reset":                {time.Hour, func(r *room.Room, _ func()) error { return r.Reset() }, "the room was reset", ""},
		"to the end of the room":    {time.Hour, func(r *room.Room, _ func()) error { r.Close(); return nil }, "the room was closed", ""},
		"to a room without a seed":  {time.Hour, func(r *room.Room, _ func()) error { return r.Clear() }, "the room was reset", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, s := bound(t, room.Options{})
			s.full, s.asked = make(chan struct{}), make(chan struct{}, 1000)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				<-s.asked
				ended <- test.end(r, cancel)
			}()
			m, err := r.AdvanceClock(ctx, time.Hour, time.Time{}, test.timeout)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			switch {
			case test.refused == "" && (err != nil || m.Done || !strings.Contains(m.Note, test.note)):
				t.Errorf("got %+v, %v; want a note with %q", m, err, test.note)
			case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
				t.Errorf("got %+v, %v; want %q", m, err, test.refused)
			}
		})
	}
}

// A room that closes leaves nothing pending on its clock.
func TestClock_NothingIsLeftInARoomThatCloses(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(newYear)
	r := open(t, room.Options{Clock: c, Seed: builtin(t), BatchWindow: time.Minute})
	b := r.Base(fhir.R5)
	token, err := b.BindingToken([]string{"admission-id-only"})
	if err != nil {
		t.Fatal(err)
	}
	if n, refused := r.Bind(&reader{}, token.Secret, ""); n != 1 {
		t.Fatal(refused)
	}
	if err := r.Generators().Add(synth.Spec{Name: "more", Scenario: "tasks", Running: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Trigger(context.Background(), room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 3, Interval: time.Second}); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, call := range r.ClockDetail().Due {
		kinds[call.Kind] = true
	}
	for _, kind := range []string{clock.Token, clock.Binding, clock.Batch, clock.Generator, clock.Trigger} {
		if !kinds[kind] {
			t.Errorf("due are %v, want a %s", kinds, kind)
		}
	}
	r.Close()
	if due := c.Due(); len(due) != 0 {
		t.Errorf("pending: %v", due)
	}
}

// A heartbeat that turns out not to be due is not among what happened.
func TestClock_NamesOnlyWhatHadAnEffect(t *testing.T) {
	t.Parallel()
	r, _ := bound(t, room.Options{})
	if _, err := r.AdvanceClock(context.Background(), 500*time.Millisecond, time.Time{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Trigger(context.Background(), room.Trigger{Subscription: "beat", Reference: "Encounter/1", Count: 1}); err != nil {
		t.Fatal(err)
	}
	m, err := r.AdvanceClock(context.Background(), time.Second, time.Time{}, time.Hour)
	if err != nil || m.Calls != 2 || len(m.Happened) != 1 || !m.Happened[0].At.Equal(newYear.Add(1500*time.Millisecond)) || m.Happened[0].Subscription != "beat" {
		t.Errorf("got %+v, %v; want one heartbeat a second after the event", m, err)
	}
	if entries := r.Journal().Entries(journal.Filter{After: m.Since}); len(entries) != 2 || entries[0].Kind != journal.Sent || entries[1].Kind != journal.Clock {
		t.Errorf("got %+v, want the heartbeat and the move", entries)
	}
}

// Moves, writes, bindings and resets at once neither race nor wait for each other for ever.
func TestClock_Concurrently(t *testing.T) {
	t.Parallel()
	r := open(t, room.Options{Seed: builtin(t), BatchWindow: time.Second})
	b := r.Base(fhir.R5)
	var users sync.WaitGroup
	const rounds = 30
	users.Go(func() {
		for i := range rounds {
			if _, err := r.SetClock(context.Background(), newYear.Add(time.Duration(i%5)*time.Hour), time.Hour); err != nil && fhir.CodeOf(err) != fhir.CodeConflict {
				t.Error(err)
			}
			if _, err := r.AdvanceClock(context.Background(), 10*time.Minute, time.Time{}, time.Hour); err != nil && fhir.CodeOf(err) != fhir.CodeConflict {
				t.Error(err)
			}
			if _, err := r.SetRealClock(context.Background(), time.Hour); err != nil && fhir.CodeOf(err) != fhir.CodeConflict {
				t.Error(err)
			}
		}
	})
	users.Go(func() {
		for i := range rounds {
			// A reset may take the subscription away in between.
			_, _ = r.Trigger(context.Background(), room.Trigger{Subscription: "admission-id-only", Reference: "Encounter/1", Count: 3, Interval: time.Minute})
			_, _ = b.Update("Patient", "p", fhir.NewObject("resourceType", "Patient", "id", "p"), room.Request{Base: "http://localhost/fhir/R5"})
			if token, err := b.BindingToken([]string{"admission-id-only"}); err == nil {
				r.Bind(&taker{}, token.Secret, "")
			}
			r.ClockDetail()
			if i%10 == 9 {
				if err := r.Reset(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	users.Wait()
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	if s := r.ClockState(); s.Mode != room.RealClock {
		t.Errorf("got %+v, want the real clock that the room began with", s)
	}
}

// taker is a client that takes every frame.
type taker struct{ _ byte } // each has an address of its own

func (*taker) ID() string { return "s" }

func (*taker) Send(f subscription.Frame, sent func(string, subscription.Frame)) bool {
	sent("s", f)
	return true
}

func (*taker) Ready(int64) <-chan struct{} { return nil }

func (*taker) Lost(string, int64) (int64, bool) { return 0, true }
func (*taker) WhyClosing() string               { return "" }

func (*taker) Unbound(string, subscription.Reason, int) {}
