// Package runstest makes runs that nobody trained: what a real one leaves in the store, of any size, quickly.
package runstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/experience"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Options say what run to make. Zero fields take small values.
type Options struct {
	Run      string
	Steps    int
	Problems int // P of a step
	Group    int // G
	Shard    int // episodes of an object
	Seed     uint64
	// Skill is how good the run becomes, 0 to 1.
	Skill float64
	// Tokenizer is a model folder whose tokenizer writes the dialogues; nil draws tokens at random, which is quicker.
	Tokenizer fs.FS
	// Edit changes an episode before it is stored: plants what a test looks for.
	Edit func(step, position int, e *rollout.Episode)
	// Evaluate adds an evaluation after the last step, and Scores what a learner keeps of each token.
	Evaluate bool
	Scores   bool
	Workers  int // steps made at the same time
}

func (o Options) defaults() Options {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&o.Steps, 12)
	set(&o.Problems, 8)
	set(&o.Group, 4)
	set(&o.Shard, 128)
	set(&o.Workers, 2)
	if o.Run == "" {
		o.Run = "synthetic"
	}
	if o.Skill == 0 {
		o.Skill = 0.7
	}
	return o
}

// maker makes one run.
type maker struct {
	o        Options
	store    blob.Store
	settings spec.Run
	policy   activities.Policy
	template *chat.Template
}

// Make stores a run.
func Make(ctx context.Context, store blob.Store, o Options) error {
	m := &maker{o: o.defaults(), store: store}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	var work sync.WaitGroup
	steps, errs := make(chan int), make(chan error, m.o.Workers)
	for range m.o.Workers {
		work.Go(func() {
			for step := range steps {
				if err := m.step(ctx, step); err != nil {
					errs <- fmt.Errorf("step %d: %w", step, err)
					return
				}
			}
		})
	}
	go func() {
		defer close(steps)
		for step := 1; step <= m.o.Steps; step++ {
			select {
			case steps <- step:
			case <-ctx.Done():
				return
			}
		}
	}()
	work.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if err := m.timings(ctx); err != nil {
		return err
	}
	if m.o.Evaluate {
		return m.evaluate(ctx)
	}
	return ctx.Err()
}

