package spec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Limits that hold for every run.
const (
	maxAttempts = 100     // of one episode
	maxEpisodes = 1 << 20 // of one iteration
	maxTokens   = 1 << 20 // of one episode
	maxSteps    = 1 << 24 // iterations, optimiser steps
	maxRank     = 4096    // of adapters
	maxShards   = 100     // of one iteration: their references travel in one payload
	maxSamples  = 1024    // of one problem in an evaluation
)

// SourceRandom as Finetune.Model.Source asks for weights drawn from the seed.
const SourceRandom = "random"

// Validate checks every field and every rule between fields, and returns all that is wrong as one *InvalidError.
func (r Run) Validate() error {
	var c checker
	c.between("iterations", r.Iterations, 1, maxSteps)
	c.want(0 <= r.CriticWarmup && r.CriticWarmup <= r.Iterations, "critic_warmup", r.CriticWarmup,
		"from 0 to iterations (%d)", r.Iterations)
	c.between("continue_after", r.ContinueAfter, 0, maxSteps)
	r.Model.check(&c)
	r.Data.check(&c)
	r.Attempts.check(&c)
	r.Prompt.check(&c)
	r.Sampling.check(&c)
	oneOf(&c, "grading.mode", r.Grading.Mode, "typed", "paper")
	r.Reward.check(&c)
	r.Advantage.check(&c)
	r.Update.check(&c, r.Data.ProblemsPerStep*r.Data.GroupSize)
	r.checkAlgorithm(&c)
	r.Optimizer.check(&c)
	c.positive("optimizer.critic_lr", r.Optimizer.CriticLR)
	r.LoRA.Policy.check(&c, "lora.policy")
	r.LoRA.Critic.check(&c, "lora.critic")
	c.between("checkpoint.every", r.Checkpoint.Every, 1, maxSteps)
	c.between("checkpoint.keep", r.Checkpoint.Keep, 1, maxSteps)
	c.between("checkpoint.keep_every", r.Checkpoint.KeepEvery, 0, maxSteps)
	checkBest(&c, r.Checkpoint.Best, r.Evaluation)
	r.Evaluation.check(&c)
	c.between("record.rescored", r.Record.Rescored, 0, r.Data.ProblemsPerStep*r.Data.GroupSize)
	return c.err("run")
}

// Validate is Run.Validate for fine-tuning.
func (f Finetune) Validate() error {
	var c checker
	c.between("steps", f.Steps, 1, maxSteps)
	c.between("steps_per_part", f.StepsPerPart, 1, maxSteps)
	c.between("continue_after", f.ContinueAfter, 0, maxSteps)
	if f.Model.Source == SourceRandom {
		c.want(f.Model.MaxLength == 0, "model.max_length", f.Model.MaxLength, "0: architecture.max_positions limits a new model")
		oneOf(&c, "model.compute", f.Model.Compute, ComputeFloat32, ComputeBFloat16)
		f.Architecture.check(&c)
	} else {
		f.Model.check(&c)
	}
	f.Data.check(&c)
	f.Prompt.check(&c)
	f.Prompt.checkHints(&c, "")
	f.Optimizer.check(&c)
	c.want(f.Optimizer.CriticLR == 0, "optimizer.critic_lr", f.Optimizer.CriticLR, "0: fine-tuning has no critic")
	f.LoRA.check(&c, "lora")
	c.want(!f.LoRA.Enabled() || f.Model.Source != SourceRandom, "lora.rank", f.LoRA.Rank, "0 with model.source random: weights that nobody trained are no base for adapters")
	c.want(1 <= f.Microbatch && f.Microbatch <= f.Data.BatchSize, "microbatch", f.Microbatch,
		"from 1 to data.batch_size (%d)", f.Data.BatchSize)
	return c.err("finetune")
}

func (m Model) check(c *checker) {
	const forms = `a folder in Hugging Face layout, "hf:ORGANISATION/NAME[@REVISION]", "s3://BUCKET/PREFIX", "builtin:NAME", or "ref:KEY@SHA256:SIZE"`
	name, builtin := strings.CutPrefix(m.Source, "builtin:")
	ref, stored := strings.CutPrefix(m.Source, "ref:")
	id, onHub := strings.CutPrefix(m.Source, "hf:")
	object, inBucket := strings.CutPrefix(m.Source, "s3://")
	switch {
	case onHub:
		id, revision, at := strings.Cut(id, "@")
		c.want(id != "" && (!at || revision != ""), "model.source", m.Source, "%s", forms)
	case inBucket:
		bucket, prefix, _ := strings.Cut(object, "/")
		c.want(bucket != "" && strings.Trim(prefix, "/") != "", "model.source", m.Source, "%s", forms)
	case builtin:
		c.want(name != "", "model.source", m.Source, "%s", forms)
	case stored:
		c.want(isReference(ref), "model.source", m.Source, "%s", forms)
	default:
		c.want(m.Source != "" && m.Source != SourceRandom, "model.source", m.Source, "%s", forms)
	}
	c.between("model.max_length", m.MaxLength, 0, maxTokens)
	oneOf(c, "model.compute", m.Compute, ComputeFloat32, ComputeBFloat16)
}

