package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/reward"
	"multiattempt/internal/update"
)

// Learner are the activities of a worker that trains. One activity computes at a time.
type Learner struct {
	store  blob.Store
	engine Engine
	models *Models
	own    string // task queue of this learner alone
	dir    string // of this process alone
	recent *Recent

	device   chan struct{} // holds one token while an activity computes
	resident *resident     // PPO state on the device, nil: none
	tuning   *tuning       // fine-tuning state on the device, nil: none
	parked   []parked      // PPO states that wait on the local disk, the longest waiting first

	stateBytes int64 // about what the resident's full state takes on disk
	statfs     func(dir string) (disk, error)
}

// NewLearner returns the activities of a worker that trains with engine. own is the task queue that leads to this worker
// alone; dir belongs to the caller's process alone, for files on their way to and from the store.
func NewLearner(store blob.Store, engine Engine, models *Models, own, dir string) (*Learner, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the learner's folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the learner's folder: %w", err)
	}
	return &Learner{store: store, engine: engine, models: models, own: own, dir: dir, device: make(chan struct{}, 1), statfs: statfs}, nil
}

// StepRecord holds every number of one step: the object under RecordKey once Commit gave it that name.
type StepRecord struct {
	Run        string         `json:"run"`
	Spec       string         `json:"spec"` // digest of the resolved settings, as in checkpoints
	Step       int            `json:"step"` // iterations done, this one included
	Policy     Policy         `json:"policy"`
	Experience blob.Ref       `json:"experience"`
	Reward     reward.Summary `json:"reward"`
	Update     update.Stats   `json:"update"`
	// Scores are what was kept of each episode's tokens, as experience.EncodeKept writes it; zero when nothing was.
	Scores blob.Ref `json:"scores,omitzero"`
}

// Update improves the policy with an iteration's experience and publishes it. The learner starts in the state that the
// input names: what it holds, if that is the state, or else the last checkpoint and the stored steps since, repeated.
func (l *Learner) Update(ctx context.Context, in UpdateInput) (UpdateOutput, error) {
	return alive(ctx, func(p *pulse) (out UpdateOutput, err error) {
		err = l.alone(ctx, p, func() error {
			out, err = l.update(ctx, in, p)
			return err
		})
		return out, err
	})
}

func (l *Learner) update(ctx context.Context, in UpdateInput, pulse *pulse) (out UpdateOutput, err error) {
	r, err := l.hold(ctx, in.At, pulse)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.drop()) // between two steps: of no use to a retry
		}
	}()
	seen := newWitness()
	x, stats, err := l.learn(ctx, r, in.Experience, in.Rates, pulse, seen)
	if errors.Is(err, update.ErrNotFinite) {
		return out, l.keepBatch(ctx, in, err)
	}
	if err != nil {
		return out, err
	}
	seen.enter("publish")
	step := in.At.Step() + 1
	dir, err := os.MkdirTemp(l.dir, "policy-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // adopted, or emptied when the next process starts
	if err := r.learner.WritePolicy(ctx, dir); err != nil {
		return out, fmt.Errorf("write policy of step %d: %w", step, err)
	}
	pulse.report(Progress{What: "publish"})
	record := StepRecord{Run: in.At.Run, Step: step, Experience: in.Experience, Reward: x.Summary, Update: stats}
	if record.Spec, err = r.spec.Digest(); err != nil {
		return out, err
	}
	ref, err := l.storeStep(ctx, &record, dir, in, seen)
	if err != nil {
		return out, err
	}
	r.step, r.policy = step, record.Policy.Digest
	out = UpdateOutput{Policy: record.Policy, Record: ref, KL: stats.KL, PolicyLR: stats.PolicyLR, Own: l.own}
	return out, l.models.Adopt(record.Policy, dir)
}

