package runs

import (
	"context"

	"multiattempt/activities"
)

// Timing is where the wall-clock time of a step went.
type Timing = activities.Timing

// Timings returns what was measured, by step. Runs of learners that measured nothing have none.
func (r *Run) Timings(ctx context.Context) (map[int]Timing, error) {
	return activities.Timings(ctx, r.reader.store, r.Name, 1)
}
