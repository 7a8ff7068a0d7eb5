package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/rollout"
)

// Trait is something that a dialogue may have besides its outcome.
type Trait string

// The traits.
const (
	Recovered Trait = "recovered" // solved after a failure
	Repeating Trait = "repeats"   // an attempt gives an earlier answer again, in the same words
	BoundedAt Trait = "bounded"   // the grader gave up on an attempt
	Disagreed Trait = "disagreed" // the paper's grading rules judge an attempt differently
)

// Traits lists every trait.
func Traits() []Trait { return []Trait{Recovered, Repeating, BoundedAt, Disagreed} }

var traitFlags = map[Trait]uint8{Recovered: flagRecovered, Repeating: flagRepeats, BoundedAt: flagBounded, Disagreed: flagDisagree}

// Query says which dialogues are looked for; zero fields do not narrow.
type Query struct {
	From, To int // steps, both included
	Problem  string
	Outcome  rollout.Outcome // of the last attempt
	Used     int             // attempts
	Allowed  int
	Low      *float64 // reward
	High     *float64
	Trait    Trait
	Text     string // anywhere in problem, gold answer or what the model said; upper and lower case are the same
	Oldest   bool   // the oldest steps first
	After    *Place // go on behind this dialogue
	Limit    int
	// Within bounds the time of a search: what is not found by then is found by going on. 0: no bound.
	Within time.Duration
}

// Place is where a dialogue is in a run.
type Place struct{ Step, Position int }

// Found is what a search came to.
type Found struct {
	Dialogues []Dialogue // without token arrays
	// Next is where to go on; nil when everything was searched.
	Next *Place
	// Matches counts all dialogues that match, when Counted; otherwise at least so many do.
	Matches int
	Counted bool
	Steps   int // searched
	Of      int // steps that the query covers
	Total   int // dialogues in the searched steps
	Faults  []Fault
}

// search is one search under way.
type search struct {
	run    *Run
	q      Query
	text   string // in lower case
	hash   uint64 // of the problem's id
	ask    uint64 // of the question; 0: any
	until  time.Time
	found  Found
	buffer []byte
}

// Search looks for dialogues, the newest steps first. Steps that are not indexed yet are indexed on the way, as far as the
// time allows.
func (r *Run) Search(ctx context.Context, q Query) (Found, error) {
	s := &search{run: r, q: q, text: strings.ToLower(q.Text)}
	if q.Problem != "" {
		s.hash = textHash(q.Problem)
	}
	if q.Limit <= 0 {
		s.q.Limit = 25
	}
	if q.Within > 0 {
		s.until = time.Now().Add(q.Within)
	}
	records := r.Records()
	records = slices.DeleteFunc(records, func(x activities.StepRecord) bool {
		return q.From > 0 && x.Step < q.From || q.To > 0 && x.Step > q.To
	})
	if !q.Oldest {
		slices.Reverse(records)
	}
	s.found.Of, s.found.Counted = len(records), true
	for _, record := range records {
		if s.passed(record.Step) {
			continue
		}
		goOn, err := s.step(ctx, record)
		if err != nil {
			return s.found, err
		}
		if !goOn {
			break
		}
	}
	return s.found, nil
}

// passed reports whether the step lies before the place where the search goes on.
func (s *search) passed(step int) bool {
	a := s.q.After
	return a != nil && (s.q.Oldest && step < a.Step || !s.q.Oldest && step > a.Step)
}

func (s *search) late() bool { return !s.until.IsZero() && time.Now().After(s.until) }

// full reports whether the page is full; from then on matches are only counted, and only where that needs no text.
func (s *search) full() bool { return len(s.found.Dialogues) >= s.q.Limit }

// step searches one step and reports whether to go on.
func (s *search) step(ctx context.Context, record activities.StepRecord) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if s.late() || s.full() && s.text != "" {
		s.pause(Place{Step: record.Step, Position: -1})
		return false, nil
	}
	seg, err := s.open(ctx, record)
	if err != nil {
		s.found.Faults = append(s.found.Faults, Fault{What: fmt.Sprintf("dialogues of step %d", record.Step), Err: err})
		return true, ctx.Err()
	}
	if seg == nil { // full, and not indexed: counting would take long, but there may be more
		s.pause(Place{Step: record.Step, Position: -1})
		return true, nil
	}
	defer seg.close()
	s.found.Steps++
	s.found.Total += seg.episodes
	matching, err := s.narrow(seg, record.Step)
	if err != nil {
		s.found.Faults = append(s.found.Faults, Fault{What: fmt.Sprintf("index of step %d", record.Step), Err: err})
		return true, os.Remove(s.run.segmentPath(record))
	}
	return s.collect(ctx, record, matching)
}

// pause remembers where to go on: behind p.
func (s *search) pause(p Place) {
	if s.found.Next == nil {
		s.found.Next = &p
	}
	s.found.Counted = false
}

