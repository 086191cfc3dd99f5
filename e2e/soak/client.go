package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// clientParameter names a client in the address of its socket, and so in the journal.
const clientParameter = "soak"

// pace is how a client reads.
type pace int

const (
	healthy pace = iota // at once
	slow                // with pauses
	never               // not at all
)

func (p pace) String() string { return [...]string{"healthy", "slow", "never-reading"}[p] }

// writePatience is how long a message may take. Only a server that does not read needs it.
const writePatience = 30 * time.Second

// client is one socket as its client sees it. It knows the grammar of the protocol, and
// nothing of the journal.
type client struct {
	name     string
	pace     pace
	conn     *websocket.Conn
	violated func(violation)

	hurry atomic.Bool   // a slow client reads at once from now on
	left  atomic.Bool   // the client ended the socket itself
	over  chan struct{} // closed when nothing more is read

	writing sync.Mutex // messages are written one at a time

	mu     sync.Mutex // guards all below
	frames []frame
	ended  bool // nothing more is read
	told   bool // the server sent a close frame
	pings  int
	pongs  int
	giving int        // the ping after the last unbind
	more   *sync.Cond // a pong came, or the socket ended
	state  map[string]*grammar
}

// grammar is what a client knows of a subscription.
type grammar struct {
	bound bool
	loose bool // the client may have ended the binding: it may miss events until the next handshake
	last  int64
}

// dial opens a socket.
func dial(address, name string, p pace, violated func(violation)) (*client, error) {
	dialer := websocket.Dialer{HandshakeTimeout: requestPatience, NetDial: func(network, address string) (net.Conn, error) {
		conn, err := net.Dial(network, address)
		if tcp, is := conn.(*net.TCPConn); is && p != healthy {
			// The less the system takes, the more waits in the server. A window below the
			// size of a packet, which is 64 KiB on loopback, would starve a reader.
			_ = tcp.SetReadBuffer(256 << 10)
		}
		return conn, err
	}}
	conn, _, err := dialer.Dial(address+"?"+clientParameter+"="+name, nil)
	if err != nil {
		return nil, err
	}
	c := &client{name: name, pace: p, conn: conn, violated: violated, over: make(chan struct{}), state: map[string]*grammar{}}
	c.more = sync.NewCond(&c.mu)
	if p == never {
		close(c.over)
		return c, nil
	}
	go c.read()
	return c, nil
}

// read reads frames until the socket ends.
func (c *client) read() {
	defer close(c.over)
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			c.mu.Lock()
			c.ended = true
			c.told = errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure && !c.left.Load()
			c.mu.Unlock()
			c.more.Broadcast()
			c.conn.Close()
			return
		}
		f, err := readFrame(data)
		if err != nil {
			c.violate(f, "%v", err)
		}
		c.mu.Lock()
		wrong := c.takeLocked(f)
		c.mu.Unlock()
		c.more.Broadcast()
		if wrong != "" {
			c.violate(f, "%s", wrong)
		}
		if c.pace == slow && !c.hurry.Load() {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
	}
}

// takeLocked checks a frame against the grammar. It returns what is wrong, or "".
func (c *client) takeLocked(f frame) (wrong string) {
	c.frames = append(c.frames, f)
	if f.kind == "pong" {
		c.pongs++
	}
	if f.subscription == "" {
		return ""
	}
	s := c.state[f.subscription]
	if s == nil {
		s = &grammar{loose: c.pongs < c.giving}
		c.state[f.subscription] = s
	}
	switch {
	case f.kind == "outcome":
		s.bound = false
		return ""
	case f.kind == "handshake":
		if s.bound && !s.loose && f.total != s.last {
			wrong = fmt.Sprintf("renewed at event %d, the last one was %d", f.total, s.last)
		}
		s.bound, s.last = true, f.total
		s.loose = c.pongs < c.giving // the server has not seen the unbind yet
	case !s.bound:
		wrong = "it is not bound: it had no handshake, or was told that the binding ended"
	case f.kind == "event-notification":
		if f.first != s.last+1 {
			wrong = fmt.Sprintf("event %d follows event %d", f.first, s.last)
		}
		if f.total != f.last {
			wrong = fmt.Sprintf("the counter is %d", f.total)
		}
		s.last = f.last
	case f.total != s.last:
		wrong = fmt.Sprintf("the counter is %d, the last event was %d", f.total, s.last)
	}
	if f.status == "off" { // the last heartbeat
		s.bound = false
	}
	return wrong
}

func (c *client) violate(f frame, format string, args ...any) {
	c.violated(violation{client: c.name, subscription: f.subscription, text: fmt.Sprintf(format, args...) + "\n  at " + f.String()})
}

// send sends a message. A socket that has ended takes none.
func (c *client) send(text string) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writePatience))
	_ = c.conn.WriteMessage(websocket.TextMessage, []byte(text))
}

// unbind gives a token back. The pong of the ping behind it says that it is done.
func (c *client) unbind(secret string) {
	c.mu.Lock()
	for _, s := range c.state {
		s.loose = true
	}
	c.pings++
	c.giving = c.pings
	c.mu.Unlock()
	c.send("unbind-with-token " + secret + "\nping")
}

func (c *client) ping() {
	c.mu.Lock()
	c.pings++
	c.mu.Unlock()
	c.send("ping")
}

// cut ends the connection without a close frame, or with one.
func (c *client) cut(politely bool) {
	c.left.Store(true)
	if politely {
		c.writing.Lock()
		defer c.writing.Unlock()
		_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(writePatience))
		return
	}
	c.conn.Close()
}

// isOpen reports whether the socket can be used.
func (c *client) isOpen() bool {
	select {
	case <-c.over:
		return c.pace == never && !c.left.Load()
	default:
		return !c.left.Load()
	}
}

// catchUp returns once the client has read all that was sent before the call, or the socket
// has ended: a pong follows what is queued.
func (c *client) catchUp() {
	if c.pace == never {
		return
	}
	c.hurry.Store(true)
	c.ping()
	late := false
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		late = true
		c.mu.Unlock()
		c.more.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	for c.pongs < c.pings && !c.ended && !late {
		c.more.Wait()
	}
	missing := c.pings - c.pongs
	if c.ended {
		missing = 0
	}
	c.mu.Unlock()
	if missing > 0 {
		c.violate(frame{}, "%d pongs did not come", missing)
	}
}
