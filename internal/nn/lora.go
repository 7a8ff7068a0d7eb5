package nn

import (
	"fmt"
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"multiattempt/internal/spec"
)

// Ends of the names of low-rank adapters, as PEFT has them: A is [rank, in], B is [out, rank].
const (
	adapterA = ".lora_A.weight"
	adapterB = ".lora_B.weight"
)

// Adapter is what is added to one weight: W + Alpha/rank · B·A (Hu et al., arXiv 2106.09685).
type Adapter struct {
	Weight string // name of W, [out, in]
	A, B   string // names of [rank, in] and [out, rank]
}

// Adapters lists the adapters of all layers, in the order of Tensors.
func (c Config) Adapters(l spec.LoRA) []Adapter {
	var list []Adapter
	for _, s := range c.Tensors() {
		name, isWeight := strings.CutSuffix(s.Name, ".weight")
		module := name[strings.LastIndexByte(name, '.')+1:]
		if isWeight && slices.Contains(l.Targets, module) {
			list = append(list, Adapter{Weight: s.Name, A: name + adapterA, B: name + adapterB})
		}
	}
	return list
}

// AdapterTensors lists the weights of all adapters, ascending by name.
func (c Config) AdapterTensors(l spec.LoRA) []TensorSpec {
	shapes := map[string][]int{}
	for _, s := range c.Tensors() {
		shapes[s.Name] = s.Shape
	}
	var specs []TensorSpec
	for _, a := range c.Adapters(l) {
		shape := shapes[a.Weight]
		specs = append(specs, TensorSpec{a.A, []int{l.Rank, shape[1]}}, TensorSpec{a.B, []int{shape[0], l.Rank}})
	}
	return specs
}

// BindAdapters puts trained nodes, which are in the order of specs (AdapterTensors, and for a critic its head), beside the
// frozen weights of a network.
func BindAdapters(frozen Weights, l spec.LoRA, specs []TensorSpec, trained []*Node) Weights {
	w := Bind(specs, trained)
	for name, x := range frozen {
		if w[name] != nil {
			panic(fmt.Errorf("weight %s is both frozen and trained", name))
		}
		w[name] = x
	}
	for _, s := range specs {
		if strings.HasSuffix(s.Name, adapterB) {
			w[s.Name] = MulScalar(w[s.Name], l.Scale())
		}
	}
	return w
}

// MergeAdapter is the weight [out, in] with an adapter's a [rank, in] and b [out, rank] added to it.
func MergeAdapter(weight, a, b *Node, scale float64) *Node {
	return Add(weight, MulScalar(DotGeneral(b, []int{1}, nil, a, []int{0}, nil), scale))
}
