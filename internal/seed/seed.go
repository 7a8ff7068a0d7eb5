// Package seed turns a position in a run into random numbers, so that a retry draws what the first try drew.
//
// Every draw is a function of a domain and integer coordinates: SHA-256 over the domain, a zero byte and each coordinate
// as 8 big-endian bytes. There is no generator state to lose, and no small hash that a model could learn.
package seed

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// Key returns the 256 bits that belong to a position.
func Key(domain string, at ...uint64) [32]byte {
	b := make([]byte, 0, len(domain)+1+8*len(at))
	b = append(b, domain...)
	b = append(b, 0)
	for _, c := range at {
		b = binary.BigEndian.AppendUint64(b, c)
	}
	return sha256.Sum256(b)
}

// Uniform returns the position's number in [0, 1), a multiple of 2⁻⁵³.
func Uniform(domain string, at ...uint64) float64 {
	k := Key(domain, at...)
	return float64(binary.BigEndian.Uint64(k[:8])>>11) / (1 << 53)
}

// Uint64 returns the position's 64 bits.
func Uint64(domain string, at ...uint64) uint64 {
	k := Key(domain, at...)
	return binary.BigEndian.Uint64(k[:8])
}

// Rand returns a generator (ChaCha8, whose stream Go fixes) that starts at the position.
func Rand(domain string, at ...uint64) *rand.Rand {
	return rand.New(rand.NewChaCha8(Key(domain, at...)))
}

// Text returns the coordinate that stands for a string.
func Text(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:8])
}
