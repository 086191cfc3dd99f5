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

// BindingToken issues a token for $get-ws-binding-token that covers the subscriptions
// ids, in order. Without ids it covers all that are not off (OPW-8). If some cannot be
// covered, it issues no token and returns an issue for each of them (OPW-10).
func (b *Base) BindingToken(ids []string) (token.Token, error) {
	if err := b.room.Admit(); err != nil {
		return token.Token{}, err
	}
	if len(ids) == 0 {
		for _, res := range b.store.List("Subscription") {
			if state, ok := b.room.subscriptions.State(res.ID); ok && !dormant(state.Status) {
				ids = append(ids, res.ID)
			}
		}
		if len(ids) == 0 {
			return token.Token{}, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no websocket subscription, or all are off; create one first")
		}
	}
	var refused error
	seen := map[string]bool{}
	covered := make([]string, 0, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue // OPW-13
		}
		seen[id] = true
		if err := b.bindable(id); err != nil {
			refused = fhir.Join(refused, err)
			continue
		}
		covered = append(covered, id)
	}
	if refused != nil {
		return token.Token{}, refused
	}
	generations := make([]string, len(covered))
	for i, id := range covered {
		generations[i] = b.room.generation(id)
	}
	issued, err := b.room.tokens.Issue(generations, b.room.options.TokenTTL)
	if err != nil {
		return token.Token{}, err
	}
	issued.Subscriptions = covered
	b.room.journal.Record(journal.Entry{Kind: journal.Token, Type: "issued", Token: token.Fingerprint(issued.Secret), Text: "for " + strings.Join(covered, ", ") + " until " + issued.Expires.UTC().Format(time.RFC3339)})
	return issued, nil
}

// generation returns the name of the current generation of a subscription: its id and
// the version that created it.
func (r *Room) generation(id string) string {
	first, _ := r.generations.Load(id)
	return fmt.Sprint(id, "/", first)
}

// expired records in the journal that a token expired, whether it was used or not.
func (r *Room) expired(t token.Token) {
	r.noteExpired(t, "")
}

func (r *Room) noteExpired(t token.Token, how string) {
	ids := make([]string, len(t.Subscriptions))
	for i, generation := range t.Subscriptions {
		ids[i] = idOf(generation)
	}
	r.journal.Record(journal.Entry{Kind: journal.Token, Type: "expired", Token: token.Fingerprint(t.Secret), Text: "for " + strings.Join(ids, ", ") + how})
}

// idOf returns the id of the subscription from the name of a generation.
func idOf(generation string) string {
	id, _, _ := strings.Cut(generation, "/")
	return id
}

// bindable refuses a subscription to which no socket can be bound.
func (b *Base) bindable(id string) error {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return err
	}
	state, ok := b.room.subscriptions.State(id)
	if !ok {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "Subscription/%s is not a websocket subscription", id)
	}
	if dormant(state.Status) {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule,
			`Subscription/%s is %s; set its status to "requested" before taking a token (OPW-12)`, id, state.Status)
	}
	return nil
}

// Bind binds a socket to every subscription that a token covers and sends their
// handshakes, in the order of the token (WS-22). It returns the number of bindings and
// the refusals. dialectName is the dialect of the bind message; it decides the frame
// format of the notifications.
func (r *Room) Bind(s subscription.Socket, secret, dialectName string) (int, []error) {
	lookup := r.tokens.Lookup
	if m := r.manners.Get(); m != nil && m.SingleUseToken {
		lookup = r.tokens.UseOnce
	}
	t, err := lookup(secret)
	if err != nil {
		return 0, []error{err}
	}
	bound, problems := 0, []error(nil)
	for _, generation := range t.Subscriptions {
		id := idOf(generation)
		if _, err := r.Subscription(id); err != nil {
			problems = append(problems, err)
			continue
		}
		if generation != r.generation(id) { // LC-13
			problems = append(problems, fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "the token is for an earlier Subscription/%s, which was deleted; take a new token for the current one", id))
			continue
		}
		if err := r.bindIn(subscription.Speech{Format: frameFormat(dialectName), Dialect: dialectName}, id, s, t.Secret, t.Expires); err != nil {
			problems = append(problems, err)
			continue
		}
		bound++
		if frameFormat(dialectName) == fhir.MedplumFormat {
			r.orphans.bound(s, id)
		}
	}
	// The token may have been revoked, or expired by the control API, while the
	// subscriptions were being bound.
	if _, err := r.tokens.Lookup(secret); err != nil {
		switch fhir.CodeOf(err) {
		case fhir.CodeForbidden:
			r.subscriptions.Revoke(t.Secret)
		case fhir.CodeExpired:
			r.subscriptions.ExpireToken(t.Secret)
		}
	}
	return bound, problems
}

