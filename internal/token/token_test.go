package token_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/token"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

func newStore(limit int) (*token.Store, *clock.Adjustable) {
	c := clock.NewManual(start)
	return token.New(c, random.Seeded(1), token.NewIndex(10), token.Limits{Tokens: limit}, nil), c
}

func issue(t testing.TB, s *token.Store, ttl time.Duration, subscriptions ...string) token.Token {
	t.Helper()
	issued, err := s.Issue(subscriptions, ttl)
	if err != nil {
		t.Fatalf("issue for %s: %v", ttl, err)
	}
	return issued
}

// wantCode looks a token up and fails unless it is refused with the code; ""
// means that it must be valid.
func wantCode(t testing.TB, s *token.Store, secret string, status int, code string) error {
	t.Helper()
	_, err := s.Lookup(secret)
	switch {
	case err == nil && code != "":
		t.Errorf("lookup: valid, want %d %s", status, code)
	case err != nil && (string(fhir.CodeOf(err)) != code || fhir.AsError(err).Status != status):
		t.Errorf("lookup: %d %s (%v), want %d %q", fhir.AsError(err).Status, fhir.CodeOf(err), err, status, code)
	}
	return err
}

func TestIssue_CoversTheSubscriptionsForTheTTL(t *testing.T) {
	t.Parallel()
	s, _ := newStore(10)
	ids := []string{"b", "a"}
	issued := issue(t, s, 30*time.Minute, ids...)
	ids[0] = "changed" // OPW-9: the list is fixed at issue time
	if !issued.Issued.Equal(start) || !issued.Expires.Equal(start.Add(30*time.Minute)) {
		t.Errorf("issued %s until %s, want %s for 30m", issued.Issued, issued.Expires, start)
	}
	found, err := s.Lookup(issued.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if found.Secret != issued.Secret || !slices.Equal(found.Subscriptions, []string{"b", "a"}) || !found.Expires.Equal(issued.Expires) {
		t.Errorf("lookup: got %+v, want %+v", found, issued)
	}
	// OPW-14: looking up does not use it up.
	wantCode(t, s, issued.Secret, 0, "")
}

func TestIssue_RefusesInvalidLifetimes(t *testing.T) {
	t.Parallel()
	s, _ := newStore(10)
	for _, ttl := range []time.Duration{0, -1, -time.Hour, token.MaxTTL + 1, 1<<63 - 1} {
		if _, err := s.Issue([]string{"a"}, ttl); err == nil || fhir.AsError(err).Status != http.StatusUnprocessableEntity || fhir.CodeOf(err) != "value" {
			t.Errorf("ttl %s: got %v, want 422 value", ttl, err)
		}
	}
	if got := s.Len(); got != 0 {
		t.Errorf("len: got %d, want 0", got)
	}
	issue(t, s, token.MaxTTL)
	issue(t, s, 1)
}

func TestLookup_ValidBeforeExpiresAndNotAt(t *testing.T) {
	t.Parallel()
	s, c := newStore(10)
	issued := issue(t, s, time.Second, "a")
	c.Advance(time.Second - 1)
	wantCode(t, s, issued.Secret, 0, "")
	c.Advance(1)
	err := wantCode(t, s, issued.Secret, http.StatusUnauthorized, "expired")
	if err != nil && !strings.Contains(err.Error(), "token expired at 2026-01-01T10:00:01Z") {
		t.Errorf("diagnostics: got %q, want the time of expiry", err)
	}
}

func TestLookup_SaysWhyThereIsNoToken(t *testing.T) {
	t.Parallel()
	s, _ := newStore(10)
	issued := issue(t, s, time.Hour, "a")
	for _, secret := range []string{"", "nonsense", issued.Secret + "x", strings.ToUpper(issued.Secret)} {
		wantCode(t, s, secret, http.StatusUnauthorized, "unknown")
	}
	if !s.Revoke(issued.Secret) {
		t.Error("revoke of a valid token: got false")
	}
	wantCode(t, s, issued.Secret, http.StatusForbidden, "forbidden")
	if s.Revoke(issued.Secret) {
		t.Error("revoke of a revoked token: got true")
	}
	if s.Revoke("nonsense") {
		t.Error("revoke of an unknown token: got true")
	}
}

func TestRevoke_KeepsAnExpiredTokenExpired(t *testing.T) {
	t.Parallel()
	s, c := newStore(10)
	issued := issue(t, s, time.Minute, "a")
	c.Advance(time.Hour)
	if s.Revoke(issued.Secret) {
		t.Error("revoke of an expired token: got true")
	}
	wantCode(t, s, issued.Secret, http.StatusUnauthorized, "expired")
}

func TestRevoke_StaysForbiddenAfterItsTime(t *testing.T) {
	t.Parallel()
	s, c := newStore(10)
	issued := issue(t, s, time.Minute, "a")
	s.Revoke(issued.Secret)
	c.Advance(time.Hour)
	issue(t, s, time.Minute)
	wantCode(t, s, issued.Secret, http.StatusForbidden, "forbidden")
}

// The clock of the bubble is the wall clock that go-cache uses.
func TestStore_WallTimeDoesNotExpireTokensWhileTheRoomsClockStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStore(10)
		issued := issue(t, s, time.Minute, "a")
		<-time.After(1000 * time.Hour)
		issue(t, s, time.Minute)
		s.Clean()
		wantCode(t, s, issued.Secret, 0, "")
		c.Advance(time.Minute)
		wantCode(t, s, issued.Secret, http.StatusUnauthorized, "expired")
	})
}

