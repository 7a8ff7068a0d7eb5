package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"multiattempt/internal/blob"
)

// putRecord stores a step's record under its name. A repeated step writes the same bytes again.
func putRecord(ctx context.Context, s blob.Store, r StepRecord) (blob.Ref, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return blob.Ref{}, fmt.Errorf("encode record of step %d: %w", r.Step, err)
	}
	ref := blob.Ref{Key: RecordKey(r.Run, r.Step), SHA256: blob.Sum(b), Size: int64(len(b))}
	_, err = s.Put(ctx, ref.Key, bytes.NewReader(b), ref.Size, blob.PutOptions{})
	return ref, err
}

// Records returns every step's record of a run, in the order of steps: its metrics.
func Records(ctx context.Context, s blob.Store, run string) ([]StepRecord, error) {
	var all []StepRecord
	err := s.List(ctx, RecordPrefix(run), func(o blob.Info) error {
		r, err := record(ctx, s, o.Key)
		all = append(all, r)
		return err
	})
	return all, err
}

func record(ctx context.Context, s blob.Store, key string) (r StepRecord, err error) {
	b, err := read(ctx, s, key)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("decode %s: %w", key, err)
	}
	return r, nil
}

// read returns the bytes of an object that is known by its key alone.
func read(ctx context.Context, s blob.Store, key string) ([]byte, error) {
	body, _, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	b, err := io.ReadAll(body)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	return b, nil
}
