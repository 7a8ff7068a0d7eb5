package updatetest

import (
	"math"

	"multiattempt/internal/experience"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// slope is the loss of a minibatch and its derivatives, worked out by hand.
type slope struct {
	policyLoss, valueLoss float64   // with divergence and entropy; with the value weight
	policy                []float64 // [V, V], of policyLoss by the logits
	critic                []float64 // [V], of valueLoss by the values
	stats                 update.StepStats
}

// slope computes the losses of PPO (Schulman et al., arXiv 1707.06347) and their derivatives at the learner's weights.
func (l *learner) slope(rows []experience.Row) slope {
	s := slope{policy: make([]float64, len(l.policy.Logits)), critic: make([]float64, len(l.state.Critic))}
	for i, share := range shares(l.update, rows) {
		for t, trains := range rows[i].Mask {
			if trains && t > 0 {
				l.policyToken(&s, rows[i], t, share)
				if l.update.Critic() {
					l.valueToken(&s, rows[i], t, share)
				}
			}
		}
	}
	n := float64(s.stats.Tokens)
	s.stats.KLMeanPerToken /= n
	s.stats.Entropy /= n
	s.stats.ClipFraction /= n
	s.stats.ApproxKL /= n
	return s
}

// shares returns what a token of each row counts in the minibatch's mean.
func shares(u spec.Update, rows []experience.Row) []float64 {
	counts, total := make([]float64, len(rows)), 0.0
	for i, r := range rows {
		for t, trains := range r.Mask {
			if trains && t > 0 {
				counts[i]++
				total++
			}
		}
	}
	for i, n := range counts {
		switch u.Aggregation {
		case spec.AggregateEpisodes:
			counts[i] = 1 / (n * float64(len(rows)))
		case spec.AggregateConstant:
			counts[i] = 1 / (float64(u.AggregationLength) * float64(len(rows)))
		default:
			counts[i] = 1 / total
		}
	}
	return counts
}

// policyToken adds one token's part of the policy's loss.
func (l *learner) policyToken(s *slope, r experience.Row, t int, share float64) {
	before, token := r.Tokens[t-1], r.Tokens[t]
	weighted := share
	if r.Weights != nil {
		weighted *= float64(r.Weights[t])
	}
	logProbs := l.policy.logProbs(before)
	logProb, advantage := logProbs[token], float64(r.Advantages[t])
	ratio := math.Exp(logProb - float64(r.Old[t]))
	free, clipped := ratio*advantage, math.Min(math.Max(ratio, 1-l.update.Clip), 1+l.update.Upper())*advantage
	loss, byLogProb := -free, -ratio*advantage
	if clipped < free {
		loss, byLogProb = -clipped, 0
		s.stats.ClipFraction++
	}
	s.stats.PolicyLoss += weighted * loss

	delta := float64(r.Ref[t]) - logProb
	s.stats.KLMeanPerToken += experience.KL(l.update.KLEstimator, logProb, float64(r.Ref[t]))
	if l.update.KL == spec.KLInLoss {
		loss += r.KLCoefficient * experience.KL(l.update.KLEstimator, logProb, float64(r.Ref[t]))
		if l.update.KLEstimator == spec.KLK2 {
			byLogProb -= r.KLCoefficient * delta
		} else {
			byLogProb -= r.KLCoefficient * math.Expm1(delta)
		}
	}
	entropy := 0.0
	for _, lp := range logProbs {
		entropy -= math.Exp(lp) * lp
	}
	loss -= l.update.Entropy * entropy
	gradient := s.policy[int(before)*l.policy.Vocabulary:]
	for v, lp := range logProbs {
		p := math.Exp(lp)
		gradient[v] += weighted * (-byLogProb*p + l.update.Entropy*p*(lp+entropy))
	}
	gradient[token] += weighted * byLogProb

	s.policyLoss += weighted * loss
	s.stats.Tokens++
	s.stats.Entropy += entropy
	s.stats.ApproxKL += experience.KL(spec.KLK3, logProb, float64(r.Old[t]))
	s.stats.RatioMax = math.Max(s.stats.RatioMax, ratio)
}

// valueToken adds one token's part of the critic's loss.
func (l *learner) valueToken(s *slope, r experience.Row, t int, share float64) {
	before := r.Tokens[t-1]
	value, old, want := l.state.Critic[before], float64(r.Values[t]), float64(r.Returns[t])
	clip := l.update.ValueClip
	near := old + math.Min(math.Max(value-old, -clip), clip)
	free, clipped := (value-want)*(value-want), (near-want)*(near-want)
	loss, byValue := free/2, value-want
	if clipped > free {
		loss, byValue = clipped/2, 0 // near differs from value, hence does not move with it
	}
	s.stats.ValueLoss += share * loss
	s.valueLoss += l.update.ValueWeight * share * loss
	s.critic[before] += l.update.ValueWeight * share * byValue
}

// adam holds the moments of Kingma and Ba, arXiv 1412.6980.
type adam struct {
	First  []float64 `json:"first"`
	Second []float64 `json:"second"`
	Steps  int       `json:"steps"`
}

func newAdam(n int) adam { return adam{First: make([]float64, n), Second: make([]float64, n)} }

func (a *adam) fits(n int) bool { return len(a.First) == n && len(a.Second) == n }

// step moves weights against the gradient, whose norm is clipped first. A rate of 0 leaves everything as it is.
func (a *adam) step(o spec.Optimizer, rate float64, weights, gradient []float64) {
	if rate == 0 {
		return
	}
	factor := 1.0
	if n := norm(gradient); o.ClipNorm > 0 && n > o.ClipNorm {
		factor = o.ClipNorm / n
	}
	a.Steps++
	first, second := 1-math.Pow(o.Beta1, float64(a.Steps)), 1-math.Pow(o.Beta2, float64(a.Steps))
	for i, g := range gradient {
		g *= factor
		a.First[i] = o.Beta1*a.First[i] + (1-o.Beta1)*g
		a.Second[i] = o.Beta2*a.Second[i] + (1-o.Beta2)*g*g
		weights[i] -= rate * (a.First[i] / first) / (math.Sqrt(a.Second[i]/second) + o.Epsilon)
	}
}

func norm(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

func finite(list ...float64) bool {
	for _, x := range list {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}
