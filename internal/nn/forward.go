package nn

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Forward runs all layers over whole rows: tokens [B, T] int32 from position 0, causal → hidden [B, T, D] before the
// final norm. Rows are padded on the right: what stands behind a position never reaches it. Where a gradient would keep
// too much, each layer is computed again for it from the layer's input.
func (c Config) Forward(w Weights, tokens *Node) *Node {
	dims := tokens.Shape().Dimensions
	return c.forward(w, tokens, c.activations(dims[0], dims[1]) > maxActivations)
}

func (c Config) forward(w Weights, tokens *Node, again bool) *Node {
	length := tokens.Shape().Dim(1)
	causal := Reshape(LowerTriangular(tokens.Graph(), length), 1, 1, length, length)
	r := c.RotationFromZero(tokens.Graph(), length)
	x := c.Embed(w, tokens)
	for l := range c.Layers {
		if again {
			x = x.Checkpoint()
		}
		x = c.Block(w, l, x, r, func(q, k, v *Node) *Node { return Attend(q, k, v, causal) })
	}
	if again {
		x = x.StopCheckpoint()
	}
	return x
}

// maxActivations is the most numbers that a gradient may keep from its forward pass: 1 GiB.
const maxActivations = 256 << 20

// activations estimates how many numbers a gradient keeps from all layers.
func (c Config) activations(batch, length int) int {
	perToken := 8*c.HiddenSize + 4*c.IntermediateSize + 3*c.Heads*length
	return c.Layers * batch * length * perToken
}

// NextTokens scores rows: tokens [B, T+1] int32 → the log-probability of token t+1 given tokens 0…t, and the entropy of
// that prediction in nats, both [B, T] float32.
func (c Config) NextTokens(w Weights, tokens *Node) (logProbs, entropy *Node) {
	inputs, targets := SliceAxis(tokens, 1, AxisRange(0, tokens.Shape().Dim(1)-1)), SliceAxis(tokens, 1, AxisRange(1))
	return c.LogProbs(w, c.Forward(w, inputs), targets)
}

// wholeVocabulary is the largest vocabulary for which the logits of all positions exist at the same time.
const wholeVocabulary = 1024

// chunkLogits bounds the logits of one chunk of positions: 64 MiB.
const chunkLogits = 16 << 20

// LogProbs returns, for every position of hidden [B, T, D], the log-probability of targets [B, T] int32 as the next token
// and the entropy of that prediction, both [B, T]. For large vocabularies it goes through the positions in chunks and
// computes each chunk's logits again for the gradient, so [B, T, V] never exists.
func (c Config) LogProbs(w Weights, hidden, targets *Node) (logProbs, entropy *Node) {
	if c.VocabSize <= wholeVocabulary {
		return scoreLogits(c.Logits(w, hidden), targets)
	}
	return c.logProbsInChunks(w, hidden, targets, max(chunkLogits/c.VocabSize, 1))
}

// logProbsInChunks is LogProbs with the logits of at most chunk positions at a time.
func (c Config) logProbsInChunks(w Weights, hidden, targets *Node, chunk int) (logProbs, entropy *Node) {
	dims, total := targets.Shape().Dimensions, targets.Shape().Size()
	hidden, targets = Reshape(hidden, total, c.HiddenSize), Reshape(targets, total)
	var logProbParts, entropyParts []*Node
	for at := 0; at < total; at += chunk {
		part := AxisRange(at, min(at+chunk, total))
		lp, h := scoreLogits(c.Logits(w, Slice(hidden, part).Checkpoint()), Slice(targets, part))
		logProbParts, entropyParts = append(logProbParts, lp.StopCheckpoint()), append(entropyParts, h.StopCheckpoint())
	}
	return Reshape(Concatenate(logProbParts, 0), dims...), Reshape(Concatenate(entropyParts, 0), dims...)
}

// scoreLogits reduces logits [..., V] to the log-probability of targets [...] and the entropy [...]. The target is found
// by comparison, not by a gather, whose gradient would be a serial scatter into an array of the logits' size.
func scoreLogits(logits, targets *Node) (logProbs, entropy *Node) {
	shifted := Sub(logits, StopGradient(ReduceAndKeep(logits, ReduceMax, -1)))
	exp := Exp(shifted)
	sum := ReduceSum(exp, -1)
	logSum := Log(sum)
	ids := Iota(logits.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), logits.Rank()-1)
	chosen := Equal(ids, BroadcastToShape(InsertAxes(targets, -1), ids.Shape()))
	at := ReduceSum(Where(chosen, shifted, ZerosLike(shifted)), -1)
	entropy = Sub(logSum, Div(ReduceSum(Mul(exp, shifted), -1), sum))
	return Sub(at, logSum), entropy
}

// ValueHead is the name of the critic's scalar head, [1, D].
const ValueHead = "value_head.weight"

// CriticTensors lists the weights of a critic: the same network with a scalar head instead of the vocabulary's.
func (c Config) CriticTensors() []TensorSpec {
	var specs []TensorSpec
	for _, s := range c.Tensors() {
		if s.Name != headName {
			specs = append(specs, s)
		}
	}
	return append(specs, TensorSpec{ValueHead, []int{1, c.HiddenSize}}) // "value…" sorts behind "model…"
}

// Values returns the critic's output after each position, tokens [B, T] int32 → [B, T] float32: entry t is the value of what
// tokens 0…t led to, before token t+1 is written.
func (c Config) Values(w Weights, tokens *Node) *Node {
	return Squeeze(Linear(as(c.FinalNorm(w, c.Forward(w, tokens)), dtypes.Float32), w[ValueHead], nil), -1)
}
