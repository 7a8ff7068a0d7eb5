package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// AdapterDir is the folder, inside the model folder of a policy with adapters, that PEFT loads: adapter_config.json and
// adapter_model.safetensors. The model folder's own weights have the adapters merged into them already.
const AdapterDir = "adapter"

// peftPrefix stands before the names of adapters in PEFT's files.
const peftPrefix = "base_model.model."

// computeType is the device's type of a setting.
func computeType(c spec.Compute) dtypes.DType {
	if c == spec.ComputeBFloat16 {
		return dtypes.BFloat16
	}
	return dtypes.Float32
}

// drawAdapters makes new adapters, in the order of Config.AdapterTensors: A uniform within ±1/√in, as PEFT draws it, and B
// zero, so that they change nothing yet.
func drawAdapters(config nn.Config, l spec.LoRA, runSeed uint64, role string) [][]float32 {
	var weights [][]float32
	for _, s := range config.AdapterTensors(l) {
		w := make([]float32, elements(s.Shape))
		if strings.HasSuffix(s.Name, ".lora_A.weight") {
			draw, bound := seed.Rand("engine/lora", runSeed, seed.Text(role), seed.Text(s.Name)), 1/math.Sqrt(float64(s.Shape[1]))
			for i := range w {
				w[i] = float32(bound * (2*draw.Float64() - 1))
			}
		}
		weights = append(weights, w)
	}
	return weights
}

// writeMerged writes the policy's folder: base and adapters as one, and the adapters alone.
func (t *trainer) writeMerged(ctx context.Context, dir string) error {
	adapters := map[string]compute.Buffer{}
	for i, s := range t.policy.specs {
		adapters[s.Name] = t.policy.weights[i]
	}
	of := map[string]nn.Adapter{}
	for _, a := range t.model.Config.Adapters(t.policy.lora) {
		of[a.Weight] = a
	}
	specs := t.model.Config.Tensors()
	m := Model{Config: t.model.Config, Weights: make([][]float32, len(specs)), Files: t.model.Files}
	for i, s := range specs {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.Weights[i] = make([]float32, elements(s.Shape))
		var err error
		if a, ok := of[s.Name]; ok {
			err = t.merge(m.Weights[i], s, t.reference[i], adapters[a.A], adapters[a.B])
		} else {
			err = t.reference[i].ToFlatData(m.Weights[i])
		}
		if err != nil {
			return fmt.Errorf("download %s: %w", s.Name, err)
		}
	}
	if err := m.WriteFolder(dir); err != nil {
		return err
	}
	return t.writeAdapter(filepath.Join(dir, AdapterDir))
}

// merge copies one weight with its adapter added from the device.
func (t *trainer) merge(to []float32, s nn.TensorSpec, weight, a, b compute.Buffer) error {
	l := t.policy.lora
	p, err := t.backend.program(fmt.Sprintf("merge %v rank %d scale %g", s.Shape, l.Rank, l.Scale()), func(g *graph.Graph) []*graph.Node {
		nodes := parameters(g, "w", []nn.TensorSpec{s, {Shape: []int{l.Rank, s.Shape[1]}}, {Shape: []int{s.Shape[0], l.Rank}}})
		return []*graph.Node{nn.MergeAdapter(nodes[0], nodes[1], nodes[2], l.Scale())}
	})
	if err != nil {
		return err
	}
	out, err := p.run([]compute.Buffer{weight, a, b})
	if err != nil {
		return err
	}
	defer free(out...)
	return out[0].ToFlatData(to)
}

// peftConfig is adapter_config.json as far as PEFT needs it to load adapters of linear maps.
type peftConfig struct {
	PeftType      string   `json:"peft_type"`
	TaskType      string   `json:"task_type"`
	Base          *string  `json:"base_model_name_or_path"` // whoever loads the adapters names the model they belong to
	Rank          int      `json:"r"`
	Alpha         float64  `json:"lora_alpha"`
	Targets       []string `json:"target_modules"`
	Bias          string   `json:"bias"`
	Dropout       float64  `json:"lora_dropout"`
	FanInFanOut   bool     `json:"fan_in_fan_out"`
	InferenceMode bool     `json:"inference_mode"`
	InitWeights   bool     `json:"init_lora_weights"`
}

// writeAdapter writes the policy's adapters in PEFT's format.
func (t *trainer) writeAdapter(dir string) error {
	l := t.policy.lora
	text, err := json.MarshalIndent(peftConfig{
		PeftType: "LORA", TaskType: "CAUSAL_LM", Rank: l.Rank, Alpha: l.Alpha, Targets: slices.Sorted(slices.Values(l.Targets)),
		Bias: "none", InferenceMode: true, InitWeights: true,
	}, "", "  ")
	if err != nil {
		return err
	}
	flat, err := downloadAll(t.policy.specs, t.policy.weights)
	if err != nil {
		return err
	}
	tensors := make([]Tensor, len(flat))
	for i, s := range t.policy.specs {
		tensors[i] = Tensor{peftPrefix + s.Name, s.Shape, flat[i]}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return WriteTensors(filepath.Join(dir, "adapter_model.safetensors"), tensors)
}
