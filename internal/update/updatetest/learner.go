// Package updatetest has a learner that is small enough to be exact: a table of bigrams as policy, a table of values as
// critic, in float64 and plain Go. It obeys every sentence of update.Learner's contract, so that the loop, its workflows
// and their recovery can be tested without an engine.
package updatetest

import (
	"context"
	"fmt"
	"path/filepath"

	"multiattempt/internal/experience"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// stateFile holds what a model folder does not.
const stateFile = "learner.json"

// Options say what a learner starts from; Model, State and Reference are folders.
type Options struct {
	Model     string // policy, as Create or WritePolicy wrote it
	State     string // what WriteState wrote; empty: a critic of zeros, no moments
	Reference string // frozen
	Update    spec.Update
	Optimizer spec.Optimizer
}

// state is what New needs beside the policy to go on.
type state struct {
	Critic       []float64 `json:"critic"` // [V]: the value before the token that follows token v; none without a critic
	PolicyMoment adam      `json:"policy_moment"`
	CriticMoment adam      `json:"critic_moment"`
}

type learner struct {
	update    spec.Update
	optimizer spec.Optimizer
	policy    *table
	reference *table
	files     map[string][]byte // of the model folder, beside the weights
	state     state
}

var _ update.Learner = (*learner)(nil)

// New returns a learner as o describes it: a new one, or one restored from the folders that another wrote.
func New(o Options) (update.Learner, error) {
	l := &learner{update: o.Update, optimizer: o.Optimizer}
	var err error
	if l.policy, err = readTable(o.Model); err != nil {
		return nil, err
	}
	if l.reference, err = readTable(o.Reference); err != nil {
		return nil, err
	}
	if l.files, err = otherFiles(o.Model); err != nil {
		return nil, err
	}
	v := l.policy.Vocabulary
	if l.reference.Vocabulary != v {
		return nil, fmt.Errorf("%w: the reference knows %d tokens, the policy %d", ErrModel, l.reference.Vocabulary, v)
	}
	critics := 0
	if l.update.Critic() {
		critics = v
	}
	l.state = state{Critic: make([]float64, critics), PolicyMoment: newAdam(v * v), CriticMoment: newAdam(critics)}
	if o.State == "" {
		return l, nil
	}
	if err := readJSON(filepath.Join(o.State, stateFile), &l.state); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if len(l.state.Critic) != critics || !l.state.PolicyMoment.fits(v*v) || !l.state.CriticMoment.fits(critics) {
		return nil, fmt.Errorf("%w: the state in %s does not belong to a model of %d tokens", ErrModel, o.State, v)
	}
	return l, nil
}

// Score implements update.Learner.
func (l *learner) Score(ctx context.Context, episodes []rollout.Episode, progress func(done int)) ([]experience.Scores, error) {
	scores := make([]experience.Scores, len(episodes))
	for i := range episodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e := &episodes[i]
		if err := l.policy.check(e.Tokens); err != nil {
			return nil, err
		}
		n := len(e.Tokens)
		s := experience.Scores{Old: make([]float32, n), Ref: make([]float32, n)}
		if l.update.Critic() {
			s.Values = make([]float32, n)
		}
		for t := 1; t < n; t++ {
			before, token := e.Tokens[t-1], e.Tokens[t]
			s.Old[t] = float32(l.policy.logProbs(before)[token])
			s.Ref[t] = float32(l.reference.logProbs(before)[token])
			if l.update.Critic() {
				s.Values[t] = float32(l.state.Critic[before])
			}
		}
		scores[i] = s
		if progress != nil {
			progress(i + 1)
		}
	}
	return scores, nil
}

// Step implements update.Learner.
func (l *learner) Step(ctx context.Context, minibatch []experience.Row, rates update.Rates) (update.StepStats, error) {
	if err := ctx.Err(); err != nil {
		return update.StepStats{}, err
	}
	for _, r := range minibatch {
		if err := l.checkRow(r); err != nil {
			return update.StepStats{}, err
		}
	}
	s := l.slope(minibatch)
	if !finite(s.policyLoss, s.valueLoss, norm(s.policy), norm(s.critic)) {
		return update.StepStats{}, fmt.Errorf("%w: policy loss %v, value loss %v, gradients %v and %v; nothing was applied",
			update.ErrNotFinite, s.policyLoss, s.valueLoss, norm(s.policy), norm(s.critic))
	}
	s.stats.PolicyGradNorm, s.stats.CriticGradNorm = norm(s.policy), norm(s.critic)
	l.state.PolicyMoment.step(l.optimizer, rates.Policy, l.policy.Logits, s.policy)
	l.state.CriticMoment.step(l.optimizer, rates.Critic, l.state.Critic, s.critic)
	return s.stats, nil
}

// checkRow refuses arrays that do not belong together.
func (l *learner) checkRow(r experience.Row) error {
	n := len(r.Tokens)
	arrays := [][]float32{r.Old, r.Ref, r.Advantages}
	if l.update.Critic() {
		arrays = append(arrays, r.Returns, r.Values)
	}
	for _, array := range arrays {
		if len(array) != n {
			return fmt.Errorf("%w: a row of %d tokens with an array of %d", experience.ErrShape, n, len(array))
		}
	}
	if len(r.Mask) != n || (r.Weights != nil && len(r.Weights) != n) {
		return fmt.Errorf("%w: a row of %d tokens with a mask of %d and %d weights", experience.ErrShape, n, len(r.Mask), len(r.Weights))
	}
	return l.policy.check(r.Tokens)
}

// WritePolicy implements update.Learner.
func (l *learner) WritePolicy(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeModel(dir, l.policy, l.files)
}

// WriteState implements update.Learner.
func (l *learner) WriteState(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, stateFile), l.state)
}

// Close implements update.Learner.
func (l *learner) Close() error { return nil }
