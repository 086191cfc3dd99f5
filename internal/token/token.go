// Package token holds the binding tokens of a room: expiring secrets, each valid
// for a fixed list of subscriptions.
//
// Only the room's clock decides whether a token is valid, so with a
// manual clock a token is valid until the clock is moved. go-cache is
// the container. Its own expiry runs on the wall clock and only frees memory: it
// forgets ended tokens after a while, and keeps the others however long that takes. Until then a late client gets "expired"
// and not "unknown".
//
// The package knows no sockets and no bindings: the room ends the bindings of a
// revoked token. It also hides tokens in texts; see [Index].
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

// MaxTTL is the longest lifetime a token may have. go-cache would take longer
// ones, which overflow, for "never" or for "already expired".
const MaxTTL = 366 * 24 * time.Hour

// remembered is how long, by the wall clock, an expired or revoked token is told
// apart from one that was never issued.
const remembered = time.Hour

// Issue pays for cleaning in small steps, so that nothing ever walks the table.
// It looks at two ended tokens for each new one, so ended tokens are removed
// faster than they can accumulate.
const (
	stepsPerIssue = 2
	stepsPerClean = 10_000
)

// Store holds the tokens of a room. It is safe for concurrent use.
type Store struct {
	clock   clock.Clock
	random  *random.Source
	limits  Limits
	expired func(Token)
	index   *Index

	mu     sync.Mutex // guards tokens (check and change are one step) and the fields below
	tokens *cache.Cache
	lists  lists       // of live
	live   schedule    // by Expires; tokens not known to have ended
	ended  fifo        // in the order in which go-cache forgets them
	timer  clock.Timer // ends the first of live; nil until the first Issue
}

// entry is a token in the table.
type entry struct {
	Token         // without Subscriptions once it has ended
	list    *list // of Subscriptions; nil once it has ended
	revoked bool
	used    bool   // by UseOnce
	at      int    // index in live; -1 once it has ended
	next    *entry // in ended
}

// Limits bound a store. Zero means the default.
type Limits struct {
	Tokens int   // valid ones; 2 million
	Bytes  int64 // that the lists of subscriptions of valid tokens take, each list counted once; 64 MiB
}

// New returns an empty store. Whoever hides tokens learns of them by the index. expired,
// which may be nil, is called once for each token when it expires; it must not call the
// store.
func New(c clock.Clock, r *random.Source, x *Index, l Limits, expired func(Token)) *Store {
	if l.Tokens == 0 {
		l.Tokens = 2_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 20
	}
	if expired == nil {
		expired = func(Token) {}
	}
	// No janitor: its goroutine cannot be stopped.
	return &Store{clock: c, random: r, index: x, limits: l, expired: expired, tokens: cache.New(cache.NoExpiration, 0)}
}

// getLocked is the only function that knows what go-cache holds.
func (s *Store) getLocked(secret string) *entry {
	if found, ok := s.tokens.Get(secret); ok {
		return found.(*entry)
	}
	return nil
}

// Issue makes a token for subscriptions that is valid for ttl, which must be
// above zero and at most [MaxTTL]. If the store is full of valid tokens, Issue
// refuses with 429 throttled (7.2). If their lists of subscriptions take too many bytes,
// it refuses with 507 too-costly. Its cost does not depend on the number of tokens.
func (s *Store) Issue(subscriptions []string, ttl time.Duration) (Token, error) {
	if ttl <= 0 || ttl > MaxTTL {
		return Token{}, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "the lifetime of a token: got %s, expected more than 0s and at most %s", ttl, MaxTTL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.cleanLocked(now, stepsPerIssue)
	of := s.lists.find(subscriptions)
	if of.tokens == 0 && s.lists.bytes+of.size > s.limits.Bytes {
		if len(s.live) == 0 {
			return Token{}, fhir.Refuse(http.StatusInsufficientStorage, fhir.CodeTooCostly, "the list of the %d subscriptions takes %d bytes, and --token-bytes allows %d; take several tokens for fewer subscriptions each, or start the server with a larger --token-bytes", len(subscriptions), of.size, s.limits.Bytes)
		}
		return Token{}, fhir.Refuse(http.StatusInsufficientStorage, fhir.CodeTooCostly, "the lists of subscriptions of %d valid tokens take %d bytes, one of %d subscriptions %d more, and --token-bytes allows %d; take tokens for the same subscriptions, which share a list, or for fewer, revoke some with DELETE /mock/tokens/TOKEN, or try again when some have expired, the next at %s", len(s.live), s.lists.bytes, len(subscriptions), of.size, s.limits.Bytes, stamp(s.live[0].Expires))
	}
	if s.tokens.ItemCount() >= s.limits.Tokens {
		oldest := s.ended.pop()
		if oldest == nil {
			return Token{}, fhir.Refuse(http.StatusTooManyRequests, fhir.CodeThrottled, "the server holds %d valid tokens, its limit; try again when some have expired, the next at %s", s.limits.Tokens, stamp(s.live[0].Expires))
		}
		s.tokens.Delete(oldest.Secret)
	}
	s.lists.take(of, subscriptions)
	e := &entry{list: of, Token: Token{
		Secret:        s.random.Token(),
		Subscriptions: of.subscriptions,
		Issued:        now,
		Expires:       now.Add(ttl),
	}}
	s.index.add(e.Secret)
	s.tokens.Set(e.Secret, e, cache.NoExpiration)
	if s.live.add(e); s.live[0] == e {
		s.armLocked()
	}
	return e.Token, nil
}

// armLocked sets the timer to the time the first token expires.
func (s *Store) armLocked() {
	if s.timer != nil {
		s.timer.Stop()
	}
	if len(s.live) > 0 {
		s.timer = s.clock.At(s.live[0].Expires, s.tick, clock.What{Kind: clock.Token, Of: Fingerprint(s.live[0].Secret)})
	}
}

// tick ends the tokens that have expired, as many as Clean does at a time.
func (s *Store) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanLocked(s.clock.Now(), stepsPerClean)
	s.armLocked()
}

