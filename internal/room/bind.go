package room

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// BindingToken issues a token for $get-ws-binding-token. ids are the
// subscriptions to cover, in order; none means all that are not off (OPW-8).
// Every subscription that cannot be covered is refused with an issue of its
// own, and then no token is issued (OPW-10).
func (b *Base) BindingToken(ids []string) (token.Token, *fhir.Error) {
	if len(ids) == 0 {
		for _, res := range b.store.List("Subscription") {
			if state, ok := b.room.subscriptions.State(res.ID); ok && !dormant(state.Status) {
				ids = append(ids, res.ID)
			}
		}
		if len(ids) == 0 {
			return token.Token{}, fhir.Refuse(http.StatusNotFound, "not-found", "there is no websocket subscription that is not off; create one first")
		}
	}
	var refused *fhir.Error
	seen := map[string]bool{}
	covered := make([]string, 0, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue // OPW-13
		}
		seen[id] = true
		if err := b.bindable(id); err != nil {
			if refused == nil {
				refused = err
			} else {
				refused.Issues = append(refused.Issues, err.Issues...)
			}
			continue
		}
		covered = append(covered, id)
	}
	if refused != nil {
		return token.Token{}, refused
	}
	lives := make([]string, len(covered))
	for i, id := range covered {
		lives[i] = b.room.life(id)
	}
	issued, err := b.room.tokens.Issue(lives, b.room.options.TokenTTL)
	if err != nil {
		return token.Token{}, err
	}
	issued.Subscriptions = covered
	b.room.journal.Record(journal.Entry{Kind: journal.Token, Type: "issued", Token: token.Fingerprint(issued.Secret), Text: "for " + strings.Join(covered, ", ") + " until " + issued.Expires.UTC().Format(time.RFC3339)})
	return issued, nil
}

// life names one life of a subscription: its id, and the version it began with.
func (r *Room) life(id string) string {
	born, _ := r.lives.Load(id)
	return fmt.Sprint(id, "/", born)
}

// expired tells the journal of a token whose time ran out, bound or not.
func (r *Room) expired(t token.Token) {
	ids := make([]string, len(t.Subscriptions))
	for i, life := range t.Subscriptions {
		ids[i] = idOf(life)
	}
	r.journal.Record(journal.Entry{Kind: journal.Token, Type: "expired", Token: token.Fingerprint(t.Secret), Text: "for " + strings.Join(ids, ", ")})
}

// idOf is the id in the name of a life.
func idOf(life string) string {
	id, _, _ := strings.Cut(life, "/")
	return id
}

// bindable refuses a subscription no socket can be bound to.
func (b *Base) bindable(id string) *fhir.Error {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return err
	}
	state, ok := b.room.subscriptions.State(id)
	if !ok {
		return fhir.Refuse(http.StatusUnprocessableEntity, "business-rule", "Subscription/%s is not a websocket subscription", id)
	}
	if dormant(state.Status) {
		return fhir.Refuse(http.StatusUnprocessableEntity, "business-rule",
			`Subscription/%s is %s; set its status to "requested" before taking a token (OPW-12)`, id, state.Status)
	}
	return nil
}

// Bind binds a socket to every subscription a token covers and sends their
// handshakes, in the order of the token (WS-22). It tells how many bindings
// were made and what was refused. said is the dialect it was asked for in, which
// decides the frame format of the notifications.
func (r *Room) Bind(s subscription.Socket, secret, said string) (int, []*fhir.Error) {
	t, err := r.tokens.Lookup(secret)
	if err != nil {
		return 0, []*fhir.Error{err}
	}
	bound, problems := 0, []*fhir.Error(nil)
	for _, life := range t.Subscriptions {
		id := idOf(life)
		if _, err := r.Subscription(id); err != nil {
			problems = append(problems, err)
			continue
		}
		if life != r.life(id) { // LC-13
			problems = append(problems, fhir.Refuse(http.StatusGone, "deleted", "the token is for a Subscription/%s that was deleted; the one there is now needs a token of its own", id))
			continue
		}
		if err := r.subscriptions.BindIn(frameFormat(said), id, s, t.Secret, t.Expires); err != nil {
			problems = append(problems, err)
			continue
		}
		bound++
		if frameFormat(said) == fhir.MedplumFormat {
			r.orphans.bound(s, id)
		}
	}
	// The token may have been revoked while its subscriptions were bound.
	if _, err := r.tokens.Lookup(secret); err != nil && err.Code() == "forbidden" {
		r.subscriptions.Revoke(t.Secret)
	}
	return bound, problems
}

