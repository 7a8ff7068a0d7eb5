package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
)

// searchTime bounds how long a page looks for dialogues; what is left is found by going on.
const searchTime = 1500 * time.Millisecond

const dialoguesShown = 25

type dialoguesView struct {
	Live     LiveRun
	Row      runRow
	Form     searchForm
	Found    runs.Found
	Indexed  runs.Indexed
	Took     time.Duration
	Next     string // address of the next page
	Narrowed bool
	Outcomes []rollout.Outcome
	Traits   []runs.Trait
	Notices  []string
	Last     int // newest step
}

// searchForm is what the form of the page holds, as text.
type searchForm struct {
	Text, Problem, Outcome, Trait string
	From, To, Used, Allowed       string
	Low, High, Order              string
}

// read takes a query from the address; a field that is no number is an error that names it.
func (f *searchForm) read(v url.Values) (runs.Query, error) {
	*f = searchForm{
		Text: strings.TrimSpace(v.Get("q")), Problem: strings.TrimSpace(v.Get("problem")), Outcome: v.Get("outcome"), Trait: v.Get("trait"),
		From: v.Get("from"), To: v.Get("to"), Used: v.Get("used"), Allowed: v.Get("allowed"), Low: v.Get("low"), High: v.Get("high"), Order: v.Get("order"),
	}
	q := runs.Query{
		Text: f.Text, Problem: f.Problem, Outcome: rollout.Outcome(f.Outcome), Trait: runs.Trait(f.Trait), Oldest: f.Order == "oldest",
		Limit: dialoguesShown, Within: searchTime,
	}
	if f.Outcome != "" && !slices.Contains(allOutcomes, q.Outcome) {
		return q, badRequest("There is no outcome %.40q.", f.Outcome)
	}
	if f.Trait != "" && !slices.Contains(runs.Traits(), q.Trait) {
		return q, badRequest("There is no trait %.40q.", f.Trait)
	}
	for _, n := range []struct {
		name, text string
		into       *int
	}{{"from step", f.From, &q.From}, {"to step", f.To, &q.To}, {"attempts used", f.Used, &q.Used}, {"attempts allowed", f.Allowed, &q.Allowed}} {
		if n.text == "" {
			continue
		}
		value, err := strconv.Atoi(strings.TrimSpace(n.text))
		if err != nil || value < 0 {
			return q, badRequest("%s: %.40q is no whole number.", n.name, n.text)
		}
		*n.into = value
	}
	for _, n := range []struct {
		name, text string
		into       **float64
	}{{"reward from", f.Low, &q.Low}, {"reward to", f.High, &q.High}} {
		if n.text == "" {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64)
		if err != nil {
			return q, badRequest("%s: %.40q is no number.", n.name, n.text)
		}
		*n.into = &value
	}
	return q, readAfter(v.Get("after"), &q)
}

// readAfter reads where a search goes on: "12.345".
func readAfter(text string, q *runs.Query) error {
	if text == "" {
		return nil
	}
	step, at, _ := strings.Cut(text, ".")
	s, err1 := strconv.Atoi(step)
	p, err2 := strconv.Atoi(at)
	if err1 != nil || err2 != nil {
		return badRequest("%.40q is no place to go on at.", text)
	}
	q.After = &runs.Place{Step: s, Position: p}
	return nil
}

var allOutcomes = []rollout.Outcome{rollout.Correct, rollout.Wrong, rollout.NoAnswer, rollout.Truncated, rollout.Bounded}

// dialoguesPage searches the dialogues of a run.
func (s *Server) dialoguesPage(w http.ResponseWriter, r *http.Request) error {
	v := dialoguesView{Outcomes: allOutcomes, Traits: runs.Traits()}
	q, err := v.Form.read(r.URL.Query())
	if err != nil {
		return err
	}
	run, live, notices, err := s.lookup(r)
	if err != nil {
		return err
	}
	v.Live, v.Notices, v.Row = live, notices, runRow{LiveRun: live, Known: live.State != "stored"}
	v.Narrowed = v.Form != searchForm{Order: v.Form.Order}
	if run != nil {
		run.Index(s.ctx)
		began := time.Now()
		if v.Found, err = run.Search(r.Context(), q); err != nil {
			return err
		}
		v.Took, v.Indexed, v.Last = time.Since(began), run.Indexed(), run.Last()
		for _, f := range v.Found.Faults {
			v.Notices = append(v.Notices, f.String())
		}
		if len(v.Notices) > mostNotices {
			v.Notices = append(v.Notices[:mostNotices], fmt.Sprintf("… and %d more.", len(v.Notices)-mostNotices))
		}
	}
	if next := v.Found.Next; next != nil {
		values := r.URL.Query()
		values.Set("after", fmt.Sprintf("%d.%d", next.Step, next.Position))
		v.Next = "?" + values.Encode()
	}
	s.show(w, r, "dialogues", http.StatusOK, v)
	return nil
}

const mostNotices = 6
