package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"multiattempt/internal/runs"
)

// runRow is a line of the list of runs.
type runRow struct {
	LiveRun
	Known    bool // the service knows it; else the store alone does
	Reward   *float64
	Solved   *float64
	Seconds  float64 // of an iteration; 0 when unknown
	Tokens   float64 // sampled a second
	Left     time.Duration
	Changed  time.Time // when its newest step was done
	Warnings int
}

// Share is the part of its iterations that a run has made, 0 to 1.
func (row runRow) Share() float64 {
	if row.Of == 0 {
		return 0
	}
	return min(1, float64(row.Step)/float64(row.Of))
}

type runsView struct {
	Rows    []runRow
	Filter  string
	Kind    string
	Total   int
	Notices []string
	Live    bool
}

// runsPage lists runs: those that the service knows and those that left something in the store.
func (s *Server) runsPage(w http.ResponseWriter, r *http.Request) error {
	v := runsView{Filter: strings.TrimSpace(r.URL.Query().Get("q")), Kind: r.URL.Query().Get("kind"), Live: s.live.live != nil}
	known, err := s.live.List(r.Context())
	if err != nil {
		v.Notices = append(v.Notices, "Temporal does not answer: what is shown comes from the store alone. "+err.Error())
	}
	rows := make([]runRow, 0, len(known))
	have := map[string]bool{}
	for _, k := range known {
		have[k.Run] = true
		rows = append(rows, runRow{LiveRun: k, Known: true})
	}
	names, err := s.runs.Names(r.Context())
	if err != nil {
		v.Notices = append(v.Notices, "The store does not answer: rewards and ended runs are missing. "+err.Error())
	}
	for _, name := range names {
		if !have[name] {
			rows = append(rows, runRow{LiveRun: LiveRun{Run: name, State: "stored"}})
		}
	}
	v.Total = len(rows)
	rows = slices.DeleteFunc(rows, func(x runRow) bool {
		return v.Kind != "" && x.Kind != v.Kind || !strings.Contains(strings.ToLower(x.Run+" "+x.Model+" "+x.State+" "+x.Phase), strings.ToLower(v.Filter))
	})
	s.fill(r.Context(), rows)
	slices.SortStableFunc(rows, byInterest)
	v.Rows = rows
	s.show(w, r, "runs", http.StatusOK, v)
	return nil
}

// byInterest puts running runs first, then the newest.
func byInterest(a, b runRow) int {
	if a.Running() != b.Running() {
		if a.Running() {
			return -1
		}
		return 1
	}
	newest := func(x runRow) time.Time {
		if x.Started.IsZero() {
			return x.Changed
		}
		return x.Started
	}
	if c := newest(b).Compare(newest(a)); c != 0 {
		return c
	}
	return strings.Compare(a.Run, b.Run)
}

// mostFilled is the number of listed runs whose records are read for the list.
const mostFilled = 100

// fill adds what the store knows of each run.
func (s *Server) fill(ctx context.Context, rows []runRow) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	var work sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range rows[:min(len(rows), mostFilled)] {
		if rows[i].Kind == "Evaluate" || rows[i].Kind == "Finetune" {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			s.fillRow(ctx, &rows[i])
		})
	}
	work.Wait()
}

func (s *Server) fillRow(ctx context.Context, row *runRow) {
	run, err := s.runs.Run(ctx, row.Run)
	if err != nil {
		return // the page says when the store does not answer
	}
	records, times := run.Records(), run.Times()
	row.Warnings = len(runs.Warnings(records))
	if len(records) == 0 {
		if row.Kind == "" {
			row.Kind = "Evaluate"
		}
		return
	}
	if row.Kind == "" {
		row.Kind = "Train"
	}
	last := records[len(records)-1]
	row.Reward, row.Solved = &last.Reward.RewardMean, &last.Reward.Solved
	row.Step, row.Changed = max(row.Step, last.Step), times[len(times)-1]
	if row.Started.IsZero() {
		row.Started = times[0]
	}
	row.pace(run)
	if row.Best == nil {
		if score, _, ok := run.Best(ctx); ok {
			row.Best = &score
		}
	}
	if row.Of == 0 || row.Model == "" {
		if settings, err := run.Spec(ctx); err == nil {
			row.Of, row.Model = settings.Iterations, settings.Model.Source
		}
	}
	if row.Running() && row.Seconds > 0 && row.Of > row.Step && row.Phase != "paused" {
		row.Left = time.Duration(float64(row.Of-row.Step) * row.Seconds * float64(time.Second))
	}
}

// paceOver is the number of newest steps that a run's speed is measured over.
const paceOver = 20

// pace estimates the time of an iteration from the newest ones: their median, which a pause does not move.
func (row *runRow) pace(run *runs.Run) {
	records, times := run.Records(), run.Times()
	var took []float64
	tokens := 0
	for i := max(1, len(times)-paceOver); i < len(times); i++ {
		if d := times[i].Sub(times[i-1]).Seconds(); d > 0 && records[i].Step == records[i-1].Step+1 {
			took = append(took, d)
			tokens += records[i].Reward.SampledTokens
		}
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	row.Seconds = took[len(took)/2]
	row.Tokens = float64(tokens) / float64(len(took)) / row.Seconds
}

// lookup reads a run from the store and what the service knows of it. Either may be missing; both are an error.
func (s *Server) lookup(r *http.Request) (run *runs.Run, live LiveRun, notices []string, err error) {
	name := r.PathValue("run")
	live, lerr := s.live.Look(r.Context(), name)
	if lerr != nil {
		live = LiveRun{Run: name, State: "stored"}
		if !errors.Is(lerr, ErrUnknown) {
			notices = append(notices, "Temporal does not answer: the state of the run is not known. "+lerr.Error())
		}
	}
	if live.Unanswered != "" {
		notices = append(notices, live.Unanswered)
	}
	run, err = s.runs.Run(r.Context(), name)
	switch {
	case err == nil:
		for _, f := range run.Faults() {
			notices = append(notices, f.String())
		}
		return run, live, notices, nil
	case lerr == nil && errors.Is(err, runs.ErrNone):
		return nil, live, notices, nil
	case lerr == nil:
		return nil, live, append(notices, "The store does not answer: "+err.Error()), nil
	case errors.Is(err, runs.ErrNone):
		return nil, live, nil, s.noSuchRun(r.Context(), name)
	default:
		return nil, live, nil, err
	}
}

// noSuchRun is the page for a name that nobody knows, with names that are close.
func (s *Server) noSuchRun(ctx context.Context, name string) error {
	p := &problem{Status: http.StatusNotFound, Title: "No such run", Text: fmt.Sprintf("Neither the store nor Temporal knows a run called %.100q.", name)}
	names, err := s.runs.Names(ctx)
	if err != nil {
		return p
	}
	for _, n := range names {
		if len(name) > 2 && (strings.Contains(n, name) || strings.Contains(name, n) || strings.HasPrefix(n, name[:min(len(name), 4)])) && len(p.Suggestions) < 8 {
			p.Suggestions = append(p.Suggestions, n)
		}
	}
	return p
}
