package workflows_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// experiment runs Experiment to its end.
func (w *world) experiment(t *testing.T, fields string, prepare func(env *testsuite.TestWorkflowEnvironment)) (workflows.ExperimentStatus, *testsuite.TestWorkflowEnvironment) {
	t.Helper()
	var in workflows.ExperimentInput
	require.NoError(t, json.Unmarshal([]byte(fields), &in))
	env := w.env(t, "x")
	if prepare != nil {
		prepare(env)
	}
	env.ExecuteWorkflow(workflows.ExperimentName, in)
	require.True(t, env.IsWorkflowCompleted())
	return experimentStatus(t, env), env
}

func experimentStatus(t *testing.T, env *testsuite.TestWorkflowEnvironment) workflows.ExperimentStatus {
	t.Helper()
	value, err := env.QueryWorkflow(workflows.QueryStatus)
	require.NoError(t, err)
	var st workflows.ExperimentStatus
	require.NoError(t, value.Get(&st))
	return st
}

const twoArms = `{"preset":"small","iterations":2,"checkpoint":{"every":2},"evaluation":{"final_attempts":[1,2]},"seeds":[1,2],"arms":["multi","single"]}`

func TestExperimentTrainsEveryArmWithEverySeed(t *testing.T) {
	w := newWorld(t)
	most := 0
	counted := func(env *testsuite.TestWorkflowEnvironment) {
		most = 0
		env.SetOnActivityStartedListener(func(info *activityInfo, _ contextContext, _ encodedValues) {
			running := 0
			for _, m := range experimentStatus(t, env).Members {
				if m.State == workflows.MemberRunning {
					running++
				}
			}
			most = max(most, running)
		})
	}
	st, env := w.experiment(t, twoArms, counted)
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, workflows.PhaseCompleted, st.Phase)
	require.Equal(t, 4, st.Done)
	require.Equal(t, 1, most, "one at a time unless told otherwise")
	require.Equal(t, "x-single-seed1", st.Members[1].Run)
	for _, m := range st.Members {
		require.Equal(t, workflows.MemberCompleted, m.State)
		require.Equal(t, 2, m.Step)
	}
	trails := map[string]any{}
	for _, m := range st.Members {
		trails[m.Run] = w.final(t, m.Run, 2)
	}

	// The same experiment again repeats nothing: every run is where it was, its evaluation known.
	rollouts := 0
	again, env := w.experiment(t, strings.Replace(twoArms, "{", `{"parallel":3,`, 1), func(env *testsuite.TestWorkflowEnvironment) {
		counted(env)
		env.SetOnActivityCompletedListener(func(info *activityInfo, _ encodedValue, _ error) {
			if info.ActivityType.Name == "Rollout" {
				rollouts++
			}
		})
	})
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, 3, most)
	require.Equal(t, st.Members, again.Members)
	require.Zero(t, rollouts, "evaluations are taken over, not made again")
	for _, m := range again.Members {
		require.Equal(t, trails[m.Run], w.final(t, m.Run, 2))
	}
}

func TestExperimentGoesOnWithoutARunThatFails(t *testing.T) {
	w := newWorld(t)
	st, env := w.experiment(t, `{"preset":"small","iterations":2,"evaluation":{"final_attempts":[1]},"parallel":2,
		"arms":[{"name":"broken","settings":{"reward":{"correct":1e300,"wrong":-1e300}}},"single"]}`, nil)
	requireFailure(t, env.GetWorkflowError(), workflows.FailureExperiment)
	require.ErrorContains(t, env.GetWorkflowError(), "1 of 2 runs failed")
	require.Equal(t, workflows.MemberFailed, st.Members[0].State)
	require.NotEmpty(t, st.Members[0].Failure)
	require.Equal(t, workflows.MemberCompleted, st.Members[1].State)
}

func TestACancelledExperimentLeavesCheckpointsToGoOnFrom(t *testing.T) {
	w := newWorld(t)
	fields := `{"preset":"small","iterations":4,"checkpoint":{"every":4},"seeds":[1,2],"evaluation":{"final_attempts":[1]}}`
	st, env := w.experiment(t, fields, func(env *testsuite.TestWorkflowEnvironment) {
		updates := 0
		env.SetOnActivityCompletedListener(func(info *activityInfo, _ encodedValue, _ error) {
			if info.ActivityType.Name == "Update" {
				if updates++; updates == 2 {
					env.CancelWorkflow()
				}
			}
		})
	})
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Equal(t, workflows.MemberFailed, st.Members[0].State)
	require.Equal(t, workflows.MemberWaiting, st.Members[1].State, "none begins after that")
	latest, err := checkpoint.Resolve(t.Context(), w.store, "x-multi-seed1", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, 2, latest.Checkpoint.Step)

	again, env := w.experiment(t, fields, nil)
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, 4, again.Members[0].Step)
	records, err := activities.Records(t.Context(), w.store, "x-multi-seed1")
	require.NoError(t, err)
	require.Len(t, records, 4, "the step that was under way when the run was cancelled has its record")
}

func TestExperimentWaitsForARunOfItsName(t *testing.T) {
	w := newWorld(t)
	tries := 0
	_, env := w.experiment(t, `{"preset":"small"}`, func(env *testsuite.TestWorkflowEnvironment) {
		env.OnWorkflow(workflows.TrainName, anyArgument, anyArgument).Return(
			func(workflowContext, workflows.TrainInput) (workflows.TrainOutput, error) {
				tries++
				if tries < 3 {
					return workflows.TrainOutput{}, &temporal.ChildWorkflowExecutionAlreadyStartedError{}
				}
				return workflows.TrainOutput{Step: 6}, nil
			})
		env.RegisterDelayedCallback(func() {
			require.Equal(t, workflows.MemberOccupied, experimentStatus(t, env).Members[0].State)
		}, 7*time.Second)
	})
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, 3, tries)
}

func TestExperimentRefusesBadSettings(t *testing.T) {
	w := newWorld(t)
	_, env := w.experiment(t, `{"preset":"small","arms":["other"],"parallel":0}`, nil)
	requireFailure(t, env.GetWorkflowError(), activities.FailureInvalidSpec)
	require.ErrorContains(t, env.GetWorkflowError(), "no preset small-other")
	require.ErrorContains(t, env.GetWorkflowError(), "parallel = 0")
}

func TestTheBestCheckpointSurvivesAResume(t *testing.T) {
	w := newWorld(t)
	fields := `{"preset":"small","checkpoint":{"best":"recovered@3"},"evaluation":{"every":2,"attempts":[3],"limit":30}}`
	first, _ := w.train(t, "r", settings(t, fields), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 4, func() { send(t, env, workflows.UpdateStop) })
	})
	require.Equal(t, workflows.PhaseStopped, first.Phase)
	require.NotNil(t, first.Best)
	require.Equal(t, "recovered@3", first.Best.Metric)
	pointer, err := checkpoint.Resolve(t.Context(), w.store, "r", checkpoint.Best)
	require.NoError(t, err)
	require.Equal(t, first.Best.Checkpoint, pointer.Checkpoint)

	var resumed workflows.Status
	second, _ := w.train(t, "r", settings(t, fields), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() { resumed = status(t, env) })
	})
	require.Equal(t, first.Best, resumed.Best, "known before the next evaluation")
	require.GreaterOrEqual(t, second.Best.Score, first.Best.Score)
	best, err := checkpoint.Find(t.Context(), w.store, "r", second.Best.Checkpoint.Step)
	require.NoError(t, err, "the best checkpoint is kept")
	require.Equal(t, second.Best.Checkpoint, best)
}
