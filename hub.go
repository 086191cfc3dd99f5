package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/socket"
)

// hub accepts sockets and hands them to their rooms. It knows which sockets are
// open in which room and closes them with the room or the server. Package socket
// handles what happens on one socket.
//
// LOCKS. hub.mu is held for memory work only: under it no method of a room is called,
// and of a socket only Queued, which takes no lock.
type hub struct {
	options hubOptions
	shared  *socket.Options
	melody  *melody.Melody

	mu       sync.Mutex // guards all below and the fields of roomSockets
	rooms    map[socket.Room]*roomSockets
	stopping bool
}

// roomSockets are the sockets of one room. A room has them from openRoom until
// its last socket has ended after closeRoom.
type roomSockets struct {
	lastID  int
	serving map[*socket.Socket]bool // every request being served; true while its socket is open
	ending  *socket.Ending          // nil before the room closes
	ended   chan struct{}           // closed when the room closes and the last request has ended
}

// hubOptions are the settings of a hub; zero means the default.
type hubOptions struct {
	SlowAfter   time.Duration            // a socket that takes no frame for so long, while more wait than its buffer holds, is closed; 5 s
	QueueBytes  int64                    // bytes that may wait for one socket; 64 MiB
	QueueTotal  int64                    // bytes that may wait for all sockets; 512 MiB
	MaxMessage  int64                    // bytes of an inbound frame; 64 KiB (WS-14)
	PingPeriod  time.Duration            // 30 s; a socket that misses two is dead (WS-13)
	WriteWait   time.Duration            // for a frame whose subscription has no timeout; 10 s, or 5 s more than SlowAfter (SUB-9)
	MaxErrors   int                      // refused messages in a row before the socket is closed; 10 (WS-31)
	Strict      bool                     // refuse binary frames
	Admit       func() error             // refuses a socket if there is no memory for it; nil: there is
	CheckOrigin func(*http.Request) bool // nil: lets all in, the edge has refused foreign pages
	Logger      *slog.Logger             // required
	Observer    socket.Observer
}

// unobserved is the observer of a hub that has none.
type unobserved struct{}

func (unobserved) SocketOpened()    {}
func (unobserved) SocketClosed(int) {}
func (unobserved) FrameIn()         {}
func (unobserved) FrameOut()        {}

func newHub(o hubOptions) *hub {
	o.SlowAfter = cmp.Or(o.SlowAfter, 5*time.Second)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<20)
	o.QueueTotal = cmp.Or(o.QueueTotal, 512<<20)
	o.MaxMessage = cmp.Or(o.MaxMessage, 64<<10)
	o.PingPeriod = cmp.Or(o.PingPeriod, 30*time.Second)
	// A client that is too slow gets a close frame. It needs time to read it.
	o.WriteWait = cmp.Or(o.WriteWait, max(10*time.Second, o.SlowAfter+5*time.Second))
	o.MaxErrors = cmp.Or(o.MaxErrors, 10)
	if o.Admit == nil {
		o.Admit = func() error { return nil }
	}
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	pongWait := 2*o.PingPeriod + o.PingPeriod/2
	h := &hub{
		options: o,
		melody:  melody.New(),
		rooms:   map[socket.Room]*roomSockets{},
		shared: &socket.Options{
			SlowAfter: o.SlowAfter, QueueBytes: o.QueueBytes, Pool: socket.NewPool(o.QueueTotal),
			MaxMessage: o.MaxMessage, PongWait: pongWait, WriteWait: o.WriteWait,
			MaxErrors: o.MaxErrors, Strict: o.Strict, Logger: o.Logger, Observer: o.Observer,
		},
	}
	m := h.melody
	m.Config.MessageBufferSize = socket.Buffer
	m.Config.MaxMessageSize = o.MaxMessage
	m.Config.PingPeriod = o.PingPeriod
	m.Config.PongWait = pongWait
	m.Config.WriteWait = o.WriteWait
	m.Upgrader.ReadBufferSize = 4 << 10
	m.Upgrader.WriteBufferSize = 4 << 10
	m.Upgrader.WriteBufferPool = &sync.Pool{}
	if o.CheckOrigin != nil {
		m.Upgrader.CheckOrigin = o.CheckOrigin
	}
	m.Upgrader.Error = refuseUpgrade
	m.HandleConnect(h.guard(func(s *socket.Socket, session *melody.Session) {
		h.list(s, true)
		s.Open(session)
	}))
	m.HandleDisconnect(h.guard(func(s *socket.Socket, _ *melody.Session) {
		h.list(s, false)
		s.Ended()
	}))
	m.HandleMessage(h.receive(false))
	m.HandleMessageBinary(h.receive(true))
	m.HandleSentMessage(func(session *melody.Session, _ []byte) { socket.Of(session).Written() })
	m.HandleError(func(session *melody.Session, err error) { socket.Of(session).Fail(err) })
	return h
}