// Lookup finds a valid token. The code of a refusal says why there is none (7.6):
// unknown or expired (both 401), or forbidden if it was revoked (403).
func (s *Store) Lookup(secret string) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookupLocked(secret)
}

// UseOnce is [Store.Lookup] for a token that works once: it finds a token only if it has not
// found it before.
func (s *Store) UseOnce(secret string) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.lookupLocked(secret)
	if err != nil {
		return t, err
	}
	e := s.getLocked(secret)
	if e.used {
		return Token{}, fhir.Refuse(http.StatusUnauthorized, fhir.CodeUnknownToken, "the token was used before, and a token of this server works once (manners: singleUseToken); get a new one with Subscription/[id]/$get-ws-binding-token")
	}
	e.used = true
	return t, nil
}

func (s *Store) lookupLocked(secret string) (Token, error) {
	e := s.getLocked(secret)
	switch {
	case e == nil:
		return Token{}, fhir.Refuse(http.StatusUnauthorized, fhir.CodeUnknownToken, "unknown token: this server did not issue it, or it expired long ago; get a new one with Subscription/[id]/$get-ws-binding-token")
	case e.revoked:
		return Token{}, fhir.Refuse(http.StatusForbidden, fhir.CodeForbidden, "the token was revoked; get a new one with Subscription/[id]/$get-ws-binding-token")
	case !s.validLocked(e, s.clock.Now()):
		return Token{}, fhir.Refuse(http.StatusUnauthorized, fhir.CodeExpired, "token expired at %s; get a new one with Subscription/[id]/$get-ws-binding-token", stamp(e.Expires))
	}
	return e.Token, nil
}

// validLocked reports whether e is valid, and ends it if it has expired.
func (s *Store) validLocked(e *entry, now time.Time) bool {
	if e.at < 0 {
		return false // even if the clock was set back since
	}
	if now.Before(e.Expires) {
		return true
	}
	s.expireLocked(e)
	return false
}

func (s *Store) expireLocked(e *entry) {
	t := e.Token
	s.endLocked(e)
	s.expired(t)
}

// endLocked moves e from the live tokens to the remembered ones.
func (s *Store) endLocked(e *entry) {
	s.live.remove(e)
	s.lists.leave(e.list)
	e.list, e.Subscriptions = nil, nil
	s.ended.push(e)
	s.tokens.Set(e.Secret, e, remembered)
}

// Revoke makes a valid token invalid (WS-35). It reports whether there was one.
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

// Expire ends a valid token as if it expired so long ago, and returns it as it was, with the
// new time. It reports whether there was one. It does not call the function that New got.
func (s *Store) Expire(secret string, ago time.Duration) (Token, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	e := s.getLocked(secret)
	if e == nil || !s.validLocked(e, now) {
		return Token{}, false
	}
	ended := e.Token
	ended.Expires = now.Add(-ago)
	s.endLocked(e) // takes it out of the order by Expires, before that changes
	e.Expires = ended.Expires
	return ended, true
}

// Clean ends expired tokens, as the timer does, and forgets tokens that ended long
// ago, a bounded number of each. Issue does the same; Clean is for a store that
// is no longer written to.
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
			return // go-cache still has it, hence all behind it
		}
		s.tokens.Delete(s.ended.pop().Secret)
	}
}

// Valid returns the valid tokens, the earliest to expire first. It walks all of
// them: do not call it per request.
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

// Len returns the number of valid tokens. It is exact unless more than 10 000 have
// expired since the store was last used.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanLocked(s.clock.Now(), stepsPerClean)
	return len(s.live)
}

// Bytes returns about how many bytes the lists of subscriptions of valid tokens take.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists.bytes
}

// Reset forgets every token; each is unknown from then on.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.Flush()
	s.live, s.ended, s.lists = nil, fifo{}, lists{}
	s.armLocked()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
