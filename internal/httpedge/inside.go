package httpedge

import (
	"context"
	"net/http"

	"signalfhir/internal/room"
)

// inside is what a request has that a room makes itself, rather than a client.
type inside struct {
	room *room.Room
	by   string
}

type insideKey struct{}

// Inside returns the context of a request that a room makes to its own addresses: it is let
// in, faults leave it alone, and by says in the journal who made it.
func Inside(ctx context.Context, r *room.Room, by string) context.Context {
	return context.WithValue(ctx, insideKey{}, inside{r, by})
}

func insideOf(r *http.Request) inside {
	in, _ := r.Context().Value(insideKey{}).(inside)
	return in
}
