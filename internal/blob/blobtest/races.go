package blobtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

const writers = 8

func createRace(t *testing.T, s blob.Store) {
	for round := range 8 {
		key := fmt.Sprintf("race/create/%d", round)
		var won atomic.Int64
		var winner atomic.Value
		var g sync.WaitGroup
		for w := range writers {
			g.Go(func() {
				data := fmt.Sprintf("writer %d", w)
				_, err := s.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), blob.PutOptions{IfAbsent: true})
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(data)
				case !errors.Is(err, blob.ErrExists):
					t.Error(err)
				}
			})
		}
		g.Wait()
		require.Equal(t, int64(1), won.Load())
		got, _, err := read(t.Context(), s, key)
		require.NoError(t, err)
		require.Equal(t, winner.Load(), string(got))
	}
}

func incrementRace(t *testing.T, s blob.Store) {
	const each = 10
	put(t, s, "race/counter", make([]byte, 8))
	var g sync.WaitGroup
	for range writers {
		g.Go(func() {
			for done := 0; done < each; {
				data, info, err := read(t.Context(), s, "race/counter")
				if err != nil {
					t.Error(err)
					return
				}
				next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(data)+1)
				_, err = s.Put(t.Context(), "race/counter", bytes.NewReader(next), 8, blob.PutOptions{IfMatch: info.ETag})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, blob.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
	data, _, err := read(t.Context(), s, "race/counter")
	require.NoError(t, err)
	require.Equal(t, uint64(writers*each), binary.BigEndian.Uint64(data))
}

// tornReads overwrites one object with bodies of different lengths while others read it: whatever they get must be one
// of the bodies, whole, with its own description.
func tornReads(t *testing.T, s blob.Store) {
	const key, rounds = "race/torn", 40
	first := noise(rounds, 999) // written once like every other body, or one digest would have two ETags
	bodies := map[blob.Digest]int64{blob.Sum(first): int64(len(first))}
	put(t, s, key, first)
	for i := range rounds {
		b := noise(uint64(i), 1000+7919*i)
		bodies[blob.Sum(b)] = int64(len(b))
	}
	var etags sync.Map // digest → ETag, told by the writer
	var done atomic.Bool
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for !done.Load() {
				data, info, err := read(t.Context(), s, key)
				if err != nil {
					t.Error(err)
					return
				}
				d := blob.Sum(data)
				etag, told := etags.Load(d)
				if bodies[d] != int64(len(data)) || info.SHA256 != d || info.Size != int64(len(data)) || told && etag != info.ETag {
					t.Errorf("%d bytes of digest %s came as %+v, ETag told %v", len(data), d.Short(), info, etag)
					return
				}
			}
		})
	}
	for i := range rounds {
		b := noise(uint64(i), 1000+7919*i)
		info := put(t, s, key, b)
		etags.Store(blob.Sum(b), info.ETag)
	}
	done.Store(true)
	g.Wait()
}

// folderRace empties folders while others fill them: stores on a file system remove what is empty.
func folderRace(t *testing.T, s blob.Store) {
	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for i := range 20 {
				key := fmt.Sprintf("race/folder/%d/%d", i%2, w)
				if _, err := s.Put(t.Context(), key, strings.NewReader("x"), 1, blob.PutOptions{}); err != nil {
					t.Error(err)
				}
				if _, err := s.Stat(t.Context(), key); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	require.Empty(t, keys(t, s, "race/folder/"))
}
