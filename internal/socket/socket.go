// Package socket is one WebSocket of one client: the commands it sends, the
// frames that wait for it, the connection that gathers them, and how it ends.
//
// The hub accepts the connection and hands it over; a room binds it to
// subscriptions through [subscription.Socket]. The package knows bindings, not
// bundles: it moves notifications as bytes.
//
//	client ─▶ Receive ─▶ commands ─▶ Room
//	Send ─▶ outbox ─▶ melody's buffer ─▶ connection that coalesces ─▶ client
//
// LOCKS. Socket.mu is taken under the lock of a subscription (Send, Unbound). Under it
// nothing is called but the outbox, which has a lock of its own, and the journal and the
// clock of the room. melody calls HandleError inside its queueing, so Fail touches atomics only.
package socket

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/olahol/melody"

	"signalfhir/internal/clock"
	"signalfhir/internal/dialect"
	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// Room is what a socket asks of its room. Rooms are compared, so implement it
// with a pointer type.
type Room interface {
	// Bind binds a socket through a token and sends the handshakes with
	// Socket.Send. It returns how many bindings were made and what was refused.
	Bind(s subscription.Socket, secret, dialect string) (bound int, refused []error)
	// Unbind ends what a token holds on a socket.
	Unbind(s subscription.Socket, secret string)
	// BindLegacy carries out the R4 message "bind [id]".
	BindLegacy(s subscription.Socket, id string) error
	// UnbindLegacy ends what BindLegacy began.
	UnbindLegacy(s subscription.Socket, id string)
	// Bindings returns the ids of the subscriptions a socket is bound to, in order.
	Bindings(of subscription.Socket) []string
	// Gone ends every binding of a socket that closed.
	Gone(s subscription.Socket)
	// Now returns the time of the room.
	Now() time.Time
	// Record writes to the journal of the room.
	Record(e journal.Entry)
	// Faults returns the faults of the room; nil if it never has any.
	Faults() *fault.Set
	// Manners returns the manners of the room; nil if there are none.
	Manners() *manners.Manners
	// Hold keeps a move of the clock from going on until what the server began is over.
	Hold() *clock.Hold
}

// Observer counts sockets and frames.
type Observer interface {
	SocketOpened()
	SocketClosed(code int)
	FrameIn()
	FrameOut()
}

// Options are what the sockets of a hub have in common. All are required but
// Strict.
type Options struct {
	SlowAfter  time.Duration // a socket that takes no frame for so long, while more wait than its buffer holds, is closed
	QueueBytes int64         // bytes that may wait for one socket
	Pool       *Pool         // bounds what waits for all of them
	MaxMessage int64         // bytes of an inbound frame, as the hub told melody
	PongWait   time.Duration // as the hub told melody
	WriteWait  time.Duration // as the hub told melody
	MaxErrors  int           // refused messages in a row before the socket is closed (WS-31)
	Strict     bool          // refuse binary frames
	Logger     *slog.Logger
	Observer   Observer
}

// Socket is one WebSocket. It implements [subscription.Socket].
//
// The order of calls: New, then Writer and Keys for the upgrade, Open once it is upgraded,
// Ended once the connection has ended. Close and Cut may be called at any time.
type Socket struct {
	id      string
	options *Options
	room    Room
	remote  string
	path    string // of the request; a token is shown as its fingerprint
	route   string // path without a query
	token   string // of the URL
	opened  time.Time
	began   time.Duration // what had passed in the room when it opened, if that has faults

	conn    atomic.Pointer[conn] // nil before the upgrade
	queued  atomic.Int64         // frames that are queued and not yet written
	cutting atomic.Bool          // the connection ends without a close frame
	end     atomic.Pointer[Ending]
	unsent  atomic.Bool // the close frame of end waits for a fault; changed under mu
	left    sync.Once   // ends its bindings
	refused int         // messages refused in a row; only who carries out messages touches it
	binds   int         // that succeeded; likewise
	out     outbox

	faults  *fault.Set
	in      inbox        // messages that a fault delays
	waiting atomic.Int64 // frames that a fault holds; changed under mu

	mu      sync.Mutex        // guards all below
	line    *line             // what faults hold and remember; nil if there never was anything
	session *melody.Session   // nil before Open; the outbox, which is used after, reads it without mu
	closing bool              // nothing more is queued
	gone    bool              // nothing more is written, and the bindings end
	ended   bool              // what it lost is known
	ending  *clock.Hold       // while the server ends the connection; nil if it does not
	lost    map[string][]span // numbers of the events that are not written, by subscription; nil: none
	dialect string
}

// New returns the socket of a request that asks for an upgrade.
func New(id string, room Room, r *http.Request, o *Options) *Socket {
	s := &Socket{
		id:      id,
		options: o,
		room:    room,
		remote:  r.RemoteAddr,
		path:    shownPath(r.URL),
		route:   r.URL.Path,
		token:   r.URL.Query().Get("token"),
		opened:  room.Now(),
		faults:  room.Faults(),
	}
	s.out.socket = s
	return s
}

