package updatetest

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// ImitatorOptions say what an imitator starts from; the strings are folders.
type ImitatorOptions struct {
	Model     string // as Create or WritePolicy wrote it
	State     string // what WriteState wrote; empty: no moments
	Optimizer spec.Optimizer
}

type imitator struct {
	optimizer spec.Optimizer
	policy    *table
	files     map[string][]byte
	moment    adam
}

var _ update.Imitator = (*imitator)(nil)

// NewImitator returns the supervised counterpart of New.
func NewImitator(o ImitatorOptions) (update.Imitator, error) {
	m := &imitator{optimizer: o.Optimizer}
	var err error
	if m.policy, err = readTable(o.Model); err != nil {
		return nil, err
	}
	if m.files, err = otherFiles(o.Model); err != nil {
		return nil, err
	}
	m.moment = newAdam(len(m.policy.Logits))
	if o.State == "" {
		return m, nil
	}
	if err := readJSON(filepath.Join(o.State, stateFile), &m.moment); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if !m.moment.fits(len(m.policy.Logits)) {
		return nil, fmt.Errorf("%w: the state in %s does not belong to a model of %d tokens", ErrModel, o.State, m.policy.Vocabulary)
	}
	return m, nil
}

// Step implements update.Imitator.
func (m *imitator) Step(ctx context.Context, batch []update.Example, lr float64) (update.ImitationStats, error) {
	if err := ctx.Err(); err != nil {
		return update.ImitationStats{}, err
	}
	var loss float64
	tokens, gradient := 0, make([]float64, len(m.policy.Logits))
	for _, e := range batch {
		if err := m.policy.check(e.Tokens); err != nil {
			return update.ImitationStats{}, err
		}
		for t, trains := range e.Mask {
			if !trains || t == 0 {
				continue
			}
			tokens++
			logProbs, row := m.policy.logProbs(e.Tokens[t-1]), gradient[int(e.Tokens[t-1])*m.policy.Vocabulary:]
			loss -= logProbs[e.Tokens[t]]
			for v, lp := range logProbs {
				row[v] += math.Exp(lp)
			}
			row[e.Tokens[t]]--
		}
	}
	loss /= float64(tokens)
	for i := range gradient {
		gradient[i] /= float64(tokens)
	}
	if !finite(loss, norm(gradient)) {
		return update.ImitationStats{}, fmt.Errorf("%w: loss %v of %d tokens; nothing was applied", update.ErrNotFinite, loss, tokens)
	}
	stats := update.ImitationStats{Loss: loss, GradNorm: norm(gradient), Tokens: tokens}
	m.moment.step(m.optimizer, lr, m.policy.Logits, gradient)
	return stats, nil
}

// WritePolicy implements update.Imitator.
func (m *imitator) WritePolicy(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeModel(dir, m.policy, m.files)
}

// WriteState implements update.Imitator.
func (m *imitator) WriteState(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, stateFile), m.moment)
}

// Close implements update.Imitator.
func (m *imitator) Close() error { return nil }