func TestStore_RemembersAnHourOfWallTimeThenForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStore(10)
		expired := issue(t, s, time.Minute, "a")
		revoked := issue(t, s, time.Minute, "a")
		s.Revoke(revoked.Secret)
		c.Advance(10 * 24 * time.Hour) // of the room; memory depends on the wall clock
		s.Clean()
		<-time.After(time.Hour)
		wantCode(t, s, expired.Secret, http.StatusUnauthorized, "expired")
		wantCode(t, s, revoked.Secret, http.StatusForbidden, "forbidden")
		<-time.After(time.Nanosecond)
		wantCode(t, s, expired.Secret, http.StatusUnauthorized, "unknown")
		wantCode(t, s, revoked.Secret, http.StatusUnauthorized, "unknown")
		s.Clean()
		wantCode(t, s, expired.Secret, http.StatusUnauthorized, "unknown")
	})
}

func TestIssue_FullTableIsThrottled(t *testing.T) {
	t.Parallel()
	s, c := newStore(3)
	first := issue(t, s, time.Minute)
	issue(t, s, time.Hour)
	issue(t, s, time.Hour)
	_, err := s.Issue(nil, time.Hour)
	if err == nil || fhir.AsError(err).Status != http.StatusTooManyRequests || fhir.CodeOf(err) != "throttled" {
		t.Fatalf("issue into a full table: got %v, want 429 throttled", err)
	}
	if want := first.Expires.Format(time.RFC3339); !strings.Contains(err.Error(), want) {
		t.Errorf("diagnostics: got %q, want it to name %s, when there is room again", err, want)
	}
	c.Advance(time.Minute)
	issue(t, s, time.Hour) // takes the place of the one that expired
	if _, err := s.Issue(nil, time.Hour); err == nil {
		t.Error("the table holds more than its limit")
	}
}

func TestIssue_RememberedTokensMakeRoomForValidOnes(t *testing.T) {
	t.Parallel()
	s, c := newStore(3)
	var old []token.Token
	for range 3 {
		old = append(old, issue(t, s, time.Minute))
	}
	c.Advance(time.Hour)
	for range 3 {
		issue(t, s, time.Hour)
	}
	for _, o := range old {
		wantCode(t, s, o.Secret, http.StatusUnauthorized, "unknown")
	}
	if got := s.Len(); got != 3 {
		t.Errorf("len: got %d, want 3", got)
	}
}

func TestStore_LenAndValidCountOnlyValidTokens(t *testing.T) {
	t.Parallel()
	s, c := newStore(10)
	late := issue(t, s, time.Hour, "late")
	soon := issue(t, s, time.Minute, "soon")
	issue(t, s, time.Second, "gone")
	revoked := issue(t, s, time.Hour, "revoked")
	s.Revoke(revoked.Secret)
	c.Advance(time.Second)
	var got []string
	for _, v := range s.Valid() {
		got = append(got, v.Secret)
	}
	if want := []string{soon.Secret, late.Secret}; !slices.Equal(got, want) {
		t.Errorf("valid: got %v, want %v", got, want)
	}
	if got := s.Len(); got != 2 {
		t.Errorf("len: got %d, want 2", got)
	}
}

func TestReset_ForgetsEverything(t *testing.T) {
	t.Parallel()
	s, c := newStore(2)
	a, b := issue(t, s, time.Hour), issue(t, s, time.Hour)
	s.Revoke(b.Secret)
	s.Reset()
	wantCode(t, s, a.Secret, http.StatusUnauthorized, "unknown")
	wantCode(t, s, b.Secret, http.StatusUnauthorized, "unknown")
	if got := s.Len(); got != 0 {
		t.Errorf("len: got %d, want 0", got)
	}
	issue(t, s, time.Minute)
	issue(t, s, time.Hour)
	c.Advance(time.Hour)
	s.Clean()
}

func TestFingerprint_DoesNotRevealTheSecret(t *testing.T) {
	t.Parallel()
	// The first four bytes of SHA-256("abc") (FIPS 180-2, B.1).
	if got, want := token.Fingerprint("abc"), "ba7816bf"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIssue_ConcurrentUse(t *testing.T) {
	t.Parallel()
	s, c := newStore(500)
	var refused, revoked atomic.Int64
	contested := issue(t, s, token.MaxTTL)
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for i := range 200 {
				issued, err := s.Issue([]string{"a"}, time.Duration(1+i%50)*time.Millisecond)
				if err != nil {
					refused.Add(1)
					continue
				}
				s.Lookup(issued.Secret)
				if i%3 == 0 {
					s.Revoke(issued.Secret)
				}
				c.Advance(time.Millisecond)
				s.Len()
				s.Valid()
			}
			if s.Revoke(contested.Secret) {
				revoked.Add(1)
			}
		})
	}
	users.Wait()
	if got := revoked.Load(); got != 1 {
		t.Errorf("the token was revoked %d times, want exactly once", got)
	}
	if got := refused.Load(); got != 0 {
		t.Errorf("%d issues were refused although expired tokens could make room", got)
	}
}

