package socket

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// maxGathered is how many bytes wait for more frames at most.
const maxGathered = 64 << 10

// Writer returns a writer for the upgrade of the socket. The upgrade takes over
// its connection, which gathers frames.
func (s *Socket) Writer(w http.ResponseWriter) http.ResponseWriter { return upgradeWriter{w, s} }

type upgradeWriter struct {
	http.ResponseWriter
	socket *Socket
}

// Hijack implements [http.Hijacker].
func (w upgradeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	hijacked, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := &conn{Conn: hijacked, socket: w.socket}
	w.socket.conn.Store(c)
	if w.socket.cutting.Load() { // Cut may have come before the connection
		_ = hijacked.Close()
	}
	return c, rw, nil
}

// conn gathers frames while others wait behind them, so that a burst leaves in
// few writes: each write to a connection is a system call, and a stream to one
// socket spends most of its time on those. gorilla never writes concurrently, so
// there is nothing to lock.
//
// No frame is left behind. The socket counts a frame as queued until it is
// written, so if no frame is behind the one being written, the count is one and
// everything is flushed. gorilla's own close frames overtake the queue and end the
// writing; they flush as well.
type conn struct {
	net.Conn
	socket  *Socket
	buffer  []byte
	writing atomic.Bool          // to Conn
	gate    atomic.Pointer[gate] // nil unless a fault keeps the connection still
}

// Write implements [net.Conn]. An error may belong to bytes of an earlier call.
func (c *conn) Write(p []byte) (int, error) {
	if isPing(p) && c.swallows() {
		return len(p), nil
	}
	wait := c.socket.queued.Load() > 1 && !isClose(p)
	if !wait && len(c.buffer) == 0 {
		return c.write(p)
	}
	c.buffer = append(c.buffer, p...)
	if wait && len(c.buffer) < maxGathered {
		return len(p), nil
	}
	_, err := c.write(c.buffer)
	c.buffer = c.buffer[:0]
	if cap(c.buffer) > 2*maxGathered {
		c.buffer = nil // do not keep the memory of a huge frame
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *conn) write(p []byte) (int, error) {
	c.writing.Store(true)
	defer c.writing.Store(false)
	return c.Conn.Write(p)
}

// endWrites ends a write that the client does not read: CloseWrite of TLS would wait for it.
func (c *conn) endWrites() {
	if _, secured := c.Conn.(*tls.Conn); secured && c.writing.Load() {
		_ = c.Conn.SetWriteDeadline(time.Now())
	}
}

// isClose reports whether a write begins like a close frame. gorilla writes
// each control frame by itself. Part of a large frame may look like one; then it
// only leaves earlier than it could.
func isClose(p []byte) bool { return len(p) > 0 && p[0] == 0x88 }

// How long, and over how many bytes, a closing connection is read.
const (
	lingerTime  = 300 * time.Millisecond
	lingerBytes = 1 << 20
)

// Close implements [net.Conn]. melody calls it once nothing more is written. Closing a
// connection that has unread bytes resets it, and the reset can overtake the close frame
// with its reason. So Close first closes the writing side and reads what still comes.
func (c *conn) Close() error {
	c.socket.letGo()
	c.open()
	c.endWrites()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && !c.socket.cutting.Load() && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
