package room

import (
	"strings"
	"time"

	"signalfhir/internal/fault"
	"signalfhir/internal/journal"
	"signalfhir/internal/token"
)

// Faults returns the faults of the room. A new or reset room has none.
func (r *Room) Faults() *fault.Set { return r.faults }

// Outdate ends a token that was issued just now, so that no bind accepts it: it has expired
// already, at the time that Outdate returns.
func (r *Room) Outdate(t token.Token) time.Time {
	const ago = time.Minute
	ended, ok := r.tokens.Expire(t.Secret, ago)
	if !ok { // it has ended by itself
		return t.Issued.Add(-ago)
	}
	r.journal.Record(journal.Entry{Kind: journal.Token, Type: "expired", Token: token.Fingerprint(ended.Secret), Text: "for " + strings.Join(t.Subscriptions, ", ") + ", by a fault"})
	return ended.Expires
}
