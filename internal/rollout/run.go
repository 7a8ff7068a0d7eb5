package rollout

import (
	"context"
	"errors"
	"fmt"

	"multiattempt/internal/dataset"
	"multiattempt/internal/policy"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// ErrNoRoom: a dialogue's opening is longer than the model's context allows.
var ErrNoRoom = errors.New("the opening leaves no room for an answer")

// Settings are what a shard of episodes is rolled out under.
type Settings struct {
	Prompt    spec.Prompt
	Attempts  spec.Attempts
	Grading   spec.Grading
	Sampling  policy.Params // MaxLength also bounds each dialogue, opening included
	GroupSize int           // episodes of each presentation, G
	Seed      uint64        // run seed
	Step      int
	Policy    string // digest of the sampler's weights
}

// Run rolls out G episodes of each presentation and returns them in the order of presentations, a group's samples
// together: P·G episodes. progress, when not nil, is told how many have ended, as a sampler tells it. A presentation whose opening leaves no
// room for an answer is ErrNoRoom, before anything is sampled.
func Run(ctx context.Context, s policy.Sampler, d Dialogue, g Grader, shown []dataset.Presentation, set Settings, progress func(done int)) ([]Episode, error) {
	rows := make([]policy.Row, 0, len(shown)*set.GroupSize)
	longest := 0
	for _, p := range shown {
		forced, err := scriptWithin(d, set.Prompt, p, set.Sampling.MaxLength)
		if err != nil {
			return nil, err
		}
		longest = max(longest, forced.longest(set.Attempts))
		for sample := range set.GroupSize {
			rows = append(rows, newRow(forced, d, g, p, sample, set))
		}
	}
	params := set.Sampling
	params.MaxLength = min(params.MaxLength, longest) // a sampler sets memory aside for it
	if err := s.Sample(ctx, rows, params, progress); err != nil {
		return nil, err
	}
	episodes := make([]Episode, len(rows))
	for i, r := range rows {
		r := r.(*row)
		if !r.done {
			return nil, fmt.Errorf("%w %s/%d: the sampler left it unfinished", ErrEpisode, r.episode.ProblemID, r.episode.Sample)
		}
		if err := r.episode.Check(); err != nil {
			return nil, err
		}
		episodes[i] = r.episode
	}
	return episodes, nil
}

// CheckPresentation reports what would keep a presentation from being rolled out: turns that the model's template
// refuses, or ErrNoRoom.
func CheckPresentation(d Dialogue, p spec.Prompt, shown dataset.Presentation, maxLength int) error {
	_, err := scriptWithin(d, p, shown, maxLength)
	return err
}

// scriptWithin renders the forced turns and makes sure that the opening leaves room for an answer.
func scriptWithin(d Dialogue, p spec.Prompt, shown dataset.Presentation, maxLength int) (*script, error) {
	forced, err := newScript(d, p, shown)
	if err != nil {
		return nil, err
	}
	if len(forced.opening) >= maxLength {
		return nil, fmt.Errorf("problem %s: %w: it has %d tokens, a dialogue may hold %d; raise model.max_length or leave the problem out",
			shown.ID, ErrNoRoom, len(forced.opening), maxLength)
	}
	return forced, nil
}

func newRow(forced *script, d Dialogue, g Grader, p dataset.Presentation, sample int, set Settings) *row {
	return &row{
		episode: Episode{
			ProblemID: p.ID, Question: p.Question, Gold: p.Answer, Index: p.Index, Sample: sample, MaxTries: p.Attempts,
			Policy: set.Policy, Seed: set.Seed, Step: set.Step,
		},
		script: forced, attempts: set.Attempts, length: set.Sampling.MaxLength,
		decode: d.Decode, grade: judge(g, p, set.Grading),
		seedAt: [4]uint64{set.Seed, uint64(set.Step), seed.Text(p.ID), uint64(sample)},
	}
}
