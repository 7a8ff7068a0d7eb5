package blob

import (
	"bytes"
	"context"
	"io"
	"time"
)

// Objects under content keys belong to nobody: whoever needs one that is there already relies on it. So that a collection of
// those that nothing refers to never takes what somebody is about to refer to, an object that is relied on is renewed: it is
// written again, the same bytes, when it is older than RenewAfter. Collections spare what is younger than CollectAfter.
const (
	RenewAfter   = 12 * time.Hour
	CollectAfter = 24 * time.Hour
)

// Renew makes sure that an object under a content key stays for as long as it takes to refer to it.
func Renew(ctx context.Context, s Store, ref Ref) error {
	return renew(ctx, s, ref, func() (io.ReadSeeker, error) {
		b, err := Load(ctx, s, ref)
		return bytes.NewReader(b), err
	})
}

func renew(ctx context.Context, s Store, ref Ref, body func() (io.ReadSeeker, error)) error {
	o, err := s.Stat(ctx, ref.Key)
	if err != nil || time.Since(o.Modified) < RenewAfter {
		return err
	}
	b, err := body()
	if err != nil {
		return err
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = s.Put(ctx, ref.Key, b, ref.Size, PutOptions{SHA256: ref.SHA256})
	return err
}
