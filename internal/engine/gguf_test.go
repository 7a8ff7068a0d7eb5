package engine_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
)

const tinyGGUF = "testdata/tiny.gguf"

// TestImportGGUF compares the imported model with logits worked out from the GGUF file's own conventions
// (testdata/make_gguf.py).
func TestImportGGUF(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, engine.ImportGGUF(tinyGGUF, dir))
	model, err := engine.LoadFolder(dir)
	require.NoError(t, err)
	require.InDelta(t, 1e-5, model.Config.RMSNormEps, 1e-12)
	text, err := os.ReadFile("testdata/tiny.json")
	require.NoError(t, err)
	var expected struct {
		Tokens []int32
		Logits []float32
	}
	require.NoError(t, json.Unmarshal(text, &expected))
	for name, b := range backends(t) {
		logits := engine.ForwardLogits(t, b, model, expected.Tokens)
		require.InDeltaSlice(t, expected.Logits, logits[len(logits)-1], 1e-4, name)
	}
	template, err := chat.Load(dir)
	require.NoError(t, err)
	require.Equal(t, []int32{2}, template.EndOfTurn())
	ids, err := template.Encode(" and 12é")
	require.NoError(t, err)
	require.Equal(t, " and 12é", template.Decode(ids))
	require.Len(t, ids, 7, "' an', 'd', ' ', digits one by one, two bytes of é")
}

func TestImportGGUFRefuses(t *testing.T) {
	whole, err := os.ReadFile(tinyGGUF)
	require.NoError(t, err)
	for want, b := range map[string][]byte{
		`"lla~a"; supported: llama`:     bytes.Replace(whole, []byte("llama"), []byte("lla~a"), 1),
		`pre-tokenizer "sm~llm"`:        bytes.Replace(whole, []byte("smollm"), []byte("sm~llm"), 1),
		"lacks llama.attention.head_co": bytes.Replace(whole, []byte("llama.attention.head_count"), []byte("llama.attention.head_xount"), 1),
		"blk.1.attn_q.weight: expected": bytes.Replace(whole, []byte("blk.1.attn_q"), []byte("blk.9.attn_q"), 1),
		"short read":                    whole[:len(whole)-100],
		"invalid magic":                 []byte("no GGUF at all"),
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		require.NoError(t, os.WriteFile(path, b, 0o644))
		err := engine.ImportGGUF(path, t.TempDir())
		require.ErrorIs(t, err, engine.ErrGGUF, want)
		require.ErrorContains(t, err, want)
	}
}
