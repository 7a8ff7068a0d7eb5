package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"multiattempt/activities"
	"multiattempt/internal/printable"
)

// The stages of an iteration, in their order.
const (
	stageSample = iota
	stageRollout
	stageReward
	stageUpdate
	stageCheckpoint
	stageEvaluate
	stageCount
)

var stageNames = [stageCount]string{"sample", "rollout", "reward", "update", "checkpoint", "evaluate"}

// stageOf finds an activity's stage by its type's name.
var stageOf = map[string]int{
	"SampleBatch": stageSample, "Rollout": stageRollout, "Reward": stageReward, "Update": stageUpdate, "Checkpoint": stageCheckpoint,
}

// stageState is where a stage of the iteration under way is.
type stageState int

const (
	stageWaiting stageState = iota
	stageActive
	stageDone
)

// stageAt is how far a stage is.
type stageAt struct {
	name             string
	state            stageState
	what             string // is counted, or being done
	done, of         int    // 0: not counted
	shards, finished int    // activities side by side, and those that ended
	queued           bool   // no worker has taken any of them
	share            float64
	partial          float64 // of the activities under way, what is done: 1 for each whole one
	rate, tokens     float64 // per second: of what is counted, and sampled; 0: not known
	took             time.Duration
	left             time.Duration // 0: not known
}

// shard is one activity of a stage, as last seen.
type shard struct {
	activities.Progress
	pending, started bool
}

// progressOf reads an activity's newest heartbeat; told is false when there was none that can be read.
func progressOf(a *workflowpb.PendingActivityInfo, payloads converter.DataConverter) (p activities.Progress, told bool) {
	told = a.HeartbeatDetails != nil && payloads.FromPayloads(a.HeartbeatDetails, &p) == nil
	return p, told
}

// stageRow remembers a stage between two looks.
type stageRow struct {
	state        stageState
	began        time.Time
	took, before time.Duration     // of this iteration, of the one before
	shards       map[string]*shard // by activity id
	what         string            // of the newest heartbeat
	since        time.Time         // it says so
	counted      int               // at the newest growth
	rate, tokens float64
}

// stageTracker follows the stages of a run's iterations by looking at what Temporal says of the activities under way: their
// heartbeats come every second or two, and what went by between two looks is not seen.
type stageTracker struct {
	clock    func() time.Time
	payloads converter.DataConverter
	rows     [stageCount]stageRow
}

// see takes in a run's activities under way, those of its evaluation, and how many of its rollouts are done.
func (t *stageTracker) see(run, evaluation []*workflowpb.PendingActivityInfo, done, of int) []stageAt {
	now := t.clock()
	var by [stageCount][]*workflowpb.PendingActivityInfo
	for _, a := range run {
		if stage, ours := stageOf[a.ActivityType.GetName()]; ours {
			by[stage] = append(by[stage], a)
		}
	}
	by[stageEvaluate] = evaluation
	if len(by[stageUpdate]) > 0 {
		by[stageSample] = nil // the next iteration's batch, drawn ahead
	}
	if t.beginsAgain(by) {
		t.next(now, by)
	}
	for i := range by {
		t.rows[i].see(now, by[i], t.payloads, i == stageRollout || i == stageEvaluate)
		if len(by[i]) == 0 || i > stageUpdate {
			continue
		}
		for before := range i { // an iteration's stages come one after the other
			t.rows[before].finish(now)
		}
	}
	all := make([]stageAt, stageCount)
	for i := range t.rows {
		all[i] = t.rows[i].at(now)
		all[i].name = stageNames[i]
	}
	if of > 0 && all[stageEvaluate].state == stageActive {
		all[stageEvaluate].ofRollouts(done, of)
	}
	return all
}

