package experience

// GAE is generalised advantage estimation (Schulman et al., arXiv 1506.02438, eq. 16) over the sampled tokens of one
// episode, [S] each: A_j = δ_j + γ_j·λ·A_{j+1} with δ_j = r_j + γ_j·V_{j+1} − V_j, γ_j being the discount of what follows
// token j. What is not sampled is stepped over as if it were not there, so the last token of an attempt looks at the value
// of the next attempt's first one. The value after the last sampled token is 0, in truncated episodes too.
//
// With values of 0 and λ = 1 it is the discounted reward still to come: whitened over the iteration, with the divergence
// in the reward, that is REINFORCE++ (Hu, arXiv 2501.03262, §3); Build takes it so whatever λ is.
func GAE(rewards, values, discounts []float64, lambda float64) []float64 {
	advantages := make([]float64, len(rewards))
	next, following := 0.0, 0.0 // V_{j+1} and A_{j+1}
	for j := len(rewards) - 1; j >= 0; j-- {
		delta := rewards[j] + discounts[j]*next - values[j]
		following = delta + discounts[j]*lambda*following
		advantages[j], next = following, values[j]
	}
	return advantages
}
