package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
)

// stateFile holds what a model folder does not: Adam's moments and step counts, and a critic's weights. Tensors are
// called ROLE.NAME, ROLE.adam_first.NAME, ROLE.adam_second.NAME and ROLE.adam_steps, where NAME is the Hugging Face name
// of the weight and ROLE is policy or critic.
const stateFile = "trainer.safetensors"

// WritePolicy writes the policy as a Hugging Face folder. Adapters are merged into its weights, and stand beside them, in
// PEFT's format, in the folder AdapterDir.
func (t *trainer) WritePolicy(ctx context.Context, dir string) error {
	if !t.policy.lora.Enabled() {
		return writePolicy(ctx, t.model, t.policy, dir)
	}
	if err := t.writeMerged(ctx, dir); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	return nil
}

func writePolicy(ctx context.Context, model *Model, policy *network, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	weights, err := downloadAll(policy.specs, policy.weights)
	if err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	m := Model{Config: model.Config, Weights: weights, Files: model.Files}
	if err := m.WriteFolder(dir); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	return nil
}

// WriteState writes moments, counts and, where there is one, the critic.
func (t *trainer) WriteState(ctx context.Context, dir string) error {
	return writeState(ctx, dir, t.networks()...)
}

// part is one list of arrays of a network in the state file.
type part struct {
	prefix  string
	buffers *[]compute.Buffer
}

// parts lists what the state file holds of a network.
func (n *network) parts() []part {
	list := []part{{n.role + ".adam_first.", &n.first}, {n.role + ".adam_second.", &n.second}}
	if n.inState {
		list = append(list, part{n.role + ".", &n.weights})
	}
	return list
}

// stepsName names a network's count of Adam steps, kept as float32: exact up to 2²⁴.
func (n *network) stepsName() string { return n.role + ".adam_steps" }

// writeState writes the state of networks into dir.
func writeState(ctx context.Context, dir string, networks ...*network) error {
	var list []Tensor
	for _, n := range networks {
		list = append(list, Tensor{n.stepsName(), []int{1}, []float32{float32(n.steps)}})
		for _, p := range n.parts() {
			if err := ctx.Err(); err != nil {
				return err
			}
			flat, err := downloadAll(n.specs, *p.buffers)
			if err != nil {
				return fmt.Errorf("write state: %w", err)
			}
			for i, s := range n.specs {
				list = append(list, Tensor{p.prefix + s.Name, s.Shape, flat[i]})
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := WriteTensors(filepath.Join(dir, stateFile), list); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// readState replaces the state of networks by what writeState wrote. Tensors that no network has are refused: the state
// is another run's.
func readState(dir string, networks ...*network) error {
	f, err := OpenTensors(filepath.Join(dir, stateFile))
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	known := 0
	for _, n := range networks {
		count, err := f.Read(n.stepsName(), []int{1})
		if err != nil {
			return fmt.Errorf("read state: %w", err)
		}
		n.steps = int(count[0])
		known++
		for _, p := range n.parts() {
			if err := n.readPart(f, p); err != nil {
				return fmt.Errorf("read state: %w", err)
			}
			known += len(n.specs)
		}
	}
	if names := f.Names(); len(names) != known {
		return fmt.Errorf("read state: %w: %s has %d tensors, this run has %d", ErrTensor, stateFile, len(names), known)
	}
	return nil
}

func (n *network) readPart(f *TensorFile, p part) error {
	flat := make([][]float32, len(n.specs))
	for i, s := range n.specs {
		var err error
		if flat[i], err = f.Read(p.prefix+s.Name, s.Shape); err != nil {
			return err
		}
	}
	buffers, err := uploadAll(n.backend, n.specs, flat)
	if err != nil {
		return err
	}
	free(*p.buffers...)
	*p.buffers = buffers
	return nil
}
