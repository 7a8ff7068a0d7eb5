package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"

	"multiattempt/internal/blob/s3"
	"multiattempt/workflows"
)

// patience is how long a service may be away before a command that follows a run gives up; the run does not.
const patience = time.Minute

// watch sees what holds a followed run up: activities that fail and are tried again, and services that are away.
type watch struct {
	run   string
	clock func() time.Time
	// first is the attempt at which an activity was at first sight: what failed earlier may be mended by now.
	first map[string]int32
	told  map[string]bool
	// pending are the activities under way at the newest look, by workflow id.
	pending map[string][]*workflowpb.PendingActivityInfo
	// temporalAway and storeAway are since when the services do not answer; zero while they do.
	temporalAway, storeAway time.Time
}

func newWatch(run string, clock func() time.Time) *watch {
	return &watch{run: run, clock: clock, first: map[string]int32{}, told: map[string]bool{}}
}

// trouble is an activity whose latest attempt failed and that is tried again.
type trouble struct {
	activity string
	attempt  int32 // that failed, from 1
	message  string
	again    bool // it failed since the watch began
}

func (t trouble) String() string {
	return fmt.Sprintf("%s failed at attempt %d and is tried again: %s. The run goes on by itself when the cause is gone.", t.activity, t.attempt, t.message)
}

// look asks Temporal what is pending, tells what is new, and returns an error when following makes no sense any more.
func (w *watch) look(ctx context.Context, s *services, tell func(string)) error {
	pending, err := s.pending(ctx, w.run)
	if ctx.Err() != nil {
		return nil // whoever ended ctx says so
	}
	if err != nil {
		return w.unanswered(s, err)
	}
	w.temporalAway, w.pending = time.Time{}, pending
	troubles := w.troubles(pending)
	for _, t := range troubles {
		if cause := t.cause(); !w.told[cause] {
			w.told[cause] = true
			tell(t.String())
		}
	}
	if t, ok := firstFull(troubles); ok {
		return &failedRun{message: fmt.Sprintf("run %s cannot go on, %s: %s failed at attempt %d: %s; nothing is lost: free some space and give the same command again",
			w.run, s.fullPlace(t.message), t.activity, t.attempt, t.message)}
	}
	if !w.overdue(&w.storeAway, anyContains(troubles, s3.ErrUnreachable.Error())) {
		return nil
	}
	if err := s.probeStore(ctx); err == nil || ctx.Err() != nil {
		w.storeAway = time.Time{} // the next attempt will see it
		return nil
	}
	return fmt.Errorf("%w: the object store at %s has not answered for over %s; %s", errServices, s.cfg.Store.Endpoint, inWords(patience), w.comeBack())
}

// unanswered counts how long Temporal has been away. Other errors than its absence are passed over: the result will tell.
func (w *watch) unanswered(s *services, err error) error {
	if isFull(err.Error()) {
		return &failedRun{message: fmt.Sprintf("run %s cannot go on, the disk of Temporal at %s is full: %v; nothing is lost: free some space and give the same command again",
			w.run, s.cfg.Temporal.Address, err)}
	}
	if !w.overdue(&w.temporalAway, isAway(err)) {
		return nil
	}
	return w.lost(s, err)
}

// lost is the error of a command whose Temporal is gone.
func (w *watch) lost(s *services, err error) error {
	return fmt.Errorf("%w: Temporal at %s has not answered for about %s (%w); %s", errServices, s.cfg.Temporal.Address, inWords(patience), err, w.comeBack())
}

func (w *watch) comeBack() string {
	return fmt.Sprintf("nothing is lost: once it is back, run %s goes on, and the same command returns to it", w.run)
}

// overdue keeps since and reports whether the service has been away for longer than patience.
func (w *watch) overdue(since *time.Time, away bool) bool {
	switch {
	case !away:
		*since = time.Time{}
	case since.IsZero():
		*since = w.clock()
	}
	return away && w.clock().Sub(*since) > patience
}

