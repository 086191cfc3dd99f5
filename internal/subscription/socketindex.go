package subscription

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// socketIndex finds the bindings of a socket. It changes in step with the bindings
// of each subscription, under the lock of that subscription. So the
// bindings of a socket are found without a walk over all subscriptions.
type socketIndex struct {
	mu       sync.Mutex // guards bySocket; only a socket is called under it
	bySocket map[Socket]map[*subscription]struct{}
}

func (x *socketIndex) add(to Socket, s *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bySocket == nil {
		x.bySocket = map[Socket]map[*subscription]struct{}{}
	}
	if x.bySocket[to] == nil {
		x.bySocket[to] = map[*subscription]struct{}{}
	}
	x.bySocket[to][s] = struct{}{}
}

// remove removes a binding. If the server ended it, remove notifies the socket.
// It does so before another binding of the socket can end, so the socket learns
// of the end of its last binding last.
func (x *socketIndex) remove(from Socket, s *subscription, why Reason) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.bySocket[from], s)
	left := len(x.bySocket[from])
	if left == 0 {
		delete(x.bySocket, from)
	}
	if why.byServer() {
		from.Unbound(s.id, why, left)
	}
}

// of returns the subscriptions that a socket is bound to, in order of their ids.
func (x *socketIndex) of(socket Socket) []*subscription {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.SortedFunc(maps.Keys(x.bySocket[socket]), func(a, b *subscription) int { return strings.Compare(a.id, b.id) })
}

// all returns the sockets that are bound to a subscription.
func (x *socketIndex) all() []Socket {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.bySocket))
}
