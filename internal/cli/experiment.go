package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

// variants are the flags that make several runs of one.
type variants struct {
	seeds    []uint
	arms     []string
	defined  []string // NAME key=value …
	parallel int
}

func addVariants(cmd *cobra.Command, v *variants) {
	f := cmd.Flags()
	f.UintSliceVar(&v.seeds, "seeds", nil, "one run of every arm for each of these seeds, as an experiment")
	f.StringSliceVar(&v.arms, "arms", nil, "arms of the experiment: those that --file or --arm define, presets PRESET-NAME, multi or single (one attempt)")
	f.StringArrayVar(&v.defined, "arm", nil, "define an arm, as in --arm 'lambda1 advantage.lambda=1'; may be repeated")
	f.IntVar(&v.parallel, "parallel", 1, "runs of the experiment under way at the same time: at most as many as there are learners")
}

// used reports whether the command is about an experiment: by flags, or by the keys of its document.
func (v *variants) used(doc []byte) bool {
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(doc, &keys) // what is no object is refused where it is resolved
	_, arms := keys["arms"]
	_, seeds := keys["seeds"]
	return arms || seeds || len(v.seeds)+len(v.arms)+len(v.defined) > 0
}

// trial is an experiment to start, its settings checked.
type trial struct {
	id        string
	doc       []byte // as the workflow gets it
	folder    string // of the model on this machine, to be uploaded; empty: none
	digest    string
	members   []spec.Member
	again     bool
	dialogues int // as for stage
}

// runExperiment is train with several arms or seeds.
func (a *app) runExperiment(cmd *cobra.Command, doc []byte, v *variants, id string, again, follow bool, dialogues int, p ports) error {
	t, err := a.planExperiment(doc, v, cmd.Flags().Changed("parallel"), id)
	if err != nil {
		return err
	}
	t.again, t.dialogues = again, dialogues
	return a.withServices(cmd.Context(), p, func(svc *services, local bool) error {
		return a.experiment(cmd.Context(), svc, t, follow || local)
	})
}

// planExperiment merges document and flags, and checks every run of the experiment.
func (a *app) planExperiment(doc []byte, v *variants, parallelSet bool, id string) (trial, error) {
	var e spec.Experiment
	if err := json.Unmarshal(doc, &e); err != nil {
		return trial{}, err
	}
	if len(v.seeds) > 0 {
		e.Seeds = nil
		for _, s := range v.seeds {
			e.Seeds = append(e.Seeds, uint64(s))
		}
	}
	if parallelSet {
		e.Parallel = v.parallel
	}
	var err error
	if e.Arms, err = v.choose(e.Arms); err != nil {
		return trial{}, err
	}
	// The files that the common settings name are found here; those of an arm alone must be absolute or in the data directory.
	common, err := spec.Resolve(e.Settings, presets.Train())
	if err != nil {
		return trial{}, err
	}
	anchored, err := a.anchor(common)
	if err != nil {
		return trial{}, err
	}
	if e.Settings, err = spec.Override(e.Settings, spec.Run{}, anchored); err != nil {
		return trial{}, err
	}
	if id == "" {
		id = defaultExperimentID(common.Preset)
	}
	t := trial{id: id}
	if t.folder, err = a.modelFolder(common.Model.Source); err != nil {
		return trial{}, err
	}
	if t.members, err = e.Members(id, presets.Train()); err != nil {
		return trial{}, err
	}
	for _, m := range t.members {
		if err := spec.CheckRunID(m.Run); err != nil {
			return trial{}, err
		}
	}
	if t.doc, err = json.Marshal(e); err != nil {
		return trial{}, err
	}
	t.digest, err = membersDigest(t.members)
	return t, err
}

func defaultExperimentID(preset string) string {
	if preset == "" {
		return "experiment"
	}
	return preset
}

// choose returns the arms of the experiment: those of the document and of --arm, in order, or the ones that --arms names.
func (v *variants) choose(arms []spec.Arm) ([]spec.Arm, error) {
	for _, text := range v.defined {
		words := strings.Fields(text)
		if len(words) == 0 {
			return nil, usage("--arm %q: want a name and settings, as in --arm 'lambda1 advantage.lambda=1'", text)
		}
		arm := spec.Arm{Name: words[0]}
		var err error
		if arm.Settings, err = spec.Override([]byte("{}"), spec.Run{}, words[1:]); err != nil {
			return nil, fmt.Errorf("--arm %s: %w", words[0], err)
		}
		arms = append(arms, arm)
	}
	if len(v.arms) == 0 {
		return arms, nil
	}
	chosen := make([]spec.Arm, len(v.arms))
	for i, name := range v.arms {
		chosen[i].Name = name
		for _, arm := range arms {
			if arm.Name == name {
				chosen[i] = arm
			}
		}
	}
	return chosen, nil
}

