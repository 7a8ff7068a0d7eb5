package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

var (
	// ErrRow: a row of experience, an episode or an example cannot be trained on or scored.
	ErrRow = errors.New("unusable row")
	// ErrRate: a learning rate is negative or not finite.
	ErrRate = errors.New("unusable learning rate")
)

// TrainerOptions say what a learner starts from.
type TrainerOptions struct {
	Backend   *Backend
	Model     string // model folder of the policy as it is now
	Reference string // model folder of the frozen reference; empty: Model
	State     string // folder made by WriteState; empty: a new critic and no moments
	Update    spec.Update
	Optimizer spec.Optimizer
	LoRA      spec.LoRAs   // the base of adapters is Reference
	Compute   spec.Compute // empty: float32
	Seed      uint64       // of the run; draws a new critic's head and new adapters
}

// trainer is PPO with frozen reference and, unless the value loss has no weight, a critic (update.Learner). After an error
// of a step or of the device other than a refused row, a cancellation or update.ErrNotFinite, it should be closed and made
// anew from its last state.
type trainer struct {
	backend   *Backend
	update    spec.Update
	optimizer spec.Optimizer
	model     *Model // configuration and companion files; its weights are released
	policy    *network
	critic    *network // nil without a critic
	lora      spec.LoRAs
	reference []compute.Buffer // the frozen reference, which is also the base of adapters
	objective objective
}

// NewTrainer returns a learner whose policy is the model folder. Without a State its critic is a copy of the policy with
// a scalar head drawn from N(0, 1/(D+1)). Options.Update is taken as validated.
func NewTrainer(ctx context.Context, o TrainerOptions) (update.Learner, error) {
	model, err := LoadFolder(o.Model)
	if err != nil {
		return nil, err
	}
	model.Config.Compute = computeType(o.Compute)
	t := &trainer{backend: o.Backend, update: o.Update, optimizer: o.Optimizer, lora: o.LoRA, model: model}
	err = errors.Join(t.load(ctx, o), model.Close()) // the weights live on the device from here on
	if err != nil {
		t.free()
		return nil, fmt.Errorf("trainer: %w", err)
	}
	t.objective = t.ppo()
	return t, nil
}

func (t *trainer) load(ctx context.Context, o TrainerOptions) (err error) {
	config := t.model.Config
	reference := t.model
	if o.Reference != "" && o.Reference != o.Model {
		if reference, err = LoadFolder(o.Reference); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, reference.Close()) }()
		reference.Config.Compute = config.Compute
		if reference.Config != config {
			return fmt.Errorf("%w: the reference is another network than the policy", ErrFolder)
		}
	}
	if t.reference, err = uploadAll(t.backend, config.Tensors(), reference.Weights); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.policy, err = t.newPolicy(o); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.update.Critic() {
		if t.critic, err = t.newCritic(o); err != nil {
			return err
		}
	}
	if o.State == "" {
		return nil
	}
	return readState(o.State, t.networks()...)
}

// networks are those that train.
func (t *trainer) networks() []*network {
	if t.critic == nil {
		return []*network{t.policy}
	}
	return []*network{t.policy, t.critic}
}

// newPolicy returns the model folder's weights to train, or new adapters of the reference.
func (t *trainer) newPolicy(o TrainerOptions) (*network, error) {
	const role = "policy"
	config, l := t.model.Config, o.LoRA.Policy
	if !l.Enabled() {
		return newNetwork(t.backend, role, config.Tensors(), t.model.Weights)
	}
	if o.State == "" && o.Reference != "" && o.Reference != o.Model {
		return nil, fmt.Errorf("%w: new adapters start at the reference, but the policy %s is another model than the reference %s", ErrFolder, o.Model, o.Reference)
	}
	n, err := newNetwork(t.backend, role, config.AdapterTensors(l), drawAdapters(config, l, o.Seed, role))
	if err != nil {
		return nil, err
	}
	n.lora, n.inState = l, true
	return n, nil
}

// newCritic returns a copy of the policy, or new adapters of the reference, with a new scalar head.
func (t *trainer) newCritic(o TrainerOptions) (*network, error) {
	const role = "critic"
	config, l := t.model.Config, o.LoRA.Critic
	head := drawHead(config.HiddenSize, o.Seed)
	var specs []nn.TensorSpec
	var weights [][]float32
	if l.Enabled() {
		specs = append(config.AdapterTensors(l), nn.TensorSpec{Name: nn.ValueHead, Shape: []int{1, config.HiddenSize}})
		weights = append(drawAdapters(config, l, o.Seed, role), head)
	} else {
		specs, weights = config.CriticTensors(), criticWeights(t.model, head)
	}
	n, err := newNetwork(t.backend, role, specs, weights)
	if err != nil {
		return nil, err
	}
	n.lora, n.inState = l, true
	return n, nil
}

