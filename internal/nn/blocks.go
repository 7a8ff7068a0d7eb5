package nn

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Weights are a network's weights as nodes of one graph, by Hugging Face name; low-rank adapters stand beside them.
type Weights map[string]*Node

// Bind names nodes, which are in the order of specs (Config.Tensors or Config.CriticTensors), and checks their shapes.
func Bind(specs []TensorSpec, nodes []*Node) Weights {
	if len(nodes) != len(specs) {
		panic(fmt.Errorf("network has %d weights, got %d nodes", len(specs), len(nodes)))
	}
	w := make(Weights, len(specs))
	for i, s := range specs {
		nodes[i].AssertDims(s.Shape...)
		w[s.Name] = nodes[i]
	}
	return w
}

// Bind names the nodes of a language model, which are in the order of Tensors.
func (c Config) Bind(nodes []*Node) Weights { return Bind(c.Tensors(), nodes) }

// layer returns a weight of one layer; nil where the architecture has none (biases).
func (w Weights) layer(layer int, name string) *Node { return w[layerName(layer, name)] }

// EmbedTokens names the embedding, [V, D]; EmbedColumns the same transposed, [D, V]. Where Weights hold the latter, Embed
// reads it instead.
const (
	EmbedTokens  = embedName
	EmbedColumns = "model.embed_tokens.weight, transposed"
)

// project applies one of a layer's linear maps, with its bias and its adapters where there are any.
func (c Config) project(w Weights, layer int, name string, x *Node) *Node {
	y := c.linear(x, w.layer(layer, name+".weight"), w.layer(layer, name+".bias"))
	if a := w.layer(layer, name+adapterA); a != nil {
		y = Add(y, Linear(Linear(x, a, nil), w.layer(layer, name+adapterB), nil))
	}
	return y
}

// Embed looks tokens up, [B, T] int32 → [B, T, D] in the type that the network computes in: whatever is made of them keeps
// it.
func (c Config) Embed(w Weights, tokens *Node) *Node {
	if columns := w[EmbedColumns]; columns != nil {
		taken := GatherSlices(columns, []int{1}, InsertAxes(tokens, -1), []int{1}, false) // [B, T, D, 1]
		return as(Squeeze(taken, -1), c.ComputeType())
	}
	return as(embed(w[embedName], tokens, c.VocabSize <= denseVocabulary), c.ComputeType())
}

// embed takes rows of table [V, D], by a matrix product with one-hot rows when dense, else by a gather.
func embed(table, tokens *Node, dense bool) *Node {
	if dense {
		oneHot := OneHot(tokens, table.Shape().Dim(0), table.DType())
		return dot(oneHot, []int{2}, nil, table, []int{0}, nil, table.DType())
	}
	return Gather(table, InsertAxes(tokens, -1))
}

// denseVocabulary is the largest vocabulary for which the embedding is a matrix product with one-hot rows: its gradient
// is then a product too, where a gather's is a serial scatter.
const denseVocabulary = 256

// Logits maps hidden states [..., D], as Block leaves them, to unnormalised log-probabilities [..., V] in float32.
func (c Config) Logits(w Weights, hidden *Node) *Node {
	head := w[headName]
	if c.TieEmbeddings {
		head = w[embedName]
	}
	hidden = c.FinalNorm(w, hidden)
	if c.Wide {
		hidden = as(hidden, head.DType())
	}
	return product(hidden, as(head, hidden.DType()), dtypes.Float32)
}

// FinalNorm normalises hidden states [..., D] after the last layer: what a head reads.
func (c Config) FinalNorm(w Weights, hidden *Node) *Node {
	return RMSNorm(hidden, w[normName], c.RMSNormEps)
}

// Attention combines queries [B, Heads, T, HeadDim] with keys and values [B, KVHeads, T, HeadDim] of the same positions
// (queries and keys already rotated) into [B, Heads, T, HeadDim]; it may bring older keys and values along.
type Attention func(q, k, v *Node) *Node

// Block is one decoder layer, [B, T, D] → [B, T, D].
func (c Config) Block(w Weights, layer int, x *Node, r Rotation, attend Attention) *Node {
	h := RMSNorm(x, w.layer(layer, "input_layernorm.weight"), c.RMSNormEps)
	project := func(name string, heads int) *Node {
		return splitHeads(c.project(w, layer, "self_attn."+name, h), heads)
	}
	q, k, v := r.Apply(project("q_proj", c.Heads)), r.Apply(project("k_proj", c.KVHeads)), project("v_proj", c.KVHeads)
	o := joinHeads(attend(q, k, v))
	x = Add(x, c.project(w, layer, "self_attn.o_proj", o))
	h = RMSNorm(x, w.layer(layer, "post_attention_layernorm.weight"), c.RMSNormEps)
	gate, up := c.project(w, layer, "mlp.gate_proj", h), c.project(w, layer, "mlp.up_proj", h)
	return Add(x, c.project(w, layer, "mlp.down_proj", Mul(Mul(gate, Sigmoid(gate)), up)))
}

// RMSNorm is x / sqrt(mean(x²) + eps) · weight over the last axis (Zhang and Sennrich, arXiv 1910.07467), computed in
// float32.
func RMSNorm(x, weight *Node, eps float64) *Node {
	full := as(x, dtypes.Float32)
	meanSquare := ReduceAndKeep(Square(full), ReduceMean, -1)
	return as(Mul(Div(full, Sqrt(AddScalar(meanSquare, eps))), ExpandLeftToRank(weight, x.Rank())), x.DType())
}

// splitHeads turns [B, T, heads·HeadDim] into [B, heads, T, HeadDim].
func splitHeads(x *Node, heads int) *Node {
	d := x.Shape().Dimensions
	return TransposeAllAxes(Reshape(x, d[0], d[1], heads, d[2]/heads), 0, 2, 1, 3)
}

// joinHeads undoes splitHeads.
func joinHeads(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 1, 3), d[0], d[2], d[1]*d[3])
}

// Attend is scaled dot-product attention with grouped queries: q [B, Heads, T, HeadDim], k and v
// [B, KVHeads, S, HeadDim], visible a boolean [B or 1, 1, T, S] of the key positions each query may see (at least one).
func Attend(q, k, v, visible *Node) *Node {
	d := q.Shape().Dimensions
	kvHeads, length, keys := k.Shape().Dim(1), d[2], k.Shape().Dim(2)
	group := d[1] / kvHeads
	q = Reshape(MulScalar(q, 1/math.Sqrt(float64(d[3]))), d[0], kvHeads, group*length, d[3])
	scores := dot(q, []int{3}, []int{0, 1}, k, []int{3}, []int{0, 1}, dtypes.Float32) // [B, KVHeads, group·T, S]
	scores = Reshape(scores, d[0], d[1], length, keys)
	hidden := BroadcastToShape(Scalar(q.Graph(), scores.DType(), -1e9), scores.Shape())
	scores = Where(BroadcastToDims(visible, scores.Shape().Dimensions...), scores, hidden)
	weights := Reshape(as(Softmax(scores, -1), v.DType()), d[0], kvHeads, group*length, keys)
	out := dot(weights, []int{3}, []int{0, 1}, v, []int{2}, []int{0, 1}, v.DType())
	return Reshape(out, d[0], d[1], length, d[3])
}
