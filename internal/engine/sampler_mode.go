package engine

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
)

// mode is a way to draw tokens; each has its own graph, so that a run pays for nothing that it has switched off.
type mode struct {
	greedy, temperature, topK, topP, minP bool
	banned                                int // tokens that a step can forbid each row; 0: none
}

func modeOf(p policy.Params, banned int) mode {
	if p.Temperature == 0 {
		return mode{greedy: true, banned: banned}
	}
	return mode{temperature: p.Temperature != 1, topK: p.TopK > 0, topP: p.TopP < 1, minP: p.MinP > 0, banned: banned}
}

func (m mode) key() string { return fmt.Sprintf("%+v", m) }

// settings uploads the mode's scalar inputs, in the order in which sampling makes their parameters.
func (m mode) settings(b *Backend, p policy.Params) (buffers []compute.Buffer, err error) {
	add := func(on bool, buffer func() (compute.Buffer, error)) {
		if !on || err != nil {
			return
		}
		var made compute.Buffer
		if made, err = buffer(); err == nil {
			buffers = append(buffers, made)
		}
	}
	number := func(x float64) func() (compute.Buffer, error) {
		return func() (compute.Buffer, error) { return upload(b, []float32{float32(x)}) }
	}
	add(m.temperature, number(p.Temperature))
	add(m.topK, func() (compute.Buffer, error) { return upload(b, []int32{int32(p.TopK)}) })
	add(m.topP, number(p.TopP))
	add(m.minP, number(p.MinP))
	return buffers, err
}

// draw makes the mode's parameters and draws a token for each row. logits [B, V], uniform [B], banned [B, N] int32
// or nil.
func (m mode) draw(logits, uniform, banned *graph.Node) nn.Drawn {
	g, allowed := logits.Graph(), logits
	if banned != nil {
		allowed = nn.Forbid(logits, banned)
	}
	if m.greedy {
		return nn.Greedy(logits, allowed)
	}
	setting := func(on bool, name string, t dtypes.DType) *graph.Node {
		if !on {
			return nil
		}
		return graph.Parameter(g, name, shapes.Make(t))
	}
	return nn.Draw(logits, allowed, uniform, nn.Sampling{
		Temperature: setting(m.temperature, "temperature", dtypes.Float32),
		TopK:        setting(m.topK, "top-k", dtypes.Int32),
		TopP:        setting(m.topP, "top-p", dtypes.Float32),
		MinP:        setting(m.minP, "min-p", dtypes.Float32),
	})
}

// leastBanned is the smallest number of tokens that graphs can forbid a row.
const leastBanned = 16

// repeats appends to banned the tokens that would complete a sequence of n tokens that the row has already.
func repeats(tokens []int32, n int, banned []int32) []int32 {
	if len(tokens) < n {
		return banned
	}
	end := tokens[len(tokens)-(n-1):]
next:
	for at := 0; at+n <= len(tokens); at++ {
		for i, t := range end {
			if tokens[at+i] != t {
				continue next
			}
		}
		banned = append(banned, tokens[at+n-1])
	}
	return banned
}
