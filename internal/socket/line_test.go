package socket

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
	"signalfhir/internal/random"
	"signalfhir/internal/subscription"
)

// withFaults are peers whose sockets have faults, on a clock that the test moves.
func withFaults(t *testing.T, change func(*Options)) (*peers, *clock.Adjustable) {
	t.Helper()
	return withFaultsOn(t, httptest.NewServer, change)
}

func withFaultsOn(t *testing.T, listen func(http.Handler) *httptest.Server, change func(*Options)) (*peers, *clock.Adjustable) {
	t.Helper()
	p := newPeersOn(t, listen, change)
	moved := clock.NewManual(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC))
	p.faults = fault.New(t.Context(), moved, random.Seeded(1), func(journal.Entry) {})
	return p, moved
}

// put sets the faults, which are without what the test does not name.
func (p *peers) put(faults ...fault.Fault) {
	p.t.Helper()
	for i := range faults {
		if faults[i].On == "" {
			faults[i].On = fault.OnFrame
		}
	}
	if err := p.faults.Put(faults, "faults"); err != nil {
		p.t.Fatal(err)
	}
}

func number(n int64) *int64 { return &n }

func events(from, to int64) *fault.Numbers { return &fault.Numbers{From: from, To: &to} }

// sent returns what was queued for the client of a socket, in order, and forgets it.
type sent struct{ numbers []string }

func (q *sent) send(t *testing.T, s *Socket, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if !s.Send(event(n, 10), func(_ string, f subscription.Frame) { q.numbers = append(q.numbers, fmt.Sprint(f.First)) }) {
			t.Fatalf("event %d was not taken", n)
		}
	}
}

func (q *sent) want(t *testing.T, when, want string) {
	t.Helper()
	if got := strings.Join(q.numbers, ","); got != want {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
	q.numbers = nil
}

func TestLine_DelaysByTheClockOfTheRoom(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	q := &sent{}
	p.put(fault.Fault{Action: fault.Delay, By: "10s", Number: events(2, 2)}, fault.Fault{Action: fault.Delay, By: "4s", Number: events(3, 3)}, fault.Fault{Action: fault.Delay, By: "15s", Overtake: true, Number: events(4, 4)})
	q.send(t, s, 1, 2, 3, 4, 5)
	q.want(t, "at once", "1")
	moved.Advance(9 * time.Second)
	q.send(t, s, 6)
	q.want(t, "after 9 s", "")
	moved.Advance(time.Second)
	q.want(t, "after 10 s", "2,3,5,6")
	q.send(t, s, 7)
	q.want(t, "behind nothing", "7")
	if got := s.Queued(); got < 1 {
		t.Errorf("got %d frames that wait, want event 4 among them", got)
	}
	moved.Advance(5 * time.Second)
	q.want(t, "after 15 s", "4")
	if moved.Pending() != 0 {
		t.Errorf("%d timers are left", moved.Pending())
	}
	for _, n := range []int{1, 2, 3, 5, 6, 7, 4} {
		if _, data, err := conn.ReadMessage(); err != nil || !strings.HasPrefix(string(data), fmt.Sprint(n, " ")) {
			t.Fatalf("got %.9q, %v; want event %d", data, err, n)
		}
	}
}

func TestLine_JitterAddsAtMostSoMuch(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	s, _ := p.dial()
	p.put(fault.Fault{Action: fault.Delay, By: "10s", Jitter: "2s", Overtake: true})
	q := &sent{}
	q.send(t, s, 1, 2, 3, 4, 5, 6, 7, 8)
	moved.Advance(10*time.Second - 1)
	q.want(t, "before", "")
	moved.Advance(time.Second)
	soon := len(q.numbers)
	moved.Advance(time.Second + 1)
	if all := slices.Sorted(slices.Values(q.numbers)); soon == 0 || soon == 8 || strings.Join(all, "") != "12345678" {
		t.Errorf("got %d within a second, and in all %v; want some and all", soon, q.numbers)
	}
}

// Without its fault, nothing waits any more; what another one holds still does.
func TestLine_RemovedFaultReleasesInOrder(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	s, _ := p.dial()
	q := &sent{}
	p.put(fault.Fault{Name: "a", Action: fault.Delay, By: "1h", Number: events(1, 2)}, fault.Fault{Name: "b", Action: fault.Delay, By: "2h", Number: events(4, 4)},
		fault.Fault{Name: "swap", Action: fault.Swap, Number: events(6, 6)})
	q.send(t, s, 1, 2, 3, 4, 5, 6)
	q.want(t, "held", "")
	remove := func(name string) {
		t.Helper()
		if err := p.faults.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	remove("a")
	q.want(t, "without a", "1,2,3")
	remove("swap")
	q.want(t, "without swap", "")
	remove("b")
	q.want(t, "without b", "4,5,6")
	if moved.Pending() != 0 {
		t.Errorf("%d timers are left", moved.Pending())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		t.Error("the socket still has a line")
	}
}

func TestLine_HeldFramesAreBounded(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(o *Options) { o.QueueBytes = 1 << 20 })
	s, conn := p.dial()
	p.put(fault.Fault{Action: fault.Delay, By: "1h", Number: events(2, 2)})
	sent := 0
	for s.Send(event(sent+1, 64<<10), unrecorded) {
		sent++
	}
	if sent < 10 || sent > 17 {
		t.Errorf("%d frames of 64 KiB were taken, want what 1 MiB holds", sent)
	}
	last, err := readEvents(t, conn, 1, sent+1)
	if last != 1 || !websocket.IsCloseError(err, 1013) || !strings.Contains(err.Error(), "--queue-bytes)") {
		t.Fatalf("after event %d: got %v, want a close with 1013 that names the limit", last, err)
	}
	room := s.room.(*record)
	if lost := room.of(journal.NotSent); len(lost) != sent-1 || !strings.HasPrefix(lost[0].Text, "event 2 was held by fault fault-1 and then dropped") {
		t.Errorf("got %d entries of lost events, want %d: %v", len(lost), sent-1, lost)
	}
}

func TestLine_HeldFramesCountForAllSockets(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(o *Options) { o.Pool = NewPool(1 << 20) })
	s, conn := p.dial()
	p.put(fault.Fault{Action: fault.Delay, By: "1h"})
	sent := 0
	for s.Send(event(sent+1, 64<<10), unrecorded) {
		sent++
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1013) || !strings.Contains(err.Error(), "--queue-bytes-total") {
		t.Errorf("after %d frames: got %v, want 1013", sent, err)
	}
}

