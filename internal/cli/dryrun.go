package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/forecast"
	"multiattempt/internal/spec"
	"multiattempt/presets"
)

// forecasted is what train --dry-run tells of one run, or of an experiment's runs of one arm.
type forecasted struct {
	Run     string          `json:"run"` // of an experiment, the first run of the arm
	Arm     string          `json:"arm,omitempty"`
	Runs    int             `json:"runs"` // with other seeds, this one included
	Digest  string          `json:"settings_sha256"`
	Spec    spec.Run        `json:"spec"`
	Model   *forecast.Model `json:"model,omitempty"`
	Unknown string          `json:"model_unknown,omitempty"` // why there is no model, and so no memory and storage
	Cost    forecast.Cost   `json:"cost"`
	Time    forecast.Time   `json:"time"`
}

// dryRun prints what a run, or an experiment, would compute and cost, and starts nothing.
func (a *app) dryRun(ctx context.Context, doc []byte, v *variants, parallelSet bool, id string, asJSON bool) error {
	planned, err := a.planDry(doc, v, parallelSet, id)
	if err != nil {
		return err
	}
	speeds := map[string]forecast.Speed{}
	for i := range planned {
		f := &planned[i]
		if err := a.forecast(ctx, f, speeds); err != nil {
			return err
		}
	}
	if asJSON {
		if len(planned) == 1 {
			return a.printJSON(planned[0])
		}
		return a.printJSON(planned)
	}
	for _, f := range planned {
		if err := a.printForecast(f); err != nil {
			return err
		}
	}
	return nil
}

// planDry resolves the run, or each arm of the experiment.
func (a *app) planDry(doc []byte, v *variants, parallelSet bool, id string) ([]forecasted, error) {
	if !v.used(doc) {
		t, err := a.planTraining(doc, id)
		if err != nil {
			return nil, err
		}
		digest, err := t.run.Digest()
		return []forecasted{{Run: t.id, Runs: 1, Digest: digest, Spec: t.run}}, err
	}
	t, err := a.planExperiment(doc, v, parallelSet, id)
	if err != nil {
		return nil, err
	}
	var planned []forecasted
	at := map[string]int{}
	for _, m := range t.members {
		if i, seen := at[m.Arm]; seen {
			planned[i].Runs++
			continue
		}
		run, err := spec.Resolve(m.Settings, presets.Train())
		if err != nil {
			return nil, err
		}
		digest, err := run.Digest()
		if err != nil {
			return nil, err
		}
		at[m.Arm] = len(planned)
		planned = append(planned, forecasted{Run: m.Run, Arm: m.Arm, Runs: 1, Digest: digest, Spec: run})
	}
	return planned, nil
}

// forecast fills in what the run costs. Arms whose settings make the same benchmark share its speed.
func (a *app) forecast(ctx context.Context, f *forecasted, speeds map[string]forecast.Speed) error {
	shape, err := a.shapeOf(ctx, f.Spec.Model.Source)
	if err != nil {
		return err
	}
	if f.Model = shape; shape == nil {
		f.Unknown = fmt.Sprintf("%s is not on this machine", f.Spec.Model.Source)
	}
	f.Cost = forecast.Of(f.Spec, f.Model)
	key, err := speedKey(f.Spec)
	if err != nil {
		return err
	}
	speed, measured := speeds[key]
	if !measured {
		if speed, err = a.measure(ctx, f.Spec); err != nil {
			return fmt.Errorf("benchmark: %w", err)
		}
		speeds[key] = speed
	}
	f.Time = forecast.Expect(f.Spec, f.Model, f.Cost, speed, a.examined(ctx, f.Spec))
	return nil
}

// speedKey is equal for runs that need but one benchmark.
func speedKey(r spec.Run) (string, error) {
	b, err := json.Marshal([]any{r.Model, r.Data, r.Attempts, r.Prompt, r.Sampling, r.Advantage, r.Update, r.LoRA})
	return string(b), err
}

// examined counts the problems of a run's evaluation sets: of those on this machine, of others as published; nothing is
// fetched.
func (a *app) examined(ctx context.Context, r spec.Run) (sets forecast.Sets) {
	for _, name := range r.Evaluation.Sets {
		n := dataset.TestProblems(name)
		set, err := dataset.Open(ctx, name, dataset.Options{
			Split: dataset.Test, DataDir: a.cfg.DataDir, Local: true, FieldQuestion: r.Data.FieldQuestion, FieldAnswer: r.Data.FieldAnswer,
		})
		if err == nil {
			n = set.Len()
		}
		if n == 0 {
			n = r.Evaluation.Limit // at most
		}
		if r.Evaluation.Limit > 0 {
			n = min(n, r.Evaluation.Limit)
		}
		if sets.Problems += n; n == 0 {
			sets.Unknown = append(sets.Unknown, name)
		}
	}
	return sets
}

// shapeOf is the shape of a model that lies on this machine, or that is known by name; nil of others: nothing is fetched.
func (a *app) shapeOf(ctx context.Context, name string) (*forecast.Model, error) {
	dir, remove, err := a.localModel(ctx, name)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return forecast.Known(name), nil
	}
	defer remove()
	s, err := engine.Inspect(dir)
	if err != nil {
		return nil, err
	}
	return forecast.NewModel(name, s.Config), nil
}

