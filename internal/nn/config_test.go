package nn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/nn"
)

// smol is SmolLM2-135M-Instruct's config.json, shortened.
const smol = `{
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
  "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
  "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152
}`

// qwen is Qwen2.5-Math-1.5B's config.json, shortened; eos_token_id is a list in some of its siblings.
const qwen = `{
  "architectures": ["Qwen2ForCausalLM"], "eos_token_id": [151645, 151643], "hidden_act": "silu", "hidden_size": 1536,
  "intermediate_size": 8960, "max_position_embeddings": 4096, "max_window_layers": 21, "model_type": "qwen2",
  "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
  "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936
}`

func TestParseConfig(t *testing.T) {
	c, err := nn.ParseConfig([]byte(smol))
	require.NoError(t, err)
	require.Equal(t, nn.Config{
		Architecture: nn.Llama, VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, Layers: 30, Heads: 9, KVHeads: 3,
		HeadDim: 64, RMSNormEps: 1e-5, RopeTheta: 1e5, TieEmbeddings: true, MaxPositions: 8192,
	}, c)
	c, err = nn.ParseConfig([]byte(qwen))
	require.NoError(t, err)
	require.True(t, c.AttentionBias)
	require.False(t, c.OutputBias)
	require.Equal(t, 128, c.HeadDim)

	total := 0
	for _, s := range c.Tensors() {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		total += n
	}
	require.Equal(t, 1_543_714_304, total, "the parameters that its authors count")
}

func TestConfigSurvivesJSON(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied", "llama3_rope", "linear_rope", "yarn_rope"} {
		_, c := readFixture(t, name)
		again, err := nn.ParseConfig(c.JSON("float32"))
		require.NoError(t, err)
		require.Equal(t, c, again)
		require.True(t, slices.IsSortedFunc(c.Tensors(), func(a, b nn.TensorSpec) int { return strings.Compare(a.Name, b.Name) }))
		require.True(t, slices.IsSortedFunc(c.CriticTensors(), func(a, b nn.TensorSpec) int { return strings.Compare(a.Name, b.Name) }))
	}
}

func TestParseConfigRefusesByName(t *testing.T) {
	for _, c := range []struct{ from, old, new, says string }{
		{smol, `"model_type": "llama"`, `"model_type": "gemma2"`, `model_type is "gemma2"`},
		{smol, `"silu"`, `"gelu"`, "hidden_act"},
		{smol, `"mlp_bias": false`, `"mlp_bias": true`, "mlp_bias"},
		{smol, `"pretraining_tp": 1`, `"sliding_window": 512`, "sliding_window"},
		{smol, `"pretraining_tp": 1`, `"partial_rotary_factor": 0.5`, "partial_rotary_factor"},
		{smol, `"pretraining_tp": 1`, `"quantization_config": {"bits": 4}`, "quantization_config"},
		{smol, `"pretraining_tp": 1`, `"layer_types": ["full_attention", "sliding_attention"]`, "layer_types"},
		{smol, `"rope_scaling": null`, `"rope_scaling": {"type": "dynamic", "factor": 2}`, `"dynamic"`},
		{smol, `"rope_scaling": null`, `"rope_scaling": {"type": "linear", "factor": 0.5}`, "factor"},
		{smol, `"rope_scaling": null`, `"rope_scaling": {"rope_type": "llama3", "factor": 8}`, "low_freq_factor"},
		{smol, `"rope_scaling": null`, `"rope_scaling": {"rope_type": "yarn", "factor": 8, "mscale": 1}`, "mscale"},
		{smol, `"num_key_value_heads": 3`, `"num_key_value_heads": 4`, "num_key_value_heads is 4"},
		{smol, `"hidden_size": 576`, `"hidden_size": 0`, "hidden_size is 0"},
		{smol, `"vocab_size": 49152`, `"vocab_size": "many"`, "vocab_size"},
		{qwen, `"use_sliding_window": false`, `"use_sliding_window": true`, "sliding_window"},
	} {
		require.Contains(t, c.from, c.old)
		_, err := nn.ParseConfig([]byte(strings.Replace(c.from, c.old, c.new, 1)))
		require.ErrorIs(t, err, nn.ErrConfig, c.new)
		require.ErrorContains(t, err, c.says, c.new)
	}
}
