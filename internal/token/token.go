// Package token holds the binding tokens of a room: expiring secrets, each good
// for a fixed list of subscriptions.
//
// The room's clock alone decides whether a token is valid, so that a manual
// clock that stands still keeps a token valid and one that is moved ends it.
// go-cache is the container. Its own expiry, which runs on the wall clock, is
// used for what it is good at: to forget, after a while, tokens that have ended
// and are kept only so that a late client is told "expired" and not "unknown".
//
// The package knows no sockets and no bindings: to end what rests on a token
// that was revoked is the room's part.
package token

import (
	"cmp"
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
// Expires, and no longer valid at Expires.
type Token struct {
	Secret        string
	Subscriptions []string // ids, in the order they are bound; read only
	Issued        time.Time
	Expires       time.Time
}

// MaxTTL is the longest lifetime a token may have. go-cache would take sums
// beyond its range for "never" or for "already".
const MaxTTL = 366 * 24 * time.Hour

// remembered is how long, by the wall clock, a token that expired or was
// revoked can still be told from one that never was.
const remembered = time.Hour

// Issuing pays for cleaning, a little each time, so that it never has to walk
// the table: two tokens are looked at for the one that comes in, hence what has
// ended shrinks faster than it can grow.
const (
	stepsPerIssue = 2
	stepsPerClean = 10_000
)

// Store holds the tokens of a room. It is safe for concurrent use.
type Store struct {
	clock   clock.Clock
	random  *random.Source
	max     int
	expired func(Token)

	mu     sync.Mutex // guards tokens (check and change are one step) and what follows
	tokens *cache.Cache
	live   schedule    // by Expires, those not known to have ended
	ended  fifo        // in the order go-cache will forget them
	timer  clock.Timer // ends the first of live; nil where none ever was
}

// entry is a token in the table.
type entry struct {
	Token
	revoked bool
	at      int    // place in live, -1 once it has ended
	next    *entry // in ended
}

// New makes an empty store of at most limit tokens, one or more. expired, which may be
// nil, is told once of each token whose time ran out, when it does; it must not call
// the store.
func New(c clock.Clock, r *random.Source, limit int, expired func(Token)) *Store {
	if expired == nil {
		expired = func(Token) {}
	}
	// No janitor: its goroutine cannot be stopped.
	return &Store{clock: c, random: r, max: max(limit, 1), expired: expired, tokens: cache.New(cache.NoExpiration, 0)}
}

// getLocked is the one place that knows what go-cache holds.
func (s *Store) getLocked(secret string) *entry {
	if found, ok := s.tokens.Get(secret); ok {
		return found.(*entry)
	}
	return nil
}

// Issue makes a token for subscriptions that is valid for ttl, which must be
// above zero and at most [MaxTTL]. It refuses with 429 throttled where the store
// is full of tokens that are all valid (7.2). Its cost does not depend on how
// many there are.
func (s *Store) Issue(subscriptions []string, ttl time.Duration) (Token, *fhir.Error) {
	if ttl <= 0 || ttl > MaxTTL {
		return Token{}, fhir.Refuse(http.StatusUnprocessableEntity, "value", "the lifetime of a token: got %s, expected more than 0s and at most %s", ttl, MaxTTL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.cleanLocked(now, stepsPerIssue)
	if s.tokens.ItemCount() >= s.max {
		oldest := s.ended.pop()
		if oldest == nil {
			return Token{}, fhir.Refuse(http.StatusTooManyRequests, "throttled", "the server holds %d valid tokens, its limit; try again when some have expired, the next at %s", s.max, stamp(s.live[0].Expires))
		}
		s.tokens.Delete(oldest.Secret)
	}
	e := &entry{Token: Token{
		Secret:        s.random.Token(),
		Subscriptions: slices.Clone(subscriptions),
		Issued:        now,
		Expires:       now.Add(ttl),
	}}
	s.tokens.Set(e.Secret, e, cache.NoExpiration)
	if s.live.add(e); s.live[0] == e {
		s.armLocked()
	}
	return e.Token, nil
}

// armLocked has the timer fire when the first token expires.
func (s *Store) armLocked() {
	if s.timer != nil {
		s.timer.Stop()
	}
	if len(s.live) > 0 {
		s.timer = s.clock.AfterFunc(s.live[0].Expires.Sub(s.clock.Now()), s.tick)
	}
}

// tick ends the tokens whose time is up, as many as Clean does at a time.
func (s *Store) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanLocked(s.clock.Now(), stepsPerClean)
	s.armLocked()
}

// Lookup finds a valid token. The code of a refusal tells why there is none
// (7.6): unknown, expired (both 401) or forbidden where it was revoked (403).
func (s *Store) Lookup(secret string) (Token, *fhir.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.getLocked(secret)
	switch {
	case e == nil:
		return Token{}, fhir.Refuse(http.StatusUnauthorized, "unknown", "this server did not issue this token, or it expired long ago; take a new one with Subscription/[id]/$get-ws-binding-token")
	case e.revoked:
		return Token{}, fhir.Refuse(http.StatusForbidden, "forbidden", "the token was revoked; take a new one with Subscription/[id]/$get-ws-binding-token")
	case !s.validLocked(e, s.clock.Now()):
		return Token{}, fhir.Refuse(http.StatusUnauthorized, "expired", "token expired at %s; take a new one with Subscription/[id]/$get-ws-binding-token", stamp(e.Expires))
	}
	return e.Token, nil
}

// validLocked tells whether e is valid, and ends it where its time is up.
func (s *Store) validLocked(e *entry, now time.Time) bool {
	if e.at < 0 {
		return false // also where the machine's clock went back since
	}
	if now.Before(e.Expires) {
		return true
	}
	s.expireLocked(e)
	return false
}

func (s *Store) expireLocked(e *entry) {
	s.endLocked(e)
	s.expired(e.Token)
}

// endLocked moves e from the living to those only remembered.
func (s *Store) endLocked(e *entry) {
	s.live.remove(e)
	s.ended.push(e)
	s.tokens.Set(e.Secret, e, remembered)
}

// Revoke makes a valid token invalid (WS-35). It tells whether there was one.
func (s *Store) Revoke(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.getLocked(secret)
	if e == nil || !s.validLocked(e, s.clock.Now()) {
		return false
	}
	e.revoked = true
	s.endLocked(e)
	return true
}

// Clean ends tokens whose time is up, which a timer does too, and forgets those that
// ended long ago, a bounded number of each. Issue does the same in passing; Clean is
// for a store that is no longer written to.
func (s *Store) Clean() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanLocked(s.clock.Now(), stepsPerClean)
}

func (s *Store) cleanLocked(now time.Time, steps int) {
	for i := 0; i < steps && len(s.live) > 0 && !now.Before(s.live[0].Expires); i++ {
		s.expireLocked(s.live[0])
	}
	for i := 0; i < steps && s.ended.first != nil; i++ {
		if s.getLocked(s.ended.first.Secret) != nil {
			return // go-cache still answers it, hence all behind it
		}
		s.tokens.Delete(s.ended.pop().Secret)
	}
}

// Valid lists the tokens that are valid now, the earliest to expire first. It
// walks all of them: for people, not for requests.
func (s *Store) Valid() []Token {
	s.mu.Lock()
	now := s.clock.Now()
	var valid []Token
	for _, e := range s.live {
		if now.Before(e.Expires) {
			valid = append(valid, e.Token)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(valid, func(a, b Token) int {
		return cmp.Or(a.Expires.Compare(b.Expires), a.Issued.Compare(b.Issued), cmp.Compare(a.Secret, b.Secret))
	})
	return valid
}

// Len is the number of valid tokens. It is exact unless more than 10 000 have
// expired since the store was last used.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanLocked(s.clock.Now(), stepsPerClean)
	return len(s.live)
}

// Reset forgets every token; each is unknown from then on.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.Flush()
	s.live, s.ended = nil, fifo{}
	s.armLocked()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
