package socket

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"signalfhir/internal/clock"
	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/subscription"
)

// peers is a server of sockets whose clients the test is.
type peers struct {
	t       *testing.T
	options *Options
	url     string
	opened  chan *Socket
	faults  *fault.Set
}

// record is a room that keeps its journal.
type record struct {
	mu      sync.Mutex // guards entries
	entries []journal.Entry
	ended   chan struct{}
	faults  *fault.Set
	bind    func() error // nil: it succeeds
	gone    int          // calls of Gone
}

func (r *record) Bind(subscription.Socket, string, string) (int, []error) { return 0, nil }
func (r *record) Unbind(subscription.Socket, string)                      {}
func (r *record) BindLegacy(subscription.Socket, string) error {
	if r.bind != nil {
		return r.bind()
	}
	return nil
}
func (r *record) UnbindLegacy(subscription.Socket, string) {}
func (r *record) Faults() *fault.Set                       { return r.faults }
func (r *record) Hold() *clock.Hold                        { return nil }
func (r *record) Bindings(subscription.Socket) []string    { return nil }
func (r *record) Gone(subscription.Socket)                 { r.gone++ }
func (r *record) Now() time.Time                           { return time.Now() }
func (r *record) Manners() *manners.Manners                { return nil }
func (r *record) Record(e journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	if e.Kind == journal.Closed {
		close(r.ended)
	}
}

// of returns the entries of a kind.
func (r *record) of(kind string) (found []journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

type unobserved struct{}

func (unobserved) SocketOpened()    {}
func (unobserved) SocketClosed(int) {}
func (unobserved) FrameIn()         {}
func (unobserved) FrameOut()        {}

func newPeers(t *testing.T, change func(*Options)) *peers {
	t.Helper()
	return newPeersOn(t, httptest.NewServer, change)
}

// newPeersOn is newPeers for a server that listen starts.
func newPeersOn(t *testing.T, listen func(http.Handler) *httptest.Server, change func(*Options)) *peers {
	t.Helper()
	p := &peers{t: t, opened: make(chan *Socket, 1), options: &Options{
		SlowAfter: time.Hour, QueueBytes: 1 << 30, Pool: NewPool(1 << 40), MaxMessage: 1 << 10,
		PongWait: time.Hour, WriteWait: time.Hour, MaxErrors: 1, Logger: slog.New(slog.DiscardHandler), Observer: unobserved{},
	}}
	change(p.options)
	m := melody.New()
	m.Config.MessageBufferSize = Buffer
	m.HandleConnect(func(session *melody.Session) {
		Of(session).Open(session)
		p.opened <- Of(session)
	})
	m.HandleDisconnect(func(session *melody.Session) { Of(session).Ended() })
	m.HandleMessage(func(session *melody.Session, data []byte) { Of(session).Receive(data, false) })
	m.HandleSentMessage(func(session *melody.Session, _ []byte) { Of(session).Written() })
	m.HandleError(func(session *melody.Session, err error) { Of(session).Fail(err) })
	m.Config.WriteWait = p.options.WriteWait
	var ids atomic.Int64
	srv := listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := New("s"+strconv.FormatInt(ids.Add(1), 10), &record{ended: make(chan struct{}), faults: p.faults}, r, p.options)
		_ = m.HandleRequestWithKeys(s.Writer(w), r, s.Keys())
	}))
	t.Cleanup(func() {
		srv.Close()
		p.wantNothingHeld() // all sockets have ended
	})
	p.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	return p
}

