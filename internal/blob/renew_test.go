package blob_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
)

// TestWhatIsReliedOnIsRenewed: an object under a content key that is old is written again by whoever stores it once more.
func TestWhatIsReliedOnIsRenewed(t *testing.T) {
	text := []byte("weights")
	for name, store := range map[string]func(s blob.Store) (blob.Ref, error){
		"Put":       func(s blob.Store) (blob.Ref, error) { return blob.Put(t.Context(), s, text) },
		"PutStream": func(s blob.Store) (blob.Ref, error) { return blob.PutStream(t.Context(), s, bytes.NewReader(text)) },
		"Renew": func(s blob.Store) (blob.Ref, error) {
			ref := blob.Ref{Key: blob.ContentKey(blob.Sum(text)), SHA256: blob.Sum(text), Size: int64(len(text))}
			return ref, blob.Renew(t.Context(), s, ref)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &blobtest.Aged{Store: blob.NewMemory()}
			ref, err := blob.Put(t.Context(), s, text)
			require.NoError(t, err)
			before, err := s.Stat(t.Context(), ref.Key)
			require.NoError(t, err)
			_, err = store(s)
			require.NoError(t, err)
			young, err := s.Stat(t.Context(), ref.Key)
			require.NoError(t, err)
			require.Equal(t, before, young, "a young object is left alone")

			s.Age(blob.CollectAfter)
			again, err := store(s)
			require.NoError(t, err)
			require.Equal(t, ref, again)
			renewed, err := s.Stat(t.Context(), ref.Key)
			require.NoError(t, err)
			require.Less(t, time.Since(renewed.Modified), blob.RenewAfter)
			b, err := blob.Load(t.Context(), s, ref)
			require.NoError(t, err)
			require.Equal(t, text, b)
		})
	}
	require.Less(t, 2*blob.RenewAfter, blob.CollectAfter+1, "what was found young stays young for as long again")
}