// open returns the step's segment, made now if need be; nil when there is none and a full page makes that needless.
func (s *search) open(ctx context.Context, record activities.StepRecord) (*segment, error) {
	seg, err := openSegment(s.run.segmentPath(record))
	if err == nil {
		return seg, nil
	}
	if errors.Is(err, errSegment) {
		err = errors.Join(os.Remove(s.run.segmentPath(record)), fs.ErrNotExist)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if s.full() {
		return nil, nil
	}
	if err := s.run.buildSegment(ctx, record); err != nil {
		return nil, err
	}
	return openSegment(s.run.segmentPath(record))
}

// match is a dialogue that the index does not rule out.
type match struct {
	position int
	entry
}

// narrow returns the dialogues of a segment that match as far as the index tells.
func (s *search) narrow(seg *segment, step int) ([]match, error) {
	var candidates []byte
	var err error
	if s.text != "" {
		if candidates, err = seg.candidates(s.text); err != nil {
			return nil, err
		}
	}
	if s.buffer, err = seg.entries(s.buffer); err != nil {
		return nil, err
	}
	var matching []match
	for e := range seg.episodes {
		if candidates != nil && candidates[e/8]>>(e%8)&1 == 0 {
			continue
		}
		if a := s.q.After; a != nil && a.Step == step && e <= a.Position {
			continue
		}
		if x := parseEntry(s.buffer[e*entrySize:]); s.fits(x) {
			matching = append(matching, match{e, x})
		}
	}
	return matching, nil
}

func (s *search) fits(x entry) bool {
	q := &s.q
	return (q.Problem == "" || x.problem == s.hash) && (s.ask == 0 || x.question == s.ask) &&
		(q.Outcome == "" || int(x.last) < len(outcomes) && outcomes[x.last] == q.Outcome) &&
		(q.Used == 0 || int(x.used) == q.Used) &&
		(q.Allowed == 0 || int(x.allowed) == q.Allowed) &&
		(q.Low == nil || float64(x.reward) >= *q.Low) &&
		(q.High == nil || float64(x.reward) <= *q.High) &&
		(q.Trait == "" || x.flags&traitFlags[q.Trait] != 0)
}

// collect reads the matching dialogues until the page is full.
func (s *search) collect(ctx context.Context, record activities.StepRecord, matching []match) (bool, error) {
	if len(matching) == 0 {
		return true, nil
	}
	if s.full() {
		s.found.Matches += len(matching)
		s.pauseCounting(Place{Step: record.Step, Position: matching[0].position - 1})
		return true, nil
	}
	x, err := s.run.experience(ctx, record.Step)
	if err != nil {
		s.found.Faults = append(s.found.Faults, Fault{What: fmt.Sprintf("dialogues of step %d", record.Step), Err: err})
		return true, ctx.Err()
	}
	for i, m := range matching {
		if s.full() {
			if s.text != "" {
				s.pause(Place{Step: record.Step, Position: m.position - 1})
				return false, nil
			}
			s.found.Matches += len(matching) - i
			s.pauseCounting(Place{Step: record.Step, Position: m.position - 1})
			return true, nil
		}
		if i > 0 && s.late() {
			s.pause(Place{Step: record.Step, Position: m.position - 1})
			return false, nil
		}
		if err := s.take(ctx, record.Step, x, m); err != nil {
			s.found.Faults = append(s.found.Faults, Fault{What: fmt.Sprintf("dialogue %d of step %d", m.position, record.Step), Err: err})
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
	}
	return true, nil
}

// pauseCounting remembers where to go on while counting continues.
func (s *search) pauseCounting(p Place) {
	if s.found.Next == nil {
		s.found.Next = &p
	}
}

// take adds a dialogue, unless its text turns out not to match.
func (s *search) take(ctx context.Context, step int, x activities.Experience, m match) error {
	if int(m.shard) >= len(x.Episodes) || m.position >= len(x.Rewards) {
		return errSegment
	}
	episodes, err := s.run.reader.shard(ctx, x.Episodes[m.shard])
	if err != nil {
		return err
	}
	if int(m.row) >= len(episodes) {
		return errSegment
	}
	d := Dialogue{Run: s.run.Name, Step: step, Position: m.position, Reward: x.Rewards[m.position], Episode: episodes[m.row]}
	if s.text != "" && !holds(&d.Episode, s.text) || s.q.Problem != "" && d.ProblemID != s.q.Problem {
		return nil
	}
	s.found.Matches++
	s.found.Dialogues = append(s.found.Dialogues, d)
	return nil
}

// holds reports whether a dialogue says text, which is in lower case.
func holds(e *rollout.Episode, text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return has(e.Question) || has(e.Gold) || has(e.ProblemID) || slices.ContainsFunc(e.Attempts, func(a rollout.Attempt) bool { return has(a.Text) })
}

// Cell is one dialogue of a problem's history.
type Cell struct {
	Place
	Sample  int
	Allowed int
	Used    int
	Outcome rollout.Outcome // of the last attempt
	Reward  float64
}

// History returns every dialogue about a problem, ascending by step, and how many steps were looked at: those that are
// indexed. A problem is known by its question, where that is not empty, and else by its id: some sets give the same
// question another id each time.
func (r *Run) History(ctx context.Context, problem, question string) (cells []Cell, steps int, err error) {
	s := &search{run: r, q: Query{Problem: problem}, hash: textHash(problem)}
	if question != "" {
		s.q.Problem, s.ask = "", textHash(question)
	}
	for _, record := range r.Records() {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		seg, err := openSegment(r.segmentPath(record))
		if err != nil {
			continue // not indexed yet
		}
		steps++
		matching, err := s.narrow(seg, record.Step)
		seg.close()
		if err != nil {
			return nil, 0, err
		}
		for _, m := range matching {
			c := Cell{
				Place: Place{record.Step, m.position}, Sample: int(m.sample), Allowed: int(m.allowed), Used: int(m.used), Reward: float64(m.reward),
			}
			if int(m.last) < len(outcomes) {
				c.Outcome = outcomes[m.last]
			}
			cells = append(cells, c)
		}
	}
	return cells, steps, nil
}