// dial opens a socket and returns both of its ends.
func (p *peers) dial() (*Socket, *websocket.Conn) {
	p.t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	conn, _, err := dialer.Dial(p.url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	s := <-p.opened
	p.t.Cleanup(func() {
		conn.Close()
		<-s.room.(*record).ended
	})
	_ = conn.SetReadDeadline(time.Now().Add(10 * patience))
	return s, conn
}

// wantNothingHeld fails if the outboxes still hold something once all is written.
func (p *peers) wantNothingHeld() {
	p.t.Helper()
	if held := p.options.Pool.Used(); held != 0 {
		p.t.Errorf("the outboxes hold %d bytes, want none", held)
	}
	p.options.Pool.mu.Lock()
	defer p.options.Pool.mu.Unlock()
	if behind := len(p.options.Pool.behind); behind != 0 {
		p.t.Errorf("%d outboxes are behind, want none", behind)
	}
}

// event is a frame with the number of its event and so many bytes.
func event(number, size int) subscription.Frame {
	text := append([]byte(strconv.Itoa(number)+" "), bytes.Repeat([]byte("x"), size)...)
	return subscription.Frame{Bytes: text, Subscription: "a", First: int64(number), Last: int64(number)}
}

func unrecorded(string, subscription.Frame) {}

// readEvents reads events from number from until the socket ends. It returns the number
// of the last.
func readEvents(t *testing.T, conn *websocket.Conn, from, until int) (last int, err error) {
	t.Helper()
	for number := from; number <= until; number++ {
		_, data, err := conn.ReadMessage()
		if err != nil {
			return number - 1, err
		}
		if !bytes.HasPrefix(data, []byte(strconv.Itoa(number)+" ")) {
			t.Fatalf("got %.20q, want event %d", data, number)
		}
	}
	return until, nil
}

func TestOutbox_BurstArrivesWholeWithoutBeingRead(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(o *Options) { o.QueueBytes = 128 << 20 })
	s, conn := p.dial()
	events := 0
	fill := func(bytes int64) {
		t.Helper()
		for s.out.bytes.Load() < bytes { // beyond what the system keeps
			events++
			if !s.Send(event(events, 1000), unrecorded) {
				t.Fatalf("event %d was not taken", events)
			}
		}
	}
	fill(20 << 20)
	if s.Ready(math.MaxInt64) != nil {
		t.Error("the socket claims to have no room for many more frames")
	}
	few := s.Ready(1 << 20)
	if few == nil {
		t.Error("the socket claims that at most 1 MiB waits")
	}
	fill(33 << 20)
	ready := s.Ready(math.MaxInt64)
	if ready == nil {
		t.Error("the socket claims to have room for many more frames")
	}
	if last, err := readEvents(t, conn, 1, events); err != nil {
		t.Fatalf("after event %d: %v", last, err)
	}
	<-ready
	<-few
}

func TestOutbox_StalledSocketIsClosedAndTheJournalNamesWhatItMissed(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(o *Options) { o.SlowAfter = 40 * time.Millisecond })
	s, conn := p.dial()
	sent := 0
	for s.Send(event(sent+1, 64<<10), unrecorded) { // until it is found to be slow
		sent++
		for s.out.bytes.Load() > 32<<20 && !s.isClosing() { // more than the system keeps; now time passes
			runtime.Gosched()
		}
	}
	last, err := readEvents(t, conn, 1, sent+1)
	if !websocket.IsCloseError(err, 1013) || !strings.Contains(err.Error(), "--slow-after") || !strings.Contains(err.Error(), "40ms") {
		t.Fatalf("after event %d of %d: got %v, want a close with 1013 that names the limit", last, sent, err)
	}
	room := s.room.(*record)
	lost := room.of(journal.NotSent)
	if len(lost) != 1 || lost[0].Subscription != "a" || lost[0].First != int64(last+1) || lost[0].Last != int64(sent) || !strings.Contains(lost[0].Text, "$events") {
		t.Errorf("got %+v, want that events %d to %d were not sent", lost, last+1, sent)
	}
	if over := room.of(journal.Overflow); len(over) != 1 {
		t.Errorf("got %d entries of an overflow, want 1", len(over))
	}
}

func (s *Socket) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func TestOutbox_TooManyBytesCloseTheSocket(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(o *Options) { o.QueueBytes = 1 << 20 })
	s, conn := p.dial()
	if !s.Send(event(1, 2<<20), unrecorded) {
		t.Fatal("a single frame larger than the limit was not taken")
	}
	sent := 1
	for s.Send(event(sent+1, 64<<10), unrecorded) {
		sent++
	}
	last, err := readEvents(t, conn, 1, sent+1)
	if !websocket.IsCloseError(err, 1013) || !strings.Contains(err.Error(), "--queue-bytes)") {
		t.Fatalf("after event %d of %d: got %v, want a close with 1013 that names the limit", last, sent, err)
	}
}

// The stalled socket pays, not the one that reads.
func TestOutbox_TheSlowestPaysIfAllHoldTooMuch(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(o *Options) { o.Pool = NewPool(16 << 20) })
	stalled, stalledConn := p.dial()
	reads, conn := p.dial()
	n := 0
	for stalled.out.bytes.Load() < 8<<20 {
		n++
		stalled.Send(event(n, 64<<10), unrecorded)
	}
	stalled.out.still.Store(1) // as if a check had found it so
	events := 0
	for !stalled.isClosing() { // another goroutine closes it, if the limit is exceeded by then too
		size := 64 << 10
		if p.options.Pool.Used() > 16<<20 {
			size = 1
			runtime.Gosched()
		}
		events++
		if !reads.Send(event(events, size), unrecorded) {
			t.Fatalf("event %d was not taken", events)
		}
	}
	if last, err := readEvents(t, conn, 1, events); err != nil {
		t.Fatalf("after event %d of %d: %v", last, events, err)
	}
	_, err := readEvents(t, stalledConn, 1, n+1)
	if !websocket.IsCloseError(err, 1013) {
		t.Errorf("got %v, want a close with 1013", err)
	}
}