// guard makes a callback of melody from f. A panic in a callback would leave the
// session half alive, so guard closes the socket.
func (h *hub) guard(f func(*socket.Socket, *melody.Session)) func(*melody.Session) {
	return func(session *melody.Session) {
		s := socket.Of(session)
		defer func() {
			if r := recover(); r != nil {
				h.options.Logger.Error("a socket callback panicked", "socket", s.ID(), "panic", fmt.Sprint(r))
				s.Close(socket.ServerFailed.With())
			}
		}()
		f(s, session)
	}
}

func (h *hub) receive(binary bool) func(*melody.Session, []byte) {
	return func(session *melody.Session, data []byte) {
		h.guard(func(s *socket.Socket, _ *melody.Session) { s.Receive(data, binary) })(session)
	}
}

// openRoom makes the hub serve the sockets of a room, until closeRoom.
func (h *hub) openRoom(room socket.Room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[room] == nil {
		h.rooms[room] = &roomSockets{serving: map[*socket.Socket]bool{}, ended: make(chan struct{})}
	}
}

// serve upgrades a request to a socket of a room and serves the socket until it
// closes.
func (h *hub) serve(w http.ResponseWriter, r *http.Request, room socket.Room) error {
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return fhir.Refuse(http.StatusUpgradeRequired, fhir.CodeInvalid, "this address is a WebSocket; open it with the Upgrade of RFC 6455 and send bind-with-token TOKEN")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return fhir.Refuse(http.StatusUpgradeRequired, fhir.CodeNotSupported, "Sec-WebSocket-Version %q: this server speaks version 13", r.Header.Get("Sec-WebSocket-Version"))
	}
	if err := h.options.Admit(); err != nil {
		return err
	}
	s, err := h.accept(r, room)
	if err != nil {
		return err
	}
	defer h.leave(s)
	if err := s.Admit(w.Header()); err != nil {
		return err
	}
	if err := h.melody.HandleRequestWithKeys(s.Writer(w), r, s.Keys()); err != nil {
		h.options.Logger.Debug("an upgrade failed", "remote", r.RemoteAddr, "error", err)
	}
	return nil // refuseUpgrade has written the refusal
}

// accept makes the socket of a request. From then on closeRoom waits for it.
func (h *hub) accept(r *http.Request, room socket.Room) (*socket.Socket, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := h.rooms[room]
	switch {
	case h.stopping:
		return nil, fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the server is stopping")
	case in == nil || in.ending != nil:
		return nil, fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "the room was closed")
	}
	in.lastID++
	s := socket.New("s"+strconv.Itoa(in.lastID), room, r, h.shared)
	in.serving[s] = false
	return s, nil
}

// list notes that a socket is open, or no longer.
func (h *hub) list(s *socket.Socket, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rooms[s.Room()].serving[s] = open // leave has not been called yet
}

