package httpedge

import (
	"net"
	"net/http"
	"sync"
)

// Unused are the connections of an [http.Server] on which no request has come yet: browsers
// and HTTP clients open some in advance. A server that shuts down waits for their request.
// It is ready to use, and safe for concurrent use.
type Unused struct {
	mu     sync.Mutex // guards all below; a leaf
	conns  map[net.Conn]struct{}
	closed bool
}

// Note is for the ConnState of the server.
func (u *Unused) Note(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, c)
	case u.closed:
		_ = c.Close()
	default:
		if u.conns == nil {
			u.conns = map[net.Conn]struct{}{}
		}
		u.conns[c] = struct{}{}
	}
}

// Close closes the connections, and those that open later.
func (u *Unused) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for c := range u.conns {
		_ = c.Close()
	}
	clear(u.conns)
}
