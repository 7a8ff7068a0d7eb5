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
	"sync"

	"multiattempt/internal/nn"
	"multiattempt/internal/seed"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
)

// ErrFolder: a directory is not a model folder that can be used as it is.
var ErrFolder = errors.New("unusable model folder")

// Model is a language model in memory.
type Model struct {
	Config  nn.Config
	Weights [][]float32       // in the order of Config.Tensors; nil once closed
	Files   map[string][]byte // companion files by name

	mapped []*TensorFile // that Weights look into
}

// Close gives the memory of a loaded model's weights back. Whoever still uses them must not; what was copied to a device
// stays there.
func (m *Model) Close() error {
	m.Weights = nil
	err := closeAll(m.mapped)
	m.mapped = nil
	return err
}

// LoadFolder opens a model folder in Hugging Face layout: config.json, model.safetensors (or shards with an index;
// float32, float16 or bfloat16, all become float32) and the tokenizer's files. Float32 weights are mapped, not copied.
// Everything that would make the model compute something else than its authors meant is refused with ErrFolder,
// nn.ErrConfig or ErrTensor. The caller closes the model.
func LoadFolder(dir string) (*Model, error) {
	m, err := readFolder(dir)
	if err == nil {
		err = m.loadWeights(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m, nil
}

// CheckFolder refuses what LoadFolder refuses; it keeps nothing in memory.
func CheckFolder(dir string) error {
	m, err := readFolder(dir)
	if err == nil {
		err = eachWeight(dir, m.Config, (*TensorFile).Check)
	}
	if err != nil {
		return fmt.Errorf("model folder %s: %w", dir, err)
	}
	return nil
}

// ReadConfig reads a folder's configuration and refuses what LoadFolder refuses of all but the weights, which need not be
// there: a network that cannot be computed, a tokenizer whose ids the embedding lacks.
func ReadConfig(dir string) (nn.Config, error) {
	m, err := readFolder(dir)
	if err != nil {
		return nn.Config{}, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return m.Config, nil
}

// readFolder reads all but the weights.
func readFolder(dir string) (*Model, error) {
	text, err := os.ReadFile(filepath.Join(dir, source.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	config, err := nn.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.ConfigFile, err)
	}
	m := &Model{Config: config, Files: map[string][]byte{}}
	for _, name := range source.Companions() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFolder, err)
		}
		m.Files[name] = b
	}
	return m, m.checkTokenizer()
}

// checkTokenizer refuses a tokenizer, or ids of ends, that the embedding does not have.
func (m *Model) checkTokenizer() error {
	const name = "tokenizer.json"
	text, ok := m.Files[name]
	if !ok {
		return fmt.Errorf("%w: no %s", ErrFolder, name)
	}
	var t struct {
		Model struct{ Vocab json.RawMessage } `json:"model"`
		Added []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFolder, name, err)
	}
	largest, token := -1, ""
	see := func(id int, text string) {
		if id > largest {
			largest, token = id, text
		}
	}
	for _, a := range t.Added {
		see(a.ID, a.Content)
	}
	byName := map[string]int{}
	if err := json.Unmarshal(t.Model.Vocab, &byName); err == nil {
		for text, id := range byName {
			see(id, text)
		}
	} else {
		var ordered []json.RawMessage // Unigram: pairs of token and score
		if err := json.Unmarshal(t.Model.Vocab, &ordered); err != nil {
			return fmt.Errorf("%w: %s: model.vocab: %w", ErrFolder, name, err)
		}
		see(len(ordered)-1, "")
	}
	if largest >= m.Config.VocabSize {
		return m.outside(name, fmt.Sprintf("token %q", token), largest)
	}
	return m.checkEnds()
}

// outside says that a file names an id that the embedding does not have.
func (m *Model) outside(file, what string, id int) error {
	embedding := m.Config.Tensors()[0]
	return fmt.Errorf("%w: %s: %s: expected an id from 0 to %d, the rows of %s of shape %v, found %d",
		ErrFolder, file, what, m.Config.VocabSize-1, embedding.Name, embedding.Shape, id)
}

// checkEnds refuses ids that end a turn, one or a list of them, that the embedding does not have: they could not be sampled.
func (m *Model) checkEnds() error {
	const name, field = "generation_config.json", "eos_token_id"
	text, ok := m.Files[name]
	if !ok {
		return nil
	}
	var g map[string]json.RawMessage
	if err := json.Unmarshal(text, &g); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFolder, name, err)
	}
	var one *int
	var many []int
	if raw, ok := g[field]; !ok {
		return nil
	} else if json.Unmarshal(raw, &one) == nil {
		if one == nil {
			return nil
		}
		many = []int{*one}
	} else if err := json.Unmarshal(raw, &many); err != nil {
		return fmt.Errorf("%w: %s: %s: expected an id or a list of ids, found %s", ErrFolder, name, field, raw)
	}
	for _, id := range many {
		if id < 0 || id >= m.Config.VocabSize {
			return m.outside(name, field, id)
		}
	}
	return nil
}

// loadWeights opens the tensors that the configuration asks for, in its order.
func (m *Model) loadWeights(dir string) (err error) {
	if m.mapped, err = openWeights(dir); err == nil {
		err = inWeights(m.mapped, m.Config, func(f *TensorFile, name string, shape []int) error {
			w, err := f.View(name, shape)
			m.Weights = append(m.Weights, w)
			return err
		})
	}
	if err != nil {
		err = errors.Join(err, m.Close())
	}
	return err
}

