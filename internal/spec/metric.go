package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Metric names one number of an evaluation; more is better.
type Metric struct {
	Set      string // empty: the unweighted mean over the sets
	Name     string // one of metricNames
	Attempts int    // k; 0: the smallest that was evaluated
}

// metricNames are what a metric can be: accuracy under the run's grading mode, under either mode, the share of failed first
// attempts that were recovered, pass@k and majority vote among parallel samples.
var metricNames = []string{"accuracy", "typed", "paper", "recovered", "pass", "majority"}

// metricForm is how a metric is written.
var metricForm = "[SET/]NAME[@K], NAME being " + strings.Join(metricNames, ", ")

// ParseMetric reads [SET/]NAME[@K], for example "accuracy", "accuracy@2" or "math500/pass@4".
func ParseMetric(text string) (Metric, error) {
	m := Metric{Name: text}
	if at := strings.LastIndexByte(m.Name, '@'); at >= 0 {
		k, err := strconv.Atoi(m.Name[at+1:])
		if err != nil || k < 1 || k > maxAttempts {
			return Metric{}, fmt.Errorf("%w: metric %q: want %s", ErrInvalid, text, metricForm)
		}
		m.Name, m.Attempts = m.Name[:at], k
	}
	if at := strings.LastIndexByte(m.Name, '/'); at >= 0 {
		m.Set, m.Name = m.Name[:at], m.Name[at+1:]
	}
	if !slices.Contains(metricNames, m.Name) {
		return Metric{}, fmt.Errorf("%w: metric %q: want %s", ErrInvalid, text, metricForm)
	}
	return m, nil
}

// Parallel reports whether the metric is of parallel samples.
func (m Metric) Parallel() bool { return m.Name == "pass" || m.Name == "majority" }

// checkBest refuses a metric that no evaluation of the run will have.
func checkBest(c *checker, text string, e Evaluation) {
	const path = "checkpoint.best"
	m, err := ParseMetric(text)
	if err != nil {
		c.want(false, path, text, "%s", metricForm)
		return
	}
	c.want(m.Set == "" || slices.Contains(e.Sets, m.Set), path, text, "a set of evaluation.sets")
	if len(e.Final) == 0 && (e.Every == 0 || len(e.Attempts) == 0) {
		return // nothing is evaluated, nothing is best
	}
	during := e.Every > 0 && slices.Contains(e.Attempts, m.Attempts) && !m.Parallel()
	c.want(m.Attempts == 0 || during || slices.Contains(e.Final, m.Attempts), path, text,
		"a number of attempts that evaluation.attempts or evaluation.final_attempts has")
	c.want(!m.Parallel() || e.Parallel > 0, path, text, "a number of dialogues, as evaluation.parallel is 0")
}
