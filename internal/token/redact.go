package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync/atomic"
)

// length is the length of a secret: 256 bits in base64url.
const length = 43

// Fingerprint returns 8 hexadecimal digits that identify a secret in a log without
// revealing it.
func Fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// Redact returns text with every word that has the form of a token replaced by
// its fingerprint. It is for texts that are not of one room; see [Store.Redact].
func Redact[T string | []byte](text T) T {
	return replace(text, func(word string) int {
		if len(word) != length {
			return -1
		}
		return 0
	}, length)
}

// RedactLong is [Redact] for texts in which a word longer than a token is a token
// with something typed too close to it.
func RedactLong[T string | []byte](text T) T {
	return replace(text, func(string) int { return 0 }, 0)
}

// Redact returns text with every token this store knows replaced by its fingerprint,
// including ended tokens that are still remembered. It finds a token in the middle of a
// longer word, too, and one whose characters are escaped as in an address (%41) or in a
// JSON string (\u0041).
//
// Its cost depends on the text alone, not on the number of tokens: only the parts of long
// words are looked up. It does not take the lock of the store, so it may be called by
// what the store calls.
func (s *Store) Redact(text []byte) []byte { return redact(s, text) }

// RedactString is [Store.Redact] for a string.
func (s *Store) RedactString(text string) string { return redact(s, text) }

func redact[T string | []byte](s *Store, text T) T {
	return replace(text, func(word string) int {
		for at := range len(word) - length + 1 {
			if !s.begun.has(word[at:]) {
				continue
			}
			if _, known := s.tokens.Get(word[at : at+length]); known {
				return at
			}
		}
		return -1
	}, length)
}

// beginnings is a set of the first four characters of tokens that may have more than was
// added. It spares most look-ups in a long word, such as the data of an attachment. After
// some ten thousand tokens it has nearly everything, and the look-ups decide.
type beginnings [1024]atomic.Uint64

func (b *beginnings) place(word string) (at *atomic.Uint64, bit uint64) {
	n := uint32(word[0]) | uint32(word[1])<<8 | uint32(word[2])<<16 | uint32(word[3])<<24
	hash := n * 2654435769 >> 16
	return &b[hash>>6], 1 << (hash & 63)
}

func (b *beginnings) add(word string) {
	at, bit := b.place(word)
	at.Or(bit)
}

func (b *beginnings) has(word string) bool {
	at, bit := b.place(word)
	return at.Load()&bit != 0
}

// replace returns text with the secrets in it replaced by their fingerprints. It gives
// find each base64url word that is at least as long as a token. find returns where in the
// word a secret begins, or -1. size is the length of a secret, or 0 if a secret is the
// word from there on.
func replace[T string | []byte](text T, find func(word string) (at int), size int) T {
	if len(text) < length {
		return text
	}
	// What is not escaped comes first: a % before a token makes an escape of its beginning.
	text = replaceIn(text, text, func(i int) int { return i }, find, size)
	if !hides(text) {
		return text
	}
	plain, places := unescape(text)
	return replaceIn(text, plain, func(i int) int { return places[i] }, find, size)
}

// replaceIn is replace for the text that plain is when nothing in it is escaped. place
// returns where in text a character of plain is. replaceIn skips plain outside of long
// words in steps of a token's length, so it looks at few characters.
func replaceIn[T, P string | []byte](text T, plain P, place func(int) int, find func(word string) int, size int) T {
	var out []byte
	done := 0 // of text
	for i := 0; i+length <= len(plain); {
		at := i + length - 1
		for at >= i && isWord(plain[at]) {
			at--
		}
		if at >= i {
			i = at + 1
			continue
		}
		end := i + length
		for end < len(plain) && isWord(plain[end]) {
			end++
		}
		for word := string(plain[i:end]); len(word) >= length; {
			at := find(word)
			if at < 0 {
				break
			}
			next := len(word)
			if size > 0 {
				next = at + size
			}
			from := end - len(word) + at
			out = append(out, text[done:place(from)]...)
			out = append(out, Fingerprint(word[at:next])...)
			done = place(from + next - at)
			word = word[next:]
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
