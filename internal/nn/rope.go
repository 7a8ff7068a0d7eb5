package nn

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// RopeScaling stretches rotary position embeddings beyond the length a model was trained at, as the Hugging Face field
// of the same name. The zero value is none.
type RopeScaling struct {
	Type              string  // "", "linear", "llama3" or "yarn"
	Factor            float64 // how much longer
	OriginalPositions int     // trained length: llama3, yarn
	LowFrequency      float64 // llama3: low_freq_factor
	HighFrequency     float64 // llama3: high_freq_factor
	BetaFast          float64 // yarn: rotations above which a dimension is left alone
	BetaSlow          float64 // yarn: rotations below which a dimension is interpolated
	AttentionFactor   float64 // yarn: multiplies cosines and sines
	KeepFraction      bool    // yarn: the ramp's ends are not rounded to whole dimensions (truncate is false)
}

// rope is rope_scaling (with rope_theta beside it) or, in newer files, rope_parameters (with rope_theta inside).
type rope struct {
	Type              string   `json:"rope_type,omitempty"`
	OldType           string   `json:"type,omitempty"`
	Theta             float64  `json:"rope_theta,omitempty"`
	Factor            float64  `json:"factor,omitempty"`
	OriginalPositions int      `json:"original_max_position_embeddings,omitempty"`
	LowFrequency      float64  `json:"low_freq_factor,omitempty"`
	HighFrequency     float64  `json:"high_freq_factor,omitempty"`
	BetaFast          float64  `json:"beta_fast,omitempty"`
	BetaSlow          float64  `json:"beta_slow,omitempty"`
	AttentionFactor   *float64 `json:"attention_factor,omitempty"`
	MScale            *float64 `json:"mscale,omitempty"`
	MScaleAll         *float64 `json:"mscale_all_dim,omitempty"`
	Truncate          *bool    `json:"truncate,omitempty"`
	Partial           float64  `json:"partial_rotary_factor,omitempty"`
}

// readRope fills RopeTheta and RopeScaling from either field of config.json.
func (c *Config) readRope(scaling, parameters *rope) error {
	r := parameters
	if r == nil {
		r = scaling
	}
	if r == nil {
		r = &rope{}
	}
	if r.Theta != 0 {
		c.RopeTheta = r.Theta
	}
	if c.RopeTheta == 0 {
		c.RopeTheta = 10000
	}
	if r.Type == "" {
		r.Type = r.OldType
	}
	if r.Partial != 0 && r.Partial != 1 {
		return fmt.Errorf("%w: partial_rotary_factor is %g; supported: 1", ErrConfig, r.Partial)
	}
	s := RopeScaling{Type: r.Type, Factor: r.Factor}
	original := r.OriginalPositions
	if original == 0 {
		original = c.MaxPositions
	}
	switch r.Type {
	case "", "default":
		c.RopeScaling = RopeScaling{}
		return nil
	case "linear":
	case "llama3":
		s.OriginalPositions, s.LowFrequency, s.HighFrequency = original, r.LowFrequency, r.HighFrequency
		if s.LowFrequency <= 0 || s.HighFrequency <= s.LowFrequency {
			return fmt.Errorf("%w: rope_scaling needs 0 < low_freq_factor < high_freq_factor, has %g and %g", ErrConfig, s.LowFrequency, s.HighFrequency)
		}
	case "yarn":
		if r.MScale != nil || r.MScaleAll != nil {
			return fmt.Errorf("%w: rope_scaling.mscale is set; supported: yarn without mscale", ErrConfig)
		}
		s.OriginalPositions = original
		s.BetaFast, s.BetaSlow = orDefault(r.BetaFast, 32), orDefault(r.BetaSlow, 1)
		s.AttentionFactor = 0.1*math.Log(max(r.Factor, 1)) + 1
		if r.AttentionFactor != nil {
			s.AttentionFactor = *r.AttentionFactor
		}
		s.KeepFraction = r.Truncate != nil && !*r.Truncate
	default:
		return fmt.Errorf("%w: rope_scaling type is %q; supported: linear, llama3, yarn", ErrConfig, r.Type)
	}
	if s.Factor < 1 {
		return fmt.Errorf("%w: rope_scaling.factor is %g, must be at least 1", ErrConfig, s.Factor)
	}
	c.RopeScaling = s
	return nil
}

func orDefault(x, otherwise float64) float64 {
	if x == 0 {
		return otherwise
	}
	return x
}

