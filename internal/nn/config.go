// Package nn builds a decoder-only transformer of the Llama family as GoMLX graphs: forward pass, log-probabilities,
// losses and Adam. It knows shapes and formulas; it holds no weights and runs nothing.
//
// Graph functions take and return nodes and panic on misuse, as GoMLX does; whoever runs a graph turns that into an
// error. Weights enter a graph as parameters in the order of Config.Tensors. Arithmetic is float32, or as Config.Compute says.
package nn

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
)

// ErrConfig: a config.json describes a network that this package cannot build exactly.
var ErrConfig = errors.New("unsupported model configuration")

// Architectures that Config can describe: values of model_type in config.json.
const (
	Llama = "llama"
	Qwen2 = "qwen2"
)

// Config is the shape of a network, from a Hugging Face config.json of the Llama or Qwen2 family.
type Config struct {
	Architecture     string // Llama or Qwen2
	VocabSize        int    // V
	HiddenSize       int    // D
	IntermediateSize int
	Layers           int
	Heads            int // query heads
	KVHeads          int // key and value heads; divides Heads
	HeadDim          int
	RMSNormEps       float64
	RopeTheta        float64
	RopeScaling      RopeScaling
	TieEmbeddings    bool // the logits head is the embedding table
	AttentionBias    bool // q, k and v projections have a bias
	OutputBias       bool // the attention's output projection has a bias (llama with attention_bias)
	MaxPositions     int

	// Compute is the type of activations and of the operands of products: Float32 (also zero) or BFloat16. Weights,
	// norms, softmax, losses and whatever is added up stay float32. It is no part of config.json.
	Compute dtypes.DType
	// Wide says that a network that is only run forward holds its matrices in float32, rounded to numbers that Compute has, too:
	// for devices that widen the operands of products anyway, and would do so at every run.
	Wide bool
}

// TensorSpec names one weight and its shape, as Hugging Face stores it: linear weights are [out, in].
type TensorSpec struct {
	Name  string
	Shape []int
}

// file is config.json as far as it matters here.
type file struct {
	Architectures    []string `json:"architectures,omitempty"`
	ModelType        string   `json:"model_type"`
	VocabSize        int      `json:"vocab_size"`
	HiddenSize       int      `json:"hidden_size"`
	IntermediateSize int      `json:"intermediate_size"`
	Layers           int      `json:"num_hidden_layers"`
	Heads            int      `json:"num_attention_heads"`
	KVHeads          int      `json:"num_key_value_heads"`
	HeadDim          int      `json:"head_dim,omitempty"`
	Activation       string   `json:"hidden_act"`
	RMSNormEps       float64  `json:"rms_norm_eps"`
	RopeTheta        float64  `json:"rope_theta,omitempty"`
	RopeScaling      *rope    `json:"rope_scaling"`
	RopeParameters   *rope    `json:"rope_parameters,omitempty"`
	Tie              bool     `json:"tie_word_embeddings"`
	AttentionBias    bool     `json:"attention_bias,omitempty"`
	MLPBias          bool     `json:"mlp_bias,omitempty"`
	MaxPositions     int      `json:"max_position_embeddings"`
	UseSlidingWindow bool     `json:"use_sliding_window,omitempty"`
	SlidingWindow    *int     `json:"sliding_window,omitempty"`
	LayerTypes       []string `json:"layer_types,omitempty"`
	PartialRotary    float64  `json:"partial_rotary_factor,omitempty"`
	Quantization     any      `json:"quantization_config,omitempty"`
	DType            string   `json:"torch_dtype,omitempty"`
	BOS              any      `json:"bos_token_id"` // written as null: absent would mean the family's own default
	EOS              any      `json:"eos_token_id"`
}

