package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// TrainingMemory is what a run takes on its device at most, in bytes, estimated: a learner and a sampler in one process.
type TrainingMemory struct {
	Length      int   // tokens of the longest row that was reckoned with
	Weights     int64 // of reference, policy and critic; adapters and reference share the base
	Optimizer   int64 // Adam's moments
	Gradients   int64 // sums, twice while a micro-batch is added
	Activations int64 // of the largest micro-batch: what policy and critic keep for the gradient, and one layer at work
	Adam        int64 // new weights and moments of the larger network, beside the old ones
	Sampler     SamplerMemory
}

// Total is the largest sum of what is held at the same time: while rows are sampled, gradients are computed, or Adam runs.
// The sampler's weights stay throughout.
func (m TrainingMemory) Total() int64 {
	phases := max(m.Sampler.Cache+m.Sampler.Step, m.Gradients+m.Activations, m.Gradients/2+m.Adam)
	return m.Weights + m.Optimizer + m.Sampler.Weights + phases
}

func (m TrainingMemory) String() string {
	return fmt.Sprintf("%.1f GB for rows of %d tokens (weights %.1f, optimiser %.1f, gradients %.1f, activations %.1f, Adam's copies %.1f; sampler: weights %.1f, cache of %d rows %.1f, step %.1f)",
		gigabytes(m.Total()), m.Length, gigabytes(m.Weights), gigabytes(m.Optimizer), gigabytes(m.Gradients), gigabytes(m.Activations),
		gigabytes(m.Adam), gigabytes(m.Sampler.Weights), m.Sampler.Slots, gigabytes(m.Sampler.Cache), gigabytes(m.Sampler.Step))
}

func gigabytes(n int64) float64 { return float64(n) / 1e9 }

// Tokens that PlanTraining allows for what is not sampled: the opening, and each feedback.
const (
	openingTokens  = 1024
	feedbackTokens = 64
)

// PlanTraining estimates a run's memory for a model.
func PlanTraining(run spec.Run, config nn.Config) TrainingMemory {
	config.Compute = computeType(run.Model.Compute)
	m := TrainingMemory{Length: longestRow(run, config)}
	policy, reference := trainedBytes(config, run.LoRA.Policy, config.Tensors()), bytesOf(config.Tensors())
	var critic int64
	networks := 1
	if run.Update.Critic() {
		critic, networks = trainedBytes(config, run.LoRA.Critic, config.CriticTensors()), 2
	}
	m.Weights = reference + policy + critic
	m.Optimizer = 2 * (policy + critic)
	m.Gradients = 2 * (policy + critic)
	m.Activations = config.TrainingBytes(networks, min(run.Update.Microbatch, run.Update.Minibatch), bucket(m.Length-1))
	m.Adam = 3 * max(policy, critic)
	m.Sampler, _ = PlanSampler(config, run.Data.ShardSize, m.Length, SamplerOptions{}) // without a limit it cannot fail
	return m
}

// longestRow is the most tokens that a dialogue of the run may have.
func longestRow(run spec.Run, config nn.Config) int {
	limit := config.MaxPositions
	if run.Model.MaxLength > 0 {
		limit = min(limit, run.Model.MaxLength)
	}
	sampled := run.Attempts.MaxNewTokens
	if run.Attempts.Budget == spec.BudgetPerAttempt {
		sampled *= run.Attempts.Max
	}
	return max(min(limit, openingTokens+feedbackTokens*run.Attempts.Max+sampled), 2)
}

// trainedBytes is the size of what is trained of a network: all of it, or adapters (and, whatever it is, a critic's head,
// which is too small to count).
func trainedBytes(config nn.Config, l spec.LoRA, all []nn.TensorSpec) int64 {
	if l.Enabled() {
		return bytesOf(config.AdapterTensors(l))
	}
	return bytesOf(all)
}

func bytesOf(specs []nn.TensorSpec) int64 {
	var n int64
	for _, s := range specs {
		n += 4 * int64(elements(s.Shape))
	}
	return n
}

// CheckTraining refuses, with ErrMemory and the numbers, a run that cannot fit the backend's device.
func (b *Backend) CheckTraining(ctx context.Context, run spec.Run, config nn.Config) (TrainingMemory, error) {
	m := PlanTraining(run, config)
	there := b.Capacity(ctx)
	if there == 0 || m.Total() <= there {
		return m, nil
	}
	return m, fmt.Errorf("%w: the run takes %v, the device of %s has %.1f GB; train adapters (lora.policy.rank, lora.critic.rank), "+
		"compute in bfloat16 (model.compute), shorten the rows (model.max_length, attempts.max_new_tokens), make update.microbatch (%d) "+
		"or data.shard_size (%d) smaller, or choose a smaller model", ErrMemory, m, b.Name(), gigabytes(there), run.Update.Microbatch, run.Data.ShardSize)
}

// Capacity is the memory of the device in bytes: of the machine, or less where its control group has a limit; of the GPU,
// as nvidia-smi says. 0 where nobody knows.
func (b *Backend) Capacity(ctx context.Context) int64 {
	if b.name == XLACUDA {
		return gpuMemory(ctx)
	}
	machine := machineMemory()
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if limit, parsed := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && parsed == nil && limit > 0 {
		machine = min(machine, limit)
	}
	return machine
}

func gpuMemory(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	mib, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return mib << 20
}

// machineMemory reads MemTotal; 0 where the system does not say.
func machineMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