func TestTrouble_AfterATime(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	early, earlyConn := p.dial()
	moved.Advance(3 * time.Second)
	p.put(fault.Fault{On: fault.OnSocket, Action: fault.Close, Code: number(4000), After: "5s"})
	late, lateConn := p.dial()
	moved.Advance(2*time.Second - 1)
	if early.isClosing() {
		t.Error("the socket was closed too early")
	}
	moved.Advance(1)
	if _, _, err := earlyConn.ReadMessage(); !websocket.IsCloseError(err, 4000) {
		t.Errorf("got %v, want 4000", err)
	}
	if late.isClosing() {
		t.Error("the other socket was closed too early")
	}
	moved.Advance(3 * time.Second)
	if _, _, err := lateConn.ReadMessage(); !websocket.IsCloseError(err, 4000) {
		t.Errorf("got %v, want 4000", err)
	}
}

// A fault that is removed before its time does nothing, and leaves no timer.
func TestTrouble_RemovedInTime(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	s, _ := p.dial()
	p.put(fault.Fault{On: fault.OnSocket, Action: fault.Cut, After: "5s"})
	p.put()
	if moved.Pending() != 0 {
		t.Errorf("%d timers are left", moved.Pending())
	}
	moved.Advance(time.Minute)
	if s.isClosing() {
		t.Error("the socket was cut")
	}
}

func TestTrouble_StillForATime(t *testing.T) {
	t.Parallel()
	for _, action := range []string{fault.Stall, fault.HalfOpen} {
		p, moved := withFaults(t, func(*Options) {})
		s, conn := p.dial()
		q := &sent{}
		p.put(fault.Fault{On: fault.OnSocket, Action: action, After: "0s", For: "1m"})
		q.send(t, s, 1, 2)
		moved.Advance(time.Minute - 1)
		q.want(t, "before", "")
		moved.Advance(1)
		q.want(t, "after", "1,2")
		if last, err := readEvents(t, conn, 1, 2); last != 2 {
			t.Errorf("%s: got %v after event %d", action, err, last)
		}
	}
}

