// Package activitytest offers every activity over an exact bigram model and a store in memory, so that workflows and
// recovery are tested with real stages and without an engine.
package activitytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/hub"
	"multiattempt/internal/policy"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/internal/update/updatetest"
)

// Engine makes bigram samplers and learners, and counts them.
type Engine struct {
	mu       sync.Mutex
	samplers int
	learners int
	// OnLearner, when not nil, wraps every new learner.
	OnLearner func(update.Learner) update.Learner
	// OnImitator, when not nil, wraps every new imitator.
	OnImitator func(update.Imitator) update.Imitator
	// Alien is what Describe says of every model.
	Alien error
	// Broken is what Check says of every model's weights.
	Broken error
	// Full is what FitsTraining, FitsEvaluation and FitsTuning say of everything.
	Full error
	// OnSampler, when not nil, wraps every new sampler.
	OnSampler func(activities.Sampler) activities.Sampler
	// Slow is what Patience answers.
	Slow time.Duration
	// OnTold, when not nil, hears the settings of everything that is made, and those of every sampling: what a bigram model
	// has no use for, too. Folders are left out.
	OnTold func(settings string)
}

var _ activities.Engine = (*Engine)(nil)

// Samplers is the number of samplers made so far.
func (e *Engine) Samplers() int { return e.count(&e.samplers, 0) }

// Learners is the number of learners made so far.
func (e *Engine) Learners() int { return e.count(&e.learners, 0) }

func (e *Engine) count(n *int, add int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	*n += add
	return *n
}

// Describe implements activities.Engine.
func (e *Engine) Describe(string) (activities.ModelInfo, error) {
	return activities.ModelInfo{MaxPositions: 128}, e.Alien
}

// Check implements activities.Engine.
func (e *Engine) Check(string) error { return e.Broken }

// FitsTraining implements activities.Engine.
func (e *Engine) FitsTraining(context.Context, string, spec.Run) error { return e.Full }

// FitsEvaluation implements activities.Engine.
func (e *Engine) FitsEvaluation(context.Context, string, spec.Run) error { return e.Full }

// FitsTuning implements activities.Engine.
func (e *Engine) FitsTuning(context.Context, string, spec.Finetune, int) error { return e.Full }

// Patience implements activities.Engine.
func (e *Engine) Patience() time.Duration { return e.Slow }

// told reports settings.
func (e *Engine) told(settings any) {
	if e.OnTold != nil {
		e.OnTold(fmt.Sprintf("%+v", settings))
	}
}

// NewSampler implements activities.Engine.
func (e *Engine) NewSampler(_ context.Context, dir string, compute spec.Compute) (activities.Sampler, error) {
	e.count(&e.samplers, 1)
	e.told(compute)
	s, err := updatetest.NewSampler(dir)
	if err != nil {
		return nil, err
	}
	made := activities.Sampler(s)
	if e.OnSampler != nil {
		made = e.OnSampler(made)
	}
	if e.OnTold != nil {
		made = toldSampler{made, e}
	}
	return made, nil
}

// toldSampler reports what it is asked to sample with.
type toldSampler struct {
	activities.Sampler
	engine *Engine
}

func (s toldSampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(done int)) error {
	s.engine.told(p)
	return s.Sampler.Sample(ctx, rows, p, progress)
}

// NewLearner implements activities.Engine.
func (e *Engine) NewLearner(_ context.Context, o activities.LearnerOptions) (update.Learner, error) {
	e.count(&e.learners, 1)
	e.told([]any{o.Update, o.Optimizer, o.LoRA, o.Compute, o.Seed})
	l, err := updatetest.New(updatetest.Options{Model: o.Model, State: o.State, Reference: o.Reference, Update: o.Update, Optimizer: o.Optimizer})
	if err == nil && e.OnLearner != nil {
		l = e.OnLearner(l)
	}
	return l, err
}

// NewImitator implements activities.Engine.
func (e *Engine) NewImitator(_ context.Context, o activities.ImitatorOptions) (update.Imitator, error) {
	e.told([]any{o.Optimizer, o.Compute, o.LoRA, o.Microbatch})
	i, err := updatetest.NewImitator(updatetest.ImitatorOptions{Model: o.Model, State: o.State, Optimizer: o.Optimizer})
	if err == nil && e.OnImitator != nil {
		return e.OnImitator(i), nil
	}
	return i, err
}

// Create implements activities.Engine. A bigram model has no architecture; the one asked for is written beside it.
func (e *Engine) Create(_ context.Context, dir string, a spec.Architecture, alphabet string, seed uint64) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return errors.Join(updatetest.Create(dir, alphabet, seed), os.WriteFile(filepath.Join(dir, "architecture.json"), b, 0o644))
}

// Presets holds the run preset "small" (six iterations of seconds), the fine-tuning preset "small", and the built-in
// model "bigram".
func Presets(t testing.TB) activities.Presets {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, updatetest.Create(dir, dataset.SmudgedAlphabet, 1))
	return activities.Presets{
		Train:    fstest.MapFS{"small.yaml": {Data: []byte(small)}},
		Finetune: fstest.MapFS{"small.yaml": {Data: []byte(smallFinetune)}},
		Model:    func(string) (fs.FS, error) { return os.DirFS(dir), nil },
	}
}

const small = `
iterations: 6
critic_warmup: 1
model: {source: "builtin:bigram"}
data: {problems_per_step: 8, group_size: 2, shard_size: 8}
attempts: {max: 3, max_new_tokens: 60}
prompt: {system: "{N}", feedback: "{n}"}
update: {minibatch: 8, microbatch: 8}
optimizer: {policy_lr: 0.01, critic_lr: 0.02}
checkpoint: {every: 3, keep: 2}
evaluation: {every: 0, sets: [smudged], limit: 6, attempts: [], final_attempts: [], max_new_tokens: 60, shard_size: 4}
`

const smallFinetune = `
steps: 6
steps_per_part: 2
data: {source: smudged, batch_size: 4}
prompt: {system: "{N}", feedback: "{n}"}
optimizer: {policy_lr: 0.01}
microbatch: 4
`

// Worker is one process's activities, over a store that others may share.
type Worker struct {
	activities.Set
	Engine *Engine
}

// NewWorker returns the activities of a process whose learner's own queue is called own.
func NewWorker(t testing.TB, store blob.Store, presets activities.Presets, own string) Worker {
	t.Helper()
	dir, e := t.TempDir(), &Engine{}
	models, err := activities.NewModels(store, filepath.Join(dir, "models"))
	require.NoError(t, err)
	learner, err := activities.NewLearner(store, e, models, own, filepath.Join(dir, "learner"))
	require.NoError(t, err)
	set := activities.Set{
		Data:     activities.NewData(store, e, models, presets, source.Finder{Roots: []string{dir}, Hub: hub.FromEnvironment()}, ""),
		Rollouts: activities.NewRollouts(store, e, models),
		Learner:  learner,
	}
	set.Share(activities.NewRecent(1 << 20))
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return Worker{Set: set, Engine: e}
}
