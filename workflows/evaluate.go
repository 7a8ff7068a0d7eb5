package workflows

import (
	"fmt"

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
	if err := e.resolve(ctx); err != nil {
		return EvaluateOutput{}, err
	}
	plan, err := e.openSets(ctx)
	if err != nil {
		return EvaluateOutput{}, err
	}
	e.out = EvaluateOutput{Run: e.task.Run, Step: e.task.Step, Policy: e.task.Policy.Digest}
	for _, set := range plan.Sets {
		e.shards += set.Shards * len(e.task.Attempts)
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
	e.out.Result, err = e.scoreTable(ctx, refs)
	return e.out, err
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

// rollouts samples every k of one set, a bounded number of shards at a time, and returns the episodes, [k][shard].
func (e *evaluation) rollouts(ctx workflow.Context, set activities.EvaluationSet) ([][]blob.Ref, error) {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel() // a shard that cannot succeed ends the others
	total := set.Shards * len(e.task.Attempts)
	episodes := make([]blob.Ref, total)
	window := workflow.NewSemaphore(ctx, evaluateWindow)
	group := workflow.NewWaitGroup(ctx)
	var failed error
	for i := 0; i < total && failed == nil; i++ {
		if err := window.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			defer window.Release(1)
			out, err := e.rollout(ctx, set, e.task.Attempts[i/set.Shards], i%set.Shards)
			if err != nil {
				if failed == nil {
					failed = err
				}
				cancel()
				return
			}
			episodes[i] = out.Episodes
			e.done++
		})
	}
	group.Wait(ctx)
	if failed != nil {
		return nil, failed
	}
	byAttempts := make([][]blob.Ref, len(e.task.Attempts))
	for k := range byAttempts {
		byAttempts[k] = episodes[k*set.Shards : (k+1)*set.Shards]
	}
	return byAttempts, nil
}

// rollout samples one shard of a set's problems with k attempts each.
func (e *evaluation) rollout(ctx workflow.Context, set activities.EvaluationSet, k, shard int) (activities.RolloutOutput, error) {
	var a *activities.Rollouts
	var out activities.RolloutOutput
	in := activities.RolloutInput{
		Run: e.task.Run, Spec: e.task.Spec, Policy: e.task.Policy, Problems: set.Problems, Step: e.task.Step,
		Shard: shard, Shards: set.Shards, Evaluate: true, Set: set.Name, Attempts: k,
	}
	summary := fmt.Sprintf("%s · %d attempts · shard %d/%d", set.Name, k, shard+1, set.Shards)
	err := workflow.ExecuteActivity(sampling(ctx, summary), a.Rollout, in).Get(ctx, &out)
	return out, err
}

// score counts one set.
func (e *evaluation) score(ctx workflow.Context, set activities.EvaluationSet, episodes [][]blob.Ref) (activities.ScoreOutput, error) {
	var a *activities.Data
	var out activities.ScoreOutput
	in := activities.ScoreInput{Task: e.task, Set: set, Episodes: episodes}
	err := workflow.ExecuteActivity(quick(ctx, set.Name), a.Score, in).Get(ctx, &out)
	return out, err
}

// scoreTable stores the evaluation's artefact.
func (e *evaluation) scoreTable(ctx workflow.Context, sets []blob.Ref) (blob.Ref, error) {
	var a *activities.Data
	var out activities.ScoreTableOutput
	err := workflow.ExecuteActivity(quick(ctx, "table"), a.ScoreTable, activities.ScoreTableInput{Task: e.task, Sets: sets}).Get(ctx, &out)
	return out.Result, err
}