// isReference reports whether s reads KEY@SHA256:SIZE.
func isReference(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 {
		return false
	}
	digest, size, ok := strings.Cut(s[at+1:], ":")
	n, err := strconv.ParseInt(size, 10, 64)
	return ok && err == nil && n >= 0 && len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
}

func (d Data) check(c *checker) {
	c.want(d.Train != "", "data.train", d.Train, `"smudged", a .jsonl or .parquet file, or a data set's name`)
	c.between("data.limit", d.Limit, 0, math.MaxInt32)
	c.between("data.problems_per_step", d.ProblemsPerStep, 1, maxEpisodes)
	c.between("data.group_size", d.GroupSize, 1, 1024)
	c.want(d.Limit == 0 || d.Limit >= d.ProblemsPerStep, "data.limit", d.Limit,
		"0 or at least data.problems_per_step (%d)", d.ProblemsPerStep)
	c.between("data.shard_size", d.ShardSize, 1, maxEpisodes)
	for i, l := range d.Levels {
		c.want(l >= 1 && !slices.Contains(d.Levels[:i], l), fmt.Sprintf("data.levels[%d]", i), l, "a level from 1, each once")
	}
	c.between("data.curriculum", d.Curriculum, 0, maxSteps)
	c.want(d.GroupSize < 1 || d.ShardSize%d.GroupSize == 0, "data.shard_size", d.ShardSize,
		"a multiple of data.group_size (%d)", d.GroupSize)
	c.want(d.ShardSize < 1 || d.ProblemsPerStep*d.GroupSize <= maxShards*d.ShardSize, "data.shard_size", d.ShardSize,
		"at least problems_per_step × group_size / %d: an iteration has at most %d shards", maxShards, maxShards)
}

func (a Attempts) check(c *checker) {
	c.between("attempts.min", a.Min, 1, maxAttempts)
	c.between("attempts.max", a.Max, 1, maxAttempts)
	c.want(a.Min <= a.Max, "attempts.min", a.Min, "at most attempts.max (%d)", a.Max)
	a.checkWeights(c)
	oneOf(c, "attempts.stop", a.Stop, StopTurn, StopBoxed)
	c.between("attempts.stop_every", a.StopEvery, 1, maxTokens)
	oneOf(c, "attempts.budget", a.Budget, BudgetShared, BudgetPerAttempt)
	c.between("attempts.max_new_tokens", a.MaxNewTokens, 1, maxTokens)
}

// checkWeights requires a frequency for each number of attempts, or none at all.
func (a Attempts) checkWeights(c *checker) {
	if len(a.Weights) == 0 {
		return
	}
	sum := 0.0
	for i, w := range a.Weights {
		c.atLeastZero(fmt.Sprintf("attempts.weights[%d]", i), w)
		sum += w
	}
	c.want(sum > 0, "attempts.weights", a.Weights, "at least one number above 0")
	c.want(a.Min > a.Max || len(a.Weights) == a.Max-a.Min+1, "attempts.weights", a.Weights,
		"%d numbers, one for each number of attempts from attempts.min (%d) to attempts.max (%d); or none", a.Max-a.Min+1, a.Min, a.Max)
}

func (s Sampling) check(c *checker) {
	c.positive("sampling.temperature", s.Temperature)
	c.want(0 < s.TopP && s.TopP <= 1, "sampling.top_p", s.TopP, "above 0, at most 1 (off)")
	c.between("sampling.top_k", s.TopK, 0, math.MaxInt32)
	c.want(0 <= s.MinP && s.MinP <= 1, "sampling.min_p", s.MinP, "from 0 (off) to 1")
	c.want(slices.Contains([]Compute{"", ComputeFloat32, ComputeBFloat16}, s.Compute), "sampling.compute", string(s.Compute),
		"one of %s, %s; or nothing, for model.compute", ComputeFloat32, ComputeBFloat16)
}

func (o Optimizer) check(c *checker) {
	c.positive("optimizer.policy_lr", o.PolicyLR)
	c.want(0 <= o.Beta1 && o.Beta1 < 1, "optimizer.beta1", o.Beta1, "from 0, below 1")
	c.want(0 <= o.Beta2 && o.Beta2 < 1, "optimizer.beta2", o.Beta2, "from 0, below 1")
	c.positive("optimizer.epsilon", o.Epsilon)
	c.atLeastZero("optimizer.clip_norm", o.ClipNorm)
	c.share("optimizer.warmup_fraction", o.WarmupFraction)
	c.share("optimizer.final_fraction", o.FinalFraction)
}

