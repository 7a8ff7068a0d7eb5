// Package packed is how artefacts are compressed: one Zstandard frame, made by one goroutine, so that equal bytes in give
// equal bytes out.
package packed

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// encoders are used again: each takes 19 MB, which to clear costs as much as to compress a shard of short episodes. What one
// has compressed before does not show in what it compresses next.
var encoders sync.Pool

func encoder(to io.Writer) (*zstd.Encoder, error) {
	if z, ok := encoders.Get().(*zstd.Encoder); ok {
		z.Reset(to)
		return z, nil
	}
	return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
}

var decoders sync.Pool // each takes 9 MB

func decoder(b []byte) (*zstd.Decoder, error) {
	if z, ok := decoders.Get().(*zstd.Decoder); ok {
		return z, z.Reset(bytes.NewReader(b))
	}
	return zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
}

// Encode returns what write writes, as one frame.
func Encode(write func(io.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	z, err := encoder(&out)
	if err != nil {
		return nil, err
	}
	defer func() {
		z.Reset(nil)
		encoders.Put(z)
	}()
	if err := write(z); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Decode has read read what Encode packed. Bytes that are no frame are an error of the reader.
func Decode(b []byte, read func(io.Reader) error) error {
	z, err := decoder(b)
	if err != nil {
		return err
	}
	defer func() {
		if z.Reset(nil) == nil {
			decoders.Put(z)
		}
	}()
	return read(z)
}
