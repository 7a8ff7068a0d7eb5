package web

import (
	"context"
	"errors"
	"time"
)

// ErrUnknown: no workflow of that name. The store may know the run all the same.
var ErrUnknown = errors.New("no workflow of that name")

// ErrRefused: the run refused to be steered so; the message says why.
var ErrRefused = errors.New("refused")

// Live is what a running service knows of runs beyond what they left in the store. A Server without one shows the store
// alone and steers nothing.
type Live interface {
	// List returns every run that the service knows, newest first.
	List(ctx context.Context) ([]LiveRun, error)
	// Look returns one run with everything that is known of it; ErrUnknown when there is none.
	Look(ctx context.Context, run string) (LiveRun, error)
	// Steered returns what was asked of a run while it ran, oldest first.
	Steered(ctx context.Context, run string) ([]Steering, error)
	// Steer does what a form asks for and says what happens now. ErrRefused, wrapped, when the run does not want to.
	Steer(ctx context.Context, run, action string, fields map[string]string) (string, error)
	// Home is the address of the service's own pages; empty when unknown.
	Home() string
}

// LiveRun is a run as the service sees it. List fills in the fields down to URL.
type LiveRun struct {
	Run     string
	Kind    string // Train, Evaluate or Finetune
	State   string // of the workflow: running, completed, failed, canceled, terminated, timed_out …
	Phase   string // of the run: starting, training, evaluating, paused, stopped, completed
	Step    int    // iterations done
	Of      int    // iterations in all; 0 when unknown
	Best    *float64
	Reward  *float64 // mean per episode of the newest iteration
	Model   string
	Started time.Time
	Ended   time.Time // zero while it runs
	URL     string    // of its page in the service's own pages; empty when unknown

	Note     string // what it will do after the iteration under way: pause, stop
	Stages   []Stage
	Warnings []string
	Troubles []string // activities that fail and are tried again
	Failure  string   // why it failed
	Actions  []Action
	// Unanswered says why nobody could say more: no worker runs, for example.
	Unanswered string
}

// Running reports whether the workflow is open.
func (r LiveRun) Running() bool { return r.State == "running" }

// Stage is a part of the iteration under way.
type Stage struct {
	Name     string // "rollout 3/8"
	What     string // what its worker says it is doing
	Done, Of int    // in its own unit; Of is 0 when unknown
}

// Action is something that can be asked of the run now.
type Action struct {
	Name   string // as Steer takes it
	Label  string // on the button
	Help   string
	Danger bool // it cannot be taken back
	Fields []Field
}

// Field is an input of an action.
type Field struct{ Name, Label, Value string }

// Steering is something that was asked of a run.
type Steering struct {
	At     time.Time
	Name   string // pause, set_learning_rate …
	Detail string // its arguments
	By     string // identity of who asked
	Result string // empty: done
}
