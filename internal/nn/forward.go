package nn

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Rows are token sequences to be predicted, [B, T] int32 each. They are padded on the right: what stands behind a position
// never reaches it.
type Rows struct {
	Inputs  *Node // what is predicted from
	Targets *Node // the token that follows each of Inputs
	// Positions say how far into its sequence each of Inputs stands, where several sequences are packed into a row one behind
	// the other: none sees another. Nil where every row is one sequence.
	Positions *Node
}

// RowsOf are sequences of T+1 tokens, [B, T+1] int32: each row one.
func RowsOf(tokens *Node) Rows {
	last := tokens.Shape().Dim(1) - 1
	return Rows{Inputs: SliceAxis(tokens, 1, AxisRange(0, last)), Targets: SliceAxis(tokens, 1, AxisRange(1))}
}

// Forward runs all layers over whole rows, causal → hidden [B, T, D] before the final norm. Where a gradient would keep too
// much, each layer is computed again for it from the layer's input.
func (c Config) Forward(w Weights, r Rows) *Node {
	dims := r.Inputs.Shape().Dimensions
	return c.forward(w, r, c.activations(dims[0], dims[1]) > maxActivations)
}

func (c Config) forward(w Weights, rows Rows, again bool) *Node {
	visible, rotation := c.whole(rows)
	x := c.Embed(w, rows.Inputs)
	for l := range c.Layers {
		if again {
			x = x.Checkpoint()
		}
		x = c.Block(w, l, x, rotation, func(q, k, v *Node) *Node { return Attend(q, k, v, visible) })
	}
	if again {
		x = x.StopCheckpoint()
	}
	return x
}

// whole returns which key positions each query sees, [B or 1, 1, T, T], and the rotation of each position.
func (c Config) whole(r Rows) (visible *Node, rotation Rotation) {
	g, length := r.Inputs.Graph(), r.Inputs.Shape().Dim(1)
	causal := Reshape(LowerTriangular(g, length), 1, 1, length, length)
	if r.Positions == nil {
		return causal, c.RotationFromZero(g, length)
	}
	batch := r.Positions.Shape().Dim(0)
	order := Iota(g, shapes.Make(dtypes.Int32, batch, length), 1)
	first := InsertAxes(Sub(order, r.Positions), 1, -1) // where each query's sequence begins, [B, 1, T, 1]
	key := Iota(g, shapes.Make(dtypes.Int32, batch, 1, length, length), -1)
	own := GreaterOrEqual(key, BroadcastToShape(first, key.Shape()))
	return LogicalAnd(own, BroadcastToShape(causal, own.Shape())), c.RotationAt(r.Positions, length)
}

// maxActivations is the most numbers that a gradient may keep from its forward pass: 1 GiB.
const maxActivations = 256 << 20

// activations estimates how many numbers a gradient keeps from all layers.
func (c Config) activations(batch, length int) int {
	perToken := 8*c.HiddenSize + 4*c.IntermediateSize + 3*c.Heads*length
	return c.Layers * batch * length * perToken
}

// NextTokens returns the log-probability of each target given what stands before it, and the entropy of that prediction in
// nats, both [B, T] float32.
func (c Config) NextTokens(w Weights, r Rows) (logProbs, entropy *Node) {
	return c.LogProbs(w, c.Forward(w, r), r.Targets)
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

// Values returns the critic's output, [B, T] float32: entry t is the value of what the inputs up to t led to, before its
// target is written.
func (c Config) Values(w Weights, r Rows) *Node {
	return Squeeze(Linear(as(c.FinalNorm(w, c.Forward(w, r)), dtypes.Float32), w[ValueHead], nil), -1)
}
