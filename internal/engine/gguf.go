package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/go-huggingface/models/gguf"
	"github.com/gomlx/gomlx/core/tensors"

	"multiattempt/internal/nn"
)

// ErrGGUF: a GGUF file holds something that cannot be turned into a Hugging Face folder that computes the same.
var ErrGGUF = errors.New("cannot convert GGUF file")

// ImportGGUF writes the language model in a GGUF file (github.com/ggml-org/ggml, docs/gguf.md) as a Hugging Face folder:
// llama architecture with a byte-level tokenizer, weights dequantised to float32.
func ImportGGUF(path, dir string) error {
	m, err := readGGUF(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return m.WriteFolder(dir)
}

func readGGUF(path string) (*Model, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGGUF, err)
	}
	config, err := ggufConfig(file)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: config}
	if m.Files, err = ggufTokenizer(file); err != nil {
		return nil, err
	}
	m.Weights, err = ggufWeights(file, config)
	return m, err
}

// ggufConfig reads the shape of the network.
func ggufConfig(file *gguf.File) (nn.Config, error) {
	if a := file.Architecture(); a != nn.Llama {
		return nn.Config{}, fmt.Errorf("%w: general.architecture is %q; supported: llama", ErrGGUF, a)
	}
	missing := []string{}
	value := func(key string) gguf.KeyValue {
		v, ok := file.GetKeyValue("llama." + key)
		if !ok {
			missing = append(missing, "llama."+key)
		}
		return v
	}
	number := func(key string) int { return int(value(key).Uint64()) }
	c := nn.Config{
		Architecture: nn.Llama, HiddenSize: number("embedding_length"), IntermediateSize: number("feed_forward_length"),
		Layers: number("block_count"), Heads: number("attention.head_count"), KVHeads: number("attention.head_count_kv"),
		HeadDim: number("rope.dimension_count"), MaxPositions: number("context_length"),
		RMSNormEps: shortest(value("attention.layer_norm_rms_epsilon").Float64()), RopeTheta: value("rope.freq_base").Float64(),
	}
	if len(missing) > 0 {
		return c, fmt.Errorf("%w: it lacks %s", ErrGGUF, strings.Join(missing, ", "))
	}
	for _, key := range []string{"llama.rope.scaling.type", "llama.expert_count"} {
		if _, ok := file.GetKeyValue(key); ok {
			return c, fmt.Errorf("%w: %s is set; supported: none", ErrGGUF, key)
		}
	}
	embedding, ok := file.GetTensorInfo("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return c, fmt.Errorf("%w: no token_embd.weight of two dimensions", ErrGGUF)
	}
	c.VocabSize = int(embedding.Shape[1]) // GGUF names the fastest dimension first
	_, head := file.GetTensorInfo("output.weight")
	c.TieEmbeddings = !head
	return c, c.Validate()
}

// shortest gives back the number that was meant by a float32 such as 1e-5.
func shortest(x float64) float64 {
	var y float64
	if _, err := fmt.Sscan(fmt.Sprint(float32(x)), &y); err != nil {
		return x
	}
	return y
}

// ggufNames maps the ends of Hugging Face names to those of GGUF.
var ggufNames = strings.NewReplacer(
	"model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output", "model.layers.", "blk.",
	"post_attention_layernorm", "ffn_norm", "input_layernorm", "attn_norm", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k",
	"self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output", "mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up",
	"mlp.down_proj", "ffn_down",
)