// Unbind ends the bindings that a token made on one socket (WS-17).
func (r *Room) Unbind(s subscription.Socket, secret string) {
	t, err := r.tokens.Lookup(secret)
	if err != nil {
		return // an unknown or expired token holds no bindings
	}
	for _, generation := range t.Subscriptions {
		if id := idOf(generation); r.subscriptions.Unbind(id, s, t.Secret) {
			r.collect(s, id)
		}
	}
}

// Gone ends all bindings of a socket that closed.
func (r *Room) Gone(s subscription.Socket) {
	r.subscriptions.Gone(s)
	r.collect(s, "")
}

// Bindings returns the ids of the subscriptions a socket is bound to, in order.
func (r *Room) Bindings(of subscription.Socket) []string { return r.subscriptions.Bindings(of) }

// frameFormat returns the frame format of a dialect.
func frameFormat(dialectName string) fhir.FrameFormat {
	if dialectName == dialect.Medplum {
		return fhir.MedplumFormat
	}
	return fhir.StandardFormat
}

// Revoke makes a valid token invalid and ends its bindings (WS-35). name is the token or
// its fingerprint.
func (r *Room) Revoke(name string) error {
	secret, err := r.tokenNamed(name)
	if err != nil {
		return err
	}
	if !r.tokens.Revoke(secret) {
		return noToken()
	}
	r.journal.Record(journal.Entry{Kind: journal.Token, Type: "revoked", Token: token.Fingerprint(secret)})
	r.subscriptions.Revoke(secret)
	return nil
}

// Redact returns a text without tokens, of whatever room. It is for responses that quote
// clients. The journal and the log hide tokens themselves.
func (r *Room) Redact(text []byte) []byte { return r.options.Issued.Redact(text) }

// Status returns the result of $status for one subscription.
func (b *Base) Status(id string) (*fhir.Notification, error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return nil, err
	}
	n, ok := b.room.subscriptions.Status(id)
	if !ok {
		return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no Subscription/%s", id)
	}
	return n, nil
}

// Statuses returns the result of $status at type level: the subscriptions ids that
// have one of statuses. Without ids it returns all subscriptions, without statuses
// those of any status. It leaves out unknown ids (OPS-2, OPS-3).
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

// Events returns the result of $events: the retained events of a subscription with
// numbers from since to until, both inclusive. A negative until means no upper bound.
// If content is "", the payload has the level of the subscription. The result ends early,
// but not without an event, if it would have more than about limit bytes; more is true
// then.
func (b *Base) Events(id string, since, until int64, content fhir.Content, limit int64) (n *fhir.Notification, more bool, err error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return nil, false, err
	}
	if n, err = b.room.subscriptions.Events(id, since, until, content); err != nil {
		return nil, false, err
	}
	for i, e := range n.Events {
		if limit -= e.EncodedSize(n.Content); limit < 0 && i > 0 {
			n.Events, more = n.Events[:i], true
			break
		}
	}
	b.room.journal.Record(journal.Entry{Kind: journal.Events, Subscription: id, First: since, Last: max(until, 0), Text: asked(since, until, len(n.Events))})
	return n, more, nil
}

// asked says in words which events a client asked for, and how many it got.
func asked(since, until int64, got int) string {
	text := "all"
	switch {
	case until >= 0:
		text = fmt.Sprintf("%d to %d", since, until)
	case since > 0:
		text = fmt.Sprintf("from %d on", since)
	}
	return fmt.Sprintf("asked for %s, got %d", text, got)
}

// Resend sends again the retained events for which selects returns true (3.6). It
// returns how many events it sent to how many sockets.
func (b *Base) Resend(id string, selects func(*fhir.Event) bool) (events, sockets int, refused error) {
	if _, err := b.store.Read("Subscription", id); err != nil {
		return 0, 0, err
	}
	return b.room.subscriptions.Resend(id, selects)
}

// NewID returns an id for a resource that the server itself makes, such as a search
// bundle.
func (r *Room) NewID() string { return r.random.UUID() }
