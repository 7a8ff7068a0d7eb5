package web

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"multiattempt/internal/printable"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
	"multiattempt/internal/spec"
)

// mostText is how much of one text a page shows; the rest is a click away. Unit: bytes.
const mostText = 20_000

// turn is one attempt as the page shows it.
type turn struct {
	N        int // from 1
	Attempt  rollout.Attempt
	Text     string // safe to show, at most mostText bytes of it
	Left     int    // bytes left out
	Raw      string // address of the whole text
	Feedback string // what the model was told then; empty behind the last attempt
	Repeats  bool
	Tokens   int
}

type dialogueView struct {
	Run      string
	Title    string
	Back     string // address of the list that it is part of
	E        rollout.Episode
	Rewarded bool // evaluations are not
	Reward   float64
	Position int
	Step     int
	Question string
	Cut      int // bytes of the question left out
	Opening  string
	Turns    []turn
	TokensAt string // address of the token scores
	Previous string
	Next     string
	Group    []neighbour
	Notices  []string
	Problem  string // address of the problem's history
}

// neighbour is another dialogue about the same problem in the same step.
type neighbour struct {
	Address string
	Label   string
	Outcome rollout.Outcome
	Here    bool
}

// place reads step and position from the address.
func place(r *http.Request) (step, at int, err error) {
	step, err1 := strconv.Atoi(r.PathValue("step"))
	at, err2 := strconv.Atoi(r.PathValue("at"))
	if err1 != nil || err2 != nil || step < 0 || at < 0 {
		return 0, 0, notFound("There is no such dialogue.")
	}
	return step, at, nil
}

// dialogue reads the training dialogue of the address.
func (s *Server) dialogue(r *http.Request) (*runs.Run, runs.Dialogue, error) {
	step, at, err := place(r)
	if err != nil {
		return nil, runs.Dialogue{}, err
	}
	run, err := s.runs.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return nil, runs.Dialogue{}, err
	}
	d, err := run.Dialogue(r.Context(), step, at)
	return run, d, err
}

// dialoguePage shows one training episode.
func (s *Server) dialoguePage(w http.ResponseWriter, r *http.Request) error {
	run, d, err := s.dialogue(r)
	if err != nil {
		return err
	}
	here := fmt.Sprintf("/runs/%s/dialogues", run.Name)
	v := s.viewEpisode(r, run, &d.Episode, d.Step, fmt.Sprintf("%s/%d/%d", here, d.Step, d.Position))
	v.Title = fmt.Sprintf("Step %d, dialogue %d", d.Step, d.Position)
	v.Rewarded, v.Reward, v.Position, v.Back = true, d.Reward, d.Position, here
	v.Step = d.Step
	if record, ok := run.Record(d.Step); ok {
		if d.Position > 0 {
			v.Previous = fmt.Sprintf("%s/%d/%d", here, d.Step, d.Position-1)
		}
		if d.Position+1 < record.Reward.Episodes {
			v.Next = fmt.Sprintf("%s/%d/%d", here, d.Step, d.Position+1)
		}
	}
	found, err := run.Search(r.Context(), runs.Query{Problem: d.ProblemID, From: d.Step, To: d.Step, Limit: 64, Within: searchTime})
	if err == nil {
		for _, n := range found.Dialogues {
			v.Group = append(v.Group, neighbour{
				Address: fmt.Sprintf("%s/%d/%d", here, n.Step, n.Position), Label: fmt.Sprintf("sample %d", n.Sample+1),
				Outcome: lastOutcome(&n.Episode), Here: n.Position == d.Position,
			})
		}
	}
	s.show(w, r, "dialogue", http.StatusOK, v)
	return nil
}

func lastOutcome(e *rollout.Episode) rollout.Outcome {
	if len(e.Attempts) == 0 {
		return ""
	}
	return e.Attempts[len(e.Attempts)-1].Outcome
}

