package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

func (a *app) newEval() *cobra.Command {
	var in workflows.EvaluateInput
	var model, id, compute string
	var sets []string
	var attempts []int
	var p ports
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Score a run's checkpoint, or a model, by accuracy at k attempts",
		Long: `Evaluates on every set with 1 … k attempts told, and prints accuracies with 95 % intervals. Without --run the settings are
those of --preset, -f and --set as for train; with it, those of the run, changed by -f and --set.`,
		Example: `  multiattempt eval --run quickstart-seed1 --attempts 1,2,3,4,5,6,7
  multiattempt eval --model builtin:smudged-base --preset quickstart --attempts 1,2`,
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&in.Run, "run", "", "the run to evaluate")
	f.IntVar(&in.Step, "step", 0, "the step of the run's checkpoint; 0 takes the newest")
	f.StringVar(&model, "model", "", "the model to evaluate: a folder, builtin:NAME or ref:…")
	f.StringSliceVar(&sets, "sets", nil, "sets of problems (default: those of the settings)")
	f.IntSliceVar(&attempts, "attempts", nil, "numbers of attempts (default: those of the settings)")
	f.StringVar(&compute, "compute", "", "float32 or bfloat16, to sample in (default: sampling.compute of the settings)")
	f.StringVar(&id, "id", "", "the evaluation's workflow id (default: made from run or model and the time)")
	addPorts(cmd, &p)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if in.Run != "" && (model != "" || s.preset != "") {
			return usage("--run brings its own model and settings: leave out --model and --preset")
		}
		doc, folder, err := a.planEvaluation(s, in.Run == "", model, compute, sets, attempts)
		if err != nil {
			return err
		}
		if id == "" {
			name := in.Run
			if name == "" {
				name = "model"
			}
			id = fmt.Sprintf("eval-%s-%s", name, time.Now().UTC().Format("20060102-150405"))
		}
		named := id // what the results are stored under
		if in.Run != "" {
			named = in.Run
		}
		if err := spec.CheckRunID(named); err != nil {
			return err
		}
		return a.withServices(cmd.Context(), p, func(svc *services, _ bool) error {
			doc, err := a.upload(cmd.Context(), svc, doc, spec.Run{}, folder)
			if err != nil {
				return err
			}
			in.Spec = doc
			return a.evaluate(cmd.Context(), svc, id, in)
		})
	}
	return cmd
}

// planEvaluation checks an evaluation's settings and finds the model's folder. Those that change a run's own settings
// (complete false) can only be checked with the run's.
func (a *app) planEvaluation(s *settings, complete bool, model, compute string, sets []string, attempts []int) (doc []byte, folder string, err error) {
	if doc, err = s.document(spec.Run{}); err != nil {
		return nil, "", err
	}
	var flags []string
	if model != "" {
		flags = append(flags, "model.source="+model)
	}
	if compute != "" {
		if err := checkCompute(spec.Compute(compute)); err != nil {
			return nil, "", err
		}
		flags = append(flags, "sampling.compute="+compute)
	}
	for path, list := range map[string]any{"evaluation.sets": sets, "evaluation.final_attempts": attempts} {
		text, err := json.Marshal(list)
		if err != nil {
			return nil, "", err
		}
		if string(text) != "null" {
			flags = append(flags, path+"="+string(text))
		}
	}
	if doc, err = spec.Override(doc, spec.Run{}, flags); err != nil {
		return nil, "", err
	}
	if !complete {
		return doc, "", nil
	}
	t, err := a.checkTraining(doc)
	return t.doc, t.folder, err
}

// evaluate runs one evaluation to its end and prints its scores.
func (a *app) evaluate(ctx context.Context, s *services, id string, in workflows.EvaluateInput) error {
	var out workflows.EvaluateOutput
	if err := a.evaluation(ctx, s, stage{title: id}, id, in, &out); err != nil {
		return goesOn(err, id)
	}
	if err := a.printScores(ctx, s, out.Result); err != nil {
		return err
	}
	if t := out.Timing; t != nil && t.Whole > 0 && t.Sampling > 0 {
		share := func(seconds float64) float64 { return 100 * seconds / t.Whole }
		a.printf("Time %s: %.1f %% in the sampler, %.1f %% in the grader, %.1f %% elsewhere in rollouts; %d tokens sampled, %.0f a second of the sampler's time\n",
			inWords(time.Duration(t.Whole*float64(time.Second))), 100*t.SamplingShare, share(t.Grading), share(t.Rollouts-t.Sampling-t.Grading),
			t.Tokens, float64(t.Tokens)/t.Sampling)
	}
	return nil
}

// evaluation runs one evaluation to its end, or finds the one of that id.
func (a *app) evaluation(ctx context.Context, s *services, show stage, id string, in workflows.EvaluateInput, out *workflows.EvaluateOutput) error {
	digest := ""
	if in.Run == "" {
		run, err := spec.Resolve(in.Spec, presets.Train())
		if err != nil {
			return err
		}
		if digest, err = run.Digest(); err != nil {
			return err
		}
	}
	summary := "a model"
	if in.Run != "" {
		summary = "run " + in.Run
	}
	st, err := s.start(ctx, order{id: id, kind: workflows.EvaluateName, input: in, digest: digest, summary: summary, conflict: "choose another with --id"})
	if err != nil {
		return err
	}
	return a.follow(ctx, s, show, st.run, workflows.EvaluateName, out)
}
