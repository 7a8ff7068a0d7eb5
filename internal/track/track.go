// Package track hands a run's numbers, settings and sample dialogues to the tools that people compare experiments with:
// TensorBoard, MLflow, CSV and Parquet. Everything comes from the object store, so a run that ended, or runs elsewhere,
// is exported as well as one at work; to export twice changes nothing.
package track

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
)

// Tracker keeps a tool's copy of runs.
type Tracker interface {
	// Name says which tool and where, for messages.
	Name() string
	// Sync adds what the tool lacks of the run. It may be repeated at any time, by any process.
	Sync(ctx context.Context, s blob.Store, run string) error
}

// Scalar is one number of a step.
type Scalar struct {
	Group string // update, reward or evaluation
	Name  string // with unit and denominator, as the record has it
	Part  string // which of several: an outcome, an attempt, a set; empty when there is one
	Value float64
}

// Tag is the scalar's name in a tracker: group/name or group/name/part.
func (s Scalar) Tag() string {
	if s.Part == "" {
		return s.Group + "/" + s.Name
	}
	return s.Group + "/" + s.Name + "/" + s.Part
}

// Step is one iteration's record and when it was stored.
type Step struct {
	activities.StepRecord
	At time.Time
	// Timing is where its time went; nil when nobody measured.
	Timing *activities.Timing
}

// Scalars returns every number of a step, in a fixed order: those of its record, then its times, speeds and memory.
func (s Step) Scalars() ([]Scalar, error) {
	all, err := Scalars(s.StepRecord)
	if err != nil || s.Timing == nil {
		return all, err
	}
	t := s.Timing
	update := t.Score + t.Optimise + t.Publish
	all = append(all,
		Scalar{Group: "time", Name: "rollout_seconds", Value: t.Rollout}, Scalar{Group: "time", Name: "reward_seconds", Value: t.Reward},
		Scalar{Group: "time", Name: "checkpoint_wait_seconds", Value: t.Checkpoint},
		Scalar{Group: "time", Name: "score_seconds", Value: t.Score}, Scalar{Group: "time", Name: "optimise_seconds", Value: t.Optimise},
		Scalar{Group: "time", Name: "publish_seconds", Value: t.Publish},
		Scalar{Group: "time", Name: "stages_seconds", Value: t.Rollout + t.Reward + t.Checkpoint + update},
	)
	if t.Rollout > 0 {
		all = append(all, Scalar{Group: "speed", Name: "sampled_tokens_per_rollout_second", Value: float64(s.Reward.SampledTokens) / t.Rollout})
	}
	if update > 0 {
		all = append(all, Scalar{Group: "speed", Name: "trained_tokens_per_update_second", Value: float64(s.Update.TokensTrained) / update})
	}
	if t.Memory > 0 {
		all = append(all, Scalar{Group: "memory", Name: "learner_resident_bytes", Value: t.Memory})
	}
	return all, nil
}

