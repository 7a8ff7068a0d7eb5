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
