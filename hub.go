package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// The hub moves bytes between sockets and rooms. It knows which socket is bound
// to how many subscriptions, and nothing of what the bundles say.
//
// LOCKS. hub.mu guards the set of sockets; client.mu guards one socket and is a
// leaf: it is taken under the lock of a subscription (Send, Unbound) and nothing
// is called under it but melody's queueing, which does not block. melody calls
// HandleError inside such a call, so that callback touches atomics only.

// binder is what the hub asks of a room.
type binder interface {
	// Bind binds a socket through a token and sends the handshakes with
	// Socket.Send. It tells how many bindings were made and what was refused.
	Bind(s subscription.Socket, secret, dialect string) (bound int, refused []*fhir.Error)
	// Unbind ends what a token holds on a socket, and answers the subscriptions
	// that is no longer bound to.
	Unbind(s subscription.Socket, secret string) []string
	// BindLegacy answers the R4 message "bind [id]", UnbindLegacy ends that.
	BindLegacy(s subscription.Socket, id string) *fhir.Error
	UnbindLegacy(s subscription.Socket, id string) bool
	// Gone ends every binding of a socket that closed.
	Gone(s subscription.Socket)
	// Record writes to the journal of the room.
	Record(e journal.Entry)
}

// hubObserver counts what goes through the hub.
type hubObserver interface {
	SocketOpened()
	SocketClosed(code int)
	FrameIn()
	FrameOut()
}

// hubOptions are the settings of a hub; zero means the default.
type hubOptions struct {
	QueueSize   int           // frames that may wait for one socket; 256
	MaxMessage  int64         // bytes of an inbound frame; 64 KiB (WS-14)
	PingPeriod  time.Duration // 30 s; a socket that misses two is dead (WS-13)
	WriteWait   time.Duration // for one frame whose subscription says nothing; 10 s (SUB-9)
	MaxErrors   int           // refused messages in a row before the socket is closed; 10 (WS-31)
	Strict      bool          // binary frames are refused
	CheckOrigin func(*http.Request) bool
	Logger      *slog.Logger
	Observer    hubObserver
}

type hub struct {
	options hubOptions
	melody  *melody.Melody
	ended   sync.WaitGroup // one for each request being served
	lastID  atomic.Int64

	mu       sync.Mutex // guards all below
	clients  map[*client]struct{}
	draining bool
}

func newHub(o hubOptions) *hub {
	if o.QueueSize == 0 {
		o.QueueSize = 256
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 64 << 10
	}
	if o.PingPeriod == 0 {
		o.PingPeriod = 30 * time.Second
	}
	if o.WriteWait == 0 {
		o.WriteWait = 10 * time.Second
	}
	if o.MaxErrors == 0 {
		o.MaxErrors = 10
	}
	h := &hub{options: o, melody: melody.New(), clients: map[*client]struct{}{}}
	m := h.melody
	// melody drops silently when its buffer is full. The hub counts what it
	// queues and stops before; the headroom is for a last word and the close.
	const headroom = 8
	m.Config.MessageBufferSize = o.QueueSize + headroom
	m.Config.MaxMessageSize = o.MaxMessage
	m.Config.PingPeriod = o.PingPeriod
	m.Config.PongWait = 2*o.PingPeriod + o.PingPeriod/2
	m.Config.WriteWait = o.WriteWait
	m.Upgrader.ReadBufferSize = 4 << 10
	m.Upgrader.WriteBufferSize = 4 << 10
	m.Upgrader.WriteBufferPool = &sync.Pool{}
	if o.CheckOrigin != nil {
		m.Upgrader.CheckOrigin = o.CheckOrigin
	}
	m.Upgrader.Error = h.refuseUpgrade
	m.HandleConnect(func(s *melody.Session) {
		clientOf(s).session.Store(s)
		h.guard(h.connected)(s)
	})
	m.HandleDisconnect(h.guard(h.disconnected))
	m.HandleMessage(func(s *melody.Session, data []byte) {
		h.guard(func(c *client) { c.received(data, false) })(s)
	})
	m.HandleMessageBinary(func(s *melody.Session, data []byte) {
		h.guard(func(c *client) { c.received(data, true) })(s)
	})
	m.HandleSentMessage(func(s *melody.Session, _ []byte) {
		if c := clientOf(s); c != nil {
			c.queued.Add(-1)
		}
	})
	m.HandleError(func(s *melody.Session, err error) {
		// Also every normal close comes here. Under client.mu: atomics only.
		c := clientOf(s)
		if c == nil {
			return
		}
		var closed *websocket.CloseError
		var network net.Error
		switch {
		case errors.As(err, &closed):
			c.end.CompareAndSwap(nil, &ending{closed.Code, closed.Text, "client"})
		case errors.As(err, &network) && network.Timeout():
			// Which of the two deadlines it was, only the text tells.
			reason := "no pong for " + m.Config.PongWait.String() + ": the client is gone or does not read"
			if strings.HasPrefix(err.Error(), "write ") {
				reason = "a frame could not be written in its time, " + m.Config.WriteWait.String() + " where its subscription has no timeout: the client does not read; $events has what it misses"
			}
			c.end.CompareAndSwap(nil, &ending{websocket.CloseAbnormalClosure, reason, "server"})
		}
	})
	return h
}

