package experience

import (
	"math"

	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// describe fills in the batch's facts, before whitening. limit is the upper bound of importance weights.
func (b *Batch) describe(episodes []rollout.Episode, limit float32) {
	var advantage, returns, residual, weight moments
	var values, kl, mismatch, truncated float64
	for i, row := range b.Rows {
		for t, m := range row.Mask {
			if !m {
				continue
			}
			advantage.add(float64(row.Advantages[t]))
			if row.Values != nil {
				returns.add(float64(row.Returns[t]))
				residual.add(float64(row.Returns[t]) - float64(row.Values[t]))
				values += float64(row.Values[t])
			}
			if row.Weights != nil {
				weight.add(float64(row.Weights[t]))
				if row.Weights[t] >= limit {
					truncated++
				}
			}
			kl += KL(spec.KLK3, float64(row.Old[t]), float64(row.Ref[t]))
			off := math.Abs(float64(row.Old[t]) - float64(episodes[i].LogProbs[t]))
			mismatch += off
			b.MismatchMax = math.Max(b.MismatchMax, off)
		}
	}
	n := advantage.n
	b.TokensTrained = int(n)
	b.AdvantageMean, b.AdvantageStd = advantage.mean, math.Sqrt(advantage.variance())
	b.ReturnMean, b.ValueMean = returns.mean, values/n
	b.KLMeanPerToken, b.MismatchMeanAbs = kl/n, mismatch/n
	b.WeightMean, b.WeightTruncated = weight.mean, truncated/n
	if v := returns.variance(); v > 0 {
		b.ExplainedVariance = 1 - residual.variance()/v
	}
}

// moments accumulates mean and population variance (Welford 1962).
type moments struct{ n, mean, m2 float64 }

func (m *moments) add(x float64) {
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.m2 += d * (x - m.mean)
}

func (m *moments) variance() float64 {
	if m.n == 0 {
		return 0
	}
	return m.m2 / m.n
}
