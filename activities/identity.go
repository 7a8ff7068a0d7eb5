package activities

import (
	"context"
	"errors"
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
)

// dataName begins the key of what a run's data are, a dataset.Identity beside its spec.
const dataName = "data"

// sameTraining refuses to go on with a run on other problems than those that it was trained on so far. A start that came
// to nothing may have left a record of other data, so one record among all must agree.
func (d *Data) sameTraining(ctx context.Context, run string, now dataset.SetIdentity) error {
	var other *dataset.SetIdentity
	err := d.store.List(ctx, runKey(run)+"/"+dataName+"-", func(o blob.Info) error {
		id, err := loadIdentity(ctx, d.store, o.Key)
		switch {
		case err != nil:
			return err
		case id.Train.Digest == now.Digest:
			return errAgrees
		}
		other = &id.Train
		return nil
	})
	if errors.Is(err, errAgrees) {
		return nil
	}
	if err != nil || other == nil {
		return err
	}
	return other.Differs(now)
}

// errAgrees ends a listing: the record that was looked for is there.
var errAgrees = errors.New("recorded")

// recordedSets returns a run's evaluation sets as recorded, by name; none when ref is zero.
func (d *Data) recordedSets(ctx context.Context, ref blob.Ref) (map[string]dataset.SetIdentity, error) {
	if ref.IsZero() {
		return nil, nil
	}
	id, err := loadJSON[dataset.Identity](ctx, d.store, ref)
	if err != nil {
		return nil, err
	}
	sets := map[string]dataset.SetIdentity{}
	for _, s := range id.Evaluation {
		sets[s.Name] = s
	}
	return sets, nil
}