// localModel finds a model without fetching it; the folder is empty when it is not on this machine. remove is to be called
// once the folder is not needed any more.
func (a *app) localModel(ctx context.Context, name string) (dir string, remove func(), err error) {
	if strings.HasPrefix(name, "builtin:") {
		m, err := a.openModel(ctx, name, canCompute)
		if err != nil {
			return "", nil, err
		}
		return m.Dir, func() { _ = m.Close() }, nil // a leftover in the temporary folder hurts nobody
	}
	dir, err = a.modelFolder(name)
	return dir, func() {}, err
}

// printForecast writes a forecast for people, the settings as YAML first.
func (a *app) printForecast(f forecasted) error {
	settings, err := json.Marshal(f.Spec)
	if err != nil {
		return err
	}
	text, err := yaml.JSONToYAML(settings)
	if err != nil {
		return err
	}
	c := f.Cost
	a.printf("# settings of %s, sha256 %s\n%s\n", f.Run, f.Digest, text)
	if f.Runs > 1 {
		a.printf("Runs              %d of arm %s, with other seeds\n", f.Runs, f.Arm)
	}
	a.printf("Iterations        %d of %d episodes\n", c.Iterations, c.EpisodesPerIteration)
	a.printf("Optimiser steps   %d: %d an iteration\n", c.OptimizerSteps, c.OptimizerStepsPerIteration)
	a.printf("Tokens            at most %d sampled an iteration\n", c.TokensPerIterationMax)
	a.printf("Evaluations       %d of %d problems, %d episodes of each problem in all\n", c.Evaluations, f.Time.Problems, c.EpisodesPerProblem)
	if f.Model == nil {
		a.printf("Memory, storage   not known: %s\n", f.Unknown)
	} else {
		a.printf("Model             %s, %d parameters\n", f.Model.Name, f.Model.Parameters)
		a.printMemory(*c.Memory, f.Time.Speed)
		a.printf("Storage           %s a checkpoint, up to %d kept; %s of weights published an iteration; %s in all, dialogues not counted\n",
			inBytes(c.CheckpointBytes), c.CheckpointsKept, inBytes(c.PublishedBytesPerIt), inBytes(c.StorageBytes))
	}
	a.printf("%s\n", describeTime(f))
	return nil
}

// printMemory writes what lies on a device, and whether this machine's is large enough.
func (a *app) printMemory(m forecast.Memory, here forecast.Speed) {
	a.printf("Memory            %s on a device that samples and learns, at most, for dialogues of %d tokens\n", inBytes(m.Total), m.RowTokens)
	a.printf("  only learns     %s: weights of policy, critic and reference %s, Adam's moments %s, gradients %s, activations %s, Adam's copies %s\n",
		inBytes(m.Learner), inBytes(m.Weights), inBytes(m.Moments), inBytes(m.Gradients), inBytes(m.Activations), inBytes(m.Adam))
	a.printf("  only samples    %s: weights %s, cache of %d dialogues %s, activations %s\n",
		inBytes(m.Sampler), inBytes(m.Policy), m.Rows, inBytes(m.Cache), inBytes(m.Step))
	switch {
	case here.Device == 0:
	case here.Device < m.Total:
		a.printf("  this machine    %s (%s): too small; adapters (lora.policy.rank, lora.critic.rank), model.compute bfloat16\n"+
			"                  (sampling.compute is the sampler's), a smaller update.microbatch or data.shard_size, or shorter dialogues take less\n", inBytes(here.Device), here.Backend)
	default:
		a.printf("  this machine    %s (%s): enough\n", inBytes(here.Device), here.Backend)
	}
}

// describeTime says what is expected, and from what it is inferred.
func describeTime(f forecasted) string {
	t := f.Time
	text := fmt.Sprintf("Expected time     %s: %s an iteration, evaluations %s",
		roughly(t.Total), roughly(t.Iteration), roughly(t.Evaluations))
	if t.Bound {
		text += ", if every episode uses its whole budget"
	}
	if len(t.UnknownSets) > 0 {
		text += "; without those of " + strings.Join(t.UnknownSets, ", ") + ", whose size is not known here"
	}
	text += fmt.Sprintf("\n                  measured here on %s: %.0f tokens/s sampled, %.0f tokens/s learned from, backend %s",
		t.Speed.Model, t.Speed.SamplingRate, t.Speed.UpdateRate, t.Speed.Backend)
	if t.Scaled {
		text += ";\n                  scaled by the number of parameters: an order of magnitude, no more"
	}
	return text + "\n"
}

// roughly writes seconds, however many.
func roughly(seconds float64) string {
	const day, year = 24 * 3600, 365 * 24 * 3600
	switch {
	case seconds >= 2*year:
		return fmt.Sprintf("%.0f years", seconds/year)
	case seconds >= 4*day:
		return fmt.Sprintf("%.0f days", seconds/day)
	}
	return inWords(time.Duration(seconds * float64(time.Second)))
}

// inBytes writes a size as people read it.
func inBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, suffix := float64(n), ""
	for _, suffix = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size /= unit; size < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", size, suffix)
}
