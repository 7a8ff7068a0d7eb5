package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/spec"
	"multiattempt/internal/telemetry"
)

// occupiedWait is how long an experiment waits at first, and at most, for a run that somebody else started under a
// member's name.
const (
	occupiedWait    = 5 * time.Second
	occupiedWaitMax = time.Minute
)

// FailureExperiment is the type of the failure of an experiment some of whose runs failed.
const FailureExperiment = "ExperimentIncomplete"

// Experiment is a training run for every arm with every seed, a bounded number at the same time. A run that fails does not
// hold up the others. Cancelled, it cancels the runs under way, which leave checkpoints; started again with the same
// settings, runs go on where they were and those that had ended are not repeated.
func Experiment(ctx workflow.Context, in ExperimentInput) (ExperimentStatus, error) {
	e := &experiment{in: in}
	if err := e.setup(ctx); err != nil {
		return ExperimentStatus{}, err
	}
	return e.run(ctx)
}

// experiment is an experiment in progress.
type experiment struct {
	in     ExperimentInput
	status ExperimentStatus
}

// ExperimentStatus is what the status query of an experiment answers, and its result. What its runs came to is their own
// result. A payload of 200 members stays below 32 KiB.
type ExperimentStatus struct {
	Experiment string   `json:"experiment"`
	Phase      Phase    `json:"phase"`
	Parallel   int      `json:"parallel"` // runs under way at the same time, at most
	Done       int      `json:"done"`     // runs that ended, however
	Members    []Member `json:"members"`  // every run, in the order of starting
}

// UnmarshalJSON names the members' runs, which follow from the rest.
func (s *ExperimentStatus) UnmarshalJSON(b []byte) error {
	type own ExperimentStatus
	if err := json.Unmarshal(b, (*own)(s)); err != nil {
		return err
	}
	for i := range s.Members {
		m := &s.Members[i]
		m.Run = spec.MemberRun(s.Experiment, m.Arm, m.Seed)
	}
	return nil
}

// MemberState is where one run of an experiment stands.
type MemberState string

// The states.
const (
	MemberWaiting   MemberState = "waiting"   // for its turn
	MemberOccupied  MemberState = "occupied"  // for a run of its name that somebody else started
	MemberRunning   MemberState = "running"   //
	MemberCompleted MemberState = "completed" // or stopped early on request: the run's result tells
	MemberFailed    MemberState = "failed"    // or cancelled
)

// Member is one run of an experiment.
type Member struct {
	Arm   string      `json:"arm"`
	Seed  uint64      `json:"seed"`
	Run   string      `json:"-"` // workflow id
	State MemberState `json:"state"`
	Step  int         `json:"step,omitempty"` // of a completed one
	// Failure is the beginning of why it failed; empty when others' failures left no room: the run's own history tells.
	Failure string `json:"failure,omitempty"`

	scores string // for people
}

// Bounds of the failures that a status repeats, in bytes.
const (
	failureBytes  = 300
	failuresBytes = 4 << 10 // of all members together
)

func (e *experiment) setup(ctx workflow.Context) error {
	e.status = ExperimentStatus{Experiment: workflow.GetInfo(ctx).WorkflowExecution.ID, Phase: PhaseStarting}
	return workflow.SetQueryHandler(ctx, QueryStatus, func() (ExperimentStatus, error) { return e.status, nil })
}

func (e *experiment) run(ctx workflow.Context) (ExperimentStatus, error) {
	plan, err := e.resolve(ctx)
	if err != nil {
		return ExperimentStatus{}, err
	}
	e.status.Parallel = plan.Parallel
	members, err := plan.Runs(e.status.Experiment)
	if err != nil {
		return ExperimentStatus{}, err
	}
	for _, m := range members {
		e.status.Members = append(e.status.Members, Member{Arm: m.Arm, Seed: m.Seed, Run: m.Run, State: MemberWaiting})
	}
	e.enter(ctx, PhaseTraining)
	turns := workflow.NewSemaphore(ctx, int64(plan.Parallel))
	group := workflow.NewWaitGroup(ctx)
	for i, m := range members {
		if err := turns.Acquire(ctx, 1); err != nil {
			break // cancelled: those under way end first
		}
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			defer turns.Release(1)
			e.member(ctx, i, TrainInput{Spec: m.Settings})
		})
	}
	disconnected, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	group.Wait(disconnected)
	if err := ctx.Err(); err != nil {
		e.enter(ctx, PhaseStopped)
		return ExperimentStatus{}, err
	}
	e.enter(ctx, PhaseCompleted)
	return e.status, e.failures()
}

