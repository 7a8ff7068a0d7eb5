// Command recordhistory runs small workflows on a Temporal service with a worker of ours, and writes their histories to
// where the replay test finds them:
//
//	multiattempt up &
//	go run ./workflows/recordhistory -out workflows/testdata
//
// Record anew when a workflow changes on purpose in a way that histories of running workflows need not survive.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "recordhistory:", err)
		os.Exit(1) //nolint:forbidigo // this is a main, of a tool
	}
}

// recorder starts workflows and keeps their histories.
type recorder struct {
	temporal client.Client
	out      string
}

func run(ctx context.Context) error {
	address := flag.String("address", "127.0.0.1:7233", "Temporal frontend")
	out := flag.String("out", "workflows/testdata", "folder for the histories")
	model := flag.String("model", "builtin:smudged-base", "model.source of the runs")
	name := flag.String("name", "recorded", "start of the workflow ids; they must be new")
	flag.Parse()
	c, err := client.DialContext(ctx, client.Options{HostPort: *address})
	if err != nil {
		return err
	}
	defer c.Close()
	r := recorder{temporal: c, out: *out}
	if err := r.train(ctx, *name+"-train", *model); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := r.oneShard(ctx, *name+"-one-shard", *model); err != nil {
		return fmt.Errorf("one shard: %w", err)
	}
	if err := r.evaluate(ctx, *name+"-train"); err != nil {
		return fmt.Errorf("evaluate: %w", err)
	}
	if err := r.finetune(ctx, *name+"-finetune"); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	if err := r.experiment(ctx, *name+"-experiment", *model); err != nil {
		return fmt.Errorf("experiment: %w", err)
	}
	return nil
}

// train records a run that is steered, continued as new and evaluated, and ways to spoil its history.
func (r recorder) train(ctx context.Context, id, model string) error {
	settings := fmt.Sprintf(`{"preset":"tiny","iterations":5,"continue_after":3,"model":{"source":%q},"evaluation":{"final_attempts":[1]}}`, model)
	first, err := r.start(ctx, id, workflows.TrainName, settings)
	if err != nil {
		return err
	}
	rate := 1e-4
	steps := []struct {
		update string
		args   []any
	}{
		{workflows.UpdateSetLearningRate, []any{workflows.SetLearningRate{PolicyLR: &rate}}},
		{workflows.UpdateSetCheckpointEvery, []any{workflows.SetCheckpointEvery{Every: 4}}},
		{workflows.UpdateCheckpointNow, nil},
		{workflows.UpdateEvaluateNow, nil},
		{workflows.UpdatePause, nil},
		{workflows.UpdateResume, nil},
	}
	if err := r.resolved(ctx, id); err != nil {
		return err
	}
	for _, s := range steps {
		if err := r.update(ctx, id, s.update, s.args...); err != nil {
			return err
		}
	}
	if err := r.temporal.GetWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
		return err
	}
	part, err := r.history(ctx, id, first)
	if err != nil {
		return err
	}
	last, err := r.history(ctx, id, "")
	if err != nil {
		return err
	}
	return r.write(map[string]*historypb.History{
		"train-part1.json":        part,
		"train-part2.json":        last,
		"bad-train-activity.json": renamed(part, "Reward", "Judge"),
		"bad-train-order.json":    renamed(part, "SampleBatch", "Rollout"),
		"bad-train-children.json": renamed(last, workflows.EvaluateName, "Examine"),
	})
}

// oneShard records a run whose iterations have one shard of rollouts, and which nobody steers.
func (r recorder) oneShard(ctx context.Context, id, model string) error {
	settings := fmt.Sprintf(`{"preset":"tiny","iterations":4,"data":{"shard_size":16},"checkpoint":{"every":4},"model":{"source":%q},"evaluation":{"final_attempts":[]}}`, model)
	h, err := r.whole(ctx, id, workflows.TrainName, settings)
	if err != nil {
		return err
	}
	return r.write(map[string]*historypb.History{"train-one-shard.json": h})
}

// evaluate records the child that evaluated a run.
func (r recorder) evaluate(ctx context.Context, run string) error {
	h, err := r.history(ctx, workflows.EvaluateWorkflowID(run, 5), "")
	if err != nil {
		return err
	}
	return r.write(map[string]*historypb.History{"evaluate.json": h, "bad-evaluate-activity.json": renamed(h, "Score", "Count")})
}