// beginsAgain reports whether an activity is new in a stage that has been, or comes before one that has been.
func (t *stageTracker) beginsAgain(by [stageCount][]*workflowpb.PendingActivityInfo) bool {
	for stage := stageSample; stage <= stageUpdate; stage++ {
		for _, a := range by[stage] {
			if t.rows[stage].shards[a.ActivityId] != nil {
				continue
			}
			// A learner's activity that another learner takes over has a new id; and all shards of a rollout begin at once.
			if stage != stageUpdate && len(t.rows[stage].shards) > 0 {
				return true
			}
			for later := stage + 1; later < stageCount; later++ {
				// A checkpoint may still be written while the next iteration is sampled.
				if later != stageCheckpoint && t.rows[later].state != stageWaiting {
					return true
				}
			}
		}
	}
	return false
}

// next begins another iteration; a stage goes on whose activities do.
func (t *stageTracker) next(now time.Time, by [stageCount][]*workflowpb.PendingActivityInfo) {
	for i := range t.rows {
		goesOn := slices.ContainsFunc(by[i], func(a *workflowpb.PendingActivityInfo) bool { return t.rows[i].shards[a.ActivityId] != nil })
		if !goesOn {
			t.rows[i].again(now)
		}
	}
}

// again begins another iteration's.
func (r *stageRow) again(now time.Time) {
	if r.state == stageActive {
		r.finish(now)
	}
	before := r.took
	if before == 0 {
		before = r.before
	}
	*r = stageRow{before: before, rate: r.rate, tokens: r.tokens}
}

// see takes in a stage's activities; without several of them, a new one takes the place of the one before: it was given to
// another worker, or is an iteration's after one that went by unseen.
func (r *stageRow) see(now time.Time, pending []*workflowpb.PendingActivityInfo, payloads converter.DataConverter, several bool) {
	for _, a := range pending {
		if !several && r.shards[a.ActivityId] == nil && len(r.shards) > 0 {
			r.again(now)
		}
	}
	for _, s := range r.shards {
		s.pending = false
	}
	for _, a := range pending {
		s := r.shards[a.ActivityId]
		if s == nil {
			if r.shards == nil {
				r.shards = map[string]*shard{}
			}
			s = &shard{}
			r.shards[a.ActivityId] = s
		}
		s.pending, s.started = true, a.State == enumspb.PENDING_ACTIVITY_STATE_STARTED
		p, told := progressOf(a, payloads)
		if !told {
			continue
		}
		if r.counts() && p.Of == 0 && several {
			continue // it gets ready to do what the others count
		}
		s.Progress = p
		what := p.What
		if _, part, stepped := strings.Cut(what, ": "); stepped { // "step 3: score"
			what = part
		}
		if what != r.what && r.what != "" && r.state == stageActive {
			r.since, r.counted = now, 0 // another part of the same activity
		}
		r.what = what
	}
	switch {
	case len(pending) > 0 && r.state != stageActive:
		r.state, r.began, r.since, r.took, r.counted = stageActive, now, now, 0, 0
	case len(pending) == 0 && r.state == stageActive:
		r.finish(now)
	}
	if r.queued() {
		r.began, r.since = now, now
	}
	if r.state == stageActive {
		r.measure(now)
	}
}

// counts reports whether any of the activities says how much it has to do.
func (r *stageRow) counts() bool {
	for _, s := range r.shards {
		if s.Of > 0 {
			return true
		}
	}
	return false
}

// queued reports whether no worker has taken any of the activities.
func (r *stageRow) queued() bool {
	for _, s := range r.shards {
		if s.started || !s.pending {
			return false
		}
	}
	return r.state == stageActive
}

// finish ends a stage; one that was never seen took no time that is known.
func (r *stageRow) finish(now time.Time) {
	if r.state == stageActive {
		r.took = now.Sub(r.began)
	}
	r.state = stageDone
}

