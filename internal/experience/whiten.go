package experience

import "math"

// varianceFloor keeps whitening finite when all advantages are equal.
const varianceFloor = 1e-8

// whiten replaces advantages by (A − mean)/sqrt(max(var, 1e-8)), over all sampled tokens, population variance.
func (b *Batch) whiten() {
	scale := 1 / math.Sqrt(math.Max(b.AdvantageStd*b.AdvantageStd, varianceFloor))
	for _, row := range b.Rows {
		for t, m := range row.Mask {
			if m {
				row.Advantages[t] = float32((float64(row.Advantages[t]) - b.AdvantageMean) * scale)
			}
		}
	}
}
