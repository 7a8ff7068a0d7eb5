package experience

import "math"

// stdFloor keeps advantages of a group finite in which all returns are equal, as peers have it.
const stdFloor = 1e-6

// grpo is the advantage within a group of at least two (Shao et al., "DeepSeekMath", arXiv 2402.03300, §4.1.2):
// (R − mean)/(std + 1e-6), std being the sample standard deviation; without std, R − mean (Dr. GRPO: Liu et al., arXiv
// 2503.20783).
func grpo(returns []float64, std bool) []float64 {
	var m moments
	for _, r := range returns {
		m.add(r)
	}
	scale := 1.0
	if std {
		scale = 1 / (math.Sqrt(m.variance()*m.n/(m.n-1)) + stdFloor)
	}
	advantages := make([]float64, len(returns))
	for i, r := range returns {
		advantages[i] = (r - m.mean) * scale
	}
	return advantages
}