// shownPath returns the address of a socket without a secret.
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

const key = "socket"

// Keys returns the keys of the socket's session. [Of] finds the socket by them.
func (s *Socket) Keys() map[string]any { return map[string]any{key: s} }

// Of returns the socket of a session, or nil if the session has none.
func Of(session *melody.Session) *Socket {
	v, _ := session.Get(key)
	s, _ := v.(*Socket)
	return s
}

// Open takes the session of the socket, which is upgraded. melody starts to write
// only after Open, so what Open queues waits in melody's buffer. A token in the
// URL is bound.
func (s *Socket) Open(session *melody.Session) {
	closing := s.attach(session)
	s.options.Observer.SocketOpened()
	s.room.Record(journal.Entry{Kind: journal.Opened, Socket: s.id, Text: s.path + " from " + s.host()})
	s.options.Logger.Info("socket opened", "socket", s.id, "remote", s.remote)
	if s.faults != nil {
		s.began = s.faults.Elapsed()
	}
	s.faults.Join(s)
	if closing = s.meetFaults(true) || closing; !closing && s.token != "" {
		command := dialect.Command{Verb: dialect.Bind, Token: s.token, Dialect: dialect.URL}
		s.take(command, command)
	}
}

// host returns the address of the client without its port, which is another each time: the
// journal of a room that repeats itself must not have it. The state of the socket has it.
func (s *Socket) host() string {
	host, _, err := net.SplitHostPort(s.remote)
	if err != nil {
		return s.remote
	}
	return host
}

// attach sets the session. It reports whether the socket was closed before; then
// the close frame follows now.
func (s *Socket) attach(session *melody.Session) (closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = session
	if s.closing {
		s.endsLocked()
		s.out.close(s.end.Load().payload())
	}
	return s.closing
}

// Fail notes the error of a connection that ends. melody reports every end, also
// a normal close, and may do so while s.mu is held.
func (s *Socket) Fail(err error) {
	if end, says := s.options.endingOf(err); says {
		s.endAs(&end)
	}
}

// endAs notes how the connection ends, unless that is known. A close frame that waits for a
// fault is not how it ended, if something else ends it before. It touches atomics only.
func (s *Socket) endAs(e *Ending) {
	if s.unsent.Load() {
		s.end.Store(e)
		return
	}
	s.end.CompareAndSwap(nil, e)
}

// endsLocked makes a move of the clock wait until the socket has ended: the server is about
// to end the connection.
func (s *Socket) endsLocked() {
	if s.ending == nil && s.session != nil && !s.gone {
		s.ending = s.room.Hold()
	}
}

// leave notes that nothing more is written to the connection. It reports false if the socket
// has not opened.
func (s *Socket) leave() (ending *clock.Hold, opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil, false
	}
	s.gone, s.closing = true, true
	return s.ending, true
}

// letGo ends the bindings of the socket, once: nothing more is written to its connection. The
// connection may linger, and the client may have another one by now, which is to get what this
// one was not sent. When it returns, they have ended.
func (s *Socket) letGo() (ending *clock.Hold) {
	ending, opened := s.leave()
	if !opened {
		return nil
	}
	s.left.Do(func() {
		ending.Turn()
		broke := ConnectionBroke.With()
		s.end.CompareAndSwap(nil, &broke)
		end := s.end.Load()
		why := cmp.Or(end.whole(), fmt.Sprintf("closed by %s with %d", end.By, end.Code))
		s.mu.Lock()
		s.endLineLocked(why)
		unwritten := s.out.end()
		s.loseFramesLocked(unwritten)
		s.ended = true
		s.mu.Unlock()
		s.faults.Leave(s)
		s.in.end(s, why)
		s.room.Gone(s)
		s.notSent(unwritten, why)
	})
	return ending
}

// Ended notes that the connection of the socket has ended.
func (s *Socket) Ended() {
	ending := s.letGo()
	defer ending.Release()
	end := s.end.Load()
	s.options.Observer.SocketClosed(end.Code)
	s.room.Record(journal.Entry{Kind: journal.Closed, Socket: s.id, Code: end.Code, Text: strings.TrimSpace(end.Reason + " (by " + end.By + ")")})
	s.options.Logger.Info("socket closed", "socket", s.id, "code", end.Code, "reason", end.Reason, "by", end.By)
}

// ID implements [subscription.Socket].
func (s *Socket) ID() string { return s.id }

// Room returns the room of the socket.
func (s *Socket) Room() Room { return s.room }

// State is what a socket is like at one moment.
type State struct {
	ID       string    `json:"id"`
	Remote   string    `json:"remote"`
	Opened   time.Time `json:"opened"`
	Dialect  string    `json:"dialect,omitempty"`
	Bindings []string  `json:"bindings"`
	Queued   int       `json:"queued"`
}

// State returns the state of the socket.
func (s *Socket) State() State {
	bindings := s.room.Bindings(s) // before s.mu, which is a leaf
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{ID: s.id, Remote: s.remote, Opened: s.opened, Dialect: s.dialect, Bindings: bindings, Queued: s.Queued()}
}