// The connection of a socket that is kept still writes nothing, not even pings, and a client
// that gets none does not have to answer.
func TestTrouble_StillSocketsAreNotPinged(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	c := &conn{Conn: deadlines{r}, socket: &Socket{options: &Options{PongWait: time.Hour}}}
	c.gate.Store(&gate{opened: make(chan struct{})})
	for _, frame := range []string{"\x89\x00", "\x8a\x02hi"} {
		if n, err := c.Write([]byte(frame)); n != len(frame) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if len(r.writes) != 0 {
		t.Errorf("got %q, want nothing", r.writes)
	}
	c.open()
	for _, frame := range []string{"\x89\x00", "\x81\x02hi"} {
		_, _ = c.Write([]byte(frame))
	}
	if got := strings.Join(r.writes, "|"); got != "\x89\x00|\x81\x02hi" {
		t.Errorf("got %q", got)
	}
}

// What a half-open connection has read is held back, and nothing is lost.
func TestTrouble_HalfOpenConnectionsAreNotRead(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		in := source{read: make(chan struct{})}
		c := &conn{Conn: in, socket: &Socket{}}
		c.gate.Store(&gate{opened: make(chan struct{}), closed: closed})
		var opened atomic.Bool
		go func() {
			<-in.read
			for range 1000 {
				runtime.Gosched()
			}
			opened.Store(true)
			c.open()
		}()
		p := make([]byte, 10)
		n, err := c.Read(p)
		if was := opened.Load(); closed && !was || string(p[:n]) != "data" || err != nil {
			t.Errorf("closed %v: got %q, %v; open: %v", closed, p[:n], err, was)
		}
		for !opened.Load() {
			runtime.Gosched()
		}
	}
}

// source is a connection that has something to read.
type source struct {
	read     chan struct{}
	net.Conn // nil
}

func (s source) Read(p []byte) (int, error) {
	s.read <- struct{}{}
	return copy(p, "data"), nil
}

// deadlines is a recorder whose deadlines mean nothing.
type deadlines struct{ *recorder }

func (deadlines) SetReadDeadline(time.Time) error { return nil }

func TestInbox_DelaysMessagesInOrder(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	p.put(fault.Fault{On: fault.OnMessage, Action: fault.Delay, By: "10s", Times: number(1)})
	room := s.room.(*record)
	for _, text := range []string{"ping", `{"type":"ping"}`} {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for !s.in.holds(2) {
		runtime.Gosched() // until the reader has read both
	}
	moved.Advance(10*time.Second - 1)
	if sent := room.of(journal.Sent); len(sent) != 0 {
		t.Fatalf("got %v, want no answer yet", sent)
	}
	moved.Advance(1)
	for _, want := range []string{"pong", `{"type":"pong"}`} {
		if _, data, err := conn.ReadMessage(); string(data) != want {
			t.Errorf("got %q, %v; want %s", data, err, want)
		}
	}
}

func (in *inbox) holds(n int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.queue) == n
}

func TestInbox_DropsMessagesWithTheSocket(t *testing.T) {
	t.Parallel()
	p, moved := withFaults(t, func(*Options) {})
	told := make(chan string, 10)
	p.faults = fault.New(t.Context(), moved, random.Seeded(1), func(e journal.Entry) { told <- e.Text })
	s, conn := p.dial()
	p.put(fault.Fault{Name: "late", On: fault.OnMessage, Action: fault.Delay, By: "10s"})
	if err := conn.WriteMessage(websocket.TextMessage, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "the message ping was delayed for 10s by fault late" {
		t.Errorf("got %s", got)
	}
	for !s.in.holds(1) {
		runtime.Gosched()
	}
	s.Close(ServerStopping.With())
	if got := <-told; got != "the message ping was delayed by fault late and then dropped: the server is stopping" {
		t.Errorf("got %s", got)
	}
	<-s.room.(*record).ended
	if moved.Pending() != 0 {
		t.Errorf("%d timers are left", moved.Pending())
	}
}

// Faults come and go while frames are sent: none is left behind, and none overtakes.
func TestLine_NoFrameIsLeftBehind(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	const most = 3000
	var sending sync.WaitGroup
	ended := make(chan struct{})
	sending.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			p.put([][]fault.Fault{
				{{On: fault.OnSocket, Action: fault.Stall, After: "0s"}},
				{{Action: fault.Delay, By: "1h"}},
				{{On: fault.OnSocket, Action: fault.HalfOpen, After: "0s"}, {Action: fault.Delay, By: "1h", Jitter: "1h"}},
				{},
			}[i%4]...)
		}
	})
	for i := range most {
		if !s.Send(event(i+1, 10), unrecorded) {
			t.Fatal("a frame was not taken")
		}
		if i%50 == 0 {
			runtime.Gosched()
		}
	}
	close(ended)
	sending.Wait()
	p.put()
	if last, err := readEvents(t, conn, 1, most); err != nil {
		t.Fatalf("after event %d: %v", last, err)
	}
	s.Close(ServerStopping.With())
	if _, err := readEvents(t, conn, most+1, most+1); !websocket.IsCloseError(err, 1001) {
		t.Errorf("got %v, want a close with 1001", err)
	}
}