// membersDigest identifies what an experiment computes: its runs and their settings. How many are under way at the same
// time makes no difference.
func membersDigest(members []spec.Member) (string, error) {
	h := sha256.New()
	for _, m := range members {
		run, err := spec.Resolve(m.Settings, presets.Train())
		if err != nil {
			return "", err
		}
		digest, err := run.Digest()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s\n", m.Run, digest)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// experiment starts or finds the experiment and, when asked, follows it to its end and prints the comparison.
func (a *app) experiment(ctx context.Context, s *services, t trial, follow bool) error {
	doc, err := a.upload(ctx, s, t.doc, spec.Run{}, t.folder)
	if err != nil {
		return err
	}
	st, err := s.start(ctx, order{
		id: t.id, kind: workflows.ExperimentName, input: input(doc), digest: t.digest, again: t.again, retry: true,
		conflict: "choose another id with --run", summary: fmt.Sprintf("%d runs", len(t.members)),
	})
	if err != nil {
		return err
	}
	switch {
	case st.closed:
		a.notef("Experiment %s has ended\n", t.id)
	case st.found:
		a.notef("Experiment %s is under way already\n", t.id)
	default:
		a.notef("Started experiment %s with %d runs\n", t.id, len(t.members))
	}
	if url := s.runURL(t.id); url != "" {
		a.notef("%s\n", url)
	}
	if !follow && !st.closed {
		a.printf("%s\n", t.id)
		return nil
	}
	var out workflows.ExperimentStatus
	if err := a.follow(ctx, s, stage{title: t.id, dialogues: t.dialogues}, st.run, workflows.ExperimentName, &out); err != nil {
		return goesOn(err, t.id)
	}
	return a.printExperiment(ctx, s, out)
}

// printExperiment prints where the runs stand, and compares the arms whose runs have been evaluated.
func (a *app) printExperiment(ctx context.Context, s *services, st workflows.ExperimentStatus) error {
	t := report.Table{
		Caption: fmt.Sprintf("Experiment %s: %s, %d of %d runs done, %d at a time", st.Experiment, st.Phase, st.Done, len(st.Members), st.Parallel),
		Header:  []string{"run", "arm", "seed", "state", "step"},
	}
	for _, m := range st.Members {
		step, state := "–", string(m.State)
		switch {
		case m.Step > 0:
			step = fmt.Sprint(m.Step)
		case m.Failure != "":
			state += ": " + m.Failure
		case m.State == workflows.MemberFailed:
			state += fmt.Sprintf(": `multiattempt show %s` says why", m.Run)
		}
		t.Rows = append(t.Rows, []string{m.Run, m.Arm, fmt.Sprint(m.Seed), state, step})
	}
	if err := a.writeTable(a.stdout, t); err != nil {
		return err
	}
	arms, err := s.armsOf(ctx, st)
	if err != nil || len(arms) == 0 {
		return err
	}
	comparisons, err := compareWithFirst(arms)
	if err != nil {
		return err
	}
	return a.printComparison("text", &report.Report{Title: st.Experiment, Arms: arms}, comparisons)
}

// armsOf gathers an experiment's arms from the runs that have been evaluated, in the order of arms.
func (s *services) armsOf(ctx context.Context, st workflows.ExperimentStatus) ([]report.Arm, error) {
	var names []string
	results := map[string][]*evaluate.Result{}
	for _, m := range st.Members {
		if m.State != workflows.MemberCompleted {
			continue
		}
		result, err := s.resultOf(ctx, m.Run)
		if errors.Is(err, errNotEvaluated) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if results[m.Arm] == nil {
			names = append(names, m.Arm)
		}
		results[m.Arm] = append(results[m.Arm], result)
	}
	arms := make([]report.Arm, len(names))
	for i, name := range names {
		arms[i] = newArm(name, results[name])
	}
	return arms, nil
}

// newArm makes an arm of its runs' results.
func newArm(name string, results []*evaluate.Result) report.Arm {
	return report.Arm{Name: name, Seed: results[0].Seed, Result: results[0], Others: results[1:]}
}

// experimentStatus is an experiment's status as a worker answers it; where none is there, its result.
func (s *services) experimentStatus(ctx context.Context, id string) (workflows.ExperimentStatus, error) {
	var st workflows.ExperimentStatus
	err := s.status(ctx, id, &st)
	if errors.Is(err, errNoAnswer) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout) // one under way has no result to wait for
		defer cancel()
		var out workflows.ExperimentStatus
		if s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &out) == nil {
			return out, nil
		}
	}
	return st, err
}
