package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"multiattempt/internal/web"
	"multiattempt/worker"
	"multiattempt/workflows"
)

// live is what Temporal says of runs, for the pages and for top.
type live struct {
	s        *services
	payloads converter.DataConverter
}

var _ web.Live = (*live)(nil)

func newLive(s *services) (*live, error) {
	payloads, err := worker.DataConverter(s.cfg.Temporal.Codec)
	return &live{s: s, payloads: payloads}, err
}

// Home implements web.Live.
func (l *live) Home() string {
	if l.s.ui == "" {
		return ""
	}
	return fmt.Sprintf("%s/namespaces/%s/workflows", l.s.ui, l.s.cfg.Temporal.Namespace)
}

// List implements web.Live.
func (l *live) List(ctx context.Context) ([]web.LiveRun, error) {
	listed, err := l.s.list(ctx, listQuery(false, ""))
	if err != nil {
		return nil, err
	}
	all := make([]web.LiveRun, len(listed))
	for i, r := range listed {
		all[i] = l.run(r)
	}
	return all, nil
}

// run is what the list of workflows says of one.
func (l *live) run(r listedRun) web.LiveRun {
	return web.LiveRun{
		Run: r.Run, Kind: r.Kind, State: r.Status, Phase: r.Phase, Step: int(r.Step), Best: r.BestScore, Model: r.Model,
		Started: r.Started, URL: l.s.runURL(r.Run),
	}
}

// liveQuery is how long a page waits for a worker to say where a run stands.
const liveQuery = 2 * time.Second

// Look implements web.Live.
func (l *live) Look(ctx context.Context, run string) (web.LiveRun, error) {
	d, err := l.s.temporal.DescribeWorkflowExecution(ctx, run, "")
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return web.LiveRun{}, web.ErrUnknown
	}
	if err != nil {
		return web.LiveRun{}, err
	}
	info := d.WorkflowExecutionInfo
	r := l.run(listed(info))
	if t := info.CloseTime; t != nil {
		r.Ended = t.AsTime().UTC()
	}
	if !r.Running() {
		r.Failure = l.failure(ctx, run, info.Status)
		return r, nil
	}
	l.addStages(&r, d.PendingActivities)
	for _, child := range d.PendingChildren {
		if c, err := l.s.temporal.DescribeWorkflowExecution(ctx, child.WorkflowId, child.RunId); err == nil {
			l.addStages(&r, c.PendingActivities)
		}
	}
	if r.Kind == workflows.TrainName {
		l.addStatus(ctx, &r)
	}
	return r, nil
}

// failure says why a workflow did not complete.
func (l *live) failure(ctx context.Context, run string, status enumspb.WorkflowExecutionStatus) string {
	if status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		return ""
	}
	if err := l.s.temporal.GetWorkflow(ctx, run, "").Get(ctx, nil); err != nil {
		return outcome(err).Error()
	}
	return ""
}

// addStatus asks a worker where a training run stands, and says what it can be asked to do.
func (l *live) addStatus(ctx context.Context, r *web.LiveRun) {
	ctx, cancel := context.WithTimeout(ctx, liveQuery)
	defer cancel()
	var st workflows.Status
	if err := l.s.status(ctx, r.Run, &st); err != nil {
		r.Unanswered = "No worker says where the run stands; steps and dialogues come from the store."
		return
	}
	r.Phase, r.Step, r.Of, r.Model, r.Warnings = string(st.Phase), st.Step, st.Iterations, st.Model, st.Warnings
	if st.Best != nil {
		r.Best = &st.Best.Score
	}
	if st.Step > 0 {
		r.Reward = &st.RewardMean
	}
	r.Note = strings.TrimPrefix(intention(st), "; ")
	r.Actions = actions(st)
}

// actions are what a run can be asked to do as it stands.
func actions(st workflows.Status) []web.Action {
	if st.Stopping || st.Phase == workflows.PhaseStopped || st.Phase == workflows.PhaseCompleted {
		return nil
	}
	hold := web.Action{Name: workflows.UpdatePause, Label: "Pause", Help: "Hold after the iteration under way"}
	if st.Paused {
		hold = web.Action{Name: workflows.UpdateResume, Label: "Resume", Help: "Go on"}
	}
	return []web.Action{
		hold,
		{Name: workflows.UpdateCheckpointNow, Label: "Checkpoint now", Help: "Keep a checkpoint after the iteration under way"},
		{Name: workflows.UpdateEvaluateNow, Label: "Evaluate now", Help: "Evaluate after the iteration under way"},
		{Name: workflows.UpdateSetCheckpointEvery, Label: "Set interval", Help: "Iterations between two checkpoints from now on",
			Fields: []web.Field{{Name: "every", Label: "Checkpoint every"}}},
		{Name: workflows.UpdateSetLearningRate, Label: "Set rates", Help: "Peak learning rates from the next iteration on; an empty field leaves one as it is",
			Fields: []web.Field{{Name: "policy_lr", Label: "Policy rate"}, {Name: "critic_lr", Label: "critic rate"}}},
		{Name: workflows.UpdateStop, Label: "Stop", Help: "Finish the iteration under way, keep a checkpoint, and end", Danger: true},
	}
}