// TLS writes messages of its own when a connection ends.
func TestTrouble_OverTLS(t *testing.T) {
	t.Parallel()
	p, moved := withFaultsOn(t, httptest.NewTLSServer, func(*Options) {})
	s, conn := p.dial()
	q := &sent{}
	p.put(fault.Fault{On: fault.OnSocket, Action: fault.HalfOpen, Frames: number(2), For: "1m"}, fault.Fault{On: fault.OnSocket, Action: fault.Cut, Frames: number(4)})
	q.send(t, s, 1, 2, 3, 4)
	q.want(t, "half-open", "1,2")
	if last, err := readEvents(t, conn, 1, 2); last != 2 {
		t.Fatalf("got %v after event %d", err, last)
	}
	moved.Advance(time.Minute)
	if last, err := readEvents(t, conn, 3, 4); last != 4 {
		t.Fatalf("got %v after event %d", err, last)
	}
	if _, data, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1006) {
		t.Errorf("got %q, %v; want the end of the connection without a close frame", data, err)
	}
}

// The close frame of a socket that is kept still waits.
func TestTrouble_CloseFrameWaits(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	p.put(fault.Fault{On: fault.OnSocket, Action: fault.Stall, After: "0s"})
	s.Close(TooManyErrors.With(3))
	s.out.mu.Lock()
	sent := s.out.last != nil
	s.out.mu.Unlock()
	if sent {
		t.Error("the close frame was sent at once")
	}
	p.put()
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1008) {
		t.Errorf("got %v, want 1008", err)
	}
}

// A close frame that waits for a fault does not hold up the end of the server.
func TestTrouble_ServerEndsWhatIsKeptStill(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	s, conn := p.dial()
	p.put(fault.Fault{On: fault.OnSocket, Action: fault.HalfOpen, After: "0s"})
	s.Close(TooManyErrors.With(3))
	s.Close(ServerStopping.With())
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1008) {
		t.Errorf("got %v, want 1008", err)
	}
}

// Shifts of one fault add up in one place.
func TestLine_ShiftsAreBounded(t *testing.T) {
	t.Parallel()
	l, r := &line{shifts: map[string]map[*fault.Rule]int64{}}, &fault.Rule{}
	for range 1000 {
		l.addShift("a", r, 1)
		l.addShift("b", r, -1)
	}
	if len(l.shifts) != 2 || l.shift("a") != 1000 || l.shift("b") != -1000 || l.shift("c") != 0 {
		t.Errorf("got %d shifts of %d and %d", len(l.shifts), l.shift("a"), l.shift("b"))
	}
}

// Messages that wait are bounded, and the client is told of those that are dropped.
func TestInbox_IsBounded(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(*Options) {})
	_, conn := p.dial()
	p.put(fault.Fault{On: fault.OnMessage, Action: fault.Delay, By: "1h"})
	if err := conn.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("ping\n", maxDelayed+1))); err != nil {
		t.Fatal(err)
	}
	if _, data, err := conn.ReadMessage(); !strings.Contains(string(data), "throttled") {
		t.Errorf("got %q, %v; want a refusal", data, err)
	}
	p.put()
	for range maxDelayed {
		if _, data, err := conn.ReadMessage(); string(data) != "pong" {
			t.Fatalf("got %q, %v; want a pong", data, err)
		}
	}
}

// Messages stay in order while those that a fault has released are carried out.
func TestInbox_ReleasedMessagesAreNotOvertaken(t *testing.T) {
	t.Parallel()
	p, _ := withFaults(t, func(o *Options) { o.MaxErrors = 10 })
	s, conn := p.dial()
	room := s.room.(*record)
	begun, goOn := make(chan struct{}), make(chan struct{})
	room.bind = func() error {
		close(begun)
		<-goOn
		return errors.New("refused late")
	}
	p.put(fault.Fault{On: fault.OnMessage, Action: fault.Delay, By: "1h"})
	write := func(text string, received int) {
		t.Helper()
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		for len(room.of(journal.Received)) < received {
			runtime.Gosched()
		}
	}
	write("bind a", 1)
	for !s.in.holds(1) {
		runtime.Gosched()
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		p.put()
	}()
	<-begun
	write("ping", 2)
	for range 1000 {
		runtime.Gosched()
	}
	close(goOn)
	for _, want := range []string{"refused late", "pong"} {
		if _, data, err := conn.ReadMessage(); !strings.Contains(string(data), want) {
			t.Errorf("got %q, %v; want %s", data, err, want)
		}
	}
	<-released
}
