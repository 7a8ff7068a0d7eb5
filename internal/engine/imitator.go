package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// ImitatorOptions say what supervised fine-tuning starts from.
type ImitatorOptions struct {
	Backend    *Backend
	Model      string // model folder; with adapters their base, as it was before the first step
	State      string // folder made by WriteState; empty: no moments, new adapters
	Optimizer  spec.Optimizer
	Compute    spec.Compute // empty: float32
	LoRA       spec.LoRA    // rank 0: all weights are trained
	Seed       uint64       // draws new adapters
	Microbatch int          // dialogues of one forward and backward pass; never changes the result beyond rounding
}

// imitator minimises cross-entropy (update.Imitator).
type imitator struct {
	backend    *Backend
	optimizer  spec.Optimizer
	microbatch int
	model      *Model // configuration and companion files; its weights are released
	policy     *network
	base       []compute.Buffer // the frozen base of adapters; empty without
	objective  objective
}

// NewImitator returns the supervised learner of a model folder.
func NewImitator(_ context.Context, o ImitatorOptions) (update.Imitator, error) {
	model, err := LoadFolder(o.Model)
	if err != nil {
		return nil, err
	}
	model.Config.Compute = computeType(o.Compute)
	m := &imitator{backend: o.Backend, optimizer: o.Optimizer, microbatch: o.Microbatch, model: model}
	if err = errors.Join(m.load(o), model.Close()); err != nil { // the weights live on the device from here on
		return nil, errors.Join(fmt.Errorf("imitator: %w", err), m.Close())
	}
	config := model.Config
	m.objective = objective{
		key: fmt.Sprintf("imitation %+v %+v", config, m.policy.lora), specs: m.policy.specs, planes: 1, facts: 1,
		loss: func(weights, frozen []*graph.Node, rows nn.Rows, planes []*graph.Node) (*graph.Node, *graph.Node) {
			loss := config.ImitationLoss(m.policy.bind(weights, bindBase(config, frozen)), rows, planes[0])
			return loss, graph.Reshape(loss, 1)
		},
	}
	if o.LoRA.Enabled() {
		m.objective.frozen = config.Tensors()
	}
	return m, nil
}

// load puts the weights on the device: those that are trained, and the base of adapters.
func (m *imitator) load(o ImitatorOptions) (err error) {
	const role = "policy"
	config := m.model.Config
	if o.LoRA.Enabled() {
		if m.base, err = uploadAll(o.Backend, config.Tensors(), m.model.Weights); err != nil {
			return err
		}
		m.policy, err = newNetwork(o.Backend, role, config.AdapterTensors(o.LoRA), drawAdapters(config, o.LoRA, o.Seed, role))
		if err == nil {
			m.policy.lora, m.policy.inState = o.LoRA, true
		}
	} else {
		m.policy, err = newNetwork(o.Backend, role, config.Tensors(), m.model.Weights)
	}
	if err != nil || o.State == "" {
		return err
	}
	return readState(o.State, m.policy)
}

// Step makes one optimiser step on the mean cross-entropy of the batch's masked-in tokens.
func (m *imitator) Step(ctx context.Context, batch []update.Example, lr float64) (update.ImitationStats, error) {
	if err := checkRates(lr); err != nil {
		return update.ImitationStats{}, err
	}
	masks := make([][]bool, len(batch))
	for i, e := range batch {
		if err := checkTokens(m.model.Config, i, e.Tokens, e.Mask); err != nil {
			return update.ImitationStats{}, err
		}
		masks[i] = e.Mask
	}
	scale, tokens, err := scales(spec.Update{Aggregation: spec.AggregateTokens}, masks)
	if err != nil {
		return update.ImitationStats{}, err
	}
	batches := plan(lengths(batch, func(e update.Example) []int32 { return e.Tokens }), m.microbatch)
	gradients, facts, err := m.objective.accumulate(ctx, m.backend, m.policy.weights, m.base, batches, func(b microbatch) input {
		return imitationInput(b, batch, scale)
	})
	if err != nil {
		return update.ImitationStats{}, fmt.Errorf("step: %w", err)
	}
	defer free(gradients...)
	size, err := norms(m.backend, gradientList{m.policy.specs, gradients})
	if err != nil {
		return update.ImitationStats{}, fmt.Errorf("step: %w", err)
	}
	stats := update.ImitationStats{GradNorm: size[0], Tokens: tokens}
	for _, f := range facts {
		stats.Loss += float64(f[0])
	}
	if err := refuseNotFinite(map[string]float64{"loss": stats.Loss, "gradient norm": stats.GradNorm}); err != nil {
		return update.ImitationStats{}, err
	}
	if lr == 0 {
		return stats, nil
	}
	return stats, m.policy.apply(m.optimizer, lr, size[0], gradients)
}

// imitationInput lays a micro-batch out; scale holds each row's share of a token in the batch's mean.
func imitationInput(b microbatch, batch []update.Example, scale []float64) input {
	return input{
		row: func(i int) []int32 { return batch[i].Tokens },
		planes: b.planes(1, func(i int, set func(p, token int, x float32)) {
			for t, in := range batch[i].Mask {
				if in {
					set(0, t, float32(scale[i]))
				}
			}
		}),
	}
}

// WritePolicy writes the model as a Hugging Face folder, as a trainer writes its policy.
func (m *imitator) WritePolicy(ctx context.Context, dir string) error {
	t := trainer{backend: m.backend, model: m.model, policy: m.policy, reference: m.base}
	return t.WritePolicy(ctx, dir)
}

// WriteState writes moments and counts, and adapters.
func (m *imitator) WriteState(ctx context.Context, dir string) error {
	return writeState(ctx, dir, m.policy)
}

// Close frees the device's memory.
func (m *imitator) Close() error {
	m.policy.free()
	free(m.base...)
	m.base = nil
	return nil
}