// storeStep publishes the policy in dir, stores what was kept of the step's tokens, names both in the record and stores that.
func (l *Learner) storeStep(ctx context.Context, record *StepRecord, dir string, in UpdateInput, seen *witness) (blob.Ref, error) {
	run, step := record.Run, record.Step
	both, within := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		record.Policy, err = publish(within, l.store, run, step, dir, in.At.Policy)
		return err
	})
	both.Go(func() (err error) {
		record.Scores, err = seen.store(within, l.store, run, step)
		return err
	})
	if err := both.Wait(); err != nil {
		return blob.Ref{}, err
	}
	seen.enter("")
	timing := seen.timing(step, in.Spent)
	var measured sync.WaitGroup
	defer measured.Wait()
	// A measurement that cannot be stored is no reason to repeat a step that succeeded.
	measured.Go(func() { _ = putTiming(ctx, l.store, run, timing) })
	return putJSON(ctx, l.store, stepKey(run, step), "record", record)
}

// BadBatch says what a step was given whose loss, gradient or scores were not finite: an object of the step, for whoever
// looks into it. Everything that it names stays in the store.
type BadBatch struct {
	At         Position      `json:"at"`         // the state before the step
	Experience blob.Ref      `json:"experience"` // an Experience object: episodes and rewards
	Rates      *update.Rates `json:"rates,omitempty"`
	Error      string        `json:"error"` // names the minibatch
}

// keepBatch records the batch of a step that failed for good, and adds to the failure where it is and where the run stands.
func (l *Learner) keepBatch(ctx context.Context, in UpdateInput, failed error) error {
	ref, err := putJSON(ctx, l.store, stepKey(in.At.Run, in.At.Step()+1), "bad-batch",
		BadBatch{At: in.At, Experience: in.Experience, Rates: in.Rates, Error: failed.Error()})
	if err != nil {
		return errors.Join(failed, err)
	}
	stands := "the run has no checkpoint"
	if c := in.At.Checkpoint; !c.IsZero() {
		stands = fmt.Sprintf("the last good checkpoint is of step %d: %s", c.Step, c.Key)
	}
	return fmt.Errorf("%w; the batch is kept in %s; %s", failed, ref.Key, stands)
}

// stateWriter is what update.Learner and update.Imitator have in common.
type stateWriter interface {
	WritePolicy(ctx context.Context, dir string) error
	WriteState(ctx context.Context, dir string) error
}

// writeState writes both parts of a checkpoint below dir.
func writeState(ctx context.Context, w stateWriter, dir string) error {
	for part, write := range map[string]func(context.Context, string) error{checkpoint.PolicyDir: w.WritePolicy, checkpoint.StateDir: w.WriteState} {
		to := filepath.Join(dir, part)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := write(ctx, to); err != nil {
			return fmt.Errorf("write %s: %w", part, err)
		}
	}
	return nil
}

// alone runs f while no other activity of this worker computes.
func (l *Learner) alone(ctx context.Context, pulse *pulse, f func() error) error {
	waited := 0
	for {
		wait, cancel := context.WithTimeout(ctx, beatEvery)
		select {
		case l.device <- struct{}{}:
			cancel()
			defer func() { <-l.device }()
			return f()
		case <-wait.Done():
			cancel()
			if err := ctx.Err(); err != nil {
				return err
			}
			// Waiting for the device is healthy for as long as the one before is.
			waited++
			pulse.report(Progress{What: "wait for the device", Done: waited})
		}
	}
}

// ErrBusy: an activity still computes although it was told to stop. Its process may end; the device must not be touched.
var ErrBusy = errors.New("the learner still computes")

// closeWait bounds how long a learner that is closed waits for an activity that was told to stop.
const closeWait = 10 * time.Second

// close frees the device's memory.
func (l *Learner) close() error {
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case l.device <- struct{}{}:
		defer func() { <-l.device }()
		return l.drop()
	case <-late.C:
		return ErrBusy
	}
}

// drop forgets what is on the device.
func (l *Learner) drop() error {
	var err error
	if l.resident != nil {
		err = l.resident.close()
		l.resident = nil
	}
	if l.tuning != nil {
		err = errors.Join(err, l.tuning.close())
		l.tuning = nil
	}
	return err
}
