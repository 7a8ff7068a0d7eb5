package nn

// products is the number of multiplications of one position in one forward pass of all layers, with attention over
// length positions of which a position sees half.
func (c Config) products(length int) float64 {
	d, q, kv := float64(c.HiddenSize), float64(c.Heads*c.HeadDim), float64(c.KVHeads*c.HeadDim)
	perLayer := d*(2*q+2*kv+3*float64(c.IntermediateSize)) + q*float64(length)
	return float64(c.Layers) * perLayer
}

// UpdateFLOPs is the number of floating-point operations that one update needs for so many positions in rows of length:
// forward passes of policy, reference and critic to score, and a forward and backward pass of policy and critic. Adapters
// spare the gradients of frozen weights. What is computed again to save memory is not counted.
func (c Config) UpdateFLOPs(adapters bool, positions, length int) float64 {
	body, head := c.products(length), float64(c.HiddenSize)*float64(c.VocabSize)
	passes := 3.0 // forward, and two products backward
	if adapters {
		passes = 2
	}
	return 2 * float64(positions) * (3*body + 2*head + passes*(2*body+head))
}

// TrainingBytes estimates what the gradient of so many networks of one kind holds besides weights and sums, for batch rows
// of length: what forward passes keep (with large networks each layer's input), what one layer computes again at a time,
// and a chunk's logits.
func (c Config) TrainingBytes(networks, batch, length int) int64 {
	size := int64(c.ComputeType().Size())
	kept, working := int64(c.activations(batch, length)), int64(0)
	if kept > maxActivations {
		working = 2 * kept / int64(c.Layers)
		kept = int64(c.Layers) * int64(batch) * int64(length) * int64(c.HiddenSize)
	}
	bytes := size*(int64(networks)*kept+working) + 4*4*c.logits(batch, length)
	if size < 4 {
		bytes += size * c.Parameters() // the weights, converted
	}
	return bytes
}

// ScoringBytes estimates what scoring batch rows of length holds besides weights: what one layer computes, and a chunk's
// logits.
func (c Config) ScoringBytes(batch, length int) int64 {
	return int64(c.ComputeType().Size())*int64(c.activations(batch, length)/c.Layers) + 4*4*c.logits(batch, length)
}

// logits is how many logits exist at the same time when batch rows of length are scored.
func (c Config) logits(batch, length int) int64 {
	all := int64(batch) * int64(length) * int64(c.VocabSize)
	if c.VocabSize > wholeVocabulary {
		return min(all, max(chunkLogits, int64(c.VocabSize)))
	}
	return all
}

// Parameters is the number of all weights.
func (c Config) Parameters() int64 { return Count(c.Tensors()) }

// Count is the number of numbers in weights.
func Count(specs []TensorSpec) int64 {
	var n int64
	for _, s := range specs {
		size := int64(1)
		for _, d := range s.Shape {
			size *= int64(d)
		}
		n += size
	}
	return n
}