// json is the rope_scaling that readRope reads back as s.
func (s RopeScaling) json() *rope {
	if s.Type == "" {
		return nil
	}
	r := &rope{
		Type: s.Type, Factor: s.Factor, OriginalPositions: s.OriginalPositions, LowFrequency: s.LowFrequency,
		HighFrequency: s.HighFrequency, BetaFast: s.BetaFast, BetaSlow: s.BetaSlow,
	}
	if s.Type == "yarn" {
		truncate := !s.KeepFraction
		r.AttentionFactor, r.Truncate = &s.AttentionFactor, &truncate
	}
	return r
}

// RopeFrequencies returns the angle per position of each pair of dimensions, [HeadDim/2] radians, and the factor on
// cosines and sines. Sources: Su et al., arXiv 2104.09864; Peng et al. (YaRN), arXiv 2309.00071; Llama 3.1's
// published scaling; all as in Hugging Face's modeling_rope_utils.
func (c Config) RopeFrequencies() (radians []float64, scale float64) {
	half, s := c.HeadDim/2, c.RopeScaling
	radians = make([]float64, half)
	for i := range radians {
		radians[i] = math.Pow(c.RopeTheta, -2*float64(i)/float64(c.HeadDim))
	}
	switch s.Type {
	case "linear":
		for i := range radians {
			radians[i] /= s.Factor
		}
	case "llama3":
		for i, w := range radians {
			turns := float64(s.OriginalPositions) * w / (2 * math.Pi) // within the trained length
			blend := (turns - s.LowFrequency) / (s.HighFrequency - s.LowFrequency)
			blend = min(max(blend, 0), 1)
			radians[i] = (1-blend)*w/s.Factor + blend*w
		}
	case "yarn":
		low, high := c.yarnRange()
		for i, w := range radians {
			blend := 1 - min(max((float64(i)-low)/(high-low), 0), 1)
			radians[i] = (1-blend)*w/s.Factor + blend*w
		}
		return radians, s.AttentionFactor
	}
	return radians, 1
}

// yarnRange returns the pair indices between which YaRN goes from leaving frequencies alone to interpolating them.
func (c Config) yarnRange() (low, high float64) {
	s := c.RopeScaling
	pair := func(rotations float64) float64 {
		return float64(c.HeadDim) * math.Log(float64(s.OriginalPositions)/(rotations*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	low, high = pair(s.BetaFast), pair(s.BetaSlow)
	if !s.KeepFraction {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(c.HeadDim-1))
	if low == high {
		high += 0.001 // no division by zero, as in the reference implementation
	}
	return low, high
}

// Rotation holds cosines and sines of the position angles, [B or 1, 1, T, HeadDim/2] float32 each.
type Rotation struct{ Cos, Sin *Node }

// RotationTable returns cosines and sines of positions 0…length−1, [length, HeadDim/2] each.
func (c Config) RotationTable(length int) (cos, sin []float32) {
	radians, scale := c.RopeFrequencies()
	cos, sin = make([]float32, 0, length*len(radians)), make([]float32, 0, length*len(radians))
	for t := range length {
		for _, w := range radians {
			angle := float64(float32(t) * float32(w)) // the product is float32 in every implementation
			cos = append(cos, float32(scale*math.Cos(angle)))
			sin = append(sin, float32(scale*math.Sin(angle)))
		}
	}
	return cos, sin
}

// RotationFromZero returns the rotation of positions 0…T−1 for all rows, computed once when the graph is built.
func (c Config) RotationFromZero(g *Graph, length int) Rotation {
	cos, sin := c.RotationTable(length)
	table := func(flat []float32) *Node {
		return ConstTensor(g, tensors.FromFlatDataAndDimensions(flat, 1, 1, length, c.HeadDim/2))
	}
	return Rotation{table(cos), table(sin)}
}

// RotationAt returns the rotation of positions [B, T] int32, each below length.
func (c Config) RotationAt(positions *Node, length int) Rotation {
	cos, sin := c.RotationTable(length)
	at := func(flat []float32) *Node {
		table := ConstTensor(positions.Graph(), tensors.FromFlatDataAndDimensions(flat, length, c.HeadDim/2))
		return InsertAxes(Gather(table, InsertAxes(positions, -1)), 1)
	}
	return Rotation{at(cos), at(sin)}
}

// Apply rotates x [B, heads, T, HeadDim]: dimension i pairs with i + HeadDim/2 (Hugging Face's "rotate half"). It computes
// in float32.
func (r Rotation) Apply(x *Node) *Node {
	half, full := x.Shape().Dim(-1)/2, as(x, dtypes.Float32)
	a, b := SliceAxis(full, -1, AxisRange(0, half)), SliceAxis(full, -1, AxisRange(half))
	return as(Concatenate([]*Node{Sub(Mul(a, r.Cos), Mul(b, r.Sin)), Add(Mul(b, r.Cos), Mul(a, r.Sin))}, -1), x.DType())
}
