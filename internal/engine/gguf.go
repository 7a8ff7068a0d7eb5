package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/go-huggingface/models/gguf"
	"github.com/gomlx/gomlx/core/tensors"

	"multiattempt/internal/nn"
)

// ErrGGUF: a GGUF file holds something that cannot be turned into a Hugging Face folder that computes the same.
var ErrGGUF = errors.New("cannot convert GGUF file")

// ImportGGUF writes the language model in a GGUF file (github.com/ggml-org/ggml, docs/gguf.md) as a Hugging Face folder:
// llama or qwen2 architecture with a byte-level tokenizer, weights dequantised to float32.
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
	reader, err := gguf.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGGUF, err)
	}
	return m, errors.Join(m.readGGUFTensors(file, reader), reader.Close())
}

// ggufConfig reads the shape of the network.
func ggufConfig(file *gguf.File) (nn.Config, error) {
	arch := file.Architecture()
	if arch != nn.Llama && arch != nn.Qwen2 {
		return nn.Config{}, fmt.Errorf("%w: general.architecture is %q; supported: llama, qwen2", ErrGGUF, arch)
	}
	missing := []string{}
	value := func(key string) gguf.KeyValue {
		v, ok := file.GetKeyValue(arch + "." + key)
		if !ok {
			missing = append(missing, arch+"."+key)
		}
		return v
	}
	number := func(key string) int { return int(value(key).Uint64()) }
	c := nn.Config{
		Architecture: arch, HiddenSize: number("embedding_length"), IntermediateSize: number("feed_forward_length"),
		Layers: number("block_count"), Heads: number("attention.head_count"), KVHeads: number("attention.head_count_kv"),
		MaxPositions: number("context_length"), RMSNormEps: shortest(value("attention.layer_norm_rms_epsilon").Float64()),
		RopeTheta: value("rope.freq_base").Float64(), AttentionBias: arch == nn.Qwen2,
	}
	if len(missing) > 0 {
		return c, fmt.Errorf("%w: it lacks %s", ErrGGUF, strings.Join(missing, ", "))
	}
	if c.Heads > 0 {
		c.HeadDim = c.HiddenSize / c.Heads
	}
	if v, ok := file.GetKeyValue(arch + ".attention.key_length"); ok {
		c.HeadDim = int(v.Uint64())
	}
	if err := refuseGGUF(file, c); err != nil {
		return c, err
	}
	embedding, ok := file.GetTensorInfo("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return c, fmt.Errorf("%w: no token_embd.weight of two dimensions", ErrGGUF)
	}
	c.VocabSize = int(embedding.Shape[1]) // GGUF names the fastest dimension first
	_, head := file.GetTensorInfo("output.weight")
	c.TieEmbeddings = !head
	if err := ggufScaling(file, &c); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// refuseGGUF refuses, by name, what the network would compute otherwise than the file means: keys that are set to anything but
// what they are for a plain decoder.
func refuseGGUF(file *gguf.File, c nn.Config) error {
	for _, k := range []struct {
		key   string
		plain []float64 // values that change nothing
		why   string
	}{
		{"rope.dimension_count", []float64{float64(c.HeadDim)}, "rotary embedding of whole heads"},
		{"attention.value_length", []float64{float64(c.HeadDim)}, "values as wide as keys"},
		{"attention.causal", []float64{1}, "causal attention"},
		{"attention.scale", []float64{0}, "the usual scale of attention"},
		{"attention.clamp_kqv", []float64{0}, "no clamping"},
		{"attention.max_alibi_bias", []float64{0}, "rotary embedding alone"},
		{"attn_logit_softcapping", []float64{0}, "no softcapping"},
		{"final_logit_softcapping", []float64{0}, "no softcapping"},
		{"embedding_scale", []float64{0, 1}, "no scaling"},
		{"residual_scale", []float64{0, 1}, "no scaling"},
		{"logit_scale", []float64{0, 1}, "no scaling"},
		{"rope.scaling.attn_factor", []float64{0, 1}, "no scaling"},
		{"expert_count", []float64{0}, "no experts"},
	} {
		v, ok := file.GetKeyValue(c.Architecture + "." + k.key)
		if ok && !slices.Contains(k.plain, ggufNumber(v)) {
			return fmt.Errorf("%w: %s.%s is %v; supported: %s (%v)", ErrGGUF, c.Architecture, k.key, v.Raw(), k.why, k.plain[len(k.plain)-1])
		}
	}
	key := c.Architecture + ".attention.sliding_window"
	if v, ok := file.GetKeyValue(key); ok {
		if window := ggufNumber(v); window != 0 && !(window >= float64(c.MaxPositions)) {
			return fmt.Errorf("%w: %s is %v, the context %d; supported: full attention only", ErrGGUF, key, v.Raw(), c.MaxPositions)
		}
	}
	return nil
}

// ggufNumber is a number of any type, or 1 for true; NaN for anything else, such as a list of one number a layer.
func ggufNumber(v gguf.KeyValue) float64 {
	switch x := v.Raw().(type) {
	case bool:
		if x {
			return 1
		}
		return 0
	case float32, float64:
		return shortest(v.Float64())
	case uint8, uint16, uint32, uint64, int8, int16, int32, int64:
		return float64(v.Uint64())
	}
	return math.NaN()
}

// ggufScaling reads how rotary embeddings are stretched, as far as the metadata say it.
func ggufScaling(file *gguf.File, c *nn.Config) error {
	kind, ok := file.GetKeyValue(c.Architecture + ".rope.scaling.type")
	if !ok || kind.String() == "none" {
		return nil
	}
	factor, ok := file.GetKeyValue(c.Architecture + ".rope.scaling.factor")
	if kind.String() != "linear" || !ok {
		return fmt.Errorf("%w: %s.rope.scaling.type is %q; supported: none, and linear with a factor", ErrGGUF, c.Architecture, kind.String())
	}
	c.RopeScaling = nn.RopeScaling{Type: "linear", Factor: shortest(factor.Float64())}
	return nil
}

// ropeDivisors is the tensor with which GGUF stretches Llama 3.1 and later: each frequency is divided by its number.
const ropeDivisors = "rope_freqs.weight"

// knownScalings are those of Llama 3.1 and 3.3, and of 3.2: a GGUF file holds their divisors only.
var knownScalings = []nn.RopeScaling{
	{Type: "llama3", Factor: 8, OriginalPositions: 8192, LowFrequency: 1, HighFrequency: 4},
	{Type: "llama3", Factor: 32, OriginalPositions: 8192, LowFrequency: 1, HighFrequency: 4},
}

// recogniseScaling finds the scaling that gives these divisors.
func recogniseScaling(c nn.Config, divisors []float32) (nn.RopeScaling, error) {
	plain, _ := c.RopeFrequencies()
	for _, s := range knownScalings {
		c.RopeScaling = s
		scaled, _ := c.RopeFrequencies()
		same := len(divisors) == len(scaled)
		for i := range scaled {
			same = same && math.Abs(plain[i]/scaled[i]-float64(divisors[i])) <= 1e-3*float64(divisors[i])
		}
		if same {
			return s, nil
		}
	}
	return nn.RopeScaling{}, fmt.Errorf("%w: %s: expected the divisors of Llama 3.1, 3.2 or 3.3, found others; use the model's safetensors", ErrGGUF, ropeDivisors)
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

// readGGUFTensors dequantises the tensors that the configuration asks for. Others are refused: they would change what the
// network computes.
func (m *Model) readGGUFTensors(file *gguf.File, reader *gguf.Reader) error {
	left := file.ListTensorNames()
	take := func(name string, shape []int) ([]float32, error) {
		left = slices.DeleteFunc(left, func(n string) bool { return n == name })
		return ggufTensor(file, reader, name, shape)
	}
	if slices.Contains(left, ropeDivisors) {
		divisors, err := take(ropeDivisors, []int{m.Config.HeadDim / 2})
		if err != nil {
			return err
		}
		if m.Config.RopeScaling, err = recogniseScaling(m.Config, divisors); err != nil {
			return err
		}
	}
	for _, s := range m.Config.Tensors() {
		name := ggufNames.Replace(s.Name)
		data, err := take(name, s.Shape)
		if err != nil {
			return err
		}
		heads := 0
		switch {
		case m.Config.Architecture != nn.Llama: // qwen2 keeps the rows as Hugging Face does
		case strings.HasSuffix(name, "attn_q.weight"):
			heads = m.Config.Heads
		case strings.HasSuffix(name, "attn_k.weight"):
			heads = m.Config.KVHeads
		}
		if heads > 0 {
			data = splitRotaryPairs(data, heads, m.Config.HeadDim, m.Config.HiddenSize)
		}
		m.Weights = append(m.Weights, data)
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: %d tensors that %s does not have, such as %s", ErrGGUF, len(left), m.Config.Architecture, left[0])
	}
	return nil
}

// ggufTensor dequantises one tensor.
func ggufTensor(file *gguf.File, reader *gguf.Reader, name string, shape []int) ([]float32, error) {
	info, ok := file.GetTensorInfo(name)
	if !ok {
		return nil, fmt.Errorf("%w: %s: expected shape %v, found no such tensor", ErrGGUF, name, shape)
	}
	if _, dims := info.GoMLXShape(); !slices.Equal(dims, shape) {
		return nil, fmt.Errorf("%w: %s: expected shape %v, found %v", ErrGGUF, name, shape, dims)
	}
	tensor, err := reader.ReadTensor(nil, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGGUF, err)
	}
	data, err := tensors.CopyFlatData[float32](tensor)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrGGUF, name, err)
	}
	for i, x := range data {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("%w: %s: expected finite numbers, found %v at element %d", ErrGGUF, name, x, i)
		}
	}
	return data, nil
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

