// Package token holds the binding tokens of a room: expiring secrets, each good
// for a fixed list of subscriptions.
//
// The room's clock decides whether a token is valid. go-cache is the container:
// it bounds how long a token that is of no more use is remembered, so that a
// late client is told "expired" rather than "unknown".
package token

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/patrickmn/go-cache"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Token is one binding token. It is valid while the clock shows a time before
// Expires.
type Token struct {
	Secret        string
	Subscriptions []string // ids, in the order they are bound
	Issued        time.Time
	Expires       time.Time
	Revoked       bool
}

// remembered is how long, by the wall clock, a token that expired or was
// revoked can still be told from one that never was.
const remembered = time.Hour

// sweepEvery is how many tokens are issued between two sweeps. Sweeping walks
// all tokens, so it is done rarely: its cost per token issued stays small.
const sweepEvery = 10_000

// Store holds the tokens of a room. It is safe for concurrent use.
type Store struct {
	clock  clock.Clock
	random *random.Source
	max    int

	mu     sync.Mutex // makes check and change of one token atomic; guards issued
	tokens *cache.Cache
	issued int
}

// New makes an empty store of at most max tokens.
func New(c clock.Clock, r *random.Source, max int) *Store {
	// No janitor: its goroutine cannot be stopped. Sweeps come with Issue.
	return &Store{clock: c, random: r, max: max, tokens: cache.New(cache.NoExpiration, 0)}
}

// Issue makes a token for subscriptions that is valid for ttl, which must be
// above zero. It refuses with 429 when the store is full.
func (s *Store) Issue(subscriptions []string, ttl time.Duration) (Token, *fhir.Error) {
	if ttl <= 0 {
		// go-cache would keep such a token forever.
		return Token{}, fhir.Refuse(http.StatusUnprocessableEntity, "value", "a token needs a lifetime above zero, got %s", ttl)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	if s.issued%sweepEvery == 0 || s.tokens.ItemCount() >= s.max {
		s.sweepLocked()
	}
	if s.tokens.ItemCount() >= s.max {
		return Token{}, fhir.Refuse(http.StatusTooManyRequests, "throttled", "the server holds %d tokens, its limit; wait until some have expired", s.max)
	}
	now := s.clock.Now()
	t := Token{Secret: s.random.Token(), Subscriptions: slices.Clone(subscriptions), Issued: now, Expires: now.Add(ttl)}
	s.tokens.Set(t.Secret, t, ttl+remembered)
	return t, nil
}

// sweepLocked forgets what go-cache's wall clock has outlived.
func (s *Store) sweepLocked() { s.tokens.DeleteExpired() }

// Lookup finds a valid token. The refusal's code tells why there is none:
// unknown, expired or forbidden (revoked), as spec.md 7.6 asks.
func (s *Store) Lookup(secret string) (Token, *fhir.Error) {
	found, ok := s.tokens.Get(secret)
	if !ok {
		return Token{}, fhir.Refuse(http.StatusUnauthorized, "unknown", "this server did not issue this token, or it expired long ago; take one with Subscription/[id]/$get-ws-binding-token")
	}
	t := found.(Token)
	if t.Revoked {
		return Token{}, fhir.Refuse(http.StatusForbidden, "forbidden", "the token was revoked; take a new one with Subscription/[id]/$get-ws-binding-token")
	}
	if !s.clock.Now().Before(t.Expires) {
		return Token{}, fhir.Refuse(http.StatusUnauthorized, "expired", "the token expired at %s; take a new one with Subscription/[id]/$get-ws-binding-token", t.Expires.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// Revoke makes a valid token invalid. It tells whether there was one.
func (s *Store) Revoke(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.Lookup(secret)
	if err != nil {
		return false
	}
	t.Revoked = true
	s.tokens.Set(secret, t, remembered)
	return true
}

// Valid lists the tokens that are valid now, the earliest to expire first. It
// walks all tokens: for people, not for requests.
func (s *Store) Valid() []Token {
	now := s.clock.Now()
	var valid []Token
	for _, item := range s.tokens.Items() {
		if t := item.Object.(Token); !t.Revoked && now.Before(t.Expires) {
			valid = append(valid, t)
		}
	}
	slices.SortFunc(valid, func(a, b Token) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return a.Issued.Compare(b.Issued)
	})
	return valid
}

// Len is the number of tokens held, also of those that are only remembered.
func (s *Store) Len() int { return s.tokens.ItemCount() }

// Reset forgets every token.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.Flush()
}

// Fingerprint names a secret in a log without telling it.
func Fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}