// eachWeight visits the tensors that the configuration asks for, in its order.
func eachWeight(dir string, config nn.Config, visit func(f *TensorFile, name string, shape []int) error) error {
	files, err := openWeights(dir)
	if err == nil {
		err = inWeights(files, config, visit)
	}
	return errors.Join(err, closeAll(files))
}

func inWeights(files []*TensorFile, config nn.Config, visit func(f *TensorFile, name string, shape []int) error) error {
	place := map[string]*TensorFile{}
	for _, f := range files {
		for _, name := range f.Names() {
			if other := place[name]; other != nil {
				return fmt.Errorf("%w: %s: expected once, found in %s and %s", ErrTensor, name, filepath.Base(other.path), filepath.Base(f.path))
			}
			place[name] = f
		}
	}
	for _, s := range config.Tensors() {
		f := place[s.Name]
		if f == nil {
			return fmt.Errorf("%w: %s: expected %s of shape %v, found no such tensor", ErrTensor, fileNames(files), s.Name, s.Shape)
		}
		if err := visit(f, s.Name, s.Shape); err != nil {
			return err
		}
		delete(place, s.Name)
	}
	return refuseStrangers(place, config)
}

// fileNames names one file, or the first and the last of several.
func fileNames(files []*TensorFile) string {
	first, last := filepath.Base(files[0].path), filepath.Base(files[len(files)-1].path)
	if first == last {
		return first
	}
	return first + " … " + last
}

func closeAll(files []*TensorFile) error {
	var err error
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// refuseStrangers refuses tensors that the network would ignore, because they mean that it is another network. Buffers
// that old exports contain, and the head of a model whose head is its embedding, are harmless.
func refuseStrangers(place map[string]*TensorFile, config nn.Config) error {
	names := slices.Sorted(maps.Keys(place))
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasSuffix(name, ".rotary_emb.inv_freq") || config.TieEmbeddings && name == "lm_head.weight"
	})
	if len(names) > 0 {
		return fmt.Errorf("%w: %s: expected the tensors of %s, found %d others, such as %s", ErrTensor, filepath.Base(place[names[0]].path),
			config.Architecture, len(names), names[0])
	}
	return nil
}

// openWeights opens model.safetensors, or the shards that the index names. After an error no file is open.
func openWeights(dir string) ([]*TensorFile, error) {
	names, err := source.WeightFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	var files []*TensorFile
	for _, name := range names {
		f, err := OpenTensors(filepath.Join(dir, name))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrFolder, err), closeAll(files))
		}
		files = append(files, f)
	}
	return files, nil
}

// dtypeNames maps the number types of safetensors to those of config.json.
var dtypeNames = map[string]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

// WriteFolder writes the model as a Hugging Face folder into dir, which is made if needed. Equal models give equal bytes.
func (m *Model) WriteFolder(dir string) error { return m.WriteFolderAs(dir, "F32") }

// WriteFolderAs is WriteFolder with the weights rounded to F32, F16 or BF16.
func (m *Model) WriteFolderAs(dir, dtype string) error {
	specs := m.Config.Tensors()
	if len(specs) != len(m.Weights) {
		return fmt.Errorf("%w: network has %d weights, got %d", ErrTensor, len(specs), len(m.Weights))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, source.ConfigFile), m.Config.JSON(dtypeNames[dtype]), 0o644); err != nil {
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
	return WriteTensorsAs(filepath.Join(dir, source.WeightsFile), dtype, tensors)
}

// Random draws a fresh model from a seed: norms 1, biases 0, all else normal with deviation 0.64/√(inputs), which is the
// usual 0.02 at 1,024 inputs; projections back into the residual stream are divided by √(2·layers) (Radford et al.,
// GPT-2). The files of a tokenizer with at most config.VocabSize ids complete it.
func Random(config nn.Config, runSeed uint64) *Model {
	specs := config.Tensors()
	m := &Model{Config: config, Weights: make([][]float32, len(specs)), Files: map[string][]byte{}}
	var all sync.WaitGroup
	for i, s := range specs {
		all.Go(func() { m.Weights[i] = randomTensor(config, s, runSeed) }) // each from a generator of its own
	}
	all.Wait()
	return m
}

// newModelEps is the stabiliser of a new model's norms.
const newModelEps = 1e-6

// New draws the model that an architecture describes, with a vocabulary of so many ids: of the Llama family, its head the
// embedding table. A network that cannot be gives nn.ErrConfig.
func New(a spec.Architecture, vocabulary int, runSeed uint64) (*Model, error) {
	config := nn.Config{
		Architecture: nn.Llama, VocabSize: vocabulary,
		HiddenSize: a.HiddenSize, IntermediateSize: a.IntermediateSize, Layers: a.Layers,
		Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HiddenSize / a.Heads,
		RMSNormEps: newModelEps, RopeTheta: a.RopeTheta, TieEmbeddings: true, MaxPositions: a.MaxPositions,
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return Random(config, runSeed), nil
}

func randomTensor(config nn.Config, s nn.TensorSpec, runSeed uint64) []float32 {
	w := make([]float32, elements(s.Shape))
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
	return w
}
