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

// seedInterval returns the 95 % interval of the mean of independent runs' values: Student's t with len(values) − 1 degrees
// of freedom. ok is false with fewer than two.
func seedInterval(values []float64) (interval [2]float64, ok bool) {
	n := float64(len(values))
	if n < 2 {
		return interval, false
	}
	mean, std := stat.MeanStdDev(values, nil)
	half := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile(0.5+confidence/2) * std / math.Sqrt(n)
	return [2]float64{mean - half, mean + half}, true
}

// seedDifference returns the 95 % interval of mean(b) − mean(a) and the two-sided p of no difference by Student's t: paired
// by position, or Welch's with the degrees of freedom of Satterthwaite. ok is false when a side has fewer than two values.
func seedDifference(a, b []float64, paired bool) (interval [2]float64, p float64, ok bool) {
	if len(a) < 2 || len(b) < 2 {
		return interval, 0, false
	}
	var center, deviation, freedom float64
	if paired {
		differences := slices.Clone(b)
		for i := range a {
			differences[i] -= a[i]
		}
		mean, std := stat.MeanStdDev(differences, nil)
		center, deviation, freedom = mean, std/math.Sqrt(float64(len(a))), float64(len(a)-1)
	} else {
		meanA, varA := stat.MeanVariance(a, nil)
		meanB, varB := stat.MeanVariance(b, nil)
		va, vb := varA/float64(len(a)), varB/float64(len(b))
		center, deviation = meanB-meanA, math.Sqrt(va+vb)
		freedom = float64(len(a) + len(b) - 2)
		if va+vb > 0 {
			freedom = (va + vb) * (va + vb) / (va*va/float64(len(a)-1) + vb*vb/float64(len(b)-1))
		}
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: freedom}
	half := t.Quantile(0.5+confidence/2) * deviation
	interval = [2]float64{center - half, center + half}
	switch {
	case deviation > 0:
		p = 2 * t.CDF(-math.Abs(center)/deviation)
	case center == 0:
		p = 1
	}
	return interval, p, true
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
		values[i] = s.perProblem()
	}
	m.Interval = bootstrap(values, "average")
	return m
}
