package engine_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
)

const embedding = "model.embed_tokens.weight"

// folder writes a random tiny model with a tokenizer of 27 ids.
func folder(t *testing.T) (string, *engine.Model) {
	t.Helper()
	m := engine.Random(tinyLlama, 3)
	dir := t.TempDir()
	_, err := chat.NewCharacterFolder(dir, "abcdefghijklmnopqrstuv")
	require.NoError(t, err)
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		m.Files[name], err = os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
	}
	require.NoError(t, m.WriteFolder(dir))
	return dir, m
}

func TestFolderRoundTrip(t *testing.T) {
	dir, m := folder(t)
	loaded, err := engine.LoadFolder(dir)
	require.NoError(t, err)
	require.Equal(t, m.Config, loaded.Config)
	require.Equal(t, m.Weights, loaded.Weights)
	require.Equal(t, m.Files, loaded.Files)
	require.NoError(t, engine.CheckFolder(dir))

	again := t.TempDir()
	require.NoError(t, loaded.WriteFolder(again))
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		a, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(again, name))
		require.NoError(t, err)
		require.Equal(t, a, b, name)
	}

	loaded.Weights[0][0]++ // of the mapping, not of the file
	require.NoError(t, loaded.WriteFolder(dir), "over the very file that is mapped")
	require.Equal(t, m.Weights[1], loaded.Weights[1])
	require.NoError(t, loaded.Close())
	require.NoError(t, loaded.Close())
	changed, err := engine.LoadFolder(dir)
	require.NoError(t, err)
	require.Equal(t, m.Weights[0][0]+1, changed.Weights[0][0])
	require.NoError(t, changed.Close())
}

func TestRandomIsAFunctionOfItsSeed(t *testing.T) {
	a, b, c := engine.Random(tinyQwen, 7), engine.Random(tinyQwen, 7), engine.Random(tinyQwen, 8)
	require.Equal(t, a.Weights, b.Weights)
	require.NotEqual(t, a.Weights, c.Weights)
	for i, s := range tinyQwen.Tensors() {
		switch {
		case strings.HasSuffix(s.Name, ".bias"):
			require.Zero(t, a.Weights[i][0], s.Name)
		case strings.Contains(s.Name, "norm"):
			require.EqualValues(t, 1, a.Weights[i][0], s.Name)
		default:
			require.NotZero(t, a.Weights[i][0], s.Name)
		}
	}
}

// raw is a tensor in the number type of the file.
type raw struct {
	dtype string
	shape []int
	data  []byte
}

// writeRaw writes a safetensors file in any number type.
func writeRaw(t *testing.T, path string, tensors map[string]raw) {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	for name, r := range tensors {
		header[name] = map[string]any{"dtype": r.dtype, "shape": r.shape, "data_offsets": []int{len(data), len(data) + len(r.data)}}
		data = append(data, r.data...)
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	require.NoError(t, os.WriteFile(path, append(b, data...), 0o644))
}

// rawTensors are the model's tensors as float32, float16 or bfloat16.
func rawTensors(m *engine.Model, dtype string) map[string]raw {
	tensors := map[string]raw{}
	for i, s := range m.Config.Tensors() {
		var b []byte
		for _, x := range m.Weights[i] {
			bits := math.Float32bits(x)
			switch dtype {
			case "F32":
				b = binary.LittleEndian.AppendUint32(b, bits)
			case "BF16":
				b = binary.LittleEndian.AppendUint16(b, uint16(bits>>16))
			case "F16": // exact for the powers of two that the test uses
				exponent := int(bits>>23&0xff) - 127 + 15
				b = binary.LittleEndian.AppendUint16(b, uint16(bits>>31<<15)|uint16(exponent<<10)|uint16(bits>>13&0x3ff))
			}
		}
		tensors[s.Name] = raw{dtype, s.Shape, b}
	}
	return tensors
}

func TestHalfPrecisionAndShards(t *testing.T) {
	for _, dtype := range []string{"F32", "BF16", "F16"} {
		t.Run(dtype, func(t *testing.T) {
			dir, m := folder(t)
			for _, w := range m.Weights {
				for j := range w {
					w[j] = float32(math.Ldexp(1+float64(j%8)/8, j%5-2)) // representable in all three
				}
			}
			require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))
			first, second, where := map[string]raw{}, map[string]raw{}, map[string]string{}
			for name, r := range rawTensors(m, dtype) {
				if strings.Contains(name, "layers.1") {
					second[name], where[name] = r, "model-00002-of-00002.safetensors"
				} else {
					first[name], where[name] = r, "model-00001-of-00002.safetensors"
				}
			}
			writeRaw(t, filepath.Join(dir, "model-00001-of-00002.safetensors"), first)
			writeRaw(t, filepath.Join(dir, "model-00002-of-00002.safetensors"), second)
			index, err := json.Marshal(map[string]any{"weight_map": where})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), index, 0o644))
			loaded, err := engine.LoadFolder(dir)
			require.NoError(t, err)
			require.Equal(t, m.Weights, loaded.Weights)
		})
	}
}

