package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// length is the length of a secret: 256 bits in base64url.
const length = 43

// Fingerprint returns 8 hexadecimal digits that identify a secret in a log without
// revealing it.
func Fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// IsFingerprint reports whether a text has the form of a fingerprint. No secret has.
func IsFingerprint(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == 8 && text == strings.ToLower(text)
}

// Redact returns text with every word that has the form of a token replaced by its
// fingerprint. It is for tokens that no room here has issued; see [Index.Redact].
func Redact[T string | []byte](text T) T { return replace(text, rule{kind: ofForm, least: length}) }

// RedactLong is [Redact] for texts in which a word longer than a token is a token
// with something typed too close to it.
func RedactLong[T string | []byte](text T) T {
	return replace(text, rule{kind: ofFormOrLonger, least: length})
}

// rule is what [replace] takes for a secret.
type rule struct {
	kind
	least int    // characters of a word that may have a secret in it
	index *Index // of the kind issued
}

type kind int

const (
	ofForm         kind = iota // a word that has the length of a token
	ofFormOrLonger             // a word that has at least the length
	issued                     // a token of the index, or a part of one
)

// find finds the first secret in the word text[from:end], which has at least the length of
// the rule. It returns what is shown instead of text[at:to], or "" if there is none.
func find[T string | []byte](r rule, text T, from, end int) (at, to int, shown string) {
	switch {
	case r.kind == issued:
		return findIssued(r.index, text, from, end)
	case r.kind == ofForm && end-from != length:
		return 0, 0, ""
	}
	return from, end, Fingerprint(string(text[from:end]))
}

// replace returns text with the secrets in it replaced by their fingerprints, and parts of
// secrets by an ellipsis.
func replace[T string | []byte](text T, r rule) T {
	if len(text) < r.least {
		return text
	}
	// What is not escaped comes first: a % before a token makes an escape of its beginning.
	text = replaceIn(text, text, func(i int) int { return i }, r)
	if !hides(text) {
		return text
	}
	plain, places := unescape(text)
	return replaceIn(text, plain, func(i int) int { return places[i] }, r)
}

// replaceIn is replace for the text that plain is when nothing in it is escaped. place
// returns where in text a character of plain is. replaceIn skips plain outside of long
// words in steps of the least length of those, so it looks at few characters.
func replaceIn[T, P string | []byte](text T, plain P, place func(int) int, r rule) T {
	var out []byte
	done := 0 // of text
	for i := 0; i+r.least <= len(plain); {
		at := i + r.least - 1
		for at >= i && isWord(plain[at]) {
			at--
		}
		if at >= i {
			i = at + 1
			continue
		}
		end := i + r.least
		for end < len(plain) && isWord(plain[end]) {
			end++
		}
		for end-i >= r.least {
			at, to, shown := find(r, plain, i, end)
			if shown == "" {
				break
			}
			out = append(append(out, text[done:place(at)]...), shown...)
			done, i = place(to), to
		}
		i = end
	}
	if done == 0 {
		return text
	}
	return T(append(out, text[done:]...))
}

// words has the characters of base64url. Every frame and body is searched for tokens, and a
// table is twice as fast as comparing.
var words = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()

func isWord(c byte) bool { return words[c] }

// hides reports whether a text has an escaped character of a token, or of another escape.
// Most texts have no escapes, or of spaces and the like only.
func hides[T string | []byte](text T) bool {
	for _, sign := range []byte{'%', '\\'} {
		for rest := text; ; {
			at := indexByte(rest, sign)
			if at < 0 {
				break
			}
			rest = rest[at:]
			c, size := escaped(rest)
			if size > 0 && (isWord(c) || c == '%' || c == '\\') {
				return true
			}
			rest = rest[1:]
		}
	}
	return false
}

func indexByte[T string | []byte](text T, c byte) int {
	switch t := any(text).(type) {
	case string:
		return strings.IndexByte(t, c)
	case []byte:
		return bytes.IndexByte(t, c)
	}
	return -1
}

// escaped returns the ASCII character that an escape at the beginning of a text stands
// for, and the size of the escape; 0 if there is none.
func escaped[T string | []byte](text T) (c byte, size int) {
	switch {
	case len(text) >= 3 && text[0] == '%':
		size = 3
	case len(text) >= 6 && text[0] == '\\' && text[1] == 'u' && text[2] == '0' && text[3] == '0':
		size = 6
	default:
		return 0, 0
	}
	high, low := digit(text[size-2]), digit(text[size-1])
	if high < 0 || low < 0 {
		return 0, 0
	}
	return byte(high<<4 | low), size
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unescape returns a text without its escapes, also those of escapes, and where in text
// each character of the result begins; the last place is the end.
func unescape[T string | []byte](text T) (plain []byte, places []int) {
	plain, places = make([]byte, 0, len(text)), make([]int, 0, len(text)+1)
	for i := range len(text) {
		plain, places = append(plain, text[i]), append(places, i)
		// What was unescaped may complete another escape, as the first of %2541 does.
		for again := true; again; {
			again = false
			for _, size := range []int{3, 6} {
				start := len(plain) - size
				if start < 0 {
					break
				}
				c, is := escaped(plain[start:])
				if is != size {
					continue
				}
				// In JSON within JSON the backslash is escaped itself, by another.
				for size == 6 && start > 0 && plain[start-1] == '\\' {
					start--
				}
				plain, places = append(plain[:start], c), places[:start+1]
				again = true
			}
		}
	}
	return plain, append(places, len(text))
}
