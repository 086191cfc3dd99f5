// Package random provides the randomness of a room: ids, secrets and the choices of
// generators. A seeded source gives the same sequence each time, so that a recorded
// run can be repeated to the byte.
//
// It defines the form of ids and tokens and keeps no state beyond the sequence. Nothing
// else in the module reads crypto/rand or math/rand.
package random

import (
	crand "crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/google/uuid"
)

// Source generates random values. It is safe for concurrent use.
type Source struct {
	mu    sync.Mutex // guards bytes and rand, which share one sequence in a seeded source
	bytes io.Reader
	rand  *rand.Rand
}

// Secure returns an unpredictable source.
func Secure() *Source {
	return &Source{bytes: crand.Reader, rand: rand.New(secure{})}
}

// Seeded returns a repeatable source: two with the same seed return the same values to
// the same calls. Its tokens are not secret: anyone with the seed can compute them.
func Seeded(seed uint64) *Source {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	stream := rand.NewChaCha8(key)
	return &Source{bytes: stream, rand: rand.New(stream)}
}

// secure feeds math/rand from the system.
type secure struct{}

func (secure) Uint64() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (s *Source) read(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.ReadFull(s.bytes, b) // neither reader ever fails
}

// UUID returns a random (version 4) UUID.
func (s *Source) UUID() string {
	var b [16]byte
	s.read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return uuid.UUID(b).String()
}

// Token returns a secret of 256 bits in characters that need no escaping (OPW-7).
func (s *Source) Token() string {
	var b [32]byte
	s.read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ID returns an id for a resource: 12 letters and digits, about 62 bits.
func (s *Source) ID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	s.mu.Lock()
	defer s.mu.Unlock()
	var id [12]byte
	for i := range id {
		id[i] = alphabet[s.rand.IntN(len(alphabet))]
	}
	return string(id[:])
}

// IntN returns a number from 0 to n-1; n must be above zero.
func (s *Source) IntN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// Float64 returns a number in [0, 1).
func (s *Source) Float64() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Float64()
}