// timings stores where the time of each step went, a hundred steps in an object.
func (m *maker) timings(ctx context.Context) error {
	const together = 100
	for from := 0; from < m.o.Steps; from += together {
		var all []activities.Timing
		for step := from + 1; step <= min(from+together, m.o.Steps); step++ {
			draw := seed.Rand("runstest/timing", m.o.Seed, uint64(step))
			all = append(all, activities.Timing{
				Step: step, Rollout: 3 + draw.Float64(), Reward: 0.1, Score: 1 + draw.Float64()/4, Optimise: 4 + draw.Float64(), Publish: 0.5,
				Memory: 1.2e9 + 1e8*draw.Float64(),
			})
		}
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%s%06d.json", activities.TimingPrefix(m.o.Run), from/together)
		if _, err := m.store.Put(ctx, key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// prepare stores settings and model.
func (m *maker) prepare(ctx context.Context) error {
	r := spec.Default()
	r.Preset, r.Seed, r.Iterations = "quickstart", m.o.Seed, m.o.Steps
	r.Data.ProblemsPerStep, r.Data.GroupSize, r.Attempts.Max = m.o.Problems, m.o.Group, 3
	m.settings = r
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := blob.PutAs(ctx, m.store, activities.SpecPrefix(m.o.Run)+blob.Sum(b).Short()+".json", b); err != nil {
		return err
	}
	if m.o.Tokenizer == nil {
		m.policy.Digest = blob.Sum(b)
		m.policy.Folder, err = blob.PutFolder(ctx, m.store, blob.Folder{})
		return err
	}
	if m.template, err = chat.LoadFS(m.o.Tokenizer); err != nil {
		return err
	}
	m.policy, err = activities.UploadModel(ctx, m.store, m.o.Tokenizer)
	return err
}

// skill is how often an attempt of a step is right.
func (m *maker) skill(step int) float64 {
	return 0.12 + (m.o.Skill-0.12)*(1-math.Exp(-4*float64(step)/float64(m.o.Steps)))
}

// step stores one step's episodes, experience and record.
func (m *maker) step(ctx context.Context, step int) error {
	draw := seed.Rand("runstest/step", m.o.Seed, uint64(step))
	n := m.o.Problems * m.o.Group
	episodes := make([]rollout.Episode, 0, n)
	for p := range m.o.Problems {
		q := draw.IntN(questions)
		allowed := 1 + draw.IntN(3)
		for g := range m.o.Group {
			e := m.episode(draw, q, allowed, m.skill(step))
			e.Index, e.Sample, e.Step, e.Seed = p, g, step-1, m.o.Seed
			if m.o.Edit != nil {
				m.o.Edit(step, len(episodes), &e)
			}
			episodes = append(episodes, e)
		}
	}
	earned := reward.All(episodes, m.settings.Reward)
	rewards := reward.Whole(earned)
	dir := fmt.Sprintf("runs/%s/steps/%06d", m.o.Run, step)
	x := activities.Experience{Step: step - 1, Rewards: rewards, Summary: reward.Summarise(episodes, earned)}
	for i := 0; i < len(episodes); i += m.o.Shard {
		ref, err := m.putEpisodes(ctx, fmt.Sprintf("%s/episodes-%04d", dir, i/m.o.Shard), episodes[i:min(len(episodes), i+m.o.Shard)])
		if err != nil {
			return err
		}
		x.Episodes = append(x.Episodes, ref)
	}
	record := activities.StepRecord{Run: m.o.Run, Step: step, Policy: m.policy, Reward: x.Summary, Update: m.stats(draw, step, x.Summary)}
	var err error
	if record.Experience, err = m.putJSON(ctx, dir+"/experience", x); err != nil {
		return err
	}
	if m.o.Scores {
		if record.Scores, err = m.putScores(ctx, dir, draw, episodes, rewards); err != nil {
			return err
		}
	}
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = m.store.Put(ctx, activities.RecordKey(m.o.Run, step), bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	return err
}

func (m *maker) putEpisodes(ctx context.Context, name string, episodes []rollout.Episode) (blob.Ref, error) {
	b, err := rollout.Encode(episodes)
	if err != nil {
		return blob.Ref{}, err
	}
	return blob.PutAs(ctx, m.store, name+"-"+blob.Sum(b).Short()+".jsonl.zst", b)
}

func (m *maker) putJSON(ctx context.Context, name string, v any) (blob.Ref, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return blob.Ref{}, err
	}
	return blob.PutAs(ctx, m.store, name+"-"+blob.Sum(b).Short()+".json", b)
}

// putScores makes up what a learner would have kept of the tokens.
func (m *maker) putScores(ctx context.Context, dir string, draw *rand.Rand, episodes []rollout.Episode, rewards []float64) (blob.Ref, error) {
	kept := make([]experience.Kept, len(episodes))
	for i := range episodes {
		e := &episodes[i]
		sampled := experience.Sampled(e.Mask, e.LogProbs)
		k := &kept[i]
		for j, lp := range sampled {
			k.Old = append(k.Old, lp+float32(0.01*draw.NormFloat64()))
			k.Reference = append(k.Reference, lp-float32(0.3*draw.Float64()))
			k.Values = append(k.Values, float32(0.6*float64(j)/float64(len(sampled))*rewards[i]+0.05*draw.NormFloat64()))
			k.Advantages = append(k.Advantages, float32(rewards[i]*(0.4+float64(j)/float64(len(sampled)))+0.4*draw.NormFloat64()))
			k.After = append(k.After, k.Old[j]+float32(0.08*draw.NormFloat64()*rewards[i]))
		}
	}
	b, err := experience.EncodeKept(kept)
	if err != nil {
		return blob.Ref{}, err
	}
	return blob.PutAs(ctx, m.store, dir+"/tokens-"+blob.Sum(b).Short()+".zst", b)
}

// stats makes up the numbers of an update.
func (m *maker) stats(draw *rand.Rand, step int, s reward.Summary) update.Stats {
	done := float64(step) / float64(m.o.Steps)
	jitter := func(x, by float64) float64 { return x * (1 + by*draw.NormFloat64()) }
	return update.Stats{
		TokensTrained: s.SampledTokens, OptimizerSteps: 8, PolicyLR: 5e-7 * (1 - 0.9*done), CriticLR: 1e-5 * (1 - 0.9*done),
		PolicyLoss: jitter(-0.01, 0.4), ValueLoss: jitter(0.3*math.Exp(-2*done)+0.05, 0.1), KL: jitter(0.06*done, 0.1),
		Entropy: jitter(0.9*math.Exp(-1.2*done)+0.15, 0.03), ClipFraction: math.Abs(jitter(0.02, 0.4)), RatioMax: jitter(1.8, 0.1),
		ApproxKL: math.Abs(jitter(0.004, 0.3)), PolicyGradNorm: math.Abs(jitter(0.8, 0.2)), CriticGradNorm: math.Abs(jitter(3*math.Exp(-2*done)+0.6, 0.2)),
		ExplainedVariance: math.Min(0.95, jitter(0.8*(1-math.Exp(-4*done)), 0.08)), ReturnMean: s.RewardMean, ValueMean: s.RewardMean * done,
		AdvantageStd: 0.6, MismatchMeanAbs: math.Abs(jitter(0.0021, 0.3)), MismatchMax: math.Abs(jitter(0.09, 0.3)),
	}
}

// evaluate stores an evaluation of the last step at one to five attempts.
func (m *maker) evaluate(ctx context.Context) error {
	draw := seed.Rand("runstest/evaluate", m.o.Seed)
	problems := make([]dataset.Problem, 60)
	for p := range problems {
		question, gold := Question(p)
		problems[p] = dataset.Problem{ID: fmt.Sprintf("arithmetic-%03d", p), Question: question, Answer: gold}
	}
	dir := fmt.Sprintf("runs/%s/evaluations/%06d", m.o.Run, m.o.Steps)
	byAttempts := map[int][]rollout.Episode{}
	for k := 1; k <= 5; k++ {
		for p := range problems {
			e := m.episode(draw, p, k, m.o.Skill)
			e.Index, e.Step, e.ProblemID = p, m.o.Steps, problems[p].ID
			byAttempts[k] = append(byAttempts[k], e)
		}
		if _, err := m.putEpisodes(ctx, fmt.Sprintf("%s/episodes-arithmetic-%d-0000", dir, k), byAttempts[k]); err != nil {
			return err
		}
	}
	set, err := evaluate.NewSet("arithmetic", problems, byAttempts)
	if err != nil {
		return err
	}
	result := evaluate.Result{Run: m.o.Run, Step: m.o.Steps, Policy: m.policy.Digest.String(), Mode: "typed", MaxNewTokens: 300, Sets: []evaluate.Set{set}}
	result.Finish()
	b, err := result.Encode()
	if err != nil {
		return err
	}
	_, err = blob.PutAs(ctx, m.store, dir+"/result-"+blob.Sum(b).Short()+".json", b)
	return err
}

// Clock is a store whose objects were all written at times of a test's choosing: one step every Every, the last one at End.
type Clock struct {
	blob.Store
	End   time.Time
	Every time.Duration
	Steps int
}

// List implements blob.Store.
func (c Clock) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	return c.Store.List(ctx, prefix, func(o blob.Info) error {
		var step int
		if _, err := fmt.Sscanf(strings.TrimSuffix(path.Base(o.Key), ".json"), "%d", &step); err == nil && strings.Contains(o.Key, "/records/") {
			o.Modified = c.End.Add(-time.Duration(c.Steps-step) * c.Every)
		}
		return yield(o)
	})
}
