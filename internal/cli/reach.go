package cli

import (
	"context"
	"fmt"
	"strings"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/spec"
)

// reach prints for every run the first evaluated iteration that scored what the first arm's runs scored at their ends, less
// the slack: how many episodes each arm needs for the same result.
func (a *app) reach(ctx context.Context, text string, slack float64, arms []report.Arm) error {
	m, err := spec.ParseMetric(text)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	histories := make([][][]*evaluate.Result, len(arms))
	target := 0.0
	for i, arm := range arms {
		for _, r := range arm.Group().Results {
			history, err := s.evaluations(ctx, r.Run)
			if err != nil {
				return err
			}
			final, ok := evaluate.Reach(m, 2, history)
			if !ok {
				return usage("run %s has no evaluation with %s", r.Run, text)
			}
			if i == 0 {
				target += final.Final / float64(1+len(arm.Others))
			}
			histories[i] = append(histories[i], history)
		}
	}
	t := report.Table{
		Caption: fmt.Sprintf("first evaluated iteration with %s of at least %.2f %% (%s at its end, less %.2f)", text, 100*(target-slack), arms[0].Name, 100*slack),
		Header:  []string{"arm", "run", "iteration", "at its end"},
	}
	for i, arm := range arms {
		for _, history := range histories[i] {
			r, _ := evaluate.Reach(m, target-slack, history)
			step := "never"
			if r.Step > 0 {
				step = fmt.Sprint(r.Step)
			}
			t.Rows = append(t.Rows, []string{arm.Name, r.Run, step, fmt.Sprintf("%.1f", 100*r.Final)})
		}
	}
	return a.writeTable(a.stdout, t)
}

// evaluations reads every evaluation of a run.
func (s *services) evaluations(ctx context.Context, run string) ([]*evaluate.Result, error) {
	var all []*evaluate.Result
	err := s.store.List(ctx, activities.EvaluationPrefix(run), func(o blob.Info) error {
		name := o.Key[strings.LastIndexByte(o.Key, '/')+1:]
		if !strings.HasPrefix(name, "result-") {
			return nil
		}
		described, err := s.store.Stat(ctx, o.Key)
		if err != nil {
			return err
		}
		result, err := s.loadResult(ctx, blob.Ref{Key: o.Key, SHA256: described.SHA256, Size: described.Size})
		all = append(all, result)
		return err
	})
	return all, err
}