// Scalars returns every number of a record, in a fixed order: whichever fields it has.
func Scalars(r activities.StepRecord) ([]Scalar, error) {
	var all []Scalar
	for _, part := range []struct {
		group string
		value any
	}{{"reward", r.Reward}, {"update", r.Update}} {
		b, err := json.Marshal(part.value)
		if err != nil {
			return nil, fmt.Errorf("record of step %d: %w", r.Step, err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			return nil, fmt.Errorf("record of step %d: %w", r.Step, err)
		}
		all = appendNumbers(all, part.group, fields)
	}
	slices.SortFunc(all, func(a, b Scalar) int { return strings.Compare(a.Tag(), b.Tag()) })
	return all, nil
}

func appendNumbers(all []Scalar, group string, fields map[string]any) []Scalar {
	for name, value := range fields {
		switch v := value.(type) {
		case float64:
			all = append(all, Scalar{Group: group, Name: name, Value: v})
		case []any: // one a position, counted from 1 as people count attempts
			for i, item := range v {
				if number, ok := item.(float64); ok {
					all = append(all, Scalar{Group: group, Name: name, Part: strconv.Itoa(i + 1), Value: number})
				}
			}
		case map[string]any:
			for key, item := range v {
				if number, ok := item.(float64); ok {
					all = append(all, Scalar{Group: group, Name: name, Part: key, Value: number})
				}
			}
		}
	}
	return all
}

// Steps returns the records of a run after step after, in the order of steps.
func Steps(ctx context.Context, s blob.Store, run string, after int) ([]Step, error) {
	var infos []blob.Info
	err := s.List(ctx, activities.RecordPrefix(run), func(o blob.Info) error {
		if o.Key > activities.RecordKey(run, after) {
			infos = append(infos, o)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("records of %s: %w", run, err)
	}
	var timings map[int]activities.Timing
	if len(infos) > 0 {
		if timings, err = activities.Timings(ctx, s, run, after+1); err != nil {
			return nil, fmt.Errorf("timings of %s: %w", run, err)
		}
	}
	var steps []Step
	for _, o := range infos {
		step := Step{At: o.Modified}
		if err := loadJSON(ctx, s, o.Key, &step.StepRecord); err != nil {
			return nil, err
		}
		if t, measured := timings[step.Step]; measured {
			step.Timing = &t
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// Evaluation is the result of evaluating a run, and when it was stored.
type Evaluation struct {
	*evaluate.Result
	At time.Time
}

// Scalars returns the accuracies, each with its set and number of attempts.
func (e Evaluation) Scalars() []Scalar {
	var all []Scalar
	for _, set := range e.Sets {
		for _, score := range set.Scores {
			all = append(all, Scalar{
				Group: "evaluation", Name: fmt.Sprintf("accuracy_at_%d_share_of_problems", score.Attempts), Part: set.Name, Value: score.Accuracy,
			})
		}
	}
	return all
}

// Evaluations returns the results of a run's own evaluations, in the order of steps; of a repeated one, the newest.
func Evaluations(ctx context.Context, s blob.Store, run string) ([]Evaluation, error) {
	var infos []blob.Info
	err := s.List(ctx, activities.EvaluationPrefix(run), func(o blob.Info) error {
		if name := path.Base(o.Key); strings.HasPrefix(name, "result-") && strings.HasSuffix(name, ".json") {
			infos = append(infos, o)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evaluations of %s: %w", run, err)
	}
	newest := map[string]blob.Info{} // by folder
	for _, o := range infos {
		if dir := path.Dir(o.Key); o.Modified.After(newest[dir].Modified) {
			newest[dir] = o
		}
	}
	var all []Evaluation
	for _, o := range newest {
		b, err := read(ctx, s, o.Key)
		if err != nil {
			return nil, err
		}
		result, err := evaluate.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Key, err)
		}
		all = append(all, Evaluation{Result: result, At: o.Modified})
	}
	slices.SortFunc(all, func(a, b Evaluation) int { return a.Step - b.Step })
	return all, nil
}

// Settings are a run's resolved settings.
type Settings struct {
	At         time.Time
	Iterations int
	Values     map[string]any // by dotted path; numbers, texts, truth values, and lists as JSON
}

// ReadSettings returns the settings that a run was last started with. ErrNoRun when the store has none.
func ReadSettings(ctx context.Context, s blob.Store, run string) (Settings, error) {
	var newest blob.Info
	err := s.List(ctx, activities.SpecPrefix(run), func(o blob.Info) error {
		if newest.Key == "" || o.Modified.After(newest.Modified) {
			newest = o
		}
		return nil
	})
	if err != nil {
		return Settings{}, fmt.Errorf("settings of %s: %w", run, err)
	}
	if newest.Key == "" {
		return Settings{}, fmt.Errorf("%w %s", ErrNoRun, run)
	}
	var tree map[string]any
	if err := loadJSON(ctx, s, newest.Key, &tree); err != nil {
		return Settings{}, err
	}
	out := Settings{At: newest.Modified, Values: map[string]any{}}
	if n, ok := tree["iterations"].(float64); ok {
		out.Iterations = int(n)
	}
	return out, flatten(out.Values, "", tree)
}

func flatten(into map[string]any, prefix string, tree map[string]any) error {
	for name, value := range tree {
		switch v := value.(type) {
		case map[string]any:
			if err := flatten(into, prefix+name+".", v); err != nil {
				return err
			}
		case []any:
			b, err := json.Marshal(v)
			if err != nil {
				return err
			}
			into[prefix+name] = string(b)
		case nil:
		default:
			into[prefix+name] = v
		}
	}
	return nil
}

func loadJSON(ctx context.Context, s blob.Store, key string, into any) error {
	b, err := read(ctx, s, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	return nil
}

func read(ctx context.Context, s blob.Store, key string) ([]byte, error) {
	body, _, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(body)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	return b.Bytes(), nil
}
