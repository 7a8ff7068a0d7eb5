package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
)

// work is what a command will do with a model's weights, for refusing a model before any are fetched or read.
type work struct {
	what  string
	talks bool // in the model's chat template
	// least is what the smallest input takes.
	least  func(c nn.Config) (engine.Estimate, error)
	advice string // where the device is too small
}

// device is a backend with a model's weights on this machine, for one command.
type device struct {
	*engine.Backend
	model    *engine.Model
	template *chat.Template // of a model that is to talk
	capacity int64          // bytes; 0: nobody knows
}

// withWeights opens a backend and a model's weights for one command. A model that cannot do the work, and one of which the
// device cannot hold even the least of it, is refused before weights are fetched or read; what turns out too large later gets
// the work's advice.
func (a *app) withWeights(cmd *cobra.Command, name string, w work, do func(d *device) error) (err error) {
	ctx, d := cmd.Context(), &device{}
	if d.Backend, err = engine.Open(a.cfg.Backend.Choice); err != nil {
		return err
	}
	defer d.Close()
	d.capacity = d.Capacity(ctx)
	o, err := a.openModel(ctx, name, func(dir string) error { return d.check(ctx, w, dir) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if d.model, err = engine.LoadFolder(o.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.model.Close()) }()
	if note := d.Note(); note != "" {
		a.notef("%s\n", note)
	}
	if err = do(d); errors.Is(err, engine.ErrMemory) {
		return fmt.Errorf("%w; %s", err, w.advice)
	}
	return err
}

// check refuses the model in dir, whose weights need not be there, for some work, and reads its template.
func (d *device) check(ctx context.Context, w work, dir string) error {
	config, err := engine.ReadConfig(dir)
	if err != nil {
		return err
	}
	least, err := w.least(d.Forward(config))
	if err != nil {
		return err
	}
	if err := d.Admit(ctx, w.what, least, w.advice); err != nil || !w.talks {
		return err
	}
	d.template, err = chat.Load(dir)
	return err
}