// Whatever happens, the store and a plain list of all tokens agree on every token.
func TestStore_AgreesWithAPlainList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type known struct {
			token.Token
			revoked bool
		}
		c := clock.NewManual(start)
		expirations := map[string]int{}
		s := token.New(c, random.Seeded(3), token.NewIndex(10), token.Limits{Tokens: 1000}, func(t token.Token) { expirations[t.Secret]++ })
		var all []*known
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"issue", "issue", "revoke", "advance", "clean"}).Draw(t, "step") {
			case "issue":
				issued, err := s.Issue([]string{fmt.Sprint(len(all))}, time.Duration(rapid.IntRange(1, 30).Draw(t, "ttl"))*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, &known{Token: issued})
			case "revoke":
				if len(all) > 0 {
					k := rapid.SampledFrom(all).Draw(t, "which")
					valid := !k.revoked && c.Now().Before(k.Expires)
					if got := s.Revoke(k.Secret); got != valid {
						t.Fatalf("revoke: got %v, want %v", got, valid)
					}
					k.revoked = k.revoked || valid
				}
			case "advance":
				c.Advance(time.Duration(rapid.IntRange(0, 10).Draw(t, "by")) * time.Second)
			case "clean":
				s.Clean()
			}
			valid := 0
			for i, k := range all {
				over := 0
				if !k.revoked && !c.Now().Before(k.Expires) {
					over = 1
				}
				if got := expirations[k.Secret]; got != over {
					t.Fatalf("token %d: expired was called %d times, want %d", i, got, over)
				}
				want := ""
				switch {
				case k.revoked:
					want = "forbidden"
				case !c.Now().Before(k.Expires):
					want = "expired"
				default:
					valid++
				}
				found, err := s.Lookup(k.Secret)
				if got := code(err); got != want {
					t.Fatalf("token %d: got %q, want %q", i, got, want)
				}
				if want == "" && found.Subscriptions[0] != fmt.Sprint(i) {
					t.Fatalf("token %d covers %v", i, found.Subscriptions)
				}
			}
			if got := s.Len(); got != valid {
				t.Fatalf("len: got %d, want %d", got, valid)
			}
		}
	})
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return string(fhir.CodeOf(err))
}

// Tokens for the same subscriptions share a list, and only lists of valid tokens count.
func TestIssue_BoundsTheListsOfSubscriptions(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(start)
	s := token.New(c, random.Seeded(1), token.NewIndex(10), token.Limits{Bytes: 1000}, nil)
	ids := strings.Split("abcdefghij", "") // 256 and 10 times 33 bytes
	refused := func(want string, subscriptions ...string) {
		t.Helper()
		if _, err := s.Issue(subscriptions, time.Minute); fhir.StatusOf(err) != http.StatusInsufficientStorage || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want 507 with %q", err, want)
		}
	}
	refused("take several tokens", strings.Split(strings.Repeat("x", 40), "")...)
	var all []token.Token
	for range 100 {
		all = append(all, issue(t, s, time.Minute, ids...))
	}
	if s.Bytes() != 586 {
		t.Errorf("the lists take %d bytes, want 586", s.Bytes())
	}
	refused("revoke some", ids[1:]...)
	issue(t, s, time.Minute, "a")
	for _, one := range all {
		if found, err := s.Lookup(one.Secret); err != nil || !slices.Equal(found.Subscriptions, ids) {
			t.Fatalf("got %v, %v", found.Subscriptions, err)
		}
	}
	for i, one := range all {
		if i > 0 {
			refused("revoke some", ids[1:]...)
		}
		s.Revoke(one.Secret)
	}
	issue(t, s, time.Minute, ids[1:]...)
	c.Advance(time.Minute)
	if s.Bytes() != 0 {
		t.Errorf("the lists take %d bytes after all tokens expired", s.Bytes())
	}
	issue(t, s, time.Minute, ids...)
	s.Reset()
	if s.Bytes() != 0 {
		t.Errorf("the lists take %d bytes after a reset", s.Bytes())
	}
}

// A token keeps its list, whatever the caller does with the slice, and does not get another
// one that reads the same.
func TestIssue_KeepsTheList(t *testing.T) {
	t.Parallel()
	s, _ := newStore(10)
	mine := []string{"ab", "c"}
	first, second, third := issue(t, s, time.Minute, mine...), issue(t, s, time.Minute, "a", "bc"), issue(t, s, time.Minute, "c", "ab")
	mine[0] = "other"
	for issued, want := range map[string]string{first.Secret: "ab c", second.Secret: "a bc", third.Secret: "c ab"} {
		if found, err := s.Lookup(issued); err != nil || strings.Join(found.Subscriptions, " ") != want {
			t.Errorf("got %v, %v, want %s", found.Subscriptions, err, want)
		}
	}
}
