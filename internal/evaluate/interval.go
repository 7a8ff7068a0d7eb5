package evaluate

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"multiattempt/internal/seed"
)

// confidence is that of every interval.
const confidence = 0.95

// resamples is the number of bootstrap samples behind an interval.
const resamples = 4000

// Wilson returns the 95 % score interval of a proportion: correct of n independent trials (Wilson, "Probable
// inference, the law of succession, and statistical inference", 1927). Without trials it is all of [0, 1].
func Wilson(correct, n int) [2]float64 {
	if n == 0 {
		return [2]float64{0, 1}
	}
	z := distuv.UnitNormal.Quantile(0.5 + confidence/2)
	p, m := float64(correct)/float64(n), float64(n)
	center := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return [2]float64{max(0, center-half), min(1, center+half)}
}

// McNemar returns the exact two-sided probability of a split of discordant pairs at least as uneven as onlyA to onlyB
// when both sides are equally good (McNemar, 1947; binomial form). 1 without discordant pairs.
func McNemar(onlyA, onlyB int) float64 {
	n := onlyA + onlyB
	if n == 0 {
		return 1
	}
	tail := distuv.Binomial{N: float64(n), P: 0.5}.CDF(float64(min(onlyA, onlyB)))
	return min(1, 2*tail)
}

// bootstrap returns the 95 % percentile interval of the mean over sets of each set's mean over problems: problems are
// drawn with replacement within each set (Efron, 1979). values: [sets][P]. The draws depend on the name alone.
func bootstrap(values [][]float64, name string) [2]float64 {
	draw := seed.Rand("evaluate/bootstrap", seed.Text(name))
	means := make([]float64, resamples)
	for i := range means {
		for _, set := range values {
			sum := 0.0
			for range set {
				sum += set[draw.IntN(len(set))]
			}
			means[i] += sum / float64(len(set)) / float64(len(values))
		}
	}
	slices.Sort(means)
	return [2]float64{
		stat.Quantile(0.5-confidence/2, stat.Empirical, means, nil),
		stat.Quantile(0.5+confidence/2, stat.Empirical, means, nil),
	}
}

// average returns the unweighted mean of scores at the same k.
func average(k int, scores []Score) Mean {
	m := Mean{Attempts: k}
	values := make([][]float64, len(scores))
	for i, s := range scores {
		m.Accuracy += s.Accuracy / float64(len(scores))
		values[i] = s.solved()
	}
	m.Interval = bootstrap(values, "average")
	return m
}

// solved returns 1 for each solved problem and 0 for the others, [P].
func (s Score) solved() []float64 {
	values := make([]float64, len(s.SolvedAt))
	for i, at := range s.SolvedAt {
		if at >= 0 {
			values[i] = 1
		}
	}
	return values
}
