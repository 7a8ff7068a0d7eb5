package report

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"multiattempt/internal/blob"
)

// summary is the machine-readable result of a quickstart. Accuracies, intervals and shares are between 0 and 1, keyed by
// the number of attempts k; repeat_share begins at k = 2.
type summary struct {
	Seconds float64            `json:"seconds"`
	Backend string             `json:"backend"`
	Arms    []armSummary       `json:"arms"`
	Optimum map[string]float64 `json:"optimum"`
}

type armSummary struct {
	Name        string                `json:"name"`
	Seed        uint64                `json:"seed"`
	Accuracy    map[string]float64    `json:"accuracy"`
	CI          map[string][2]float64 `json:"ci"`
	RepeatShare map[string]float64    `json:"repeat_share"`
	Checkpoint  blob.Digest           `json:"checkpoint_sha256"`
}

// Summary returns the report's first set as JSON.
func (r *Report) Summary() ([]byte, error) {
	out := summary{Seconds: math.Round(10*r.Seconds) / 10, Backend: r.Backend, Optimum: map[string]float64{}}
	for _, arm := range r.Arms {
		set, ok := arm.Result.Set("")
		if !ok {
			return nil, fmt.Errorf("summary: %s was evaluated on no set", arm.Name)
		}
		a := armSummary{Name: arm.Name, Seed: arm.Seed, Checkpoint: arm.Checkpoint, Accuracy: map[string]float64{},
			CI: map[string][2]float64{}, RepeatShare: map[string]float64{}}
		for _, s := range set.Scores {
			k := strconv.Itoa(s.Attempts)
			a.Accuracy[k], a.CI[k], out.Optimum[k] = s.Accuracy, s.Interval, s.Optimum
			if s.Attempts > 1 {
				a.RepeatShare[k] = s.RepeatShare
			}
		}
		out.Arms = append(out.Arms, a)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	return append(b, '\n'), nil
}
