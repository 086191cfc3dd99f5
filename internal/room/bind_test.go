package room

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
)

// revoker is a socket that revokes a token while it is being bound.
type revoker struct {
	revoke func()
	ended  []string // "subscription: reason"
}

func (*revoker) ID() string { return "s1" }

func (r *revoker) Send(f subscription.Frame, _ func(string, subscription.Frame)) bool {
	if f.Type == fhir.Handshake {
		r.revoke()
	}
	return true
}

func (*revoker) Ready(int64) <-chan struct{}      { return nil }
func (*revoker) Lost(string, int64) (int64, bool) { return 0, true }
func (*revoker) WhyClosing() string               { return "" }

func (r *revoker) Unbound(id string, why subscription.Reason, _ int) {
	r.ended = append(r.ended, id+": "+string(why))
}

// A token may be revoked after Bind has looked it up and before its bindings are
// registered, so that revoking finds no binding to end.
func TestBind_EndsWhatATokenRevokedMeanwhileBound(t *testing.T) {
	t.Parallel()
	r, refused := New(Options{Releases: []fhir.Release{fhir.R4}})
	if refused != nil {
		t.Fatal(refused)
	}
	defer r.Close()
	b := r.Base(fhir.R4)
	for _, id := range []string{"one", "two"} {
		o, err := fhir.Parse([]byte(`{"resourceType":"Subscription","id":"` + id + `","status":"requested","reason":"x","criteria":"Patient?active=true","channel":{"type":"websocket"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Update("Subscription", id, o, Request{}); err != nil {
			t.Fatal(err)
		}
	}
	token, refused := b.BindingToken([]string{"one", "two"})
	if refused != nil {
		t.Fatal(refused)
	}
	// The registry has nothing to end for the token yet, so only the store of
	// tokens is told.
	s := &revoker{revoke: func() { r.tokens.Revoke(token.Secret) }}
	r.Bind(s, token.Secret, "ig")
	for _, id := range []string{"one", "two"} {
		if state, _ := r.subscriptions.State(id); len(state.Sockets) > 0 {
			t.Errorf("Subscription/%s is bound through a revoked token", id)
		}
	}
	if got := strings.Join(s.ended, ", "); got != "one: token revoked, two: token revoked" {
		t.Errorf("the socket learned of %q, want that both bindings ended", got)
	}
}
