package engine_test

import (
	"bytes"
	"encoding/json"
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
		"tiny":        {[]int32{2}, 7, 0, []string{engine.PureGo, engine.XLA}},
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
