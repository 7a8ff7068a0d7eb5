package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"multiattempt/internal/blob"
)

// Commit gives a step's record the name under which everybody finds it. The workflow asks for it once it has accepted the
// step: what a worker writes that was given up for dead never gets a name.
func (d *Data) Commit(ctx context.Context, in CommitInput) error {
	b, err := blob.Load(ctx, d.store, in.Record)
	if err == nil {
		_, err = d.store.Put(ctx, RecordKey(in.Run, in.Step), bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	}
	return failure(err)
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
	b, err := blob.Read(ctx, s, key)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	return b, nil
}
