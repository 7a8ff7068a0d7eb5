package experience

// rloo is REINFORCE with the mean of the others as baseline, in a group of at least two (Kool, van Hoof and Welling, "Buy 4
// REINFORCE Samples, Get a Baseline for Free!", 2019; Ahmadian et al., "Back to Basics", arXiv 2402.14740).
func rloo(returns []float64) []float64 {
	sum := 0.0
	for _, r := range returns {
		sum += r
	}
	advantages := make([]float64, len(returns))
	for i, r := range returns {
		advantages[i] = r - (sum-r)/float64(len(returns)-1)
	}
	return advantages
}