// addStages tells what the activities under way say of themselves, and which fail.
func (l *live) addStages(r *web.LiveRun, pending []*workflowpb.PendingActivityInfo) {
	names := map[string]int{}
	for _, a := range pending {
		names[a.ActivityType.GetName()]++
	}
	nth := map[string]int{}
	for _, a := range pending {
		kind := a.ActivityType.GetName()
		nth[kind]++
		if a.Attempt > 1 && a.LastFailure != nil {
			message, _, _ := strings.Cut(a.LastFailure.Message, "\n")
			r.Troubles = append(r.Troubles, trouble{activity: kind, attempt: a.Attempt - 1, message: message}.String())
		}
		if a.State != enumspb.PENDING_ACTIVITY_STATE_STARTED {
			continue
		}
		stage := web.Stage{Name: strings.ToLower(kind)}
		if names[kind] > 1 {
			stage.Name = fmt.Sprintf("%s %d of %d", stage.Name, nth[kind], names[kind])
		}
		if p, told := progressOf(a, l.payloads); told {
			stage.What, stage.Done, stage.Of = p.What, p.Done, p.Of
		}
		r.Stages = append(r.Stages, stage)
	}
}

// Steered implements web.Live: the updates in the histories of the run's executions, as far as Temporal keeps them.
func (l *live) Steered(ctx context.Context, run string) ([]web.Steering, error) {
	found := map[string]*web.Steering{} // by id of the update
	history := l.s.temporal.GetWorkflowHistory(ctx, run, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var order []string
	for history.HasNext() {
		e, err := history.Next()
		if err != nil {
			return nil, err
		}
		l.note(e, found, &order)
	}
	all := make([]web.Steering, 0, len(found))
	for _, id := range order {
		all = append(all, *found[id])
	}
	return all, nil
}

// note takes an update from an event of a history.
func (l *live) note(e *historypb.HistoryEvent, found map[string]*web.Steering, order *[]string) {
	if accepted := e.GetWorkflowExecutionUpdateAcceptedEventAttributes(); accepted != nil {
		request := accepted.AcceptedRequest
		s := &web.Steering{At: e.EventTime.AsTime().UTC(), Name: request.GetInput().GetName(), By: request.GetMeta().GetIdentity(), Result: "under way"}
		if args := request.GetInput().GetArgs(); args != nil {
			s.Detail = strings.Join(l.payloads.ToStrings(args), ", ")
		}
		found[accepted.ProtocolInstanceId] = s
		*order = append(*order, accepted.ProtocolInstanceId)
	}
	if completed := e.GetWorkflowExecutionUpdateCompletedEventAttributes(); completed != nil {
		if s := found[completed.Meta.GetUpdateId()]; s != nil {
			s.Result = completed.Outcome.GetFailure().GetMessage()
		}
	}
}

// Steer implements web.Live.
func (l *live) Steer(ctx context.Context, run, action string, fields map[string]string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	options := client.UpdateWorkflowOptions{WorkflowID: run, UpdateName: action, WaitForStage: client.WorkflowUpdateStageCompleted}
	waits := action == workflows.UpdateCheckpointNow || action == workflows.UpdateEvaluateNow // answer at the end of the iteration, longer than a page waits
	if waits {
		options.WaitForStage = client.WorkflowUpdateStageAccepted
	}
	switch action {
	case workflows.UpdateSetLearningRate:
		in, err := rates(fields)
		if err != nil {
			return "", err
		}
		options.Args = []any{in}
	case workflows.UpdateSetCheckpointEvery:
		every, err := strconv.Atoi(strings.TrimSpace(fields["every"]))
		if err != nil {
			return "", fmt.Errorf("%w: %.40q is no whole number of iterations", web.ErrRefused, fields["every"])
		}
		options.Args = []any{workflows.SetCheckpointEvery{Every: every}}
	}
	handle, err := l.s.temporal.UpdateWorkflow(ctx, options)
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
		return "", fmt.Errorf("%w: run %s has ended", web.ErrRefused, run)
	case isLate(err):
		return "", fmt.Errorf("%w: run %s; is a worker running?", errNoAnswer, run)
	case err != nil:
		return "", err
	case waits:
		return "Done after the iteration under way: " + strings.ReplaceAll(action, "_", " ") + ".", nil
	}
	var st workflows.Status
	if err := handle.Get(ctx, &st); err != nil {
		return "", fmt.Errorf("%w: %w", web.ErrRefused, refusal(err))
	}
	return fmt.Sprintf("Done: %s. The run is %s, step %d%s.", strings.ReplaceAll(action, "_", " "), st.Phase, st.Step, intention(st)), nil
}

// rates reads the learning rates of a form; empty ones stay as they are.
func rates(fields map[string]string) (workflows.SetLearningRate, error) {
	var in workflows.SetLearningRate
	into := map[string]**float64{"policy_lr": &in.PolicyLR, "critic_lr": &in.CriticLR}
	for _, name := range slices.Sorted(maps.Keys(into)) {
		text := strings.TrimSpace(fields[name])
		if text == "" {
			continue
		}
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return in, fmt.Errorf("%w: %s: %.40q is no number", web.ErrRefused, name, text)
		}
		*into[name] = &x
	}
	return in, nil
}
