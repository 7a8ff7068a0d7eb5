package activities

import (
	"context"
	"encoding/json"
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
)

// dataName begins the name of the object that says what a run's data are, a dataset.Identity beside its spec.
const dataName = "data"

// checkTrain refuses a training set that is not the one recorded; a zero reference is nothing to compare with.
func (d *Data) checkTrain(ctx context.Context, recorded blob.Ref, set *dataset.Set) error {
	if recorded.IsZero() {
		return nil
	}
	id, err := loadJSON[dataset.Identity](ctx, d.store, recorded)
	if err != nil {
		return err
	}
	return id.Train.Check(set.Identity())
}

// recordedSets returns a run's evaluation sets as recorded, by name; none for a zero reference.
func (d *Data) recordedSets(ctx context.Context, recorded blob.Ref) (map[string]dataset.SetIdentity, error) {
	if recorded.IsZero() {
		return nil, nil
	}
	id, err := loadJSON[dataset.Identity](ctx, d.store, recorded)
	if err != nil {
		return nil, err
	}
	sets := map[string]dataset.SetIdentity{}
	for _, s := range id.Evaluation {
		sets[s.Name] = s
	}
	return sets, nil
}

// checkContinued refuses to go on with a run that has made steps on other problems than it was trained on. A start that
// came to nothing may have left a record of other data, so it is enough that one of the records agrees.
func (d *Data) checkContinued(ctx context.Context, run string, now dataset.SetIdentity) error {
	var refused error
	agrees := false
	err := d.store.List(ctx, runKey(run)+"/"+dataName+"-", func(o blob.Info) error {
		b, err := read(ctx, d.store, o.Key)
		if err != nil {
			return err
		}
		var id dataset.Identity
		if err := json.Unmarshal(b, &id); err != nil {
			return fmt.Errorf("decode %s: %w", o.Key, err)
		}
		differs := id.Train.Check(now)
		agrees = agrees || differs == nil
		refused = differs
		return nil
	})
	if err != nil || agrees {
		return err
	}
	return refused
}

// fileDigests are the SHA-256 of the files of a set.
func fileDigests(s *dataset.Set) []blob.Digest {
	var digests []blob.Digest
	for _, f := range s.Files {
		digests = append(digests, f.SHA256)
	}
	return digests
}