// resolve checks the settings of every run.
func (e *experiment) resolve(ctx workflow.Context) (spec.Experiment, error) {
	var a *activities.Data
	var out activities.ResolveExperimentOutput
	in := activities.ResolveExperimentInput{ID: e.status.Experiment, Settings: e.in.Settings}
	err := workflow.ExecuteActivity(quick(ctx, "settings of every run"), a.ResolveExperiment, in).Get(ctx, &out)
	return out.Experiment, err
}

// member trains one run to its end and notes what came of it.
func (e *experiment) member(ctx workflow.Context, i int, in TrainInput) {
	m := &e.status.Members[i]
	var out TrainOutput
	err := e.train(ctx, m, in, &out)
	m.State = MemberCompleted
	if err != nil {
		m.State, m.Failure = MemberFailed, e.brief(cause(err))
	} else {
		m.Step, m.scores = out.Step, out.scores()
	}
	e.status.Done++
	e.publish(ctx)
}

// train runs a member as a child. While a run of its name is under way that is not a child of this experiment, it waits:
// that run's checkpoint is where the child then goes on.
func (e *experiment) train(ctx workflow.Context, m *Member, in TrainInput, out *TrainOutput) error {
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            TrainWorkflowID(m.Run),
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation:   true,
		StaticSummary:         fmt.Sprintf("%s with seed %d, of experiment %s", m.Arm, m.Seed, e.status.Experiment),
	})
	for wait := occupiedWait; ; wait = min(2*wait, occupiedWaitMax) {
		m.State = MemberRunning
		e.publish(ctx)
		err := workflow.ExecuteChildWorkflow(child, TrainName, in).Get(ctx, out)
		if !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return err
		}
		m.State = MemberOccupied
		e.publish(ctx)
		if err := workflow.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// brief is the beginning of a failure, as much as the failures noted before leave room for.
func (e *experiment) brief(failure string) string {
	room := failuresBytes
	for _, m := range e.status.Members {
		room -= len(m.Failure)
	}
	if most := min(room, failureBytes); len(failure) > most {
		return strings.ToValidUTF8(failure[:max(0, most)], "")
	}
	return failure
}

// failuresNamed is how many failed runs the experiment's error names.
const failuresNamed = 10

// failures is the experiment's error when runs of it failed.
func (e *experiment) failures() error {
	var failed []string
	n := 0
	for _, m := range e.status.Members {
		if m.State != MemberFailed {
			continue
		}
		if n++; n <= failuresNamed {
			failed = append(failed, fmt.Sprintf("%s: %s", m.Run, m.Failure))
		}
	}
	if n == 0 {
		return nil
	}
	if n > failuresNamed {
		failed = append(failed, fmt.Sprintf("and %d more", n-failuresNamed))
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("%d of %d runs failed; the same experiment started again repeats only those: %s",
		n, len(e.status.Members), strings.Join(failed, "; ")), FailureExperiment, nil)
}

// cause is the innermost message of a child's failure.
func cause(err error) string {
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return failure.Message()
	}
	return err.Error()
}

// enter changes the phase for everybody to see.
func (e *experiment) enter(ctx workflow.Context, p Phase) {
	e.status.Phase = p
	err := workflow.UpsertTypedSearchAttributes(ctx, telemetry.RunName.ValueSet(e.status.Experiment), telemetry.Phase.ValueSet(string(p)))
	if err != nil {
		workflow.GetLogger(ctx).Error("search attributes not set", telemetry.AttrError, err)
	}
	e.publish(ctx)
}

// publish shows the table of runs in the Temporal UI.
func (e *experiment) publish(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, e.status.markdown())
}

// markdown is the table of an experiment's runs.
func (s ExperimentStatus) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** · %s · %d of %d runs done, %d at a time\n\n", s.Experiment, s.Phase, s.Done, len(s.Members), s.Parallel)
	b.WriteString("| run | state | accuracy by attempts |\n|---|---|---|\n")
	for i, m := range s.Members {
		if b.Len() > detailsBytes {
			fmt.Fprintf(&b, "\nand %d more\n", len(s.Members)-i)
			break
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Run, m.State, m.scores+m.Failure)
	}
	return b.String()
}

// detailsBytes is about how long the table of runs may become.
const detailsBytes = 16 << 10

// scores are a run's accuracies for people, as far as a line has room for them.
func (o TrainOutput) scores() string {
	var words []string
	if o.Evaluation != nil {
		for _, score := range o.Evaluation.Scores[:min(len(o.Evaluation.Scores), 8)] {
			words = append(words, fmt.Sprintf("%s@%d %.1f %%", score.Set, score.Attempts, 100*score.Accuracy))
		}
	}
	return strings.Join(words, " ")
}
