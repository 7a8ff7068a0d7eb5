package forecast

import (
	"path"
	"strings"

	"multiattempt/internal/nn"
)

// known are the shapes of the models that presets name, from their published config.json: a forecast must not need a
// download.
var known = map[string]nn.Config{
	"Qwen2.5-Math-1.5B": {
		Architecture: nn.Qwen2, VocabSize: 151936, HiddenSize: 1536, IntermediateSize: 8960, Layers: 28, Heads: 12, KVHeads: 2, HeadDim: 128,
		RMSNormEps: 1e-6, RopeTheta: 1e4, TieEmbeddings: true, AttentionBias: true, MaxPositions: 4096,
	},
	"SmolLM2-135M-Instruct": {
		Architecture: nn.Llama, VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64,
		RMSNormEps: 1e-5, RopeTheta: 1e5, TieEmbeddings: true, MaxPositions: 8192,
	},
}

// Known returns the shape of a model that is named by its folder or by its place on a hub, a revision included; nil when it
// is not known.
func Known(source string) *Model {
	name, _, _ := strings.Cut(path.Base(source), "@")
	c, ok := known[name]
	if !ok {
		return nil
	}
	return NewModel(name, c)
}
