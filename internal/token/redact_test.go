package token_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/random"
	"signalfhir/internal/token"
)

const secret = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP-"

func TestRedact_ReplacesWordsOfTheFormOfAToken(t *testing.T) {
	t.Parallel()
	name := token.Fingerprint(secret)
	for _, c := range []struct{ text, want, long string }{
		{"", "", ""},
		{secret, name, name},
		{"bind-with-token " + secret + "\n", "bind-with-token " + name + "\n", "bind-with-token " + name + "\n"},
		{`{"a":"` + secret + `","b":"` + secret + `"}`, `{"a":"` + name + `","b":"` + name + `"}`, `{"a":"` + name + `","b":"` + name + `"}`},
		{secret[1:], secret[1:], secret[1:]},
		{secret + "x", secret + "x", token.Fingerprint(secret + "x")},
		{secret + "é" + secret, name + "é" + name, name + "é" + name},
		{strings.Repeat(".", 42) + secret, strings.Repeat(".", 42) + name, strings.Repeat(".", 42) + name},
	} {
		if got := token.Redact(c.text); got != c.want {
			t.Errorf("Redact(%q): got %q, want %q", c.text, got, c.want)
		}
		if got := token.RedactLong(c.text); got != c.long {
			t.Errorf("RedactLong(%q): got %q, want %q", c.text, got, c.long)
		}
	}
}

func TestRedact_FindsATokenAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		around := rapid.StringMatching(`([a-z0-9_-]{0,60}[ ".:\n])?`)
		text := around.Draw(t, "before") + secret + rapid.StringMatching(`([ ".:\n][a-z0-9_-]{0,60})?`).Draw(t, "after")
		if got := token.Redact(text); strings.Contains(got, secret) || !strings.Contains(got, token.Fingerprint(secret)) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func TestStore_RedactReplacesItsTokensOnly(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(0, 0))
	s := token.New(c, random.Secure(), 10, nil)
	valid, err := s.Issue([]string{"a"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := s.Issue([]string{"a"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.Revoke(revoked.Secret)
	text := `{"text":"one\n` + valid.Secret + ` two ` + revoked.Secret + `, other ` + secret + `"}`
	want := `{"text":"one\n` + token.Fingerprint(valid.Secret) + ` two ` + token.Fingerprint(revoked.Secret) + `, other ` + secret + `"}`
	if got := string(s.Redact([]byte(text))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
