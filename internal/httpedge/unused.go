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
	if u.keep(c, state == http.StateNew) {
		return
	}
	_ = c.Close()
}

// keep reports whether a connection may stay open.
func (u *Unused) keep(c net.Conn, unused bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case !unused:
		delete(u.conns, c)
	case u.closed:
		return false
	case u.conns == nil:
		u.conns = map[net.Conn]struct{}{c: {}}
	default:
		u.conns[c] = struct{}{}
	}
	return true
}

// Close closes the connections, and those that open later.
func (u *Unused) Close() {
	u.mu.Lock()
	conns := u.conns
	u.conns, u.closed = nil, true
	u.mu.Unlock()
	for c := range conns { // over TLS it writes
		_ = c.Close()
	}
}
