package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"multiattempt/activities"
	"multiattempt/internal/runs"
)

// mostPoints is the number of steps that a figure shows; of more, every second, third … is left out.
const mostPoints = 4000

// series answers with the figures of a run, of the steps after ?after=.
func (s *Server) series(w http.ResponseWriter, r *http.Request) error {
	run, err := s.runs.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	records, times := run.Records(), run.Times()
	from, _ := slices.BinarySearchFunc(records, after+1, func(x activities.StepRecord, step int) int { return x.Step - step })
	if every := (len(records)-from)/mostPoints + 1; every > 1 {
		records, times = thin(records[from:], every), thin(times[from:], every)
		from = 0
	}
	timings, _ := run.Timings(r.Context()) // without them, their figures are left out
	all := runs.Charts(records, times, timings)
	steps := make([]int, 0, len(records)-from)
	for _, x := range records[from:] {
		steps = append(steps, x.Step)
	}
	for i := range all {
		for j := range all[i].Series {
			all[i].Series[j].Values = all[i].Series[j].Values[from:]
		}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"steps": steps, "charts": all})
}

// thin keeps every n-th element, and the last one.
func thin[T any](all []T, n int) []T {
	var kept []T
	for i := range all {
		if (len(all)-1-i)%n == 0 {
			kept = append(kept, all[i])
		}
	}
	return kept
}