// viewEpisode fills in what training and evaluation dialogues have in common; address is that of the page.
func (s *Server) viewEpisode(r *http.Request, run *runs.Run, e *rollout.Episode, step int, address string) dialogueView {
	v := dialogueView{
		Run: run.Name, E: *e, TokensAt: address + "/tokens.json",
		Problem: problemAddress(e.ProblemID, run.Name),
	}
	v.Question, v.Cut = printable.Cut(printable.Text(e.Question), mostText)
	pieces := s.pieces(r, run, e, step, &v.Notices)
	settings, err := run.Spec(r.Context())
	haveSettings := err == nil
	between := func(from, to int) string {
		if pieces == nil || from >= to {
			return ""
		}
		head, _ := printable.Cut(printable.Text(strings.Join(pieces[from:to], "")), mostText)
		return head
	}
	if len(e.Attempts) > 0 {
		v.Opening = between(0, e.Attempts[0].Start)
	}
	for i, a := range e.Attempts {
		t := turn{N: i + 1, Attempt: a, Raw: fmt.Sprintf("%s/attempt/%d", address, i+1), Repeats: e.Repeated(i), Tokens: a.End - a.Start}
		t.Text, t.Left = printable.Cut(printable.Text(a.Text), mostText)
		if i+1 < len(e.Attempts) {
			t.Feedback = between(a.End, e.Attempts[i+1].Start)
			if t.Feedback == "" && haveSettings {
				t.Feedback = printable.Text(settings.Prompt.FeedbackText(spec.Failure{Left: e.MaxTries - i - 1, Attempt: i + 1, Answer: a.Answer}))
			}
		}
		v.Turns = append(v.Turns, t)
	}
	return v
}

// pieces returns the text of each of an episode's tokens; nil, with a notice, when the tokenizer cannot be had.
func (s *Server) pieces(r *http.Request, run *runs.Run, e *rollout.Episode, step int, notices *[]string) []string {
	if _, ok := run.Record(step); !ok {
		step = run.Last()
	}
	if step == 0 {
		return nil
	}
	t, err := s.tokens.of(r.Context(), run, step)
	if err != nil {
		*notices = append(*notices, "The tokenizer cannot be read, so forced turns and tokens are shown as numbers: "+err.Error())
		return nil
	}
	return t.Pieces(e.Tokens)
}

// tokenView is what the page's script draws; arrays are [T] and null where nothing is known.
type tokenView struct {
	Pieces  []string             `json:"pieces"`
	IDs     []int32              `json:"ids"`
	Attempt []int                `json:"attempt"` // from 1; 0 for tokens that were not sampled
	Scores  map[string][]float64 `json:"scores"`  // by name; entries of tokens that were not sampled are 0
	Missing []string             `json:"missing"` // scores that were not kept, and why
}

// tokenScores answers with a training dialogue token by token.
func (s *Server) tokenScores(w http.ResponseWriter, r *http.Request) error {
	run, d, err := s.dialogue(r)
	if err != nil {
		return err
	}
	var ignored []string // the page says it already
	v := newTokenView(&d.Episode, s.pieces(r, run, &d.Episode, d.Step, &ignored))
	kept, err := run.TokenScores(r.Context(), d.Step, d.Position)
	if err != nil {
		v.Missing = append(v.Missing, "Advantages, values and the trainer's log-probabilities: "+err.Error())
	} else {
		v.addScores(&d.Episode, kept)
	}
	return writeJSON(w, v)
}

func newTokenView(e *rollout.Episode, pieces []string) tokenView {
	v := tokenView{IDs: e.Tokens, Attempt: make([]int, len(e.Tokens)), Scores: map[string][]float64{}, Missing: []string{}}
	v.Pieces = make([]string, len(e.Tokens))
	for i := range v.Pieces {
		v.Pieces[i] = fmt.Sprintf("#%d ", e.Tokens[i])
		if pieces != nil {
			v.Pieces[i] = printable.Text(pieces[i])
		}
	}
	for n, a := range e.Attempts {
		for t := a.Start; t < a.End; t++ {
			v.Attempt[t] = n + 1
		}
	}
	sampler := make([]float64, len(e.Tokens))
	for t, x := range e.LogProbs {
		sampler[t] = finite(float64(x))
	}
	v.Scores["logprob"] = sampler
	return v
}