// ggufWords is how the tokenizer.json of a model treats text before pieces are joined: GGUF knows it by a name only.
type ggufWords struct {
	split      any
	normalizer any
	whole      bool // a word that is a token is not split
}

var ggufSplits = map[string]ggufWords{
	"smollm": {split: sequence(
		map[string]any{"type": "Digits", "individual_digits": true},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	)},
	"qwen2":     {split: splitWords(`\p{N}`), normalizer: map[string]any{"type": "NFC"}},
	"llama-bpe": {split: splitWords(`\p{N}{1,3}`), whole: true},
}

func sequence(steps ...any) any { return map[string]any{"type": "Sequence", "pretokenizers": steps} }

// splitWords is the pattern of Llama 3 and Qwen2, which differ in how many digits make a word.
func splitWords(digits string) any {
	pattern := `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` + digits + `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	return sequence(
		map[string]any{"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated", "invert": false},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
	)
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
	words, ok := ggufSplits[value("ggml.pre").String()]
	if kind := value("ggml.model").String(); kind != "gpt2" || !ok {
		return nil, fmt.Errorf("%w: tokenizer %q with pre-tokenizer %q; supported: gpt2 with %s", ErrGGUF, kind, value("ggml.pre").String(),
			strings.Join(slices.Sorted(maps.Keys(ggufSplits)), ", "))
	}
	tokens, types := value("ggml.tokens").Strings(), value("ggml.token_type").Int64s()
	end := int(value("ggml.eos_token_id").Uint64())
	if len(tokens) == 0 || len(types) != len(tokens) || end >= len(tokens) {
		return nil, fmt.Errorf("%w: %d tokens, %d token types, end of text is token %d", ErrGGUF, len(tokens), len(types), end)
	}
	settings := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokens[end], "chat_template": value("chat_template").String(),
		"clean_up_tokenization_spaces": false,
	}
	ends := []int{end}
	if v, ok := file.GetKeyValue("tokenizer.ggml.bos_token_id"); ok && int(v.Uint64()) < len(tokens) {
		settings["bos_token"] = tokens[v.Uint64()]
	}
	if v, ok := file.GetKeyValue("tokenizer.ggml.eot_token_id"); ok && int(v.Uint64()) < len(tokens) && int(v.Uint64()) != end {
		ends = append(ends, int(v.Uint64()))
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
			"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": words.normalizer, "pre_tokenizer": words.split,
			"post_processor": nil, "decoder": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
			"model": map[string]any{
				"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
				"fuse_unk": false, "byte_fallback": false, "ignore_merges": words.whole, "vocab": vocab, "merges": value("ggml.merges").Strings(),
			},
		},
		"tokenizer_config.json":  settings,
		"generation_config.json": map[string]any{"eos_token_id": ends},
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