// ParseConfig reads a config.json. Whatever would change the network's output and is not implemented is refused with
// ErrConfig, by name; fields that do not matter for the forward pass are ignored.
func ParseConfig(b []byte) (Config, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := f.unsupported(); err != nil {
		return Config{}, err
	}
	c := Config{
		Architecture: f.ModelType, VocabSize: f.VocabSize, HiddenSize: f.HiddenSize, IntermediateSize: f.IntermediateSize,
		Layers: f.Layers, Heads: f.Heads, KVHeads: f.KVHeads, HeadDim: f.HeadDim, RMSNormEps: f.RMSNormEps,
		RopeTheta: f.RopeTheta, TieEmbeddings: f.Tie, MaxPositions: f.MaxPositions,
		AttentionBias: f.ModelType == Qwen2 || f.AttentionBias,
		OutputBias:    f.ModelType == Llama && f.AttentionBias,
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.HiddenSize / c.Heads
	}
	if c.RMSNormEps == 0 {
		c.RMSNormEps = 1e-6
	}
	if err := c.readRope(f.RopeScaling, f.RopeParameters); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

// unsupported refuses what the graphs do not compute.
func (f *file) unsupported() error {
	refuse := func(field string, got any, want string) error {
		return fmt.Errorf("%w: %s is %v; supported: %s", ErrConfig, field, got, want)
	}
	switch {
	case f.ModelType != Llama && f.ModelType != Qwen2:
		return refuse("model_type", fmt.Sprintf("%q", f.ModelType), "llama, qwen2")
	case f.Activation != "" && f.Activation != "silu":
		return refuse("hidden_act", fmt.Sprintf("%q", f.Activation), "silu")
	case f.UseSlidingWindow, f.ModelType == Llama && f.SlidingWindow != nil:
		return refuse("sliding_window", "active", "full attention only")
	case slices.ContainsFunc(f.LayerTypes, func(s string) bool { return s != "full_attention" }):
		return refuse("layer_types", strings.Join(f.LayerTypes, ","), "full_attention")
	case f.MLPBias:
		return refuse("mlp_bias", true, "false")
	case f.PartialRotary != 0 && f.PartialRotary != 1:
		return refuse("partial_rotary_factor", f.PartialRotary, "1")
	case f.Quantization != nil:
		return refuse("quantization_config", "set", "unquantised weights")
	}
	return nil
}

// Validate refuses sizes that do not fit together, naming each wrong field.
func (c Config) Validate() error {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	check(c.Architecture == Llama || c.Architecture == Qwen2, "model_type is %q, must be llama or qwen2", c.Architecture)
	positive := []struct {
		name  string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads}, {"num_key_value_heads", c.KVHeads},
		{"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositions},
	}
	for _, p := range positive {
		check(p.value > 0, "%s is %d, must be positive", p.name, p.value)
	}
	check(c.HeadDim%2 == 0, "head_dim is %d, must be even", c.HeadDim)
	check(c.KVHeads > 0 && c.Heads%c.KVHeads == 0, "num_key_value_heads is %d, must divide num_attention_heads %d", c.KVHeads, c.Heads)
	check(c.RMSNormEps > 0, "rms_norm_eps is %g, must be positive", c.RMSNormEps)
	check(c.RopeTheta > 0, "rope_theta is %g, must be positive", c.RopeTheta)
	if len(bad) > 0 {
		return fmt.Errorf("%w: %s", ErrConfig, strings.Join(bad, "; "))
	}
	return nil
}

// JSON is the config.json that Hugging Face transformers reads back as the same network; dtype is what the weights are
// stored in, such as float32.
func (c Config) JSON(dtype string) []byte {
	f := file{
		ModelType: c.Architecture, VocabSize: c.VocabSize, HiddenSize: c.HiddenSize, IntermediateSize: c.IntermediateSize,
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, Activation: "silu",
		RMSNormEps: c.RMSNormEps, RopeTheta: c.RopeTheta, RopeScaling: c.RopeScaling.json(), Tie: c.TieEmbeddings,
		AttentionBias: c.OutputBias, MaxPositions: c.MaxPositions, DType: dtype,
	}
	f.Architectures = []string{map[string]string{Llama: "LlamaForCausalLM", Qwen2: "Qwen2ForCausalLM"}[c.Architecture]}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		panic(err) // plain numbers and strings always marshal
	}
	return append(b, '\n')
}

// Tensors lists every weight by its Hugging Face name, ascending by name. This is the order in which weights enter
// graphs and files.
func (c Config) Tensors() []TensorSpec {
	d, q, kv := c.HiddenSize, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	specs := []TensorSpec{{embedName, []int{c.VocabSize, d}}, {normName, []int{d}}}
	if !c.TieEmbeddings {
		specs = append(specs, TensorSpec{headName, []int{c.VocabSize, d}})
	}
	for l := range c.Layers {
		add := func(name string, shape ...int) {
			specs = append(specs, TensorSpec{layerName(l, name), shape})
		}
		add("input_layernorm.weight", d)
		add("post_attention_layernorm.weight", d)
		add("self_attn.q_proj.weight", q, d)
		add("self_attn.k_proj.weight", kv, d)
		add("self_attn.v_proj.weight", kv, d)
		add("self_attn.o_proj.weight", d, q)
		if c.AttentionBias {
			add("self_attn.q_proj.bias", q)
			add("self_attn.k_proj.bias", kv)
			add("self_attn.v_proj.bias", kv)
		}
		if c.OutputBias {
			add("self_attn.o_proj.bias", d)
		}
		add("mlp.gate_proj.weight", c.IntermediateSize, d)
		add("mlp.up_proj.weight", c.IntermediateSize, d)
		add("mlp.down_proj.weight", d, c.IntermediateSize)
	}
	slices.SortFunc(specs, func(a, b TensorSpec) int { return strings.Compare(a.Name, b.Name) })
	return specs
}

// Names of the weights outside layers.
const (
	embedName = "model.embed_tokens.weight"
	normName  = "model.norm.weight"
	headName  = "lm_head.weight"
)

func layerName(layer int, name string) string { return fmt.Sprintf("model.layers.%d.%s", layer, name) }