// finetune records a fine-tuning of two parts.
func (r recorder) finetune(ctx context.Context, id string) error {
	settings := `{"preset":"quickstart-base","steps":4,"steps_per_part":2,"data":{"batch_size":8},"microbatch":8}`
	h, err := r.whole(ctx, id, workflows.FinetuneName, settings)
	if err != nil {
		return err
	}
	return r.write(map[string]*historypb.History{"finetune.json": h, "bad-finetune-activity.json": renamed(h, "Tune", "Update")})
}

// experiment records two arms of one seed, one after the other.
func (r recorder) experiment(ctx context.Context, id, model string) error {
	settings := fmt.Sprintf(`{"preset":"tiny","iterations":2,"model":{"source":%q},"evaluation":{"final_attempts":[1]},"arms":["multi","single"]}`, model)
	h, err := r.whole(ctx, id, workflows.ExperimentName, settings)
	if err != nil {
		return err
	}
	return r.write(map[string]*historypb.History{
		"experiment.json": h, "bad-experiment-children.json": renamed(h, workflows.TrainName, workflows.FinetuneName),
	})
}

// whole starts a workflow and returns its history once it has completed.
func (r recorder) whole(ctx context.Context, id, kind, settings string) (*historypb.History, error) {
	if _, err := r.start(ctx, id, kind, settings); err != nil {
		return nil, err
	}
	if err := r.temporal.GetWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
		return nil, err
	}
	return r.history(ctx, id, "")
}

// start starts a workflow and returns its run id.
func (r recorder) start(ctx context.Context, id, workflow, settings string) (string, error) {
	run, err := r.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: telemetry.Queue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
	}, workflow, json.RawMessage(settings))
	if err != nil {
		return "", err
	}
	return run.GetRunID(), nil
}

// resolved asks for the status until the run has begun to train.
func (r recorder) resolved(ctx context.Context, id string) error {
	for {
		var s workflows.Status
		value, err := r.temporal.QueryWorkflow(ctx, id, "", workflows.QueryStatus)
		if err != nil {
			return err
		}
		if err := value.Get(&s); err != nil || s.Phase != workflows.PhaseStarting {
			return err
		}
	}
}

// update sends an update and waits for its answer.
func (r recorder) update(ctx context.Context, id, name string, args ...any) error {
	handle, err := r.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: name, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := handle.Get(ctx, nil); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// history reads all events of a workflow's run.
func (r recorder) history(ctx context.Context, id, run string) (*historypb.History, error) {
	var h historypb.History
	events := r.temporal.GetWorkflowHistory(ctx, id, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", id, err)
		}
		h.Events = append(h.Events, e)
	}
	return &h, nil
}

// renamed returns a copy in which activities and children of one type have another.
func renamed(h *historypb.History, from, to string) *historypb.History {
	h = proto.CloneOf(h)
	for _, e := range h.Events {
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil && a.ActivityType.Name == from {
			a.ActivityType.Name = to
		}
		if c := e.GetStartChildWorkflowExecutionInitiatedEventAttributes(); c != nil && c.WorkflowType.Name == from {
			c.WorkflowType.Name = to
		}
	}
	return h
}

// write stores histories, without the name of the machine that made them.
func (r recorder) write(files map[string]*historypb.History) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	own := telemetry.OwnLearnerQueue(telemetry.LearnerQueue(telemetry.Queue), "")
	anonymous := strings.NewReplacer("@"+host+"@", "@host@", "@"+host+" (", "@host (", own+host, own+"host",
		`"`+host+"-", `"host-`, `"`+host+":", `"host:`) // workers' identities and the queues of their cached workflows
	for name, h := range files {
		b, err := protojson.Marshal(h)
		if err != nil {
			return err
		}
		var text bytes.Buffer // protojson varies its spaces on purpose
		if err := json.Compact(&text, b); err != nil {
			return err
		}
		text.WriteByte('\n')
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(anonymous.Replace(text.String())), 0o644); err != nil {
			return err
		}
	}
	return nil
}