// troubles picks the activities that fail, by workflow and activity id.
func (w *watch) troubles(pending map[string][]*workflowpb.PendingActivityInfo) []trouble {
	var found []trouble
	for _, id := range slices.Sorted(maps.Keys(pending)) {
		for _, a := range pending[id] {
			key := id + " " + a.ActivityId
			first, seen := w.first[key]
			if !seen {
				first = a.Attempt
				w.first[key] = first
			}
			if a.LastFailure == nil || a.Attempt <= 1 {
				continue
			}
			message, _, _ := strings.Cut(a.LastFailure.Message, "\n")
			if a.LastFailure.GetTimeoutFailureInfo() != nil {
				message = "its worker stopped answering (" + message + ")"
			}
			found = append(found, trouble{activity: a.ActivityType.GetName(), attempt: a.Attempt - 1, message: message, again: a.Attempt > first})
		}
	}
	return found
}

// varying is what differs between messages of one cause: ports, digests, steps, shards.
var varying = regexp.MustCompile(`[0-9a-f]{16,}|[0-9]+`)

// cause is the same for failures that a person would call the same.
func (t trouble) cause() string {
	for _, known := range []error{s3.ErrUnreachable, s3.ErrCredentials, s3.ErrDenied, s3.ErrClockSkew, s3.ErrNoBucket, s3.ErrFull} {
		if strings.Contains(t.message, known.Error()) {
			return known.Error()
		}
	}
	return t.activity + " " + varying.ReplaceAllString(t.message, "#")
}

func firstFull(troubles []trouble) (trouble, bool) {
	for _, t := range troubles {
		if t.again && isFull(t.message) {
			return t, true
		}
	}
	return trouble{}, false
}

// isFull reports whether a failure's message is that of a full store or disk: Temporal hands on an error's text, not its
// identity. The texts are the operating system's and SQLite's.
func isFull(message string) bool {
	for _, text := range []string{s3.ErrFull.Error(), "no space left on device", "disk quota exceeded", "database or disk is full"} {
		if strings.Contains(message, text) {
			return true
		}
	}
	return false
}

// fullPlace says what is full.
func (s *services) fullPlace(message string) string {
	switch {
	case !strings.Contains(message, s3.ErrFull.Error()):
		return "a disk of its worker is full"
	case s.ui != "": // the store is one of the services that run from the state directory
		return fmt.Sprintf("the disk that holds %s is full", s.cfg.StateDir)
	default:
		return fmt.Sprintf("the object store at %s is full", s.cfg.Store.Endpoint)
	}
}

func anyContains(troubles []trouble, text string) bool {
	for _, t := range troubles {
		if strings.Contains(t.message, text) {
			return true
		}
	}
	return false
}

// isAway reports whether Temporal did not answer.
func isAway(err error) bool { return isUnreachable(err) || isLate(err) }

// isLate reports whether there was no answer in time, be it Temporal or its client that gave up.
func isLate(err error) bool {
	var late *serviceerror.DeadlineExceeded
	return errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded)
}

// pending returns the activities under way of a run, of its evaluations, and of an experiment's runs, by workflow id.
func (s *services) pending(ctx context.Context, run string) (map[string][]*workflowpb.PendingActivityInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	pending := map[string][]*workflowpb.PendingActivityInfo{}
	return pending, s.addPending(ctx, pending, run, "")
}

// addPending adds the activities of one workflow and of its children.
func (s *services) addPending(ctx context.Context, pending map[string][]*workflowpb.PendingActivityInfo, id, runID string) error {
	d, err := s.temporal.DescribeWorkflowExecution(ctx, id, runID)
	if err != nil {
		return err
	}
	pending[id] = d.PendingActivities
	for _, child := range d.PendingChildren {
		if child.WorkflowTypeName != workflows.EvaluateName && child.WorkflowTypeName != workflows.TrainName {
			continue
		}
		err := s.addPending(ctx, pending, child.WorkflowId, child.RunId)
		var gone *serviceerror.NotFound
		if err != nil && !errors.As(err, &gone) { // else it is being started
			return err
		}
	}
	return nil
}

// probeStore asks the store for an object that is not there.
func (s *services) probeStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := s.store.Stat(ctx, "probe")
	if errors.Is(err, s3.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
