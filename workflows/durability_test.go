package workflows_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/update"
	"multiattempt/workflows"
)

// finite is a set of 17 problems, of which a step takes 8: an epoch ends after every second step, and leaves one out.
func finite(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for i := range 17 {
		fmt.Fprintf(&lines, "{\"question\":\"1%d+?\",\"answer\":\"%d\"}\n", i%10, 20+i)
	}
	file := filepath.Join(t.TempDir(), "problems.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o644))
	return file
}

// whole is a record as it is.
func whole(r activities.StepRecord) activities.StepRecord { return r }

// numbers are a record but for where its policy's files lie: one that did not change lies where the last checkpoint has it.
func numbers(r activities.StepRecord) activities.StepRecord {
	r.Policy.Folder = blob.Ref{}
	return r
}

// outcome is what a run of so many steps left: the digest of every record, and of every file of its last checkpoint.
func (w *world) outcome(t *testing.T, run string, steps int, of func(activities.StepRecord) activities.StepRecord) map[string]blob.Digest {
	t.Helper()
	all := map[string]blob.Digest{}
	records, err := activities.Records(t.Context(), w.store, run)
	require.NoError(t, err)
	require.Len(t, records, steps)
	for _, r := range records {
		r.Spec = "" // the settings say how long a part is
		b, err := json.Marshal(of(r))
		require.NoError(t, err)
		all[activities.RecordKey(run, r.Step)] = blob.Sum(b)
	}
	require.Len(t, all, steps)
	ref, err := checkpoint.Find(t.Context(), w.store, run, steps)
	require.NoError(t, err)
	m, err := checkpoint.LoadManifest(t.Context(), w.store, ref)
	require.NoError(t, err)
	for _, f := range m.Files {
		all[f.Ref.Key] = f.Ref.SHA256
	}
	require.Greater(t, len(all), steps+2, "policy and state")
	return all
}

// epochs counts the times that a run was shown its most frequent problem.
func (w *world) epochs(t *testing.T, run string) (most int) {
	t.Helper()
	seen := map[string]int{}
	require.NoError(t, w.store.List(t.Context(), "runs/"+run+"/steps/", func(o blob.Info) error {
		if !strings.Contains(o.Key, "/problems-") {
			return nil
		}
		var shown []dataset.Presentation
		b, err := blob.Read(t.Context(), w.store, o.Key)
		if err == nil {
			err = json.Unmarshal(b, &shown)
		}
		for _, p := range shown {
			seen[p.Problem.ID]++
			most = max(most, seen[p.Problem.ID])
		}
		return err
	}))
	return most
}

// TestEveryContinuationBoundaryGivesTheSameBytes continues a run as new after 1, 2, … iterations, at the boundaries of epochs
// and between them: the checkpoint at the end, and every record, are those of a run in one part.
func TestEveryContinuationBoundaryGivesTheSameBytes(t *testing.T) {
	const steps = 5
	fields := `{"preset":"small","data":{"train":%q},"iterations":%d,"checkpoint":{"every":3},"evaluation":{"every":2,"attempts":[1],"final_attempts":[1]},"continue_after":%d}`
	file := finite(t)
	var want map[string]blob.Digest
	for after := range steps + 1 {
		w := newWorld(t)
		out, parts := w.train(t, "r", settings(t, fmt.Sprintf(fields, file, steps, after)), nil)
		require.Equal(t, steps, out.Step)
		if after == 0 {
			want = w.outcome(t, "r", steps, whole)
			require.Equal(t, 1, parts)
			require.GreaterOrEqual(t, w.epochs(t, "r"), 2)
			continue
		}
		require.Equal(t, (steps+after-1)/after, parts)
		require.Equal(t, want, w.outcome(t, "r", steps, whole), "continued after every %d iterations", after)
	}
}

// TestAStopAtEveryStepGoesOnWithTheSameBytes stops a run after each of its steps, at the boundaries of epochs and between
// them, and starts it again.
func TestAStopAtEveryStepGoesOnWithTheSameBytes(t *testing.T) {
	const steps = 5
	fields := fmt.Sprintf(`{"preset":"small","data":{"train":%q},"iterations":%d}`, finite(t), steps)
	w := newWorld(t)
	w.train(t, "r", settings(t, fields), nil)
	manifest, want := w.final(t, "r", steps), w.outcome(t, "r", steps, numbers)
	for step := 1; step < steps; step++ {
		w := newWorld(t)
		first, _ := w.train(t, "r", settings(t, fields), func(_ int, env *testsuite.TestWorkflowEnvironment) {
			during(env, step, func() { send(t, env, workflows.UpdateStop) })
		})
		require.Equal(t, step, first.Step)
		w.train(t, "r", settings(t, fields), nil)
		require.Equal(t, manifest, w.final(t, "r", steps), "stopped after step %d", step)
		require.Equal(t, want, w.outcome(t, "r", steps, numbers), "stopped after step %d", step)
	}
}

func TestEvaluateNowAnswersWithTheScores(t *testing.T) {
	w := newWorld(t)
	var now, none *answer
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"final_attempts":[1,2]}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 2, func() { now = send(t, env, workflows.UpdateEvaluateNow) })
	})
	require.True(t, now.done)
	require.NoError(t, now.failed)
	require.Equal(t, 2, now.status.Evaluation.Step)
	require.Len(t, now.status.Evaluation.Scores, 2)
	require.Equal(t, 6, out.Evaluation.Step)

	w = newWorld(t)
	w.train(t, "r", settings(t, `{"preset":"small"}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 2, func() { none = send(t, env, workflows.UpdateEvaluateNow) })
	})
	require.ErrorContains(t, none.refused, "multiattempt eval --run r")
}

func TestEvaluateNowWhilePaused(t *testing.T) {
	w := newWorld(t)
	var now *answer
	var held workflows.Status
	w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"final_attempts":[1]}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() {
			send(t, env, workflows.UpdatePause)
			env.RegisterDelayedCallback(func() { now = send(t, env, workflows.UpdateEvaluateNow) }, hour)
			env.RegisterDelayedCallback(func() {
				held = status(t, env)
				send(t, env, workflows.UpdateResume)
			}, 2*hour)
		})
	})
	require.True(t, now.done)
	require.Equal(t, 1, now.status.Evaluation.Step)
	require.Equal(t, workflows.PhasePaused, held.Phase, "it is still held afterwards")
}

// TestRequestsInFlightAreAnsweredBeforeContinuingAsNew has an evaluation and a checkpoint asked for in the last iteration of
// a part.
func TestRequestsInFlightAreAnsweredBeforeContinuingAsNew(t *testing.T) {
	w := newWorld(t)
	var scores, kept *answer
	_, parts := w.train(t, "r", settings(t, `{"preset":"small","continue_after":2,"checkpoint":{"every":6},"evaluation":{"final_attempts":[1]}}`), func(part int, env *testsuite.TestWorkflowEnvironment) {
		if part == 0 {
			during(env, 2, func() {
				scores = send(t, env, workflows.UpdateEvaluateNow)
				kept = send(t, env, workflows.UpdateCheckpointNow)
			})
		}
	})
	require.Equal(t, 3, parts)
	require.True(t, scores.done && kept.done)
	require.Equal(t, 2, scores.status.Evaluation.Step)
	require.Equal(t, 2, kept.status.LatestCheckpoint.Step)
}

func TestCheckpointEverySetByHandHoldsAtOnce(t *testing.T) {
	w := newWorld(t)
	var set, silly *answer
	w.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"every":6,"keep":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 2, func() {
			set = send(t, env, workflows.UpdateSetCheckpointEvery, workflows.SetCheckpointEvery{Every: 2})
			silly = send(t, env, workflows.UpdateSetCheckpointEvery, workflows.SetCheckpointEvery{Every: 33})
		})
	})
	require.Equal(t, 2, set.status.CheckpointEvery)
	require.ErrorContains(t, silly.refused, "from 1 to 32")
	refs, err := checkpoint.List(t.Context(), w.store, "r")
	require.NoError(t, err)
	var steps []int
	for _, ref := range refs {
		steps = append(steps, ref.Step)
	}
	require.Equal(t, []int{2, 4, 6}, steps)
}

func TestTrainForksFromACheckpoint(t *testing.T) {
	w := newWorld(t)
	w.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"keep":9}}`), nil)
	out, _ := w.train(t, "f", settings(t, `{"fork":{"run":"r","step":3},"optimizer":{"policy_lr":0.25,"final_fraction":1,"warmup_fraction":0}}`), nil)
	require.Equal(t, 6, out.Step)
	require.Equal(t, []float64{0.25, 0.25, 0.25}, policyRates(t, w, "f"))
	records, err := activities.Records(t.Context(), w.store, "f")
	require.NoError(t, err)
	require.Equal(t, 4, records[0].Step)

	w.train(t, "same", settings(t, `{"fork":{"run":"r","step":3},"checkpoint":{"keep":8}}`), nil)
	older, err := activities.Records(t.Context(), w.store, "r")
	require.NoError(t, err)
	same, err := activities.Records(t.Context(), w.store, "same")
	require.NoError(t, err)
	require.Equal(t, older[5].Policy.Digest, same[2].Policy.Digest, "an unchanged fork goes the same way")
}