// leave ends the service of a socket.
func (h *hub) leave(s *socket.Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := h.rooms[s.Room()]
	delete(in.serving, s)
	h.forgetLocked(s.Room(), in)
}

// forgetLocked removes a room that closes and has no socket.
func (h *hub) forgetLocked(room socket.Room, in *roomSockets) {
	if in.ending != nil && len(in.serving) == 0 {
		delete(h.rooms, room)
		close(in.ended)
	}
}

// refuseUpgrade writes the refusal of an upgrade that gorilla refuses.
func refuseUpgrade(w http.ResponseWriter, _ *http.Request, status int, reason error) {
	w.Header().Set("Content-Type", httpedge.FHIRJSON+"; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(fhir.EncodeOutcome(fhir.Refuse(status, fhir.CodeInvalid, "%v", reason).Issues))
}

// closeRoom closes every socket of a room, also those being upgraded, and takes
// no more. It returns when all have ended. When ctx ends, closeRoom cuts the
// sockets that are left. Callers hold no lock of the room.
func (h *hub) closeRoom(ctx context.Context, room socket.Room, end socket.Ending) {
	h.mu.Lock()
	in := h.rooms[room]
	if in == nil {
		h.mu.Unlock()
		return
	}
	left := h.endLocked(room, in, end)
	h.mu.Unlock()
	wait(ctx, in, left, end)
}

// shutdown closes every socket of every room, as closeRoom does, and takes no
// more.
func (h *hub) shutdown(ctx context.Context) {
	stopping := socket.ServerStopping.With()
	h.mu.Lock()
	h.stopping = true
	all := map[*roomSockets][]*socket.Socket{}
	for room, in := range h.rooms {
		all[in] = h.endLocked(room, in, stopping)
	}
	h.mu.Unlock()
	var rooms sync.WaitGroup
	for in, left := range all {
		rooms.Go(func() { wait(ctx, in, left, stopping) })
	}
	rooms.Wait()
}

// endLocked makes a room take no more sockets. It returns those it has.
func (h *hub) endLocked(room socket.Room, in *roomSockets, end socket.Ending) []*socket.Socket {
	if in.ending == nil {
		in.ending = &end
		h.forgetLocked(room, in)
	}
	return slices.Collect(maps.Keys(in.serving))
}

// wait closes the sockets of a room and returns when all have ended.
func wait(ctx context.Context, in *roomSockets, left []*socket.Socket, end socket.Ending) {
	for _, s := range left {
		s.Close(end)
	}
	select {
	case <-in.ended:
	case <-ctx.Done():
		for _, s := range left {
			s.Cut()
		}
		<-in.ended
	}
}

// sockets returns the state of the open sockets of a room, in the order of their
// ids.
func (h *hub) sockets(room socket.Room) []socket.State {
	states := []socket.State{}
	for _, s := range h.open(room) {
		states = append(states, s.State())
	}
	slices.SortFunc(states, func(a, b socket.State) int {
		return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID)) // s2 before s10
	})
	return states
}

func (h *hub) open(room socket.Room) (open []*socket.Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if in := h.rooms[room]; in != nil {
		for s, is := range in.serving {
			if is {
				open = append(open, s)
			}
		}
	}
	return open
}

// find returns the open socket of a room that has an id, or nil.
func (h *hub) find(room socket.Room, id string) *socket.Socket {
	for _, s := range h.open(room) {
		if s.ID() == id {
			return s
		}
	}
	return nil
}

// count returns the number of open sockets in all rooms.
func (h *hub) count() int { return h.sum(func(*socket.Socket) int { return 1 }) }

// queued returns the number of frames that wait for the open sockets in all rooms.
func (h *hub) queued() int { return h.sum((*socket.Socket).Queued) }

// sum adds up f, which is to be cheap, over the open sockets in all rooms.
func (h *hub) sum(f func(*socket.Socket) int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, in := range h.rooms {
		for s, open := range in.serving {
			if open {
				n += f(s)
			}
		}
	}
	return n
}