// addScores adds what the learner kept: arrays over the sampled tokens, in their order.
func (v *tokenView) addScores(e *rollout.Episode, kept runs.TokenScores) {
	spread := func(name string, values []float32) {
		if len(values) == 0 {
			return
		}
		all := make([]float64, len(e.Tokens))
		j := 0
		for t, sampled := range e.Mask {
			if sampled && j < len(values) {
				all[t] = finite(float64(values[j]))
				j++
			}
		}
		v.Scores[name] = all
	}
	spread("trainer", kept.Old)
	spread("reference", kept.Reference)
	spread("value", kept.Values)
	spread("advantage", kept.Advantages)
	if len(kept.After) > 0 {
		spread("after", kept.After)
		v.ratio("ratio", v.Scores["after"], v.Scores["trainer"], e.Mask)
		return
	}
	v.ratio("mismatch", v.Scores["trainer"], v.Scores["logprob"], e.Mask)
	v.Missing = append(v.Missing, "The ratio after the update was not kept for this dialogue (record.rescored); shown is that of trainer and sampler.")
}

// ratio adds exp(over − under) of sampled tokens; 1 says that both are the same.
func (v *tokenView) ratio(name string, over, under []float64, mask []bool) {
	if over == nil || under == nil {
		return
	}
	all := make([]float64, len(over))
	for t := range all {
		if mask[t] {
			all[t] = finite(math.Exp(over[t] - under[t]))
		}
	}
	v.Scores[name] = all
}

func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return math.Round(x*1e5) / 1e5
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// attemptText answers with everything that the model said in one attempt, as plain text.
func (s *Server) attemptText(w http.ResponseWriter, r *http.Request) error {
	_, d, err := s.dialogue(r)
	if err != nil {
		return err
	}
	return writeAttempt(w, r, &d.Episode)
}

func writeAttempt(w http.ResponseWriter, r *http.Request, e *rollout.Episode) error {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 1 || n > len(e.Attempts) {
		return notFound("The dialogue has no such attempt.")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = io.WriteString(w, printable.Text(e.Attempts[n-1].Text))
	return err
}

// evaluation reads the evaluated dialogue of the address.
func (s *Server) evaluation(r *http.Request) (run *runs.Run, e rollout.Episode, total int, err error) {
	step, at, err := place(r)
	if err != nil {
		return nil, e, 0, err
	}
	k, err := strconv.Atoi(r.PathValue("k"))
	if err != nil {
		return nil, e, 0, notFound("There is no such dialogue.")
	}
	if run, err = s.runs.Run(r.Context(), r.PathValue("run")); err != nil {
		return nil, e, 0, err
	}
	episodes, err := run.EvaluationEpisodes(r.Context(), step, r.URL.Query().Get("set"), k)
	if err != nil {
		return nil, e, 0, err
	}
	for i := range episodes {
		if episodes[i].Index == at {
			return run, episodes[i], len(episodes), nil
		}
	}
	return nil, e, 0, notFound(fmt.Sprintf("The evaluation has no problem %d.", at))
}

// evaluationDialogue shows one evaluated episode.
func (s *Server) evaluationDialogue(w http.ResponseWriter, r *http.Request) error {
	run, e, total, err := s.evaluation(r)
	if err != nil {
		return err
	}
	step, at, _ := place(r) // read before
	set := r.URL.Query().Get("set")
	here := func(i int) string { return evaluationAddress(run.Name, step, set, e.MaxTries, i) }
	page, query, _ := strings.Cut(here(at), "?")
	v := s.viewEpisode(r, run, &e, step, page)
	v.TokensAt += "?" + query
	for i := range v.Turns {
		v.Turns[i].Raw += "?" + query
	}
	v.Title = fmt.Sprintf("Evaluation after step %d, %s, k = %d, problem %d", step, printable.Line(set, 60), e.MaxTries, at)
	v.Back, v.Step, v.Position = "/runs/"+run.Name+"#evaluations", step, at
	if at > 0 {
		v.Previous = here(at - 1)
	}
	if at+1 < total {
		v.Next = here(at + 1)
	}
	s.show(w, r, "dialogue", http.StatusOK, v)
	return nil
}

func (s *Server) evaluationTokens(w http.ResponseWriter, r *http.Request) error {
	run, e, _, err := s.evaluation(r)
	if err != nil {
		return err
	}
	step, _, _ := place(r) // read before
	var ignored []string   // the page says it already
	v := newTokenView(&e, s.pieces(r, run, &e, step, &ignored))
	v.Missing = append(v.Missing, "Evaluations are not trained on: there are no advantages, values or ratios.")
	return writeJSON(w, v)
}

func (s *Server) evaluationAttempt(w http.ResponseWriter, r *http.Request) error {
	_, e, _, err := s.evaluation(r)
	if err != nil {
		return err
	}
	return writeAttempt(w, r, &e)
}