// TestTheLargestPayloadsStaySmall: what travels when a run has the longest name, the most shards, and the most iterations
// since its last checkpoint.
func TestTheLargestPayloadsStaySmall(t *testing.T) {
	const limit = 32 << 10
	run := strings.Repeat("r", 100)
	ref := func(name string) blob.Ref {
		return blob.Ref{Key: "runs/" + run + "/steps/000001/" + name + "-0123456789ab.jsonl.zst", SHA256: blob.Sum([]byte(name)), Size: 1 << 40}
	}
	folder := activities.Policy{Folder: ref("policy/folder"), Digest: blob.Sum(nil)}
	kept := activities.CheckpointRef{Run: run, Step: 1 << 24, Ref: ref("manifest")}
	at := activities.Position{Run: run, Spec: ref("spec"), Base: folder, Checkpoint: kept, Restored: blob.Sum(nil), Policy: folder}
	for range 32 {
		at.Since = append(at.Since, activities.StepDone{Experience: ref("experience"), Policy: blob.Sum(nil), Rates: &update.Rates{Policy: 1.2345678901e-7, Critic: 1.2345678901e-7}})
	}
	shards := make([]blob.Ref, 100)
	for i := range shards {
		shards[i] = ref("episodes-0000")
	}
	score := activities.Score{Set: "olympiadbench", Attempts: 7, Problems: 675, Accuracy: 0.12345678901234567, Low: 0.12345678901234567, High: 0.12345678901234567}
	evaluation := workflows.EvaluateOutput{Run: run, Result: ref("result")}
	for range 5 * 7 {
		evaluation.Scores = append(evaluation.Scores, score)
	}
	state := workflows.TrainState{At: at, Status: workflows.Status{Run: run, LatestCheckpoint: kept, Policy: folder, Evaluation: &evaluation, Best: &workflows.Best{Checkpoint: kept}}}
	for range 8 {
		state.Status.Recent = append(state.Status.Recent, workflows.Iteration{Step: 1 << 24, RewardMean: 0.12345678901234567, Solved: 0.12345678901234567, Record: ref("record")})
	}
	set := activities.EvaluationSet{Name: strings.Repeat("s", 100), Problems: ref("problems"), Shards: 50, ParallelShards: 50, Count: 1 << 20, Files: make([]blob.Digest, 16)}
	task := activities.EvaluationTask{Run: run, Step: 1 << 24, Spec: ref("spec"), Data: ref("data"), Policy: folder, Attempts: []int{1, 7}, Parallel: 1 << 10}
	scored := activities.ScoreOutput{Set: ref("set")}
	for range 32 {
		scored.Scores = append(scored.Scores, score)
	}
	for name, payload := range map[string]any{
		"score":        activities.ScoreInput{Task: task, Set: set, Episodes: [][]blob.Ref{shards[:25], shards[:25]}, Parallel: shards[:50]},
		"scored":       scored,
		"update":       activities.UpdateInput{At: at, Experience: ref("experience")},
		"checkpoint":   activities.CheckpointInput{At: at},
		"reward":       activities.RewardInput{Run: run, Spec: ref("spec"), Episodes: shards},
		"continuation": workflows.TrainInput{Spec: json.RawMessage(`{"preset":"paper"}`), Carried: &state},
	} {
		b, err := json.Marshal(payload)
		require.NoError(t, err)
		require.Less(t, len(b), limit, name)
		t.Logf("%s: %d bytes", name, len(b))
	}
}

