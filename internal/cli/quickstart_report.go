package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
)

const (
	examplesShown    = 12 // dialogues of each arm in the report
	examplesAttempts = 3  // k of the evaluation they are taken from
)

// report prints the table, writes the report's files and says where they are.
func (q *quickstart) report(ctx context.Context, s *services, done []scored) error {
	r := report.Report{
		Title:   "Learning from failures: quickstart",
		Lead:    "Sums with one smudged digit. Nobody can know it at the first attempt; whoever is told that an answer was wrong can try another digit.",
		Backend: q.backend,
	}
	seconds, err := q.seconds(ctx, s, done)
	if err != nil {
		return err
	}
	r.Seconds = seconds
	for _, d := range done {
		a, err := q.arm(ctx, s, d)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		r.Arms = append(r.Arms, a)
	}
	if err := r.WriteFolder(q.out); err != nil {
		return err
	}
	q.printf("\nShare of problems solved with k attempts, in percent, with 95 %% intervals\n\n")
	for _, t := range r.Tables() {
		if err := q.writeTable(q.stdout, t); err != nil {
			return err
		}
	}
	q.printf("\n%s in %s, backend %s\n\nReport       %s\nFigure       %s\nSummary      %s\n", "Done", inWords(time.Duration(seconds*float64(time.Second))),
		q.backend, filepath.Join(q.out, report.PageFile), filepath.Join(q.out, report.FigureFile), filepath.Join(q.out, report.SummaryFile))
	return nil
}

// arm gathers what the report says of one policy.
func (q *quickstart) arm(ctx context.Context, s *services, d scored) (report.Arm, error) {
	result, err := s.loadResult(ctx, d.evaluation.Result)
	if err != nil {
		return report.Arm{}, err
	}
	a := report.Arm{Name: d.name, Seed: q.seed, Result: result, Checkpoint: d.evaluation.Policy}
	if a.Examples, err = s.examples(ctx, result); err != nil {
		return report.Arm{}, err
	}
	if d.train.Run == "" {
		return a, nil
	}
	a.Checkpoint = d.train.LatestCheckpoint.SHA256
	if a.Spec, err = json.MarshalIndent(d.run, "", "  "); err != nil {
		return report.Arm{}, err
	}
	a.Curve, err = s.curve(ctx, d.train.Run)
	return a, err
}

// seconds is the wall-clock time from the start of the first arm to the end of the last: this command's own, unless
// earlier ones did part of the work.
func (q *quickstart) seconds(ctx context.Context, s *services, done []scored) (float64, error) {
	from, to := q.began, time.Time{}
	for _, d := range done {
		info, err := s.describe(ctx, d.id)
		if err != nil {
			return 0, err
		}
		if start := info.StartTime.AsTime(); start.Before(from) {
			from = start
		}
		if end := info.CloseTime.AsTime(); end.After(to) {
			to = end
		}
	}
	return to.Sub(from).Seconds(), nil
}

// examples picks dialogues of an evaluation to show.
func (s *services) examples(ctx context.Context, result *evaluate.Result) ([]rollout.Episode, error) {
	set, _ := result.Set("")
	score, _ := set.Score(examplesAttempts)
	episodes, err := activities.LoadEpisodes(ctx, s.store, score.Episodes)
	return report.PickExamples(episodes, examplesShown), err
}

// curve reads a run's learning curve from its step records.
func (s *services) curve(ctx context.Context, run string) ([]report.Point, error) {
	var points []report.Point
	err := s.store.List(ctx, activities.RecordPrefix(run), func(o blob.Info) error {
		described, err := s.store.Stat(ctx, o.Key)
		if err != nil {
			return err
		}
		b, err := blob.Load(ctx, s.store, blob.Ref{Key: o.Key, SHA256: described.SHA256, Size: described.Size})
		if err != nil {
			return err
		}
		var record activities.StepRecord
		if err := json.Unmarshal(b, &record); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		points = append(points, report.Point{Step: record.Step, Reward: record.Reward.RewardMean, Accuracy: record.Reward.Solved})
		return nil
	})
	return points, err
}
