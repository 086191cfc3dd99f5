package token

import (
	"crypto/sha256"
	"encoding/hex"
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
// its fingerprint.
func Redact(text string) string {
	return replaceWords(text, func(word string) string {
		if len(word) != length {
			return word
		}
		return Fingerprint(word)
	})
}

// RedactLong is [Redact] for texts in which a word longer than a token is a token
// with something typed too close to it.
func RedactLong(text string) string { return replaceWords(text, Fingerprint) }

// Redact returns text with every token this store knows replaced by its
// fingerprint, including ended tokens that are still remembered.
func (s *Store) Redact(text []byte) []byte {
	return replaceWords(text, func(word string) string {
		// A letter before or after the token may look like part of the word, as the
		// n of an escaped line feed does.
		for _, at := range []int{0, len(word) - length} {
			secret := word[at : at+length]
			s.mu.Lock()
			e := s.getLocked(secret)
			s.mu.Unlock()
			if e != nil {
				return word[:at] + Fingerprint(secret) + word[at+length:]
			}
		}
		return word
	})
}

// replaceWords returns text with every base64url word that is at least as long as
// a token replaced by what f returns. It skips text outside of such words in steps
// of a token's length, so it looks at few characters.
func replaceWords[T string | []byte](text T, f func(word string) string) T {
	var out []byte
	done := 0
	for i := 0; i+length <= len(text); {
		at := i + length - 1
		for at >= i && isWord(text[at]) {
			at--
		}
		if at >= i {
			i = at + 1
			continue
		}
		end := i + length
		for end < len(text) && isWord(text[end]) {
			end++
		}
		out = append(out, text[done:i]...)
		out = append(out, f(string(text[i:end]))...)
		i, done = end, end
	}
	if done == 0 {
		return text
	}
	return T(append(out, text[done:]...))
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
