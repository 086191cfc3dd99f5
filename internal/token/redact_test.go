package token_test

import (
	"fmt"
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

func TestIndex_ReplacesIssuedTokensOnly(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(0, 0))
	x := token.NewIndex(10)
	s := token.New(c, random.Secure(), x, token.Limits{Tokens: 10}, nil)
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
	if got := string(x.Redact([]byte(text))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The index knows the tokens of every store that uses it, whatever became of them.
func TestIndex_KnowsTheTokensOfAllStores(t *testing.T) {
	t.Parallel()
	x := token.NewIndex(10)
	one := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 10}, nil)
	other := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 10}, nil)
	for _, secret := range []string{issue(t, one, time.Hour, "a").Secret, issue(t, other, time.Hour, "a").Secret} {
		one.Reset()
		if got := x.RedactString(secret); got != token.Fingerprint(secret) {
			t.Errorf("got %s, want the fingerprint", got)
		}
	}
}

func TestIndex_RemembersTheLastTokens(t *testing.T) {
	t.Parallel()
	const remembered = 10
	x := token.NewIndex(remembered)
	s := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 1000}, nil)
	var secrets []string
	for range 10 * remembered {
		secrets = append(secrets, issue(t, s, time.Hour, "a").Secret)
		for back, n := 1, len(secrets); back <= n; back++ {
			secret := secrets[n-back]
			switch hidden := x.RedactString(secret) != secret; {
			case !hidden && back <= remembered:
				t.Fatalf("after %d tokens, the last but %d is forgotten", n, back-1)
			case hidden && back > 2*remembered:
				t.Fatalf("after %d tokens, the last but %d is still remembered", n, back-1)
			}
		}
	}
}

// Of a token in a text that was cut, or taken apart, at most 16 characters are left.
func TestIndex_HidesPartsOfATokenHoweverTheyAreWritten(t *testing.T) {
	t.Parallel()
	x := token.NewIndex(1000)
	s := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 1000}, nil)
	rapid.Check(t, func(t *rapid.T) {
		issued, err := s.Issue([]string{"a"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Revoke(issued.Secret)
		size := rapid.IntRange(17, 42).Draw(t, "size")
		from := rapid.IntRange(0, len(issued.Secret)-size).Draw(t, "from")
		part := issued.Secret[from : from+size]
		way := rapid.SampledFrom(escapes).Draw(t, "escape")
		var written strings.Builder
		for _, c := range []byte(part) {
			written.WriteString(way(c))
		}
		around := rapid.StringMatching(`([a-z0-9_-]{0,30}[ ".:é])?`)
		before, after := around.Draw(t, "before"), rapid.StringMatching(`([ ".:é][a-z0-9_-]{0,30})?`).Draw(t, "after")
		if got, want := x.RedactString(before+written.String()+after), before+"…"+after; got != want {
			t.Errorf("%q became %q, want %q", before+written.String()+after, got, want)
		}
		// Next to other characters of a word, some of those may be hidden with it.
		glued := rapid.StringMatching(`[a-z]{0,30}`)
		text := glued.Draw(t, "glued before") + written.String() + glued.Draw(t, "glued after")
		got := x.RedactString(text)
		for at := 0; at+17 <= len(part); at++ {
			if strings.Contains(got, part[at:at+17]) {
				t.Fatalf("%q became %q", text, got)
			}
		}
	})
}

func TestIndex_RedactWholeLeavesShortWordsAlone(t *testing.T) {
	t.Parallel()
	x := token.NewIndex(10)
	s := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 10}, nil)
	secret := issue(t, s, time.Hour, "a").Secret
	text := secret + " " + secret[:42]
	if got, want := x.RedactWholeString(text), token.Fingerprint(secret)+" "+secret[:42]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(x.RedactWhole([]byte(text))), token.Fingerprint(secret)+" "+secret[:42]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// escapes are the ways to write a character of a token.
