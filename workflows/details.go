package workflows

import (
	"fmt"
	"strings"
)

// markdown is the status as the Temporal UI shows it beside the workflow's history.
func (s Status) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** · %s · step %d of %d\n", s.Name, s.Phase, s.Step, s.Iterations)
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "\n**Warning:** %s\n", w)
	}
	if s.Rates != nil {
		fmt.Fprintf(&b, "\nPeak learning rates set by hand: policy %.3g, critic %.3g\n", s.Rates.Policy, s.Rates.Critic)
	}
	if len(s.Recent) > 0 {
		b.WriteString("\n| step | reward per episode | solved | KL per token | policy rate |\n|--:|--:|--:|--:|--:|\n")
		for _, it := range s.Recent {
			fmt.Fprintf(&b, "| %d | %.3f | %.1f %% | %.5f | %.2g |\n", it.Step, it.RewardMean, 100*it.Solved, it.KL, it.PolicyLR)
		}
	}
	if !s.LatestCheckpoint.IsZero() {
		fmt.Fprintf(&b, "\nLatest checkpoint: step %d, `%s`\n", s.LatestCheckpoint.Step, s.LatestCheckpoint.Key)
	}
	if s.Best != nil {
		fmt.Fprintf(&b, "\nBest by %s: %.1f %% at step %d\n", s.Best.Metric, 100*s.Best.Score, s.Best.Checkpoint.Step)
	}
	if s.Evaluation != nil {
		fmt.Fprintf(&b, "\nEvaluation after step %d\n\n%s", s.Evaluation.Step, s.Evaluation.markdown())
	}
	return b.String()
}

// markdown is the table of scores.
func (o EvaluateOutput) markdown() string {
	var b strings.Builder
	b.WriteString("| set | attempts | accuracy | 95 % interval | problems |\n|---|--:|--:|--:|--:|\n")
	for _, s := range o.Scores {
		fmt.Fprintf(&b, "| %s | %d | %.1f %% | %.1f–%.1f %% | %d |\n",
			s.Set, s.Attempts, 100*s.Accuracy, 100*s.Low, 100*s.High, s.Problems)
	}
	return b.String()
}