// count adds up the shards: one that ended has done all of its part; one that has not said how much it has to do has as much
// as the others.
func (r *stageRow) count() (done, of, tokens int) {
	var known, parts, drawn, drawnBy int
	for _, s := range r.shards {
		if s.Of > 0 {
			known, parts = known+1, parts+s.Of
		}
	}
	if known == 0 {
		return 0, 0, 0
	}
	for _, s := range r.shards {
		part := s.Of
		if part == 0 {
			part = parts / known
		}
		of += part
		drawn, drawnBy = drawn+s.Tokens, drawnBy+s.Done
		if s.pending {
			done += s.Done
		} else {
			done += part
		}
	}
	if drawnBy > 0 {
		tokens = int(float64(drawn) / float64(drawnBy) * float64(done))
	}
	return done, of, tokens
}

// measure takes the speed from the start to the newest time at which something was done.
func (r *stageRow) measure(now time.Time) {
	done, _, tokens := r.count()
	if done <= r.counted {
		return
	}
	r.counted = done
	if spent := now.Sub(r.since).Seconds(); spent > 0 {
		r.rate, r.tokens = float64(done)/spent, float64(tokens)/spent
	}
}

func (r *stageRow) at(now time.Time) stageAt {
	s := stageAt{state: r.state, took: r.took, shards: len(r.shards), rate: r.rate, tokens: r.tokens}
	if r.state == stageWaiting {
		s.took = r.before
		return s
	}
	if r.state == stageDone {
		s.share, s.finished = 1, s.shards
		_, s.of, _ = r.count()
		s.done, s.what = s.of, r.what
		return s
	}
	s.took, s.queued = now.Sub(r.began), r.queued()
	for _, one := range r.shards {
		switch {
		case !one.pending:
			s.finished++
		case one.Of > 0:
			s.partial += float64(one.Done) / float64(one.Of)
		}
	}
	s.what = r.what
	s.done, s.of, _ = r.count()
	switch {
	case s.of > 0:
		s.share = float64(s.done) / float64(s.of)
		if left := float64(s.of - s.done); r.rate > 0 {
			s.left = time.Duration(left / r.rate * float64(time.Second))
		}
	case r.before > s.took:
		s.left, s.share = r.before-s.took, s.took.Seconds()/r.before.Seconds()
	}
	return s
}

// ofRollouts measures an evaluation by its rollouts, those under way in part.
func (s *stageAt) ofRollouts(done, of int) {
	s.share = min(1, (float64(done)+s.partial)/float64(of))
	s.left, s.shards = 0, 0
	if s.share > 0 {
		s.left = time.Duration(float64(s.took) * (1 - s.share) / s.share)
	}
	s.done, s.of, s.what = done, of, "rollouts"
}

// rateUnit is what a stage's speed is counted in, by what it is doing.
var rateUnit = map[string]string{"episodes": "episodes", "rollouts": "episodes", "score": "episodes", "update": "steps", "rewards": "rewards"}

// String says in words what the bar beside it does not.
func (s stageAt) String() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch s.state {
	case stageWaiting:
		if s.took > 0 {
			add("last %s", inSeconds(s.took))
		}
		return strings.Join(words, "  ")
	case stageDone:
		if s.of > 0 {
			add("%d %s", s.of, printable.Line(s.what, 30))
		}
		if s.took > 0 {
			add("%s", inSeconds(s.took))
		}
		return strings.Join(words, "  ")
	}
	if s.queued {
		return "waits for a worker"
	}
	switch {
	case s.of > 0:
		add("%d/%d %s", s.done, s.of, printable.Line(s.what, 30))
	case s.what != "":
		add("%s", printable.Line(s.what, 60))
	}
	if s.shards > 1 {
		add("shards %d/%d", s.finished, s.shards)
	}
	if unit := rateUnit[s.what]; s.rate > 0 && s.of > 0 && unit != "" {
		add("%.3g %s/s", s.rate, unit)
	}
	if s.tokens > 0 {
		add("%s tokens/s", humanize.Commaf(math.Round(s.tokens)))
	}
	if s.left > 0 {
		add("%s left", inWords(s.left))
	} else {
		add("%s", inSeconds(s.took))
	}
	return strings.Join(words, "  ")
}

// inSeconds writes a short duration with a tenth.
func inSeconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return inWords(d)
}