var escapes = []func(c byte) string{
	func(c byte) string { return string(c) },
	func(c byte) string { return fmt.Sprintf("%%%02X", c) },
	func(c byte) string { return fmt.Sprintf("%%%02x", c) },
	func(c byte) string { return fmt.Sprintf("%%25%02X", c) },
	func(c byte) string { return fmt.Sprintf("%%2525%02X", c) },
	func(c byte) string { return fmt.Sprintf(`\u%04x`, c) },
	func(c byte) string { return fmt.Sprintf(`\u%04X`, c) },
	func(c byte) string { return fmt.Sprintf(`\\u%04X`, c) },
	func(c byte) string { return fmt.Sprintf(`\u0025%02X`, c) },
}

// A token that is written in whatever way, in whatever text, is not shown.
func TestIndex_FindsTokensHoweverTheyAreWritten(t *testing.T) {
	t.Parallel()
	x := token.NewIndex(10)
	s := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 10}, nil)
	rapid.Check(t, func(t *rapid.T) {
		issued, err := s.Issue([]string{"a"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Revoke(issued.Secret)
		around := rapid.StringMatching(`[a-z0-9_."é -]{0,60}`)
		before, after := around.Draw(t, "before"), around.Draw(t, "after")
		ways := rapid.SliceOfN(rapid.SampledFrom(escapes), 1, 5).Draw(t, "escapes")
		var text strings.Builder
		text.WriteString(before)
		for i := range len(issued.Secret) {
			text.WriteString(ways[i%len(ways)](issued.Secret[i]))
		}
		text.WriteString(after)
		want := before + token.Fingerprint(issued.Secret) + after
		if got := string(x.Redact([]byte(text.String()))); got != want {
			t.Errorf("%q became %q, want %q", text.String(), got, want)
		}
		if got := x.RedactString(text.String()); got != want {
			t.Errorf("as a string %q became %q, want %q", text.String(), got, want)
		}
		// Unescaped, it may stand behind anything.
		odd := rapid.StringMatching(`[a-z0-9%\\u-]{0,60}`)
		mixed := odd.Draw(t, "odd before") + issued.Secret + odd.Draw(t, "odd after")
		if got := x.RedactString(mixed); strings.Contains(got, issued.Secret) || !strings.Contains(got, token.Fingerprint(issued.Secret)) {
			t.Errorf("%q became %q", mixed, got)
		}
	})
}

func TestIndex_FindsEachTokenOfALongWord(t *testing.T) {
	t.Parallel()
	x := token.NewIndex(10)
	s := token.New(clock.NewManual(time.Unix(0, 0)), random.Secure(), x, token.Limits{Tokens: 10}, nil)
	var secrets [3]string
	for i := range secrets {
		issued, err := s.Issue([]string{"a"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		secrets[i] = issued.Secret
	}
	text := "x" + secrets[0] + secrets[1] + "yz" + secrets[2] + strings.Repeat("w", 100)
	want := "x" + token.Fingerprint(secrets[0]) + token.Fingerprint(secrets[1]) + "yz" + token.Fingerprint(secrets[2]) + strings.Repeat("w", 100)
	if got := x.RedactString(text); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRedact_LeavesOtherEscapesAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"/fhir/R5/Patient?name=%41%42%43&_count=100%25&x=" + strings.Repeat("a b", 20),
		`{"div":"<div>\u0041\u00e9\n\\u0041</div>","x":"` + strings.Repeat("y ", 40) + `"}`,
		strings.Repeat("%", 60), strings.Repeat(`\u00`, 30), strings.Repeat("%4", 30) + "%g1%1g%",
	} {
		if got := token.RedactLong(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// An escape may end at the end of the text, and the text may be one.
func FuzzRedact(f *testing.F) {
	f.Add(`a%41\u0041%2541` + secret)
	f.Fuzz(func(t *testing.T, text string) {
		if shown := token.RedactLong(text); len(text) < len(secret) && shown != text {
			t.Errorf("%q became %q", text, shown)
		}
		_ = token.Redact([]byte(text))
	})
}
