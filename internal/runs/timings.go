package runs

import (
	"context"
	"encoding/json"

	"multiattempt/activities"
	"multiattempt/internal/blob"
)

// Timing is where the wall-clock time of a step went.
type Timing = activities.Timing

// Timings returns what was measured, by step. Runs of learners that measured nothing have none.
func (r *Run) Timings(ctx context.Context) (map[int]Timing, error) {
	all := map[int]Timing{}
	err := r.reader.store.List(ctx, activities.TimingPrefix(r.Name), func(o blob.Info) error {
		b, err := readObject(ctx, r.reader.store, o.Key)
		if err != nil {
			return err
		}
		var some []Timing
		if json.Unmarshal(b, &some) == nil { // else half-written: a gap in a figure
			for _, t := range some {
				all[t.Step] = t
			}
		}
		return nil
	})
	return all, err
}
