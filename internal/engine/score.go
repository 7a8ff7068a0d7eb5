package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/experience"
	"multiattempt/internal/rollout"
)

// Score returns what policy, reference and critic say of each episode, with the weights as they are.
func (t *trainer) Score(ctx context.Context, episodes []rollout.Episode, progress func(done int)) ([]experience.Scores, error) {
	for i, e := range episodes {
		if err := checkTokens(t.model.Config, i, e.Tokens, e.Mask); err != nil {
			return nil, fmt.Errorf("score %s/%d: %w", e.ProblemID, e.Sample, err)
		}
	}
	weights := slices.Concat(t.policy.weights, t.reference)
	if t.critic != nil {
		weights = append(weights, t.critic.weights...)
	}
	tokens := func(e rollout.Episode) []int32 { return e.Tokens }
	scores, done := make([]experience.Scores, len(episodes)), 0
	for _, m := range plan(lengths(episodes, tokens), t.update.Microbatch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		flat, err := t.scoreBatch(weights, m, func(i int) []int32 { return episodes[i].Tokens })
		if err != nil {
			return nil, fmt.Errorf("score: %w", err)
		}
		for r, i := range m.rows {
			n := len(episodes[i].Tokens)
			row := func(which int) []float32 {
				out := make([]float32, n)
				copy(out[1:], flat[which*m.batch*m.length+m.entry(r, 1):])
				return out
			}
			scores[i] = experience.Scores{Old: row(0), Ref: row(1)}
			if t.critic != nil {
				scores[i].Values = row(2)
			}
		}
		done += len(m.rows)
		if progress != nil {
			progress(done)
		}
	}
	return scores, nil
}

// scoreBatch returns [3, B, T]: policy log-probabilities, reference log-probabilities, values; [2, B, T] without a critic.
// Entry t belongs to token t+1.
func (t *trainer) scoreBatch(weights []compute.Buffer, m microbatch, row func(i int) []int32) ([]float32, error) {
	c := t.model.Config
	key, outputs := fmt.Sprintf("score %s critic %t %+v %+v %+v", m.shape(), t.critic != nil, c, t.lora.Policy, t.lora.Critic), 2
	if t.critic != nil {
		outputs = 3
	}
	p, err := t.backend.program(key, func(g *graph.Graph) []*graph.Node {
		policy, frozen := parameters(g, "policy", t.policy.specs), parameters(g, "reference", c.Tensors())
		var critic []*graph.Node
		if t.critic != nil {
			critic = parameters(g, "critic", t.critic.specs)
		}
		rows, base := m.parameter(g), c.Bind(frozen)
		now, _ := c.NextTokens(t.policy.bind(policy, base), rows)
		before, _ := c.NextTokens(base, rows)
		list := []*graph.Node{now, before}
		if t.critic != nil {
			list = append(list, c.Values(t.critic.bind(critic, base), rows))
		}
		return []*graph.Node{graph.Stack(list, 0)}
	})
	if err != nil {
		return nil, err
	}
	buffer, err := m.upload(t.backend, row)
	if err != nil {
		return nil, err
	}
	defer free(buffer)
	out, err := p.run(append(slices.Clip(weights), buffer))
	if err != nil {
		return nil, err
	}
	defer free(out...)
	flat := make([]float32, outputs*m.batch*m.length)
	return flat, out[0].ToFlatData(flat)
}