func TestOutbox_SocketThatHoldsTooMuchAlonePays(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(o *Options) { o.Pool = NewPool(4 << 20) })
	s, conn := p.dial()
	sent := 0
	for s.Send(event(sent+1, 64<<10), unrecorded) {
		sent++
	}
	last, err := readEvents(t, conn, 1, sent+1)
	if !websocket.IsCloseError(err, 1013) || !strings.Contains(err.Error(), "--queue-bytes-total") {
		t.Fatalf("after event %d of %d: got %v, want a close with 1013 that names the limit", last, sent, err)
	}
	if lost := s.room.(*record).of(journal.NotSent); len(lost) != 1 || lost[0].Last != int64(sent) || lost[0].First != int64(last+1) {
		t.Errorf("got %+v, want that events %d to %d were not sent", lost, last+1, sent)
	}
}

func TestPool_CountsSharedBytesOnce(t *testing.T) {
	t.Parallel()
	p := NewPool(10_000)
	a, b := &waiting{bytes: make([]byte, 1000), shared: new(atomic.Int32)}, &waiting{bytes: make([]byte, 500)}
	for _, step := range []struct {
		do   func()
		want int64
	}{
		{func() { p.add(a) }, 1000 + frameOverhead},
		{func() { p.add(a) }, 1000 + 2*frameOverhead},
		{func() { p.add(b) }, 1500 + 3*frameOverhead},
		{func() { p.remove(a) }, 1500 + 2*frameOverhead},
		{func() { p.remove(a) }, 500 + frameOverhead},
		{func() { p.remove(b) }, 0},
	} {
		if step.do(); p.Used() != step.want {
			t.Errorf("got %d bytes, want %d", p.Used(), step.want)
		}
	}
	if p.add(&waiting{bytes: make([]byte, 10_000)}) != true {
		t.Error("more than the limit is not too much")
	}
}

// A frame that waits in the outbox is passed on whatever happens in between. Writers and
// the connection race here; the test hangs if a frame is left behind.
func TestOutbox_NoFrameIsLeftBehind(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(*Options) {})
	s, conn := p.dial()
	number := 0
	for range 300 {
		n := 1 + rand.IntN(3*passedAtMost)
		for i := range n {
			if !s.Send(event(number+i+1, 10), unrecorded) {
				t.Fatal("a frame was not taken")
			}
		}
		if last, err := readEvents(t, conn, number+1, number+n); err != nil {
			t.Fatalf("after event %d: %v", last, err)
		}
		number += n
	}
	s.Close(ServerStopping.With())
	if _, err := readEvents(t, conn, number+1, number+1); !websocket.IsCloseError(err, 1001) {
		t.Errorf("got %v, want a close with 1001", err)
	}
}

// A close frame follows what waits, however much that is.
func TestOutbox_CloseFollowsWhatWaits(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(*Options) {})
	s, conn := p.dial()
	const events = 5000
	for i := range events {
		s.Send(event(i+1, 1000), unrecorded)
	}
	s.Close(RoomClosed.With("demo", "it was deleted"))
	if s.Send(event(events+1, 10), unrecorded) {
		t.Error("a socket that closes took a frame")
	}
	if last, err := readEvents(t, conn, 1, events+1); last != events || !websocket.IsCloseError(err, 1001) {
		t.Errorf("got %v after event %d, want 1001 after all %d", err, last, events)
	}
}

func TestOutbox_JournalNamesWhatABrokenConnectionMissed(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(*Options) {})
	s, conn := p.dial()
	sent := 0
	for s.out.bytes.Load() < 32<<20 {
		sent++
		s.Send(event(sent, 64<<10), unrecorded)
	}
	conn.NetConn().Close()
	room := s.room.(*record)
	<-room.ended
	lost := room.of(journal.NotSent)
	if len(lost) != 1 || lost[0].Last != int64(sent) || lost[0].First < 2 {
		t.Errorf("got %s, want that events up to %d were not sent", fmt.Sprint(lost), sent)
	}
}
