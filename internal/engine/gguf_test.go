package engine_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
)

const tinyGGUF = "testdata/tiny.gguf"

// TestImportGGUF compares imported models with logits worked out from the GGUF files' own conventions
// (testdata/make_gguf.py).
func TestImportGGUF(t *testing.T) {
	for name, c := range map[string]struct {
		ends    []int32
		tokens  int // of " and 12é": ' an', 'd', ' ', digits one by one or 12, two bytes of é
		scaling float64
		on      []string
	}{
		"tiny":        {[]int32{2}, 7, 0, []string{engine.PureGo, engine.XLA, engine.XLACUDA}},
		"tiny-qwen2":  {[]int32{0, 2}, 7, 0, []string{engine.PureGo}},
		"tiny-llama3": {[]int32{2}, 6, 32, []string{engine.PureGo}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, engine.ImportGGUF(filepath.Join("testdata", name+".gguf"), dir))
			model, err := engine.LoadFolder(dir)
			require.NoError(t, err)
			defer func() { require.NoError(t, model.Close()) }()
			require.InDelta(t, 1e-5, model.Config.RMSNormEps, 1e-12)
			require.InDelta(t, c.scaling, model.Config.RopeScaling.Factor, 0)
			text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			require.NoError(t, err)
			var expected struct {
				Tokens []int32
				Logits []float32
			}
			require.NoError(t, json.Unmarshal(text, &expected))
			for choice, b := range backends(t) {
				if slices.Contains(c.on, choice) {
					logits := engine.ForwardLogits(t, b, model, expected.Tokens)
					require.InDeltaSlice(t, expected.Logits, logits[len(logits)-1], 1e-4, choice)
				}
			}
			template, err := chat.Load(dir)
			require.NoError(t, err)
			require.Equal(t, c.ends, template.EndOfTurn())
			ids, err := template.Encode(" and 12é")
			require.NoError(t, err)
			require.Equal(t, " and 12é", template.Decode(ids))
			require.Len(t, ids, c.tokens)
		})
	}
}

// withKey adds a number, or a truth, to a GGUF file's metadata, and a text that keeps the place of the tensors' data a multiple of
// their alignment.
func withKey(file []byte, key string, value any) []byte {
	const start, alignment, u32, f32, boolean, text = 24, 32, 4, 6, 7, 8 // the format's
	entry := func(key string, kind uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(key)))
		return binary.LittleEndian.AppendUint32(append(b, key...), kind)
	}
	var added []byte
	switch v := value.(type) {
	case int:
		added = binary.LittleEndian.AppendUint32(entry(key, u32), uint32(v))
	case float64:
		added = binary.LittleEndian.AppendUint32(entry(key, f32), math.Float32bits(float32(v)))
	case bool:
		added = append(entry(key, boolean), map[bool]byte{true: 1}[v])
	}
	added = append(added, entry("filler", text)...)
	filler := alignment - (len(added)+8)%alignment
	added = append(binary.LittleEndian.AppendUint64(added, uint64(filler)), make([]byte, filler)...)
	out := slices.Insert(slices.Clone(file), start, added...)
	binary.LittleEndian.PutUint64(out[16:], binary.LittleEndian.Uint64(file[16:])+2)
	return out
}

func TestImportGGUFRefusesOtherNetworks(t *testing.T) {
	whole, err := os.ReadFile(tinyGGUF)
	require.NoError(t, err)
	for _, c := range []struct {
		key   string
		value any
		want  string // empty: nothing else is meant
	}{
		{"attention.key_length", 16, ""},
		{"attention.key_length", 32, "llama.rope.dimension_count is 16; supported: rotary embedding of whole heads (32)"},
		{"attention.value_length", 16, ""},
		{"attention.value_length", 8, "llama.attention.value_length is 8; supported: values as wide as keys (16)"},
		{"attention.sliding_window", 0, ""},
		{"attention.sliding_window", 128, ""},
		{"attention.sliding_window", 64, "llama.attention.sliding_window is 64, the context 128"},
		{"attention.causal", true, ""},
		{"attention.causal", false, "llama.attention.causal is false"},
		{"logit_scale", 1.0, ""},
		{"logit_scale", 0.0625, "llama.logit_scale is 0.0625"},
		{"attn_logit_softcapping", 50.0, "softcapping"},
		{"expert_count", 8, "llama.expert_count is 8"},
		{"expert_count", 0, ""},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		require.NoError(t, os.WriteFile(path, withKey(whole, "llama."+c.key, c.value), 0o644))
		err := engine.ImportGGUF(path, t.TempDir())
		if c.want == "" {
			require.NoError(t, err, c.key)
			continue
		}
		require.ErrorIs(t, err, engine.ErrGGUF)
		require.ErrorContains(t, err, c.want)
	}
}

func TestImportGGUFRefuses(t *testing.T) {
	whole, err := os.ReadFile(tinyGGUF)
	require.NoError(t, err)
	for want, b := range map[string][]byte{
		`"lla~a"; supported: llama, qwen2`: bytes.Replace(whole, []byte("llama"), []byte("lla~a"), 1),
		`pre-tokenizer "sm~llm"`:           bytes.Replace(whole, []byte("smollm"), []byte("sm~llm"), 1),
		"lacks llama.attention.head_co":    bytes.Replace(whole, []byte("llama.attention.head_count"), []byte("llama.attention.head_xount"), 1),
		"blk.1.attn_q.weight: expected":    bytes.Replace(whole, []byte("blk.1.attn_q"), []byte("blk.9.attn_q"), 1),
		"short read":                       whole[:len(whole)-100],
		"invalid magic":                    []byte("no GGUF at all"),
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		require.NoError(t, os.WriteFile(path, b, 0o644))
		err := engine.ImportGGUF(path, t.TempDir())
		require.ErrorIs(t, err, engine.ErrGGUF, want)
		require.ErrorContains(t, err, want)
	}
}