// ggufWeights dequantises the tensors that the configuration asks for. Others are refused: they would change what the
// network computes.
func ggufWeights(file *gguf.File, config nn.Config) (weights [][]float32, err error) {
	reader, err := gguf.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGGUF, err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	left := file.ListTensorNames()
	for _, s := range config.Tensors() {
		name := ggufNames.Replace(s.Name)
		info, ok := file.GetTensorInfo(name)
		if !ok {
			return nil, fmt.Errorf("%w: %s: expected shape %v, found no such tensor", ErrGGUF, name, s.Shape)
		}
		if _, dims := info.GoMLXShape(); !slices.Equal(dims, s.Shape) {
			return nil, fmt.Errorf("%w: %s: expected shape %v, found %v", ErrGGUF, name, s.Shape, dims)
		}
		tensor, err := reader.ReadTensor(nil, name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGGUF, err)
		}
		data, err := tensors.CopyFlatData[float32](tensor)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrGGUF, name, err)
		}
		switch {
		case strings.HasSuffix(name, "attn_q.weight"):
			data = splitRotaryPairs(data, config.Heads, config.HeadDim, config.HiddenSize)
		case strings.HasSuffix(name, "attn_k.weight"):
			data = splitRotaryPairs(data, config.KVHeads, config.HeadDim, config.HiddenSize)
		}
		weights = append(weights, data)
		left = slices.DeleteFunc(left, func(n string) bool { return n == name })
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("%w: %d tensors that llama does not have, such as %s", ErrGGUF, len(left), left[0])
	}
	return weights, nil
}

// splitRotaryPairs reorders the rows of each head of a projection [heads·dim, in]: GGUF's llama keeps the two rows that
// rotary embedding turns together side by side, Hugging Face keeps them dim/2 apart.
func splitRotaryPairs(data []float32, heads, dim, in int) []float32 {
	out := make([]float32, len(data))
	for h := range heads {
		for i := range dim {
			from := h*dim + 2*(i%(dim/2)) + i/(dim/2)
			copy(out[(h*dim+i)*in:][:in], data[from*in:][:in])
		}
	}
	return out
}

// ggufSplits are the pre-tokenizers that GGUF knows by name only, as the models' own tokenizer.json have them.
var ggufSplits = map[string]any{
	"smollm": map[string]any{"type": "Sequence", "pretokenizers": []any{
		map[string]any{"type": "Digits", "individual_digits": true},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	}},
}

// GGUF's token types.
const (
	ggufControl     = 3
	ggufUserDefined = 4
)

// ggufTokenizer writes tokenizer.json, tokenizer_config.json and generation_config.json from the file's metadata.
func ggufTokenizer(file *gguf.File) (map[string][]byte, error) {
	value := func(key string) gguf.KeyValue {
		v, _ := file.GetKeyValue("tokenizer." + key)
		return v
	}
	split, ok := ggufSplits[value("ggml.pre").String()]
	if kind := value("ggml.model").String(); kind != "gpt2" || !ok {
		return nil, fmt.Errorf("%w: tokenizer %q with pre-tokenizer %q; supported: gpt2 with smollm", ErrGGUF, kind, value("ggml.pre").String())
	}
	tokens, types := value("ggml.tokens").Strings(), value("ggml.token_type").Int64s()
	end := int(value("ggml.eos_token_id").Uint64())
	if len(tokens) == 0 || len(types) != len(tokens) || end >= len(tokens) {
		return nil, fmt.Errorf("%w: %d tokens, %d token types, end of text is token %d", ErrGGUF, len(tokens), len(types), end)
	}
	vocab, added := map[string]int{}, []any{}
	for id, token := range tokens {
		vocab[token] = id
		if types[id] == ggufControl || types[id] == ggufUserDefined {
			added = append(added, map[string]any{
				"id": id, "content": token, "special": types[id] == ggufControl,
				"single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
			})
		}
	}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil, "pre_tokenizer": split,
			"post_processor": nil, "decoder": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
			"model": map[string]any{
				"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
				"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": value("ggml.merges").Strings(),
			},
		},
		"tokenizer_config.json": map[string]any{
			"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokens[end], "chat_template": value("chat_template").String(),
			"clean_up_tokenization_spaces": false,
		},
		"generation_config.json": map[string]any{"eos_token_id": end},
	}
	written := map[string][]byte{}
	for name, content := range files {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(content); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrGGUF, name, err)
		}
		written[name] = b.Bytes()
	}
	return written, nil
}
