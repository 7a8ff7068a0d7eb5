package engine

import (
	"fmt"
	"path/filepath"

	"multiattempt/internal/nn"
)

// Summary is what a model folder holds.
type Summary struct {
	Config     nn.Config
	Parameters int64            // numbers in all tensors; a head tied to the embedding counts once
	DTypes     map[string]int64 // numbers by the type they are stored in: F32, F16, BF16
}

// Inspect reads a model folder's configuration and the headers of its weights. It refuses what LoadFolder refuses, except
// that it does not look at the numbers.
func Inspect(dir string) (Summary, error) {
	m, err := readFolder(dir)
	if err != nil {
		return Summary{}, fmt.Errorf("model folder %s: %w", dir, err)
	}
	s := Summary{Config: m.Config, DTypes: map[string]int64{}}
	err = eachWeight(dir, m.Config, func(f *TensorFile, name string, shape []int) error {
		e, err := f.entry(name, shape)
		if err == nil {
			s.Parameters += e.size()
			s.DTypes[e.DType] += e.size()
		}
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("model folder %s: %w", filepath.Clean(dir), err)
	}
	return s, nil
}