// TestBrokenWeightsAreRefused names file or tensor, what was expected and what was found.
func TestBrokenWeightsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(tensors map[string]raw)
		want   []string
	}{
		"missing": {func(m map[string]raw) { delete(m, embedding) }, []string{embedding, "[40 32]", "no such tensor"}},
		"shape": {func(m map[string]raw) { r := m[embedding]; r.shape = []int{32, 40}; m[embedding] = r },
			[]string{"model.safetensors", embedding, "expected shape [40 32]", "found [32 40]"}},
		"dtype": {func(m map[string]raw) { m["model.norm.weight"] = raw{"I32", []int{32}, make([]byte, 128)} },
			[]string{"model.norm.weight", "expected F32, F16 or BF16", "found I32"}},
		"NaN": {func(m map[string]raw) {
			binary.LittleEndian.PutUint32(m["model.norm.weight"].data[8:], math.Float32bits(float32(math.NaN())))
		}, []string{"model.norm.weight", "NaN", "element 2"}},
		"shape and bytes": {func(m map[string]raw) { m["model.norm.weight"] = raw{"F32", []int{32}, make([]byte, 64)} },
			[]string{"model.norm.weight", "[32]", "64 bytes"}},
		"unknown tensor": {func(m map[string]raw) {
			m["model.layers.0.self_attn.q_norm.weight"] = raw{"F32", []int{1}, make([]byte, 4)}
		},
			[]string{"q_norm", "llama"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := folder(t)
			tensors := rawTensors(m, "F32")
			c.change(tensors)
			writeRaw(t, filepath.Join(dir, "model.safetensors"), tensors)
			_, err := engine.LoadFolder(dir)
			for _, err := range []error{err, engine.CheckFolder(dir)} {
				require.ErrorIs(t, err, engine.ErrTensor)
				for _, want := range append(c.want, "model.safetensors") {
					require.ErrorContains(t, err, want)
				}
			}
		})
	}
}

func TestBrokenFoldersAreRefused(t *testing.T) {
	edit := func(name string, change func(b []byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, change(b), 0o644))
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		is     error
		want   string
	}{
		"no config":    {remove("config.json"), engine.ErrFolder, "config.json"},
		"no weights":   {remove("model.safetensors"), engine.ErrFolder, "model.safetensors"},
		"no tokenizer": {remove("tokenizer.json"), engine.ErrFolder, "tokenizer.json"},
		"architecture": {edit("config.json", func(b []byte) []byte { return []byte(strings.Replace(string(b), `"llama"`, `"mamba"`, 1)) }), nn.ErrConfig, "mamba"},
		"truncated":    {edit("model.safetensors", func(b []byte) []byte { return b[:len(b)-1] }), engine.ErrTensor, "truncated"},
		"empty":        {edit("model.safetensors", func([]byte) []byte { return nil }), engine.ErrTensor, "header"},
		"huge header":  {edit("model.safetensors", func(b []byte) []byte { b[6] = 1; return b }), engine.ErrTensor, "header: expected a length of 2 to"},
		"small embedding": {edit("tokenizer.json", func(b []byte) []byte { return []byte(strings.Replace(string(b), `"v": 26`, `"v": 40`, 1)) }), engine.ErrFolder,
			`tokenizer.json: token "v": expected an id from 0 to 39, the rows of model.embed_tokens.weight of shape [40 32], found 40`},
		"an end that is no token": {edit("generation_config.json", func([]byte) []byte { return []byte(`{"eos_token_id":[1,40]}`) }), engine.ErrFolder,
			"generation_config.json: eos_token_id: expected an id from 0 to 39"},
		"an end that is no id": {edit("generation_config.json", func([]byte) []byte { return []byte(`{"eos_token_id":"</s>"}`) }), engine.ErrFolder,
			"generation_config.json: eos_token_id: expected an id or a list of ids"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := folder(t)
			c.change(t, dir)
			_, err := engine.LoadFolder(dir)
			for _, err := range []error{err, engine.CheckFolder(dir)} {
				require.ErrorIs(t, err, c.is)
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func FuzzOpenTensors(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Add([]byte("\x40\x00\x00\x00\x00\x00\x00\x00" + `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}          ` + "1234"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f.safetensors")
		require.NoError(t, os.WriteFile(path, b, 0o644))
		file, err := engine.OpenTensors(path)
		if err != nil {
			require.ErrorIs(t, err, engine.ErrTensor)
			return
		}
		defer func() { require.NoError(t, file.Close()) }()
		for _, name := range file.Names() {
			shape, ok := file.Shape(name)
			require.True(t, ok)
			if _, err := file.Read(name, shape); err != nil {
				require.ErrorIs(t, err, engine.ErrTensor)
			}
		}
	})
}
