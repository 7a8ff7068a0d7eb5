package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
)

// mostCompared is the number of runs on one page; more than so many lines nobody tells apart.
const mostCompared = 8

type compareView struct {
	Names   []string // every run, to choose from
	Chosen  []string
	Arms    []compareArm
	Sets    []setView
	Tables  []report.Table
	Notices []string
}

// compareArm is one run's newest evaluation.
type compareArm struct {
	Name   string
	Step   int
	Result *evaluate.Result
}

// setView is one set of problems: its figure, the differences from the first run, and what flipped.
type setView struct {
	Name        string
	Figure      string // JSON for the page's script
	Differences []report.Table
	Flips       []flips
}

// flips are the problems that one of two runs solved and the other did not, at the largest k where there are any.
type flips struct {
	A, B     string
	Attempts int
	Gained   []flip // only B solved
	Lost     []flip // only A solved
	Hidden   int    // not listed
}

// flip is a problem with the addresses of what both runs said.
type flip struct {
	Index int
	A, B  string
}

// mostFlips is the number of problems listed in each direction.
const mostFlips = 60

func evaluationAddress(run string, step int, set string, k, at int) string {
	return fmt.Sprintf("/runs/%s/evaluations/%d/%d/%d?set=%s", url.PathEscape(run), step, k, at, url.QueryEscape(set))
}

func problemAddress(id string, names ...string) string {
	return "/problem?" + url.Values{"id": {id}, "run": names}.Encode()
}

// comparePage compares the newest evaluations of runs.
func (s *Server) comparePage(w http.ResponseWriter, r *http.Request) error {
	v := compareView{}
	var err error
	if v.Names, err = s.runs.Names(r.Context()); err != nil {
		v.Notices = append(v.Notices, "The store does not answer: "+err.Error())
	}
	for _, name := range r.URL.Query()["run"] {
		if name != "" && !slices.Contains(v.Chosen, name) {
			v.Chosen = append(v.Chosen, name)
		}
	}
	if len(v.Chosen) > mostCompared {
		v.Notices = append(v.Notices, fmt.Sprintf("Only the first %d runs are compared.", mostCompared))
		v.Chosen = v.Chosen[:mostCompared]
	}
	for _, name := range v.Chosen {
		arm, err := s.newest(r.Context(), name)
		if err != nil {
			v.Notices = append(v.Notices, err.Error())
			continue
		}
		v.Arms = append(v.Arms, arm)
	}
	if err := v.compare(); err != nil {
		return err
	}
	s.show(w, r, "compare", http.StatusOK, v)
	return nil
}

// newest returns a run's evaluation of its latest step.
func (s *Server) newest(ctx context.Context, name string) (compareArm, error) {
	run, err := s.runs.Run(ctx, name)
	if err != nil {
		return compareArm{}, err
	}
	all, faults, err := run.Evaluations(ctx)
	switch {
	case err != nil:
		return compareArm{}, err
	case len(all) == 0 && len(faults) > 0:
		return compareArm{}, fmt.Errorf("%s, %s", name, faults[0])
	case len(all) == 0:
		return compareArm{}, fmt.Errorf("%s has not been evaluated; `multiattempt eval --run %s` does it", name, name)
	}
	last := all[len(all)-1]
	return compareArm{Name: name, Step: last.Step, Result: last.Result}, nil
}

// compare fills in tables, figures and flips.
func (v *compareView) compare() error {
	if len(v.Arms) == 0 {
		return nil
	}
	r := report.Report{}
	for _, a := range v.Arms {
		r.Arms = append(r.Arms, report.Arm{Name: a.Name, Result: a.Result, Seed: a.Result.Seed})
	}
	v.Tables = append(r.Tables(), r.Details())
	comparisons := map[string]evaluate.Comparison{}
	first := v.Arms[0]
	for _, b := range v.Arms[1:] {
		c, err := evaluate.Compare(first.Name, first.Result, b.Name, b.Result)
		var refused *evaluate.IncomparableError
		if errors.As(err, &refused) {
			v.Notices = append(v.Notices, fmt.Sprintf("%s and %s: %v", first.Name, b.Name, err))
			continue
		}
		if err != nil {
			return err
		}
		comparisons[b.Name] = c
	}
	for _, set := range first.Result.Sets {
		view := setView{Name: set.Name}
		figure, err := v.figure(set.Name)
		if err != nil {
			return err
		}
		view.Figure = figure
		for _, b := range v.Arms[1:] {
			c, ok := comparisons[b.Name]
			if !ok {
				continue
			}
			for _, sc := range c.Sets {
				if sc.Name == set.Name {
					view.Differences = append(view.Differences, report.Differences(evaluate.Comparison{A: c.A, B: c.B, Sets: []evaluate.SetComparison{sc}})...)
				}
			}
			if f, ok := flipped(first, b, set.Name); ok {
				view.Flips = append(view.Flips, f)
			}
		}
		v.Sets = append(v.Sets, view)
	}
	return nil
}