// TestAnExperimentOf200RunsHasSmallPayloads: all of them fail, with long messages, in the largest experiment of the longest
// names. Its settings, its state and its end are still small.
func TestAnExperimentOf200RunsHasSmallPayloads(t *testing.T) {
	const limit = 32 << 10
	w := newWorld(t)
	var arms []string
	for i := range 50 {
		arms = append(arms, fmt.Sprintf(`{"name":"%040d","settings":{"prompt":{"feedback":%q}}}`, i, strings.Repeat("x", 280)))
	}
	fields := fmt.Sprintf(`{"preset":"small","parallel":200,"seeds":[18446744073709551615,18446744073709551614,18446744073709551613,18446744073709551612],"arms":[%s]}`,
		strings.Join(arms, ","))
	largest := map[string]int{}
	note := func(name string, payload any) {
		b, err := json.Marshal(payload)
		require.NoError(t, err)
		largest[name] = max(largest[name], len(b))
	}
	st, env := w.experiment(t, fields, func(env *testsuite.TestWorkflowEnvironment) {
		env.OnWorkflow(workflows.TrainName, anyArgument, anyArgument).Return(
			func(_ workflowContext, in workflows.TrainInput) (workflows.TrainOutput, error) {
				note("member", in)
				return workflows.TrainOutput{}, temporal.NewNonRetryableApplicationError(strings.Repeat("because ", 1000), "Broken", nil)
			})
		env.SetOnActivityCompletedListener(func(_ *activityInfo, result encodedValue, _ error) {
			var out activities.ResolveExperimentOutput
			require.NoError(t, result.Get(&out))
			note("settings", out)
		})
	})
	require.Len(t, st.Members, 200)
	require.Equal(t, 200, st.Done)
	require.Equal(t, fmt.Sprintf("x-%040d-seed18446744073709551612", 49), st.Members[199].Run, "named again from arm and seed")
	note("state", st)
	requireFailure(t, env.GetWorkflowError(), workflows.FailureExperiment)
	require.ErrorContains(t, env.GetWorkflowError(), "200 of 200 runs failed")
	require.ErrorContains(t, env.GetWorkflowError(), "and 190 more")
	note("failure", env.GetWorkflowError().Error())
	for _, name := range []string{"member", "settings", "state", "failure"} {
		require.Positive(t, largest[name], name)
		require.Less(t, largest[name], limit, name)
	}
	for i := range st.Members { // as they would complete
		m := &st.Members[i]
		m.State, m.Step, m.Failure = workflows.MemberCompleted, 1<<20, ""
	}
	note("result", st)
	require.Less(t, largest["result"], limit)
	t.Logf("bytes: %v", largest)
}