const clientKey = "client"

func clientOf(s *melody.Session) *client {
	v, _ := s.Get(clientKey)
	c, _ := v.(*client)
	return c
}

// guard makes a callback of melody out of f. A panic in one would leave the
// session half alive, so it closes the socket instead.
func (h *hub) guard(f func(*client)) func(*melody.Session) {
	return func(s *melody.Session) {
		c := clientOf(s)
		if c == nil {
			return
		}
		defer func() {
			if r := recover(); r != nil {
				h.options.Logger.Error("a socket callback panicked", "socket", c.id, "panic", r)
				c.close(websocket.CloseInternalServerErr, "the server failed; please report this")
			}
		}()
		f(c)
	}
}

// serve upgrades a request and serves the socket until it closes.
func (h *hub) serve(w http.ResponseWriter, r *http.Request, b binder) error {
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return fhir.Refuse(http.StatusUpgradeRequired, "invalid", "this address is a WebSocket; open it with the Upgrade of RFC 6455 and send bind-with-token TOKEN")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return fhir.Refuse(http.StatusUpgradeRequired, "not-supported", "Sec-WebSocket-Version %q: this server speaks version 13", r.Header.Get("Sec-WebSocket-Version"))
	}
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		return fhir.Refuse(http.StatusServiceUnavailable, "transient", "the server is stopping")
	}
	h.ended.Add(1)
	h.mu.Unlock()
	defer h.ended.Done()

	c := &client{
		id:      "s" + strconv.FormatInt(h.lastID.Add(1), 10),
		hub:     h,
		binder:  b,
		remote:  r.RemoteAddr,
		path:    shownPath(r.URL),
		token:   r.URL.Query().Get("token"),
		opened:  time.Now(),
		bound:   map[string]struct{}{},
		dialect: "",
	}
	// The map belongs to melody from here on: one for each socket.
	err := h.melody.HandleRequestWithKeys(coalescingWriter{w, c}, r, map[string]any{clientKey: c})
	if err != nil {
		h.options.Logger.Debug("an upgrade failed", "remote", r.RemoteAddr, "error", err)
	}
	return nil // refuseUpgrade has answered
}

// shownPath is the address a socket asked for, without a secret.
func shownPath(u *url.URL) string {
	query := u.Query()
	if _, has := query["token"]; !has {
		return token.RedactLong(u.RequestURI())
	}
	for i, secret := range query["token"] {
		query["token"][i] = token.Fingerprint(secret)
	}
	return token.RedactLong(u.Path + "?" + query.Encode())
}

// refuseUpgrade answers an upgrade gorilla refuses.
func (h *hub) refuseUpgrade(w http.ResponseWriter, r *http.Request, status int, reason error) {
	code, text := "invalid", reason.Error()
	if status == http.StatusForbidden {
		code, text = "forbidden", "pages of "+r.Header.Get("Origin")+" may not open a socket here; start the server with --allow-origin "+r.Header.Get("Origin")
	}
	w.Header().Set("Content-Type", fhirJSON+"; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(fhir.EncodeOutcome(fhir.Refuse(status, code, "%s", text).Issues))
}

// connected registers a socket. melody starts its writer only afterwards, so
// what is queued here waits in its buffer.
func (h *hub) connected(c *client) {
	h.mu.Lock()
	h.clients[c] = struct{}{}
	draining := h.draining
	h.mu.Unlock()
	if h.options.Observer != nil {
		h.options.Observer.SocketOpened()
	}
	c.binder.Record(journal.Entry{Kind: journal.Opened, Socket: c.id, Text: c.path + " from " + c.remote})
	h.options.Logger.Info("socket opened", "socket", c.id, "remote", c.remote)
	if draining {
		c.close(websocket.CloseGoingAway, "the server is stopping")
		return
	}
	if c.token != "" && !c.bind(dialect.Command{Verb: dialect.Bind, Token: c.token, Dialect: dialect.URL}) {
		c.close(websocket.ClosePolicyViolation, "the token in the URL was refused; the OperationOutcome before says why")
	}
}

func (h *hub) disconnected(c *client) {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
	c.binder.Gone(c)
	end := c.end.Load()
	if end == nil {
		end = &ending{websocket.CloseAbnormalClosure, "the connection broke", "nobody"}
	}
	if h.options.Observer != nil {
		h.options.Observer.SocketClosed(end.code)
	}
	c.binder.Record(journal.Entry{Kind: journal.Closed, Socket: c.id, Code: end.code, Text: end.reason + " (by " + end.by + ")"})
	h.options.Logger.Info("socket closed", "socket", c.id, "code", end.code, "reason", end.reason, "by", end.by)
}

// shutdown closes every socket with 1001 and returns when all have ended; those
// that have not when ctx ends are cut.
func (h *hub) shutdown(ctx context.Context) {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	for _, c := range h.all() {
		c.close(websocket.CloseGoingAway, "the server is stopping")
	}
	done := make(chan struct{})
	go func() {
		h.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		for _, c := range h.all() {
			c.cut()
		}
		<-done
	}
}

// socketState is what a socket is like at one moment.
type socketState struct {
	ID       string    `json:"id"`
	Remote   string    `json:"remote"`
	Opened   time.Time `json:"opened"`
	Dialect  string    `json:"dialect,omitempty"`
	Bindings []string  `json:"bindings"`
	Queued   int       `json:"queued"`
}

// sockets lists the open sockets in the order they opened.
func (h *hub) sockets() []socketState {
	all := h.all()
	states := make([]socketState, 0, len(all))
	for _, c := range all {
		states = append(states, c.state())
	}
	slices.SortFunc(states, func(a, b socketState) int { return a.Opened.Compare(b.Opened) })
	return states
}

func (h *hub) all() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.clients))
}

