package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/telemetry"
)

// evaluateWindow is the number of rollouts of one evaluation that are scheduled at the same time.
const evaluateWindow = 32

// Evaluate scores one policy on sets of problems at every k: each problem once, k attempts told to the model, the grader
// as oracle between attempts. It runs as a child of Train and by itself.
func Evaluate(ctx workflow.Context, in EvaluateInput) (EvaluateOutput, error) {
	e := &evaluation{}
	if err := e.setup(ctx, in); err != nil {
		return EvaluateOutput{}, err
	}
	return e.run(ctx)
}

// evaluation is an evaluation in progress.
type evaluation struct {
	in     EvaluateInput
	task   activities.EvaluationTask
	out    EvaluateOutput
	began  time.Time
	timing EvaluationTiming
	shards int // rollouts in all
	done   int
}

// EvaluateStatus is what the status query of an evaluation answers.
type EvaluateStatus struct {
	Run    string             `json:"run"`
	Step   int                `json:"step"`
	Done   int                `json:"rollouts_done"`
	Of     int                `json:"rollouts"`
	Scores []activities.Score `json:"scores,omitempty"`
}

func (e *evaluation) setup(ctx workflow.Context, in EvaluateInput) error {
	e.in = in
	return workflow.SetQueryHandler(ctx, QueryStatus, func() (EvaluateStatus, error) {
		return EvaluateStatus{Run: e.task.Run, Step: e.task.Step, Done: e.done, Of: e.shards, Scores: e.out.Scores}, nil
	})
}

func (e *evaluation) run(ctx workflow.Context) (EvaluateOutput, error) {
	e.began = workflow.Now(ctx)
	if err := e.resolve(ctx); err != nil {
		return EvaluateOutput{}, err
	}
	plan, err := e.openSets(ctx)
	if err != nil {
		return EvaluateOutput{}, err
	}
	e.out = EvaluateOutput{Run: e.task.Run, Step: e.task.Step, Policy: e.task.Policy.Digest}
	if f := plan.Finished; f != nil {
		e.out.Result, e.out.Scores, e.out.Metric = f.Result, f.Scores, f.Metric
		workflow.SetCurrentDetails(ctx, e.out.markdown())
		return e.out, nil
	}
	for _, set := range plan.Sets {
		e.shards += set.Shards*len(e.task.Attempts) + set.ParallelShards
	}
	refs := make([]blob.Ref, len(plan.Sets))
	for i, set := range plan.Sets {
		episodes, err := e.rollouts(ctx, set)
		if err != nil {
			return EvaluateOutput{}, err
		}
		scored, err := e.score(ctx, set, episodes)
		if err != nil {
			return EvaluateOutput{}, err
		}
		refs[i] = scored.Set
		e.out.Scores = append(e.out.Scores, scored.Scores...)
		workflow.SetCurrentDetails(ctx, e.out.markdown())
	}
	return e.out, e.scoreTable(ctx, refs)
}

// resolve finds the task: a parent's, or from the user's settings.
func (e *evaluation) resolve(ctx workflow.Context) error {
	if e.in.Task != nil {
		e.task = *e.in.Task
	} else {
		var a *activities.Data
		in := activities.ResolveEvaluationInput{
			ID: workflow.GetInfo(ctx).WorkflowExecution.ID, Spec: e.in.Spec, Run: e.in.Run, Step: e.in.Step,
		}
		if err := workflow.ExecuteActivity(patient(ctx, "settings and model"), a.ResolveEvaluation, in).Get(ctx, &e.task); err != nil {
			return err
		}
	}
	return workflow.UpsertTypedSearchAttributes(ctx, []temporal.SearchAttributeUpdate{
		telemetry.RunName.ValueSet(e.task.Run), telemetry.Phase.ValueSet(string(PhaseEvaluating)),
		telemetry.Step.ValueSet(int64(e.task.Step)),
	}...)
}

// openSets finds the problems of every set.
func (e *evaluation) openSets(ctx workflow.Context) (activities.OpenSetsOutput, error) {
	var a *activities.Data
	var out activities.OpenSetsOutput
	err := workflow.ExecuteActivity(patient(ctx, "problems"), a.OpenSets, e.task).Get(ctx, &out)
	return out, err
}

