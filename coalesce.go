package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// coalesceMost is how many bytes wait for more frames at most.
const coalesceMost = 64 << 10

// coalescingWriter lets melody's upgrade take over a coalescingConn.
type coalescingWriter struct {
	http.ResponseWriter
	client *client
}

// Hijack implements [http.Hijacker].
func (w coalescingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &coalescingConn{Conn: conn, client: w.client}, rw, nil
}

// coalescingConn gathers frames while others wait behind them, so that a burst
// leaves in few writes: each write to a socket is a system call, and those are
// what a stream to one socket spends its time on. gorilla never writes
// concurrently, so there is nothing to lock.
//
// No frame is ever left behind: queued counts the frame being written, so with
// none behind it the count is one and everything is flushed; and a close frame,
// which is not counted, sets leaving before it is queued.
type coalescingConn struct {
	net.Conn
	client *client
	buffer []byte
}

// Write implements [net.Conn]. A failure may belong to bytes of an earlier call.
func (c *coalescingConn) Write(p []byte) (int, error) {
	wait := c.client.queued.Load() > 1 && !c.client.leaving.Load()
	if !wait && len(c.buffer) == 0 {
		return c.Conn.Write(p)
	}
	c.buffer = append(c.buffer, p...)
	if wait && len(c.buffer) < coalesceMost {
		return len(p), nil
	}
	_, err := c.Conn.Write(c.buffer)
	c.buffer = c.buffer[:0]
	if cap(c.buffer) > 2*coalesceMost {
		c.buffer = nil // a huge frame shall not hold its memory for good
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// How long, and over how many bytes, a closing connection listens on.
const (
	lingerTime  = 300 * time.Millisecond
	lingerBytes = 1 << 20
)

// Close implements [net.Conn]. Closing a connection that still has unread bytes
// resets it, and a reset can overtake the close frame with its reason: so the
// writing side is closed first and what comes meanwhile is read away.
func (c *coalescingConn) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && !c.client.cutting.Load() && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