// criticWeights returns the model's weights with a scalar head instead of the vocabulary's, in the critic's order.
func criticWeights(model *Model, head []float32) [][]float32 {
	byName := map[string][]float32{nn.ValueHead: head}
	for i, s := range model.Config.Tensors() {
		byName[s.Name] = model.Weights[i]
	}
	var weights [][]float32
	for _, s := range model.Config.CriticTensors() {
		weights = append(weights, byName[s.Name])
	}
	return weights
}

// drawHead draws a critic's scalar head [width] from N(0, 1/(width+1)).
func drawHead(width int, runSeed uint64) []float32 {
	head, draw := make([]float32, width), seed.Rand("engine/value-head", runSeed)
	for i := range head {
		head[i] = float32(draw.NormFloat64() / math.Sqrt(float64(width+1)))
	}
	return head
}

// Float inputs of the PPO objective, [B, T] each.
const (
	planeMask = iota
	planePolicyScale
	planeKLScale
	planeOld
	planeRef
	planeAdvantages
	policyPlanes // how many the policy has; the others are the critic's
)
const (
	planeValueScale = iota + policyPlanes
	planeReturns
	planeOldValues
	ppoPlanes
)

// ppo is the sum of policy and value loss. The two share no trained weights, so one backward pass serves both, and XLA
// runs their parts side by side. The last fact is the value loss, 0 without a critic.
func (t *trainer) ppo() objective {
	config, u, policies := t.model.Config, ofLoss(t.update), len(t.policy.specs)
	o := objective{
		key:    fmt.Sprintf("ppo %+v %+v %+v", config, u, t.lora),
		specs:  t.policy.specs,
		planes: policyPlanes,
		facts:  nn.PolicyFacts + 1,
	}
	if t.critic != nil {
		o.specs, o.planes = slices.Concat(t.policy.specs, t.critic.specs), ppoPlanes
	}
	if t.lora.Policy.Enabled() || t.critic != nil && t.lora.Critic.Enabled() {
		o.frozen = config.Tensors()
	}
	o.loss = func(weights, frozen []*graph.Node, rows nn.Rows, p []*graph.Node) (*graph.Node, *graph.Node) {
		base := bindBase(config, frozen)
		loss, facts := config.PolicyLoss(t.policy.bind(weights[:policies], base), u, nn.PolicyBatch{
			Rows: rows, Mask: p[planeMask], Scale: p[planePolicyScale], KLScale: p[planeKLScale],
			Old: p[planeOld], Ref: p[planeRef], Advantages: p[planeAdvantages],
		})
		value := graph.ScalarZero(facts.Graph(), facts.DType())
		if t.critic != nil {
			value = config.ValueLoss(t.critic.bind(weights[policies:], base), u, nn.ValueBatch{
				Rows: rows, Scale: p[planeValueScale], Returns: p[planeReturns], Old: p[planeOldValues],
			})
			loss = graph.Add(loss, graph.MulScalar(value, u.ValueWeight))
		}
		return loss, graph.Concatenate([]*graph.Node{facts, graph.Reshape(value, 1)}, 0)
	}
	return o
}

// ofLoss are the settings that the loss's graph depends on: learners that differ in others share its programs.
func ofLoss(u spec.Update) spec.Update {
	return spec.Update{
		Clip: u.Clip, ClipHigh: u.ClipHigh, ValueClip: u.ValueClip, ValueWeight: u.ValueWeight,
		KL: u.KL, KLEstimator: u.KLEstimator, Entropy: u.Entropy,
	}
}

// bindBase names the nodes of the base of adapters, when a graph has them.
func bindBase(config nn.Config, frozen []*graph.Node) nn.Weights {
	if len(frozen) == 0 {
		return nil
	}
	return config.Bind(frozen)
}

