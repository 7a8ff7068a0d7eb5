package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/telemetry"
	"multiattempt/internal/update"
)

// device is the engine as activities see it: model folders in, samplers and learners out, and the engine's permanent
// errors told apart from those that go away.
type device struct {
	backend *engine.Backend // nil: of a worker that computes nothing
	log     *slog.Logger
	samples bool // the worker rolls out
	learns  bool
	told    *sync.Map // estimates of memory that were logged
}

var _ activities.Engine = device{}

// newDevice returns the device of a worker with such roles.
func newDevice(backend *engine.Backend, log *slog.Logger, w config.Worker) device {
	return device{backend: backend, log: log, samples: w.Has(config.RoleRollout), learns: w.Has(config.RoleLearner), told: &sync.Map{}}
}

// permanent marks the errors that repeating does not help against.
func permanent(err error) error {
	for _, p := range []error{engine.ErrFolder, engine.ErrTensor, engine.ErrRow, engine.ErrSampling, engine.ErrMemory, nn.ErrConfig} {
		if errors.Is(err, p) {
			return fmt.Errorf("%w: %w", activities.ErrModel, err)
		}
	}
	return err
}

// Describe reads a folder's configuration, and checks the tokenizer against it.
func (d device) Describe(dir string) (activities.ModelInfo, error) {
	config, err := engine.ReadConfig(dir)
	return activities.ModelInfo{MaxPositions: config.MaxPositions}, permanent(err)
}

// Check reads a folder's weights.
func (d device) Check(dir string) error { return permanent(engine.CheckFolder(dir)) }

// Patience says how long the device may take for what it does.
func (d device) Patience() time.Duration { return d.backend.Patience() }

// NewSampler loads a model folder for sampling.
func (d device) NewSampler(ctx context.Context, dir string, compute spec.Compute) (activities.Sampler, error) {
	model, err := engine.LoadFolder(dir)
	if err != nil {
		return nil, permanent(err)
	}
	s, err := engine.NewSampler(d.backend, model, engine.SamplerOptions{Compute: compute, MaxBytes: d.backend.Capacity(ctx)})
	if err = errors.Join(err, model.Close()); err != nil {
		return nil, permanent(err)
	}
	return sampler{s, d}, nil
}

type sampler struct {
	*engine.Sampler
	device device
}

func (s sampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(int)) error {
	before, compiled := s.Stats(), s.device.backend.Compilations()
	err := permanent(advised(s.Sampler.Sample(ctx, rows, p, progress)))
	s.report(ctx, len(rows), before, compiled)
	return err
}

// report logs what a call took.
func (s sampler) report(ctx context.Context, rows int, before engine.SamplerStats, compiled engine.Compilations) {
	after := s.Stats()
	level, facts := s.device.compiled(compiled)
	s.device.log.Log(ctx, level, "sampled", append(facts,
		"rows", rows, "tokens_sampled", after.Sampled-before.Sampled, "tokens_forced", after.Forced-before.Forced,
		"steps", after.Steps-before.Steps, telemetry.AttrSeconds, (after.Time-before.Time).Seconds())...)
}

// counting begins a call of the learner on so many rows; what it returns logs the call.
func (d device) counting(rows int, log func(level slog.Level, facts ...any)) (end func()) {
	began, before := time.Now(), d.backend.Compilations()
	return func() {
		level, facts := d.compiled(before)
		log(level, append(facts, "rows", rows, telemetry.AttrSeconds, time.Since(began).Seconds())...)
	}
}

// compiled says what was compiled since the count before, and at which level: a call that had to compile is worth a line of its
// own.
func (d device) compiled(before engine.Compilations) (level slog.Level, facts []any) {
	now := d.backend.Compilations()
	level = slog.LevelDebug
	if now.Count > before.Count {
		level = slog.LevelInfo
	}
	return level, []any{
		"compilations", now.Count - before.Count, "compilation_seconds", (now.Time - before.Time).Seconds(),
		"compilations_in_all", now.Count, "compilation_seconds_in_all", now.Time.Seconds(),
	}
}

// NewLearner loads policy, critic and reference.
func (d device) NewLearner(ctx context.Context, o activities.LearnerOptions) (update.Learner, error) {
	l, err := engine.NewTrainer(ctx, engine.TrainerOptions{
		Backend: d.backend, Model: o.Model, Reference: o.Reference, State: o.State,
		Update: o.Update, Optimizer: o.Optimizer, LoRA: o.LoRA, Compute: o.Compute, Seed: o.Seed,
	})
	if err != nil {
		return nil, permanent(err)
	}
	return learner{l, d}, nil
}

type learner struct {
	update.Learner
	device device
}

func (l learner) Score(ctx context.Context, episodes []rollout.Episode, progress func(int)) ([]experience.Scores, error) {
	defer l.device.counting(len(episodes), func(level slog.Level, facts ...any) { l.device.log.Log(ctx, level, "scored", facts...) })()
	scores, err := l.Learner.Score(ctx, episodes, progress)
	return scores, permanent(err)
}

func (l learner) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	defer l.device.counting(len(rows), func(level slog.Level, facts ...any) { l.device.log.Log(ctx, level, "learned", facts...) })()
	stats, err := l.Learner.Step(ctx, rows, rates)
	return stats, permanent(err)
}

// NewImitator loads a model for supervised fine-tuning.
func (d device) NewImitator(ctx context.Context, o activities.ImitatorOptions) (update.Imitator, error) {
	m, err := engine.NewImitator(ctx, engine.ImitatorOptions{
		Backend: d.backend, Model: o.Model, State: o.State, Optimizer: o.Optimizer, Compute: o.Compute,
		LoRA: o.LoRA, Seed: o.Seed, Microbatch: o.Microbatch,
	})
	if err != nil {
		return nil, permanent(err)
	}
	return imitator{m, d}, nil
}

type imitator struct {
	update.Imitator
	device device
}

func (m imitator) Step(ctx context.Context, batch []update.Example, lr float64) (update.ImitationStats, error) {
	defer m.device.counting(len(batch), func(level slog.Level, facts ...any) { m.device.log.Log(ctx, level, "imitated", facts...) })()
	stats, err := m.Imitator.Step(ctx, batch, lr)
	return stats, permanent(err)
}

// Create makes a Llama-family model with random weights that reads characters, and the architecture's words, as tokens.
func (d device) Create(_ context.Context, dir string, a spec.Architecture, alphabet string, runSeed uint64) error {
	vocabulary, err := chat.NewCharacterFolder(dir, alphabet, a.Words...)
	if err != nil {
		return fmt.Errorf("%w: %w", activities.ErrModel, err)
	}
	model, err := engine.New(a, vocabulary, runSeed)
	if err != nil {
		return permanent(err)
	}
	return model.WriteFolder(dir)
}
