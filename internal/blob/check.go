package blob

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors in what a caller hands to a Store; retrying does not help.
var (
	// ErrInvalidKey: the key breaks the rules stated at Store.
	ErrInvalidKey = errors.New("invalid key")
	// ErrBodySize: the body holds fewer or more bytes than announced.
	ErrBodySize = errors.New("body has another size than announced")
)

// maxSegment bounds one segment of a key, so that a store may keep it as a file name.
const maxSegment = 200

// CheckKey reports, as ErrInvalidKey, a key that breaks the rules stated at Store.
func CheckKey(key string) error {
	if len(key) > 1024 {
		return fmt.Errorf("%w: %d bytes, at most 1024 are allowed: %.40q…", ErrInvalidKey, len(key), key)
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("%w %q: segment %q", ErrInvalidKey, key, segment)
		case len(segment) > maxSegment:
			return fmt.Errorf("%w %q: a segment of %d bytes, at most %d are allowed", ErrInvalidKey, key, len(segment), maxSegment)
		case strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
			return fmt.Errorf("%w %q: control characters and backslashes are not allowed", ErrInvalidKey, key)
		}
	}
	return nil
}

// CheckPut reports what is wrong with the arguments of a Put before any byte moves: every Store begins with it.
func CheckPut(key string, size int64, opts PutOptions) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("put %s: %w: size %d", key, ErrBodySize, size)
	}
	if opts.IfAbsent && opts.IfMatch != "" {
		return fmt.Errorf("put %s: IfAbsent and IfMatch exclude each other", key)
	}
	return nil
}

// CheckBody rewinds body and reports, as ErrBodySize, a length other than size.
func CheckBody(key string, body io.Seeker, size int64) error {
	n, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if n != size {
		return fmt.Errorf("put %s: %w: announced %d bytes, got %d", key, ErrBodySize, size, n)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}