func (l LoRA) check(c *checker, path string) {
	c.between(path+".rank", l.Rank, 0, maxRank)
	c.positive(path+".alpha", l.Alpha)
	c.want(len(l.Targets) > 0, path+".target_modules", "[]", "at least one linear map")
	for i, name := range l.Targets {
		known := slices.Contains(LinearModules(), name) && !slices.Contains(l.Targets[:i], name)
		c.want(known, fmt.Sprintf("%s.target_modules[%d]", path, i), name, "one of %s, each once", strings.Join(LinearModules(), ", "))
	}
}

func (e Evaluation) check(c *checker) {
	c.between("evaluation.every", e.Every, 0, maxSteps)
	c.between("evaluation.limit", e.Limit, 0, math.MaxInt32)
	c.attempts("evaluation.attempts", e.Attempts)
	c.attempts("evaluation.final_attempts", e.Final)
	c.want(e.Every == 0 || len(e.Attempts) > 0, "evaluation.attempts", "[]", "at least one number of attempts, as evaluation.every is %d", e.Every)
	evaluates := e.Every > 0 || len(e.Final) > 0
	c.want(!evaluates || len(e.Sets) > 0, "evaluation.sets", "[]", "at least one set, as evaluation.every or evaluation.final_attempts asks for scores")
	for i, set := range e.Sets {
		c.want(set != "" && !slices.Contains(e.Sets[:i], set), fmt.Sprintf("evaluation.sets[%d]", i), set, "a set's name, each once")
	}
	c.between("evaluation.max_new_tokens", e.MaxNewTokens, 1, maxTokens)
	c.atLeastZero("evaluation.temperature", e.Temperature)
	c.want(e.NoRepeat == 0 || 2 <= e.NoRepeat && e.NoRepeat <= maxTokens, "evaluation.no_repeat_ngram_size", e.NoRepeat, "0 (off) or at least 2")
	c.want(0 < e.TopP && e.TopP <= 1, "evaluation.top_p", e.TopP, "above 0, at most 1 (off)")
	c.want(1 <= e.Samples && e.Samples <= maxSamples && (e.Samples == 1 || e.Temperature > 0), "evaluation.samples", e.Samples,
		"1, or up to %d with evaluation.temperature above 0: greedy samples are all the same", maxSamples)
	c.between("evaluation.shard_size", e.ShardSize, 1, maxEpisodes)
	least := 0
	if len(e.Final) > 0 {
		least = e.Final[len(e.Final)-1]
	}
	c.want(e.Parallel == 0 || least > 0 && least <= e.Parallel && e.Parallel <= maxSamples, "evaluation.parallel", e.Parallel,
		"0, or from the largest of evaluation.final_attempts (%d) to %d: pass@k needs k samples", least, maxSamples)
	c.positive("evaluation.parallel_temperature", e.ParallelTemperature)
}

func (a Architecture) check(c *checker) {
	c.between("architecture.layers", a.Layers, 1, 1000)
	c.between("architecture.heads", a.Heads, 1, 1024)
	c.want(1 <= a.HiddenSize && (a.Heads < 1 || a.HiddenSize%(2*a.Heads) == 0), "architecture.hidden_size", a.HiddenSize,
		"a multiple of 2 × architecture.heads (%d): each head has an even width", 2*a.Heads)
	c.between("architecture.intermediate_size", a.IntermediateSize, 1, 1<<20)
	c.want(1 <= a.KVHeads && a.KVHeads <= a.Heads && a.Heads%a.KVHeads == 0, "architecture.kv_heads", a.KVHeads,
		"a divisor of architecture.heads (%d)", a.Heads)
	c.between("architecture.max_positions", a.MaxPositions, 1, maxTokens)
	c.positive("architecture.rope_theta", a.RopeTheta)
}

func (d TuningData) check(c *checker) {
	c.want(d.Source != "", "data.source", d.Source, `"smudged" or a .jsonl file of dialogues`)
	c.between("data.batch_size", d.BatchSize, 1, maxEpisodes)
	c.between("data.max_attempts", d.MaxAttempts, 1, maxAttempts)
	c.share("data.stubborn", d.Stubborn)
}

func (c *checker) between(path string, v, low, high int) {
	c.want(low <= v && v <= high, path, v, "a whole number from %d to %d", low, high)
}

func (c *checker) share(path string, v float64) {
	c.want(0 <= v && v <= 1, path, v, "from 0 to 1")
}

func (c *checker) positive(path string, v float64) {
	c.want(v > 0 && !math.IsInf(v, 0), path, v, "a number above 0")
}

func (c *checker) atLeastZero(path string, v float64) {
	c.want(v >= 0 && !math.IsInf(v, 0), path, v, "a number from 0 up")
}

func (c *checker) finite(path string, v float64) {
	c.want(!math.IsNaN(v) && !math.IsInf(v, 0), path, v, "a finite number")
}

// attempts requires numbers of attempts in ascending order, each once.
func (c *checker) attempts(path string, ks []int) {
	for i, k := range ks {
		c.want(1 <= k && k <= maxAttempts && (i == 0 || ks[i-1] < k), fmt.Sprintf("%s[%d]", path, i), k,
			"from 1 to %d, in ascending order, each once", maxAttempts)
	}
}
