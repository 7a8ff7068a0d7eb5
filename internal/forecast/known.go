package forecast

import "path"

// known are the shapes of the models that presets name, from their published config.json: a forecast must not need a
// download.
var known = map[string]Model{
	"Qwen2.5-Math-1.5B": {
		Parameters: 1_543_714_304, Layers: 28, HiddenSize: 1536, Intermediate: 8960, Heads: 12, KVWidth: 256, MaxPositions: 4096,
	},
	"SmolLM2-135M-Instruct": {
		Parameters: 134_515_008, Layers: 30, HiddenSize: 576, Intermediate: 1536, Heads: 9, KVWidth: 192, MaxPositions: 8192,
	},
}

// Known returns the shape of a model that is named by its folder or by its place on a hub; nil when it is not known.
func Known(source string) *Model {
	name := path.Base(source)
	m, ok := known[name]
	if !ok {
		return nil
	}
	m.Name = name
	return &m
}
