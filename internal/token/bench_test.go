package token_test

import (
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
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
			s := token.New(c, random.Secure(), token.NewIndex(token.Remembered), token.Limits{Tokens: live + 1}, nil)
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
	s := token.New(clock.Real(), random.Secure(), token.NewIndex(token.Remembered), token.Limits{Tokens: 100_000}, nil)
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

// BenchmarkRedact redacts the body of an exchange. The number of tokens must not matter.
func BenchmarkRedact(b *testing.B) {
	resource := `{"resourceType":"Encounter","id":"e1","meta":{"versionId":"1","lastUpdated":"2026-01-01T10:00:00Z"},"status":"in-progress","class":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"IMP"}]}],"subject":{"reference":"Patient/example"}}`
	for name, body := range map[string]string{
		"json":   strings.Repeat(resource, 64<<10/len(resource)),
		"uuid":   strings.Repeat(`{"fullUrl":"urn:uuid:0190a3b2-7f4e-4c1d-9e8f-1234567890ab","resource":{"resourceType":"Encounter","status":"in-progress"}},`, 540),
		"base64": strings.Repeat("QUJD", 16<<10),
		"escape": strings.Repeat(`%41\u0041 text `, 64<<10/15),
	} {
		for _, live := range []int{1, 100_000} {
			x := token.NewIndex(token.Remembered)
			s := token.New(clock.NewManual(start), random.Secure(), x, token.Limits{Tokens: live}, nil)
			for range live {
				if _, err := s.Issue([]string{"a"}, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			for of, redact := range map[string]func([]byte) []byte{"any": x.Redact, "whole": x.RedactWhole} {
				b.Run(fmt.Sprintf("%s/live=%d/%s", name, live, of), func(b *testing.B) {
					text := []byte(body)
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						redact(text)
					}
				})
			}
		}
	}
}
