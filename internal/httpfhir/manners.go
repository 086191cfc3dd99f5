package httpfhir

import (
	"net/http"
	"strings"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
)

// TokenManners refuses $get-ws-binding-token in a room with manners of a server that does not
// have it. It reports whether the room has the names of drafts for its parameters.
func TokenManners(r *Request) (drafts bool, refused error) {
	m := r.Room.Manners()
	switch {
	case m == nil:
		return false, nil
	case m.NoTokenOperation:
		return false, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "this server does not know how to handle %s %s/$%s (manners: noTokenOperation); bind ID binds a socket to an R4 subscription without a topic",
			r.Method, strings.TrimSuffix("Subscription/"+r.ID, "/"), fault.TokenOperation)
	}
	return m.DraftNames, nil
}
