// Package blob stores artefacts by key and proves on every read that they are what was written.
//
// A Ref is the only thing that crosses a workflow or activity boundary; tensors and transcripts stay in a Store.
// Objects are written once: either content-addressed (their key holds their digest) or created conditionally.
package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Errors that a Store or a load reports; match them with errors.Is.
var (
	// ErrNotFound: no object has that key.
	ErrNotFound = errors.New("object not found")
	// ErrExists: a conditional create found an object under that key.
	ErrExists = errors.New("object exists already")
	// ErrConflict: a conditional replace found another version than the one it named.
	ErrConflict = errors.New("object was changed by somebody else")
	// ErrCorrupt: the bytes read are not the bytes the reference names. Retrying does not help.
	ErrCorrupt = errors.New("corrupt object")
)

// Digest is the SHA-256 of an object's bytes.
type Digest [sha256.Size]byte

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("digest %q: want %d hexadecimal digits", s, hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// String returns all 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hexadecimal digits, for logs and tables.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the digest as hexadecimal, the zero digest as an empty string.
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	parsed, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// Ref names an immutable object: where it is, what its bytes hash to, and how many there are.
type Ref struct {
	Key    string `json:"key"`
	SHA256 Digest `json:"sha256"`
	Size   int64  `json:"size"`
}

// IsZero reports whether the reference names nothing.
func (r Ref) IsZero() bool { return r.Key == "" }

// Info describes a stored object without its bytes.
type Info struct {
	Key      string
	Size     int64
	ETag     string // opaque version, for PutOptions.IfMatch
	SHA256   Digest // zero when the writer recorded none
	Modified time.Time
}

// PutOptions make a write conditional, by at most one of IfAbsent and IfMatch.
type PutOptions struct {
	IfAbsent bool   // create only: ErrExists when the key is taken
	IfMatch  string // replace only the version with this ETag: ErrConflict otherwise
	// SHA256 is the body's digest where the caller has computed it: the store records it and need not hash the body again.
	// The zero digest: the store computes it.
	SHA256 Digest
}

// Store keeps objects by key. Keys are slash-separated, relative, without empty, "." or ".." segments, each segment at
// most 200 bytes; a key is never a prefix folder of another key. Every method may be called concurrently and is safe to
// repeat after an error. A cancelled context ends a call promptly with the context's error.
type Store interface {
	// Put stores exactly size bytes of body under key: all of them or nothing becomes visible, and a reader never sees a
	// mixture of two writes. A body that is shorter or longer than size is an error. The digest of the bytes is
	// recorded with the object. body is read from its start, and again from there when a write must be repeated.
	// IfMatch for an object that is gone is ErrConflict, too.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts PutOptions) (Info, error)
	// Get opens the object for reading; Info belongs to the very bytes being read. ErrNotFound when there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// Stat returns the object's description. ErrNotFound when there is none.
	Stat(ctx context.Context, key string) (Info, error)
	// List calls yield for each object whose key starts with prefix, in ascending order of keys, until yield returns
	// an error, which List returns. prefix may end within a segment. The digests stay zero: a listing opens no object.
	List(ctx context.Context, prefix string, yield func(Info) error) error
	// Delete removes the object. Deleting what does not exist is no error.
	Delete(ctx context.Context, key string) error
}

// CorruptError says which object is not what its reference promised. It matches ErrCorrupt.
type CorruptError struct {
	Key       string
	Want, Got Digest
	WantSize  int64
	GotSize   int64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt object %s: want sha256 %s (%d bytes), got %s (%d bytes); restore it from a replica or go back to an earlier checkpoint",
		e.Key, e.Want.Short(), e.WantSize, e.Got.Short(), e.GotSize)
}

// Unwrap makes errors.Is(err, ErrCorrupt) hold.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// ContentKey returns the key under which bytes with digest d are kept: "blobs/ab/abcdef…".
func ContentKey(d Digest) string {
	s := d.String()
	return "blobs/" + s[:2] + "/" + s
}

// Put stores b under its content key, unless it is there already, and returns its reference.
func Put(ctx context.Context, s Store, b []byte) (Ref, error) {
	ref, err := PutAs(ctx, s, ContentKey(Sum(b)), b)
	if err != nil {
		return ref, err
	}
	return ref, renew(ctx, s, ref, func() (io.ReadSeeker, error) { return bytes.NewReader(b), nil })
}

// PutAs stores b under key, written once: an object that is there already must have the same bytes, or the call fails
// with ErrExists. So a retried activity that computes the same result succeeds, and one that computes another is found out.
func PutAs(ctx context.Context, s Store, key string, b []byte) (Ref, error) {
	ref := Ref{Key: key, SHA256: Sum(b), Size: int64(len(b))}
	_, err := s.Put(ctx, key, bytes.NewReader(b), ref.Size, PutOptions{IfAbsent: true, SHA256: ref.SHA256})
	if err == nil {
		return ref, nil
	}
	if !errors.Is(err, ErrExists) {
		return Ref{}, fmt.Errorf("put %s: %w", key, err)
	}
	if _, err := Load(ctx, s, ref); err != nil {
		if errors.Is(err, ErrCorrupt) {
			return Ref{}, fmt.Errorf("put %s: %w with other bytes (want sha256 %s)", key, ErrExists, ref.SHA256.Short())
		}
		return Ref{}, err
	}
	return ref, nil
}

// Read returns the bytes of an object that is known by its key alone, unchecked; who knows more of it calls Load.
func Read(ctx context.Context, s Store, key string) ([]byte, error) {
	body, _, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	return b, nil
}

// Load reads the object that ref names and checks size and digest. A mismatch is read once more (a store may serve a
// torn read) and then reported as a *CorruptError.
func Load(ctx context.Context, s Store, ref Ref) ([]byte, error) {
	var got []byte
	for range 2 {
		var err error
		if got, err = Read(ctx, s, ref.Key); err != nil {
			return nil, fmt.Errorf("load %s: %w", ref.Key, err)
		}
		if int64(len(got)) == ref.Size && Sum(got) == ref.SHA256 {
			return got, nil
		}
	}
	return nil, &CorruptError{Key: ref.Key, Want: ref.SHA256, Got: Sum(got), WantSize: ref.Size, GotSize: int64(len(got))}
}