// Step makes one optimiser step of policy and critic. Importance weights multiply all of a token's policy loss
// (surrogate, divergence, entropy), not its value loss.
func (t *trainer) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	if err := errors.Join(checkRates(rates.Policy, rates.Critic), t.check(rows)); err != nil {
		return update.StepStats{}, err
	}
	masks := make([][]bool, len(rows))
	for i, r := range rows {
		masks[i] = r.Mask
	}
	scale, tokens, err := scales(t.update, masks)
	if err != nil {
		return update.StepStats{}, err
	}
	sizes := lengths(rows, func(r experience.Row) []int32 { return r.Tokens })
	batches := plan(sizes, t.update.Microbatch)
	var weights []compute.Buffer
	for _, n := range t.networks() {
		weights = append(weights, n.weights...)
	}
	gradients, facts, err := t.objective.accumulate(ctx, t.backend, weights, t.reference, batches,
		func(m microbatch) input { return ppoInput(m, rows, scale, t.objective.planes) })
	if err != nil {
		return update.StepStats{}, fmt.Errorf("step: %w", err)
	}
	defer free(gradients...)
	stats := ppoStats(facts, tokens)
	stats.Padding = padding(batches, sizes)
	return stats, t.apply(&stats, gradients, rates)
}

// apply makes the Adam steps, unless a number of the minibatch is not finite.
func (t *trainer) apply(stats *update.StepStats, gradients []compute.Buffer, rates update.Rates) error {
	var lists []gradientList
	rest := gradients
	for _, n := range t.networks() {
		lists = append(lists, gradientList{n.specs, rest[:len(n.specs)]})
		rest = rest[len(n.specs):]
	}
	sizes, err := norms(t.backend, lists...)
	if err != nil {
		return fmt.Errorf("step: %w", err)
	}
	stats.PolicyGradNorm = sizes[0]
	if t.critic != nil {
		stats.CriticGradNorm = sizes[1]
	}
	if err := refuseNotFinite(map[string]float64{
		"policy loss": stats.PolicyLoss, "value loss": stats.ValueLoss, "divergence": stats.KLMeanPerToken, "entropy": stats.Entropy,
		"largest ratio": stats.RatioMax, "policy gradient norm": stats.PolicyGradNorm, "critic gradient norm": stats.CriticGradNorm,
	}); err != nil {
		return err
	}
	for i, n := range t.networks() {
		rate := []float64{rates.Policy, rates.Critic}[i]
		if rate == 0 {
			continue
		}
		if err := n.apply(t.optimizer, rate, sizes[i], lists[i].buffers); err != nil {
			return fmt.Errorf("step of the %s: %w", n.role, err)
		}
	}
	return nil
}

// ppoInput lays a micro-batch out; scale holds each row's share of a token in the minibatch's mean. Without a critic there
// are the policy's planes only.
func ppoInput(m microbatch, rows []experience.Row, scale []float64, planes int) input {
	return input{
		row: func(i int) []int32 { return rows[i].Tokens },
		planes: m.planes(planes, func(i int, set func(p, token int, x float32)) {
			r := rows[i]
			for t, trains := range r.Mask {
				if !trains {
					continue
				}
				importance := 1.0
				if r.Weights != nil {
					importance = float64(r.Weights[t])
				}
				set(planeMask, t, 1)
				set(planePolicyScale, t, float32(scale[i]*importance))
				set(planeKLScale, t, float32(scale[i]*importance*r.KLCoefficient))
				set(planeOld, t, r.Old[t])
				set(planeRef, t, r.Ref[t])
				set(planeAdvantages, t, r.Advantages[t])
				if planes == policyPlanes {
					continue
				}
				set(planeValueScale, t, float32(scale[i]))
				set(planeReturns, t, r.Returns[t])
				set(planeOldValues, t, r.Values[t])
			}
		}),
	}
}

// ppoStats adds the micro-batches' facts up.
func ppoStats(facts [][]float32, tokens int) update.StepStats {
	sum, largest := make([]float64, nn.PolicyFacts+1), 0.0
	for _, f := range facts {
		for i, x := range f {
			sum[i] += float64(x)
		}
		largest = max(largest, float64(f[nn.FactRatioMax])) // NaN stays NaN
	}
	n := float64(tokens)
	return update.StepStats{
		PolicyLoss:     sum[nn.FactSurrogate],
		ValueLoss:      sum[nn.PolicyFacts],
		KLMeanPerToken: sum[nn.FactKL] / n,
		Entropy:        sum[nn.FactEntropy] / n,
		ClipFraction:   sum[nn.FactClipped] / n,
		ApproxKL:       sum[nn.FactApproxKL] / n,
		RatioMax:       largest,
		Tokens:         tokens,
	}
}

// Close frees the device's memory.
func (t *trainer) Close() error {
	t.free()
	return nil
}

func (t *trainer) free() {
	t.policy.free()
	t.critic.free()
	free(t.reference...)
	t.reference = nil
}
