package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"multiattempt/internal/nn"
	"multiattempt/internal/seed"
)

// ErrFolder: a directory is not a model folder that can be used as it is.
var ErrFolder = errors.New("unusable model folder")

// Files of a model folder in Hugging Face layout.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json" // names the shards when there are several
)

// companionFiles travel with the weights: tokenizer, chat template, end-of-turn ids.
var companionFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "special_tokens_map.json",
}

// Model is a language model in memory.
type Model struct {
	Config  nn.Config
	Weights [][]float32       // in the order of Config.Tensors
	Files   map[string][]byte // companion files by name
}

// LoadFolder reads a model folder in Hugging Face layout: config.json, model.safetensors (or shards with an index;
// float32, float16 or bfloat16, all become float32) and the tokenizer's files. Everything that would make the model
// compute something else than its authors meant is refused with ErrFolder, nn.ErrConfig or ErrTensor.
func LoadFolder(dir string) (*Model, error) {
	m, err := loadFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m, nil
}

func loadFolder(dir string) (*Model, error) {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	config, err := nn.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	m := &Model{Config: config, Files: map[string][]byte{}}
	for _, name := range companionFiles {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFolder, err)
		}
		m.Files[name] = b
	}
	if err := m.checkTokenizer(); err != nil {
		return nil, err
	}
	m.Weights, err = loadWeights(dir, config)
	return m, err
}

// checkTokenizer refuses a tokenizer with ids that the embedding does not have.
func (m *Model) checkTokenizer() error {
	const name = "tokenizer.json"
	text, ok := m.Files[name]
	if !ok {
		return fmt.Errorf("%w: no %s", ErrFolder, name)
	}
	var t struct {
		Model struct{ Vocab json.RawMessage } `json:"model"`
		Added []struct{ ID int }              `json:"added_tokens"`
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFolder, name, err)
	}
	largest := -1
	for _, a := range t.Added {
		largest = max(largest, a.ID)
	}
	byName := map[string]int{}
	if err := json.Unmarshal(t.Model.Vocab, &byName); err == nil {
		for _, id := range byName {
			largest = max(largest, id)
		}
	} else {
		var ordered []json.RawMessage // Unigram: pairs of token and score
		if err := json.Unmarshal(t.Model.Vocab, &ordered); err != nil {
			return fmt.Errorf("%w: %s: model.vocab: %w", ErrFolder, name, err)
		}
		largest = max(largest, len(ordered)-1)
	}
	if largest >= m.Config.VocabSize {
		return fmt.Errorf("%w: %s has the id %d, the embedding ends at %d (vocab_size)", ErrFolder, name, largest, m.Config.VocabSize-1)
	}
	return nil
}

// loadWeights reads the tensors that the configuration asks for, in its order.
func loadWeights(dir string, config nn.Config) ([][]float32, error) {
	files, err := openWeights(dir)
	defer func() {
		for _, f := range files {
			f.Close() //nolint:errcheck // opened for reading only
		}
	}()
	if err != nil {
		return nil, err
	}
	place := map[string]*TensorFile{}
	for _, f := range files {
		for _, name := range f.Names() {
			place[name] = f
		}
	}
	specs := config.Tensors()
	weights := make([][]float32, len(specs))
	for i, s := range specs {
		f := place[s.Name]
		if f == nil {
			return nil, fmt.Errorf("%w: %s: expected shape %v, found no such tensor in %d file(s)", ErrTensor, s.Name, s.Shape, len(files))
		}
		if weights[i], err = f.Read(s.Name, s.Shape); err != nil {
			return nil, err
		}
		delete(place, s.Name)
	}
	return weights, refuseStrangers(slices.Sorted(maps.Keys(place)), config)
}

// refuseStrangers refuses tensors that the network would ignore, because they mean that it is another network. Buffers
// that old exports contain, and the head of a model whose head is its embedding, are harmless.
func refuseStrangers(names []string, config nn.Config) error {
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasSuffix(name, ".rotary_emb.inv_freq") || config.TieEmbeddings && name == "lm_head.weight"
	})
	if len(names) > 0 {
		return fmt.Errorf("%w: %d tensors that %s does not have, such as %s", ErrTensor, len(names), config.Architecture, names[0])
	}
	return nil
}

// openWeights opens model.safetensors, or the shards that the index names.
func openWeights(dir string) ([]*TensorFile, error) {
	text, err := os.ReadFile(filepath.Join(dir, indexFile))
	names := []string{weightsFile}
	switch {
	case err == nil:
		var index struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(text, &index); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrFolder, indexFile, err)
		}
		names = slices.Compact(slices.Sorted(maps.Values(index.Map)))
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	var files []*TensorFile
	for _, name := range names {
		if filepath.Base(name) != name {
			return files, fmt.Errorf("%w: %s names the shard %q outside the folder", ErrFolder, indexFile, name)
		}
		f, err := OpenTensors(filepath.Join(dir, name))
		if err != nil {
			return files, fmt.Errorf("%w: %w", ErrFolder, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// WriteFolder writes the model as a Hugging Face folder into dir, which is made if needed. Equal models give equal bytes.
func (m *Model) WriteFolder(dir string) error {
	specs := m.Config.Tensors()
	if len(specs) != len(m.Weights) {
		return fmt.Errorf("%w: network has %d weights, got %d", ErrTensor, len(specs), len(m.Weights))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), m.Config.JSON(), 0o644); err != nil {
		return err
	}
	for name, b := range m.Files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	tensors := make([]Tensor, len(specs))
	for i, s := range specs {
		tensors[i] = Tensor{s.Name, s.Shape, m.Weights[i]}
	}
	return WriteTensors(filepath.Join(dir, weightsFile), tensors)
}

// Random draws a fresh model from a seed: norms 1, biases 0, all else normal with deviation 0.64/√(inputs), which is the
// usual 0.02 at 1,024 inputs; projections back into the residual stream are divided by √(2·layers) (Radford et al.,
// GPT-2). The files of a tokenizer with at most config.VocabSize ids complete it.
func Random(config nn.Config, runSeed uint64) *Model {
	specs := config.Tensors()
	m := &Model{Config: config, Weights: make([][]float32, len(specs)), Files: map[string][]byte{}}
	for i, s := range specs {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		w := make([]float32, n)
		m.Weights[i] = w
		switch {
		case strings.HasSuffix(s.Name, ".bias"):
		case strings.Contains(s.Name, "norm"):
			for j := range w {
				w[j] = 1
			}
		default:
			deviation := 0.64 / math.Sqrt(float64(s.Shape[1]))
			if strings.Contains(s.Name, "o_proj") || strings.Contains(s.Name, "down_proj") {
				deviation /= math.Sqrt(2 * float64(config.Layers))
			}
			draw := seed.Rand("engine/random", runSeed, seed.Text(s.Name))
			for j := range w {
				w[j] = float32(deviation * draw.NormFloat64())
			}
		}
	}
	return m
}
