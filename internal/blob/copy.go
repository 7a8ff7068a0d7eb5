package blob

import (
	"crypto/sha256"
	"io"
	"sync"
)

const (
	copyChunk  = 1 << 20 // bytes
	copyChunks = 4       // that are on their way from the reader to the digest
)

// chunks are buffers between two copies.
var chunks = sync.Pool{New: func() any { return new([copyChunk]byte) }}

// CopySum copies all that r gives to w and returns its digest and its size in bytes. Reading and writing go on while another
// processor hashes.
func CopySum(w io.Writer, r io.Reader) (Digest, int64, error) {
	first := chunks.Get().(*[copyChunk]byte)
	n, ended, err := copyTo(w, r, first[:])
	if ended { // most objects are small
		d := Sum(first[:n])
		chunks.Put(first)
		return d, int64(n), err
	}
	type chunk struct {
		buffer *[copyChunk]byte
		n      int
	}
	waiting, sum := make(chan chunk, copyChunks), make(chan Digest)
	go func() {
		h := sha256.New()
		for c := range waiting {
			h.Write(c.buffer[:c.n])
			chunks.Put(c.buffer)
		}
		sum <- Digest(h.Sum(nil))
	}()
	size := int64(n)
	waiting <- chunk{first, n}
	for !ended {
		next := chunks.Get().(*[copyChunk]byte)
		n, ended, err = copyTo(w, r, next[:])
		size += int64(n)
		waiting <- chunk{next, n}
	}
	close(waiting)
	return <-sum, size, err
}

// copyTo moves one full buffer, or all that is left; ended says that nothing follows.
func copyTo(w io.Writer, r io.Reader, b []byte) (n int, ended bool, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	if ended = err == io.EOF; ended {
		err = nil
	}
	if n > 0 {
		if _, werr := w.Write(b[:n]); werr != nil {
			return n, true, werr
		}
	}
	return n, ended || err != nil, err
}