// count is the number of open sockets.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// ending says how a socket ended.
type ending struct {
	code   int
	reason string
	by     string
}

// client is one socket. It implements [subscription.Socket].
type client struct {
	id      string
	hub     *hub
	binder  binder
	remote  string
	path    string // asked for, with a token in it shown as its fingerprint
	token   string // of the URL
	opened  time.Time
	session atomic.Pointer[melody.Session]
	queued  atomic.Int64 // frames queued and not yet written
	leaving atomic.Bool  // a close frame is queued: nothing may wait any more
	cutting atomic.Bool  // the connection ends without a word
	end     atomic.Pointer[ending]
	errors  int // refused messages in a row; touched by the reader only

	mu      sync.Mutex // guards all below; a leaf
	closing bool       // nothing more is queued
	dialect string
	bound   map[string]struct{} // subscriptions
}

// ID implements [subscription.Socket].
func (c *client) ID() string { return c.id }

// Send implements [subscription.Socket].
func (c *client) Send(f subscription.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.queueLocked(f.Bytes, f.Timeout) {
		return false
	}
	if f.Type == fhir.Handshake {
		c.bound[f.Subscription] = struct{}{}
	}
	return true
}

// queueLocked queues a text frame, or closes the socket where too many wait.
func (c *client) queueLocked(data []byte, timeout time.Duration) bool {
	if c.closing {
		return false
	}
	if c.queued.Load() >= int64(c.hub.options.QueueSize) {
		reason := "queue of " + strconv.Itoa(c.hub.options.QueueSize) + " frames is full: read faster, then recover with $events"
		c.binder.Record(journal.Entry{Kind: journal.Overflow, Socket: c.id, Text: reason})
		c.closeLocked(websocket.CloseTryAgainLater, reason)
		return false
	}
	c.queued.Add(1)
	if c.session.Load().WriteWithDeadline(data, timeout) != nil {
		c.queued.Add(-1)
		return false
	}
	if c.hub.options.Observer != nil {
		c.hub.options.Observer.FrameOut()
	}
	return true
}

// unbound forgets bindings the client gave up.
func (c *client) unbound(ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.bound, id)
	}
}

// Unbound implements [subscription.Socket].
func (c *client) Unbound(id string, why subscription.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.bound, id)
	code := ""
	switch why {
	case subscription.TokenExpired:
		code = "expired"
	case subscription.TokenRevoked:
		code = "forbidden"
	case subscription.SubscriptionDeleted, subscription.RoomReset:
		code = "deleted"
	default:
		return // the client asked, or the last heartbeat said it (WS-34)
	}
	outcome := fhir.EncodeOutcome(fhir.Refuse(0, code, "the binding to Subscription/%s ended: %s", id, why).Issues)
	c.sayLocked("outcome", outcome, outcome)
	if code != "deleted" && len(c.bound) == 0 {
		c.closeLocked(websocket.ClosePolicyViolation, "no binding is left: "+string(why)) // WS-33
	}
}

// close closes the socket behind what is queued. The first one counts.
func (c *client) close(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(code, reason)
}

func (c *client) closeLocked(code int, reason string) {
	if c.closing {
		return
	}
	c.closing = true
	c.leaving.Store(true)
	c.end.CompareAndSwap(nil, &ending{code, reason, "server"})
	const most = 123 // RFC 6455: a control frame has 125 bytes, two are the code
	if s := c.session.Load(); s != nil {
		// Should the client not read it, the write deadline of melody's writer
		// cuts the connection.
		_ = s.CloseWithMsg(melody.FormatCloseMessage(code, strings.ToValidUTF8(reason[:min(len(reason), most)], "")))
	}
}

// cut ends the connection without a word.
func (c *client) cut() {
	c.cutting.Store(true)
	if s := c.session.Load(); s != nil {
		_ = s.WebsocketConnection().Close()
	}
}

func (c *client) state() socketState {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := socketState{ID: c.id, Remote: c.remote, Opened: c.opened, Dialect: c.dialect, Bindings: []string{}, Queued: int(c.queued.Load())}
	for id := range c.bound {
		state.Bindings = append(state.Bindings, id)
	}
	slices.Sort(state.Bindings)
	return state
}
