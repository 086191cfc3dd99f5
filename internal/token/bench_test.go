package token_test

import (
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/random"
	"signalfhir/internal/token"
)

// BenchmarkIssue mints tokens into a table with a constant number of valid ones:
// for each new one, one expires. The cost must not depend on the number. The
// baseline is the randomness alone.
func BenchmarkIssue(b *testing.B) {
	b.Run("baseline=crypto-rand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var secret [32]byte
			_, _ = crand.Read(secret[:])
			_ = base64.RawURLEncoding.EncodeToString(secret[:])
		}
	})
	subscriptions := []string{"a"}
	for _, live := range []int{1, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			c := clock.NewManual(start)
			ttl := time.Duration(live) * time.Second
			s := token.New(c, random.Secure(), live+1, nil)
			mint := func() {
				c.Advance(time.Second)
				if _, err := s.Issue(subscriptions, ttl); err != nil {
					b.Fatal(err)
				}
			}
			for range live {
				mint()
			}
			b.ReportAllocs()
			for b.Loop() {
				mint()
			}
			b.StopTimer()
			if got := s.Len(); got != live {
				b.Fatalf("the table holds %d tokens, want %d", got, live)
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	s := token.New(clock.Real(), random.Secure(), 100_000, nil)
	var secret string
	for range 100_000 {
		secret = issue(b, s, time.Hour, "a").Secret
	}
	for b.Loop() {
		if _, err := s.Lookup(secret); err != nil {
			b.Fatal(err)
		}
	}
}
