package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/spec"
)

// reaches says how much each arm needed for the same result: sample efficiency.
type reaches struct {
	Metric string `json:"metric"`
	// Target is the mean of the first arm's runs at their ends, less Within: shares of 1.
	Target float64   `json:"target"`
	Within float64   `json:"within"`
	Runs   []reached `json:"runs"`
}

// reached is the first evaluation of a run that scored the target.
type reached struct {
	Arm      string  `json:"arm"`
	Run      string  `json:"run"`
	Seed     uint64  `json:"seed"`
	Step     int     `json:"step"`     // iterations done; 0: it never did
	Episodes int     `json:"episodes"` // rolled out until then
	Final    float64 `json:"final"`    // the metric at the run's end
}

// reach prints for every run the first evaluated iteration that scored what the first arm's runs scored at their ends, less
// the slack.
func (a *app) reach(ctx context.Context, format, text string, slack float64, arms []report.Arm) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := whenReached(ctx, s.store, text, slack, arms)
	if err != nil {
		return err
	}
	switch format {
	case "json":
		return a.printJSON(r)
	case "csv":
		return csv.NewWriter(a.stdout).WriteAll(append([][]string{{"arm", "run", "seed", "step", "episodes", "final"}}, r.rows(func(share float64) string {
			return strconv.FormatFloat(share, 'g', 6, 64)
		}, "")...))
	}
	t := report.Table{
		Caption: fmt.Sprintf("first evaluated iteration with %s of at least %.2f %% (%s at its end, less %.2f)", r.Metric, 100*r.Target, arms[0].Name, 100*slack),
		Header:  []string{"arm", "run", "seed", "iteration", "episodes", "at its end"},
		Rows:    r.rows(func(share float64) string { return fmt.Sprintf("%.1f", 100*share) }, "never"),
	}
	if format == "markdown" {
		return t.WriteMarkdown(a.stdout)
	}
	return a.writeTable(a.stdout, t)
}

// rows are the table's, never standing for what was not reached.
func (r reaches) rows(share func(float64) string, never string) (rows [][]string) {
	for _, x := range r.Runs {
		step, episodes := never, never
		if x.Step > 0 {
			step, episodes = strconv.Itoa(x.Step), strconv.Itoa(x.Episodes)
		}
		rows = append(rows, []string{x.Arm, x.Run, strconv.FormatUint(x.Seed, 10), step, episodes, share(x.Final)})
	}
	return rows
}

// whenReached reads the runs' evaluations, those of the kind that the arms' own results are of.
func whenReached(ctx context.Context, store blob.Store, text string, slack float64, arms []report.Arm) (reaches, error) {
	r := reaches{Metric: text, Within: slack}
	m, err := spec.ParseMetric(text)
	if err != nil {
		return r, usage("--reach %s: %w", text, err)
	}
	var histories [][]*evaluate.Result // of each run
	for i, arm := range arms {
		group := arm.Group()
		if err := refusedAs(group.Check(), "arm "+arm.Name); err != nil {
			return r, err
		}
		for _, own := range group.Results {
			if reasons := evaluate.OtherKind(arms[0].Result, own); len(reasons) > 0 {
				return r, usage("%s and %s: %w", arms[0].Name, arm.Name, &evaluate.IncomparableError{Reasons: reasons})
			}
			history, err := evaluationsLike(ctx, store, own)
			if err != nil {
				return r, err
			}
			final, ok := evaluate.Reach(m, 2, history)
			if !ok {
				return r, usage("run %s has no evaluation with %s", own.Run, text)
			}
			if i == 0 {
				r.Target += final.Final / float64(len(group.Results))
			}
			histories = append(histories, history)
			r.Runs = append(r.Runs, reached{Arm: arm.Name, Run: final.Run, Seed: final.Seed, Final: final.Final})
		}
	}
	r.Target -= slack
	for i := range r.Runs {
		x := &r.Runs[i]
		at, _ := evaluate.Reach(m, r.Target, histories[i])
		if x.Step = at.Step; x.Step == 0 {
			continue
		}
		if x.Episodes, err = episodesUntil(ctx, store, x.Run, x.Step); err != nil {
			return r, err
		}
	}
	return r, nil
}

// evaluationsLike reads every evaluation of a result's run that was made as the result was.
func evaluationsLike(ctx context.Context, store blob.Store, own *evaluate.Result) ([]*evaluate.Result, error) {
	var all []*evaluate.Result
	err := store.List(ctx, activities.EvaluationPrefix(own.Run), func(o blob.Info) error {
		name := o.Key[strings.LastIndexByte(o.Key, '/')+1:]
		if !strings.HasPrefix(name, "result-") {
			return nil
		}
		described, err := store.Stat(ctx, o.Key)
		if err != nil {
			return err
		}
		b, err := blob.Load(ctx, store, blob.Ref{Key: o.Key, SHA256: described.SHA256, Size: described.Size})
		if err != nil {
			return err
		}
		result, err := evaluate.Decode(b)
		if err == nil && len(evaluate.OtherKind(own, result)) == 0 {
			all = append(all, result)
		}
		return err
	})
	return all, err
}

// episodesUntil counts the episodes of a run's first iterations.
func episodesUntil(ctx context.Context, store blob.Store, run string, step int) (n int, err error) {
	records, err := activities.Records(ctx, store, run)
	for _, r := range records {
		if r.Step <= step {
			n += r.Reward.Episodes
		}
	}
	return n, err
}
