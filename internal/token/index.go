package token

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Index knows the tokens that all rooms of a process have issued, so that they can be
// hidden: a client may use a token in another room, or after it has ended or its room was
// reset. Which tokens are valid is the matter of each room's [Store]. Create an Index with
// [NewIndex]. It is safe for concurrent use.
//
// The Index keeps hashes of pieces of the tokens. So it also recognizes a part of a token,
// such as what is left of one in a text that was cut.
//
// It remembers as many of the last tokens as it was told to, and at most twice as many, with
// some 60 bytes for each.
type Index struct {
	lots atomic.Pointer[lots]
	most int                      // tokens in a lot
	also func(text []byte) []byte // hides other secrets; nil: there are none

	mu     sync.RWMutex // guards issued and the pieces of all lots; calls nothing
	issued int          // tokens in the present lot
}

// Remembered is how many tokens the [Index] of a server remembers.
const Remembered = 1 << 20

// A piece of a token begins at a multiple of its length. So a run of 17 characters of a
// token has a whole piece in it, wherever it begins. Shorter ones are overlooked.
const (
	pieceLength = 9
	pieces      = length / pieceLength
	recognized  = 2*pieceLength - 1
)

// lots are the present lot, and the one before it or nil.
type lots [2]*lot

// lot is tokens that are forgotten together.
type lot struct {
	// seen is a set of pieces that may have more than was added. It spares most look-ups;
	// from some hundred thousand tokens on it has nearly everything.
	seen   [1 << 13]atomic.Uint64
	pieces map[uint64]struct{}
}

// NewIndex returns an index that remembers the last tokens, at least one.
func NewIndex(remembered int) *Index {
	x := &Index{most: max(remembered, 1)}
	x.lots.Store(&lots{newLot()})
	return x
}

func newLot() *lot { return &lot{pieces: map[uint64]struct{}{}} }

// add adds a token.
func (x *Index) add(secret string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.issued == x.most {
		x.lots.Store(&lots{newLot(), x.lots.Load()[0]})
		x.issued = 0
	}
	x.issued++
	present := x.lots.Load()[0]
	for i := range pieces {
		hash := pieceAt(secret, i*pieceLength)
		present.pieces[hash] = struct{}{}
		at, bit := place(hash)
		present.seen[at].Or(bit)
	}
}

// has reports whether a hash is that of a piece.
func (x *Index) has(hash uint64) bool {
	now := x.lots.Load()
	if !now.mayHave(hash) {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, l := range now {
		if l == nil {
			continue
		}
		if _, known := l.pieces[hash]; known {
			return true
		}
	}
	return false
}

// mayHave is [Index.has] without a look-up. It is right only if it returns false.
func (l *lots) mayHave(hash uint64) bool {
	at, bit := place(hash)
	return l[0].seen[at].Load()&bit != 0 || l[1] != nil && l[1].seen[at].Load()&bit != 0
}

// place returns the place of a hash in lot.seen.
func place(hash uint64) (at int, bit uint64) { return int(hash >> (64 - 13)), 1 << (hash & 63) }

// pieceAt returns the hash of the piece of a token that begins at a character.
func pieceAt[T string | []byte](text T, at int) uint64 {
	return hash(eight(text[at:]), eight(text[at+1:]))
}

// hash spreads the bits of a piece, which is given as its first and its last eight
// characters. The constants are digits of pi.
func hash(first, last uint64) uint64 {
	high, low := bits.Mul64(first^0x243F6A8885A308D3, last^0x13198A2E03707344)
	return high ^ low
}

// eight returns the first eight characters of a text.
func eight[T string | []byte](p T) uint64 {
	_ = p[7]
	return uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
		uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
}

// Redact returns a text with every token in it replaced by its fingerprint, and every part
// of a token that has more than 16 characters by an ellipsis. It finds them in the middle of
// a longer word, too, and if characters are escaped as in an address (%41) or in a JSON
// string (\u0041), even several times. It does not decode HTML (&#65;): nothing here does,
// so nothing takes that for a token.
//
// Its cost depends on the text, hardly on the number of tokens.
func (x *Index) Redact(text []byte) []byte { return x.replace(text, recognized) }

// RedactString is [Index.Redact] for a string.
func (x *Index) RedactString(text string) string { return x.replaceString(text, recognized) }

// RedactWhole is [Index.Redact] for a text that was not cut. It skips words that are
// shorter than a token, such as a UUID.
func (x *Index) RedactWhole(text []byte) []byte { return x.replace(text, length) }

// RedactWholeString is [Index.RedactWhole] for a string.
func (x *Index) RedactWholeString(text string) string { return x.replaceString(text, length) }

// HideAlso sets what hides other secrets of the process in the same texts. It returns a
// text without them as it is. Call HideAlso before others use the index.
func (x *Index) HideAlso(hide func(text []byte) []byte) { x.also = hide }

func (x *Index) replace(text []byte, least int) []byte {
	if x.also != nil {
		text = x.also(text)
	}
	return replace(text, rule{issued, least, x})
}

func (x *Index) replaceString(text string, least int) string {
	if x.also != nil {
		text = string(x.also([]byte(text)))
	}
	return replace(text, rule{issued, least, x})
}

// findIssued is [find] for a token or a part of one. Of a part it does not know where in the
// token it was, so it takes up to eight characters too many on each side.
func findIssued[T string | []byte](x *Index, text T, from, end int) (at, to int, shown string) {
	now := x.lots.Load()
	first := eight(text[from:])
	for at := from; at+pieceLength <= end; at++ {
		last := first>>8 | uint64(text[at+pieceLength-1])<<56
		h := hash(first, last)
		first = last
		if !now.mayHave(h) || !x.has(h) {
			continue
		}
		to := at + pieceLength
		for to+pieceLength <= end && x.has(pieceAt(text, to)) {
			to += pieceLength
		}
		if to-at == pieces*pieceLength && at+length <= end {
			return at, at + length, Fingerprint(string(text[at : at+length]))
		}
		return max(from, at-pieceLength+1), min(end, to+pieceLength-1), "…"
	}
	return 0, 0, ""
}
