package updatetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"multiattempt/internal/chat"
	"multiattempt/internal/seed"
)

// TableFile is the file of a model folder that holds the weights.
const TableFile = "bigram.json"

// Ids that chat.NewCharacterFolder gives to special tokens.
const (
	endID       = 1 // ends a turn
	assistantID = 4 // opens the assistant's
)

// ErrModel: a folder holds no bigram table, or a token is outside of it.
var ErrModel = errors.New("not usable as a bigram model")

// table is a bigram model: the logits of a token depend on the token before it alone.
type table struct {
	Vocabulary int       `json:"vocabulary"` // V
	Logits     []float64 `json:"logits"`     // [V, V], a row for each token before
}

// Create writes a model folder into dir: a tokenizer of one token a character of alphabet, and a bigram table drawn from
// runSeed. Where the alphabet has the characters, answers mostly read \boxed{…} with digits inside, so that episodes have
// outcomes.
func Create(dir, alphabet string, runSeed uint64) error {
	vocabulary, err := chat.NewCharacterFolder(dir, alphabet)
	if err != nil {
		return err
	}
	t := table{Vocabulary: vocabulary, Logits: make([]float64, vocabulary*vocabulary)}
	draw := seed.Rand("updatetest/create", runSeed)
	for i := range t.Logits {
		t.Logits[i] = 0.5 * draw.NormFloat64()
	}
	favour := func(before, after int, logit float64) {
		if before >= 0 && after >= 0 {
			t.Logits[before*vocabulary+after] += logit
		}
	}
	id := func(character byte) int {
		if at := strings.IndexByte(alphabet, character); at >= 0 {
			return vocabulary - len(alphabet) + at
		}
		return -1
	}
	before := assistantID
	for _, c := range []byte(`\boxed{`) {
		favour(before, id(c), 8)
		before = id(c)
	}
	for digit := byte('0'); digit <= '9'; digit++ {
		favour(id('{'), id(digit), 5)
		favour(id(digit), id('}'), 5)
	}
	favour(id('}'), endID, 8)
	return writeJSON(filepath.Join(dir, TableFile), t)
}

// readTable reads the weights of a model folder.
func readTable(dir string) (*table, error) {
	var t table
	if err := readJSON(filepath.Join(dir, TableFile), &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if t.Vocabulary < 1 || len(t.Logits) != t.Vocabulary*t.Vocabulary {
		return nil, fmt.Errorf("%w: %s has %d logits for %d tokens", ErrModel, dir, len(t.Logits), t.Vocabulary)
	}
	return &t, nil
}

// check refuses tokens that the table does not know.
func (t *table) check(tokens []int32) error {
	for i, id := range tokens {
		if id < 0 || int(id) >= t.Vocabulary {
			return fmt.Errorf("%w: token %d at position %d, the table knows %d", ErrModel, id, i, t.Vocabulary)
		}
	}
	return nil
}

// row returns the logits after a token, [V].
func (t *table) row(before int32) []float64 {
	return t.Logits[int(before)*t.Vocabulary : (int(before)+1)*t.Vocabulary]
}

// logProbs returns the log-probabilities after a token, [V].
func (t *table) logProbs(before int32) []float64 { return logSoftmax(t.row(before)) }

func logSoftmax(logits []float64) []float64 {
	highest := math.Inf(-1)
	for _, x := range logits {
		highest = math.Max(highest, x)
	}
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(x - highest)
	}
	out := make([]float64, len(logits))
	for i, x := range logits {
		out[i] = x - highest - math.Log(sum)
	}
	return out
}

// otherFiles returns what a model folder holds beside the weights, such as the tokenizer.
func otherFiles(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == TableFile {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	return files, err
}

// writeModel writes a model folder.
func writeModel(dir string, t *table, files map[string][]byte) error {
	for name, content := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(dir, TableFile), t)
}

// writeJSON keeps every float64 exactly: Go writes the shortest text that reads back as the same number.
func writeJSON(path string, content any) error {
	b, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