// rollouts samples every k of one set, and the single attempts beside them, a bounded number of shards at a time. It
// returns the episodes shard by shard, ascending k, single attempts last.
func (e *evaluation) rollouts(ctx workflow.Context, set activities.EvaluationSet) ([]blob.Ref, error) {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel() // a shard that cannot succeed ends the others
	episodes := make([]blob.Ref, set.Shards*len(e.task.Attempts)+set.ParallelShards)
	window := workflow.NewSemaphore(ctx, evaluateWindow)
	group := workflow.NewWaitGroup(ctx)
	var failed error
	for i := 0; i < len(episodes) && failed == nil; i++ {
		if err := window.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			defer window.Release(1)
			out, err := e.rollout(ctx, set, i)
			if err != nil {
				if failed == nil {
					failed = err
				}
				cancel()
				return
			}
			episodes[i] = out.Episodes
			e.timing.add(out)
			e.done++
		})
	}
	group.Wait(ctx)
	return episodes, failed
}

// rollout samples the i-th shard of a set, as rollouts orders them.
func (e *evaluation) rollout(ctx workflow.Context, set activities.EvaluationSet, i int) (activities.RolloutOutput, error) {
	var a *activities.Rollouts
	var out activities.RolloutOutput
	in := activities.RolloutInput{
		Run: e.task.Run, Spec: e.task.Spec, Policy: e.task.Policy, Problems: set.Problems, Step: e.task.Step,
		Evaluate: true, Set: set.Name,
	}
	var what string
	if at := i / set.Shards; at < len(e.task.Attempts) {
		in.Attempts, in.Shard, in.Shards = e.task.Attempts[at], i%set.Shards, set.Shards
		what = fmt.Sprintf("%d attempts", in.Attempts)
	} else {
		in.Attempts, in.Parallel, in.Shard, in.Shards = 1, true, i-set.Shards*len(e.task.Attempts), set.ParallelShards
		what = fmt.Sprintf("%d single attempts", e.task.Parallel)
	}
	summary := fmt.Sprintf("%s · %s · shard %d/%d", set.Name, what, in.Shard+1, in.Shards)
	err := workflow.ExecuteActivity(sampling(ctx, summary), a.Rollout, in).Get(ctx, &out)
	return out, err
}

// add counts one rollout.
func (t *EvaluationTiming) add(out activities.RolloutOutput) {
	t.Rollouts += out.Seconds
	t.Sampling += out.Sampling
	t.Grading += out.Grading
	t.Tokens += out.Tokens
}

// score counts one set, whose episodes are in the order of rollouts.
func (e *evaluation) score(ctx workflow.Context, set activities.EvaluationSet, episodes []blob.Ref) (activities.ScoreOutput, error) {
	var a *activities.Data
	var out activities.ScoreOutput
	in := activities.ScoreInput{Task: e.task, Set: set}
	for len(in.Episodes) < len(e.task.Attempts) {
		in.Episodes, episodes = append(in.Episodes, episodes[:set.Shards]), episodes[set.Shards:]
	}
	in.Parallel = episodes
	err := workflow.ExecuteActivity(quick(ctx, set.Name), a.Score, in).Get(ctx, &out)
	return out, err
}

// scoreTable stores the evaluation's artefact and closes its books.
func (e *evaluation) scoreTable(ctx workflow.Context, sets []blob.Ref) error {
	var a *activities.Data
	var out activities.ScoreTableOutput
	err := workflow.ExecuteActivity(quick(ctx, "table"), a.ScoreTable, activities.ScoreTableInput{Task: e.task, Sets: sets}).Get(ctx, &out)
	e.out.Result, e.out.Metric = out.Result, out.Metric
	t := e.timing
	if t.Whole = workflow.Now(ctx).Sub(e.began).Seconds(); t.Whole > 0 {
		t.SamplingShare = t.Sampling / t.Whole
	}
	e.out.Timing = &t
	return err
}