// Unbind ends what a token holds on one socket (WS-17). It answers the
// subscriptions the socket is no longer bound to.
func (r *Room) Unbind(s subscription.Socket, secret string) []string {
	t, err := r.tokens.Lookup(secret)
	if err != nil {
		return nil // nothing can be bound through a token that is unknown or expired
	}
	var ended []string
	for _, life := range t.Subscriptions {
		if id := idOf(life); r.subscriptions.Unbind(id, s, t.Secret) {
			ended = append(ended, id)
			r.collect(s, id)
		}
	}
	return ended
}

// Gone ends every binding of a socket that closed.
func (r *Room) Gone(s subscription.Socket) {
	r.subscriptions.Gone(s)
	r.collect(s, "")
}

// Bindings returns the ids of the subscriptions a socket is bound to, in order.
func (r *Room) Bindings(of subscription.Socket) []string { return r.subscriptions.Bindings(of) }

// frameFormat returns the frame format of a dialect.
func frameFormat(said string) fhir.FrameFormat {
	if said == dialect.Medplum {
		return fhir.MedplumFormat
	}
	return fhir.StandardFormat
}

// Revoke makes a token invalid and ends the bindings that rest on it (WS-35).
func (r *Room) Revoke(secret string) bool {
	if !r.tokens.Revoke(secret) {
		return false
	}
	r.journal.Record(journal.Entry{Kind: journal.Token, Type: "revoked", Token: token.Fingerprint(secret)})
	r.subscriptions.Revoke(secret)
	return true
}

// Redact answers a text with the tokens of the room in it replaced by their
// fingerprints.
func (r *Room) Redact(text []byte) []byte { return r.tokens.Redact(text) }

// Status answers $status for one subscription.
func (b *Base) Status(id string) (*fhir.Notification, *fhir.Error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return nil, err
	}
	n, ok := b.room.subscriptions.Status(id)
	if !ok {
		return nil, fhir.Refuse(http.StatusNotFound, "not-found", "there is no Subscription/%s", id)
	}
	return n, nil
}

// Statuses answers $status at type level: the subscriptions among ids (none:
// all) that have one of statuses (none: any); unknown ids are left out
// (OPS-2, OPS-3).
func (b *Base) Statuses(ids, statuses []string) []*fhir.Notification {
	if len(ids) == 0 {
		for _, res := range b.store.List("Subscription") {
			ids = append(ids, res.ID)
		}
	}
	wanted := map[string]bool{}
	for _, status := range statuses {
		wanted[status] = true
	}
	seen := map[string]bool{}
	var found []*fhir.Notification
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if n, ok := b.room.subscriptions.Status(id); ok && (len(wanted) == 0 || wanted[n.Status]) {
			found = append(found, n)
		}
	}
	return found
}

// Events answers $events: the retained events of a subscription with numbers
// from since to until, both inclusive; until < 0 means no bound. content ""
// means the level of the subscription.
func (b *Base) Events(id string, since, until int64, content fhir.Content) (*fhir.Notification, *fhir.Error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return nil, err
	}
	return b.room.subscriptions.Events(id, since, until, content)
}

// Resend sends the retained events that selects picks again (3.6).
func (b *Base) Resend(id string, selects func(*fhir.Event) bool) (events, sockets int, refused *fhir.Error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return 0, 0, err
	}
	return b.room.subscriptions.Resend(id, selects)
}

// NewID makes an id for a resource of the server's own, such as a search
// bundle, from the room's source of randomness.
func (r *Room) NewID() string { return r.random.UUID() }
