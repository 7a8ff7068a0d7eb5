package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"

	"multiattempt/activities"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/runs"
)

type runView struct {
	Row         runRow
	Live        LiveRun
	HasRecords  bool
	Last        activities.StepRecord
	Tiles       []tile
	Notices     []string
	Warnings    []runs.Warning
	Summary     []runs.SummaryRow
	Settings    []runs.Setting
	Changed     int
	Preset      string
	Checkpoints []runs.Checkpoint
	Evaluations []evaluationRow
	Steered     []Steering
	Message     string
}

// tile is a headline number.
type tile struct{ Label, Value, Note string }

// evaluationRow is the score table of a step on one set.
type evaluationRow struct {
	Step   int
	Set    evaluate.Set
	Mode   string
	Result *evaluate.Result
}

// runPage shows one run.
func (s *Server) runPage(w http.ResponseWriter, r *http.Request) error {
	run, live, notices, err := s.lookup(r)
	if err != nil {
		return err
	}
	v := runView{Row: runRow{LiveRun: live, Known: live.State != "stored"}, Live: live, Notices: notices, Message: takeFlash(w, r)}
	if run != nil {
		s.fillRow(r.Context(), &v.Row)
		s.addRecords(r, &v, run)
		s.addParts(r, &v, run)
	}
	if v.Steered, err = s.steered(r, live); err != nil {
		v.Notices = append(v.Notices, "The steering history is missing: "+err.Error())
	}
	v.Tiles = tilesOf(v)
	s.show(w, r, "run", http.StatusOK, v)
	return nil
}

func (s *Server) steered(r *http.Request, live LiveRun) ([]Steering, error) {
	if s.live.live == nil || live.State == "stored" {
		return nil, nil
	}
	return s.live.live.Steered(r.Context(), live.Run)
}

// addRecords adds what follows from the numbers of the steps.
func (s *Server) addRecords(r *http.Request, v *runView, run *runs.Run) {
	records := run.Records()
	if len(records) == 0 {
		return
	}
	v.HasRecords, v.Last = true, records[len(records)-1]
	v.Warnings = runs.Warnings(records)
	v.Summary = runs.Summary(runs.Charts(records, run.Times(), nil))
	run.Index(s.ctx) // whoever looks at a run will look at its dialogues
}

// addParts adds settings, checkpoints and evaluations; each that cannot be read leaves a notice in its place.
func (s *Server) addParts(r *http.Request, v *runView, run *runs.Run) {
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, runs.ErrNone) {
			v.Notices = append(v.Notices, what+": "+err.Error())
		}
	}
	faults := func(all []runs.Fault) {
		for _, f := range all {
			v.Notices = append(v.Notices, f.String())
		}
	}
	settings, err := run.Spec(r.Context())
	note("settings", err)
	if err == nil {
		v.Preset = settings.Preset
		v.Settings, err = runs.Settings(settings, s.presets)
		note("settings", err)
		for _, x := range v.Settings {
			if x.Changed {
				v.Changed++
			}
		}
	}
	checkpoints, bad, err := run.Checkpoints(r.Context())
	note("checkpoints", err)
	faults(bad)
	slices.Reverse(checkpoints)
	v.Checkpoints = checkpoints
	evaluations, bad, err := run.Evaluations(r.Context())
	note("evaluations", err)
	faults(bad)
	for _, e := range slices.Backward(evaluations) {
		for _, set := range e.Result.Sets {
			v.Evaluations = append(v.Evaluations, evaluationRow{Step: e.Step, Set: set, Mode: e.Result.Mode, Result: e.Result})
		}
	}
}

// tilesOf picks the headline numbers.
func tilesOf(v runView) []tile {
	tiles := []tile{{Label: "Step", Value: thousands(v.Row.Step)}}
	if v.Row.Of > 0 {
		tiles[0].Note = "of " + thousands(v.Row.Of)
	}
	if v.HasRecords {
		tiles = append(tiles,
			tile{"Reward", fmt.Sprintf("%+.3f", v.Last.Reward.RewardMean), "mean per episode"},
			tile{"Solved", fmt.Sprintf("%.1f %%", 100*v.Last.Reward.Solved), "of training episodes"})
	}
	if v.Row.Best != nil {
		tiles = append(tiles, tile{"Best score", fmt.Sprintf("%.1f %%", 100**v.Row.Best), "evaluated"})
	}
	if v.Row.Seconds > 0 {
		tiles = append(tiles, tile{"Iteration", fmt.Sprintf("%.1f s", v.Row.Seconds), thousands(int(math.Round(v.Row.Tokens))) + " tokens/s"})
	}
	if v.Row.Left > 0 {
		tiles = append(tiles, tile{"Left", inWords(v.Row.Left), "at this speed"})
	} else if !v.Row.Changed.IsZero() {
		tiles = append(tiles, tile{"Last step", ago(v.Row.Changed), v.Row.Changed.UTC().Format("2006-01-02 15:04 UTC")})
	}
	return tiles
}

// steer does what a form of the run's page asks for.
func (s *Server) steer(w http.ResponseWriter, r *http.Request) error {
	if s.live.live == nil {
		return badRequest("No running service is connected: runs can be looked at, not steered.")
	}
	run := r.PathValue("run")
	if err := r.ParseForm(); err != nil {
		return badRequest("%v", err)
	}
	live, err := s.live.Look(r.Context(), run)
	if err != nil {
		return err
	}
	action := r.PostFormValue("action")
	at := slices.IndexFunc(live.Actions, func(a Action) bool { return a.Name == action })
	if at < 0 {
		return &problem{Status: http.StatusConflict, Title: "Not now", Text: fmt.Sprintf("Run %s cannot be asked to %.40q as it stands.", run, action)}
	}
	fields := map[string]string{}
	for _, f := range live.Actions[at].Fields {
		fields[f.Name] = r.PostFormValue(f.Name)
	}
	done, err := s.live.live.Steer(r.Context(), run, action, fields)
	s.live.forget(run)
	switch {
	case errors.Is(err, ErrRefused):
		return &problem{Status: http.StatusConflict, Title: "The run refused", Text: err.Error(), cause: err}
	case err != nil:
		return &problem{Status: http.StatusBadGateway, Title: "Not steered", Text: err.Error(), cause: err}
	}
	flash(w, done)
	http.Redirect(w, r, "/runs/"+run, http.StatusSeeOther)
	return nil
}
