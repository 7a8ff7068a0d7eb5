package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/telemetry"
)

// Finetune is supervised fine-tuning: it makes a model or takes one, and imitates dialogues, a part of so many optimiser
// steps at a time, with a checkpoint after each part.
func Finetune(ctx workflow.Context, in FinetuneInput) (FinetuneOutput, error) {
	f := &finetuneRun{}
	if err := f.setup(ctx, in); err != nil {
		return FinetuneOutput{}, err
	}
	return f.run(ctx)
}

// finetuneRun is a fine-tuning in progress.
type finetuneRun struct {
	in    FinetuneInput
	state FinetuneState
	parts int // of this part of the history
}

func (f *finetuneRun) setup(ctx workflow.Context, in FinetuneInput) error {
	f.in = in
	f.state = FinetuneState{Run: workflow.GetInfo(ctx).WorkflowExecution.ID, Phase: PhaseStarting}
	if in.Carried != nil {
		f.state = *in.Carried
	}
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (FinetuneState, error) { return f.state, nil }); err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateStop,
		func(workflow.Context) (FinetuneState, error) {
			f.state.Stopping = true
			return f.state, nil
		},
		workflow.UpdateHandlerOptions{Description: "finish the part under way and complete", Validator: func() error {
			if f.state.Stopping || f.state.Phase == PhaseCompleted {
				return fmt.Errorf("run %s is ending", f.state.Run)
			}
			return nil
		}})
}

func (f *finetuneRun) run(ctx workflow.Context) (FinetuneOutput, error) {
	s := &f.state
	if f.in.Carried == nil {
		if err := f.resolve(ctx); err != nil {
			return FinetuneOutput{}, err
		}
	}
	for s.Step < s.Resolved.Steps && !s.Stopping {
		if after := s.Resolved.ContinueAfter; f.parts > 0 && (after > 0 && f.parts >= after || workflow.GetInfo(ctx).GetContinueAsNewSuggested()) {
			return FinetuneOutput{}, f.continueAsNew(ctx)
		}
		if err := f.part(ctx); err != nil {
			return FinetuneOutput{}, err
		}
	}
	err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	last := PhaseCompleted
	if s.Step < s.Resolved.Steps {
		last = PhaseStopped
	}
	f.enter(ctx, last)
	return FinetuneOutput{Run: s.Run, Phase: last, Step: s.Step, Loss: s.Loss, Checkpoint: s.Checkpoint, Policy: s.Policy}, err
}

// resolve checks settings and data, makes or loads the model, and finds out where the run stands.
func (f *finetuneRun) resolve(ctx workflow.Context) error {
	var a *activities.Data
	s := &f.state
	in := activities.ResolveSpecInput{Run: s.Run, Spec: f.in.Spec}
	if err := workflow.ExecuteActivity(patient(ctx, "settings, model, data"), a.ResolveFinetune, in).Get(ctx, &s.Resolved); err != nil {
		return err
	}
	s.Checkpoint, s.Step, s.Policy = s.Resolved.Checkpoint, s.Resolved.Checkpoint.Step, s.Resolved.Policy
	f.enter(ctx, PhaseTraining)
	return nil
}

// part makes the next optimiser steps and keeps their checkpoint.
func (f *finetuneRun) part(ctx workflow.Context) error {
	var a *activities.Learner
	var out activities.TuneOutput
	s := &f.state
	in := activities.TuneInput{
		Run: s.Run, Spec: s.Resolved.Spec, Base: s.Resolved.Base, Checkpoint: s.Checkpoint,
		Steps: min(s.Resolved.StepsPerPart, s.Resolved.Steps-s.Step), Longest: s.Resolved.Longest,
	}
	summary := fmt.Sprintf("steps %d to %d of %d", s.Step+1, s.Step+in.Steps, s.Resolved.Steps)
	if err := learn(ctx, s.Own, summary, a.Tune, in, &out); err != nil {
		return err
	}
	step := s.Step + in.Steps
	ref, err := commitCheckpoint(ctx, activities.CommitCheckpointInput{
		Run: s.Run, Step: step, Candidate: out.Candidate, Retain: s.Resolved.Retain, Before: step,
	})
	if err != nil {
		return err
	}
	f.parts++
	s.Step, s.Checkpoint = step, ref
	s.Policy, s.Loss, s.Own = out.Policy, out.Loss, out.Own
	f.enter(ctx, PhaseTraining)
	return nil
}

// continueAsNew ends this part of the history once no handler is in flight.
func (f *finetuneRun) continueAsNew(ctx workflow.Context) error {
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, FinetuneName, FinetuneInput{Spec: f.in.Spec, Carried: &f.state})
}

// enter shows where the run stands.
func (f *finetuneRun) enter(ctx workflow.Context, p Phase) {
	s := &f.state
	s.Phase = p
	err := workflow.UpsertTypedSearchAttributes(ctx, []temporal.SearchAttributeUpdate{
		telemetry.RunName.ValueSet(s.Resolved.Name), telemetry.Phase.ValueSet(string(p)), telemetry.Step.ValueSet(int64(s.Step)),
	}...)
	if err != nil {
		workflow.GetLogger(ctx).Error("search attributes not set", telemetry.AttrError, err)
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s** · %s · step %d of %d · loss %.4f nats per token",
		s.Resolved.Name, p, s.Step, s.Resolved.Steps, s.Loss))
}
