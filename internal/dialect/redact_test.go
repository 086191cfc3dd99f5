package dialect_test

import (
	"testing"

	"signalfhir/internal/dialect"
)

func TestRedact_HidesWordsInThePlaceOfAToken(t *testing.T) {
	t.Parallel()
	for frame, want := range map[string]string{
		"bind-with-token s":                        "bind-with-token <s>",
		"BIND-WITH-TOKEN: s\r\n":                   "BIND-WITH-TOKEN: <s>\n",
		"bind-with-token:s":                        "bind-with-token:<s>",
		"bind-with-token : s":                      "bind-with-token : <s>",
		`bind-with-token "s"`:                      "bind-with-token <s>",
		"bind-with-token\u00a0s":                   "bind-with-token <s>",
		"bind-with-tokens":                         "bind-with-token<s>",
		"bind-with-token b t":                      "bind-with-token <b> <t>",
		"unbind-from-token s\nunbind-with-token t": "unbind-from-token <s>\nunbind-with-token <t>",
		"bind-with-token":                          "bind-with-token",
		"ping\nbind-with-token s\nping":            "ping\nbind-with-token <s>\nping",
		"subscribe me":                             "subscribe me",
		"bind abc":                                 "bind abc",
		`{"type":"bind-with-token","payload":{"token":"s"}}`: `{"type":"bind-with-token","payload":{"token":"<s>"}}`,
		`{"token" : "s t`:          `{"token" : "<s t>`,
		`{"token":"s\"t","x":"y"}`: `{"token":"<s\"t>","x":"y"}`,
		`{"token":""}`:             `{"token":""}`,
		`{"Token":"s"}`:            `{"Token":"<s>"}`,
		`{"type":"ping"}`:          `{"type":"ping"}`,
	} {
		if got := dialect.Redact(frame, func(s string) string { return "<" + s + ">" }); got != want {
			t.Errorf("%q: got %q, want %q", frame, got, want)
		}
	}
}

// A token that Parse finds is never shown, however the frame is written.
func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"bind-with-token QQ", "bind-with-token: \"QQ\"\nping", "\u2028bind-with-token :QQ", `{"type":"bind-with-token","payload":{"token":" QQ "}}`, "bind-with-token Q Q"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame string) {
		shown := dialect.Redact(frame, func(string) string { return "." })
		for _, command := range dialect.Parse(shown) {
			if command.Token != "" && command.Token != "." {
				t.Fatalf("%q is shown as %q, which has the token %q", frame, shown, command.Token)
			}
		}
	})
}