// figure is accuracy by attempts with intervals, for the page's script.
func (v *compareView) figure(set string) (string, error) {
	ks := map[int]bool{}
	for _, a := range v.Arms {
		s, _ := a.Result.Set(set)
		for _, score := range s.Scores {
			ks[score.Attempts] = true
		}
	}
	var steps []int
	for k := range ks {
		steps = append(steps, k)
	}
	slices.Sort(steps)
	c := runs.Chart{ID: "accuracy", Title: "Accuracy by attempts", Unit: "% of problems solved", Help: "k attempts, told to the model; bands are 95 % intervals."}
	optimum := runs.Line{Label: "optimum", Class: "optimum", Values: make([]*float64, len(steps))}
	limited := false
	for _, a := range v.Arms {
		line := runs.Line{Label: a.Name, Values: make([]*float64, len(steps))}
		low, high := runs.Line{Label: "low", Values: make([]*float64, len(steps))}, runs.Line{Label: "high", Values: make([]*float64, len(steps))}
		s, _ := a.Result.Set(set)
		for i, k := range steps {
			if score, ok := s.Score(k); ok {
				line.Values[i], low.Values[i], high.Values[i] = runs.Rounded(100*score.Accuracy), runs.Rounded(100*score.Interval[0]), runs.Rounded(100*score.Interval[1])
				optimum.Values[i] = runs.Rounded(100 * score.Optimum)
				limited = limited || score.Optimum < 1
			}
		}
		c.Series = append(c.Series, line, low, high)
	}
	if limited {
		c.Series = append(c.Series, optimum)
	}
	return marshal(map[string]any{"steps": steps, "chart": c, "arms": len(v.Arms)})
}

// flipped finds the problems that only one of two runs solved.
func flipped(a, b compareArm, set string) (flips, bool) {
	x, ok1 := a.Result.Set(set)
	y, ok2 := b.Result.Set(set)
	if !ok1 || !ok2 {
		return flips{}, false
	}
	var largest flips
	for _, sx := range slices.Backward(x.Scores) {
		sy, ok := y.Score(sx.Attempts)
		if !ok {
			continue
		}
		f := flips{A: a.Name, B: b.Name, Attempts: sx.Attempts}
		for i := range sx.SolvedAt {
			one := flip{Index: i, A: evaluationAddress(a.Name, a.Step, set, sx.Attempts, i), B: evaluationAddress(b.Name, b.Step, set, sx.Attempts, i)}
			into := &f.Gained
			switch {
			case (sx.SolvedAt[i] >= 0) == (sy.SolvedAt[i] >= 0):
				continue
			case sx.SolvedAt[i] >= 0:
				into = &f.Lost
			}
			if len(*into) >= mostFlips {
				f.Hidden++
				continue
			}
			*into = append(*into, one)
		}
		if largest.Attempts == 0 {
			largest = f
		}
		if len(f.Gained)+len(f.Lost) > 0 {
			return f, true
		}
	}
	return largest, largest.Attempts > 0
}

type problemView struct {
	ID       string
	Chosen   []string
	Names    []string
	Question string
	Gold     string
	Runs     []problemRun
	Notices  []string
}

// problemRun is one run's dialogues about a problem.
type problemRun struct {
	Name    string
	Rows    []problemStep
	Cells   int
	Steps   int // looked at
	Of      int
	Correct int
}

// problemStep is what one step said about the problem.
type problemStep struct {
	Step    int
	Samples []problemSample
	Solved  int
}

type problemSample struct {
	Address       string
	Outcome       rollout.Outcome
	Used, Allowed int
	Reward        float64
}

// Label says in words what a cell shows in colour.
func (p problemSample) Label() string {
	return fmt.Sprintf("%s after %d of %d attempts, reward %+.2f", strings.ReplaceAll(string(p.Outcome), "_", " "), p.Used, p.Allowed, p.Reward)
}

// problemPage shows one problem through the steps of runs.
func (s *Server) problemPage(w http.ResponseWriter, r *http.Request) error {
	v := problemView{ID: r.URL.Query().Get("id")}
	if v.ID == "" {
		return badRequest("The address names no problem.")
	}
	var err error
	if v.Names, err = s.runs.Names(r.Context()); err != nil {
		v.Notices = append(v.Notices, "The store does not answer: "+err.Error())
	}
	for _, name := range r.URL.Query()["run"] {
		if name == "" || slices.Contains(v.Chosen, name) || len(v.Chosen) >= mostCompared {
			continue
		}
		v.Chosen = append(v.Chosen, name)
		pr, err := s.history(r.Context(), name, &v)
		if err != nil {
			v.Notices = append(v.Notices, name+": "+err.Error())
			continue
		}
		v.Runs = append(v.Runs, pr)
	}
	s.show(w, r, "problem", http.StatusOK, v)
	return nil
}

func (s *Server) history(ctx context.Context, name string, v *problemView) (problemRun, error) {
	pr := problemRun{Name: name}
	run, err := s.runs.Run(ctx, name)
	if err != nil {
		return pr, err
	}
	run.Index(s.ctx)
	if v.Question == "" {
		if found, err := run.Search(ctx, runs.Query{Problem: v.ID, Limit: 1, Within: searchTime}); err == nil && len(found.Dialogues) > 0 {
			v.Question, v.Gold = found.Dialogues[0].Question, found.Dialogues[0].Gold
		}
	}
	cells, steps, err := run.History(ctx, v.ID, v.Question)
	if err != nil {
		return pr, err
	}
	pr.Steps, pr.Of, pr.Cells = steps, len(run.Records()), len(cells)
	for _, c := range cells {
		if n := len(pr.Rows); n == 0 || pr.Rows[n-1].Step != c.Step {
			pr.Rows = append(pr.Rows, problemStep{Step: c.Step})
		}
		row := &pr.Rows[len(pr.Rows)-1]
		row.Samples = append(row.Samples, problemSample{
			Address: "/runs/" + name + "/dialogues/" + strconv.Itoa(c.Step) + "/" + strconv.Itoa(c.Position), Outcome: c.Outcome, Used: c.Used, Allowed: c.Allowed, Reward: c.Reward,
		})
		if c.Outcome == rollout.Correct {
			row.Solved++
			pr.Correct++
		}
	}
	slices.Reverse(pr.Rows)
	return pr, nil
}
